"""Recipes: against their definition on the mean kernel, sampled networks, and one step of gradient descent."""

import functools
import json
from typing import Any

import jax
import numpy as np
import pytest
import sampled_recipes
from command_line import within

import ntkflow
from ntkflow import finite
from ntkflow.errors import ActivationError, DataError, FileError, SpecError
from ntkflow.tuning.shares import shared_learning_rates
from ntkflow.tuning.spread import largest_depth, least_width, one_by_one, relative_sd, with_depth
from ntkflow.tuning.stability import largest_of_products

BETA, KAPPA = 0.05, 0.8
X = sampled_recipes.inputs()[:6]


def network(activation, depth=4, width=64):
    return sampled_recipes.network(activation, depth, width)


@functools.cache
def recipe(activation, depth=4, width=64):
    return ntkflow.tune(network(activation, depth, width), X)


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_shares_of_the_mean_kernel(activation):
    mlp = recipe(activation).mlp
    last = ntkflow.flow(mlp, X, "mean")[-1]
    size = np.trace(last.H)
    weight, bias = (
        np.einsum("laa->l", x) / size for x in (last.weight_contributions, last.bias_contributions)
    )
    parts = np.array([KAPPA / (1 - KAPPA) * 3, 1, 1, 1])
    total = parts.sum() + 4 * BETA
    assert np.allclose(weight, parts / total, rtol=1e-10, atol=0)
    assert np.allclose(bias, BETA / total, rtol=1e-10, atol=0)
    assert np.allclose(recipe(activation).weight_shares, weight, rtol=1e-10, atol=0)
    assert np.allclose(recipe(activation).bias_shares, bias, rtol=1e-10, atol=0)
    assert np.linalg.eigvalsh(last.H)[-1] / len(X) == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize(("activation", "K"), [("tanh", 1.0), ("relu", 1.0), ("gelu", None)])
def test_initialisation(activation, K):
    point = ntkflow.critical(activation)
    mlp = recipe(activation).mlp
    layers = ntkflow.flow(mlp, X, "mean")
    assert np.mean(np.diag(layers[1].G)) == pytest.approx(K or point.K_star, rel=1e-12)
    assert np.mean(np.diag(layers[4].G)) == pytest.approx(1, rel=1e-9)
    assert mlp.C_W[1:3] == (point.C_W,) * 2 and mlp.C_b[1:3] == (point.C_b,) * 2
    assert mlp.C_b[3] * point.C_W == pytest.approx(mlp.C_W[3] * point.C_b, rel=1e-12)


def test_output_variance_moves_the_last_layer_alone():
    less = ntkflow.tune(network("tanh"), X, output_variance=0.25).mlp
    one = recipe("tanh").mlp
    assert less.C_W[:3] == one.C_W[:3]
    assert less.C_W[3] == pytest.approx(one.C_W[3] / 4, rel=1e-12)
    # The NTK is kept: what is below the last layer learns faster.
    assert np.allclose(less.lambda_W[:3], 4 * np.array(one.lambda_W[:3]), rtol=1e-9, atol=0)


def test_activations_of_their_own():
    """Each layer's K is the K* of its activation where that has one."""
    mlp = ntkflow.tune(ntkflow.MLP((64, 32, 32, 32, 3), ["relu", "mish", "gelu"]), X).mlp
    G = [np.mean(np.diag(layer.G)) for layer in ntkflow.flow(mlp, X, "mean")]
    mish, gelu = (ntkflow.critical(name) for name in ("mish", "gelu"))
    assert G[:3] == pytest.approx([mish.K_star, mish.K_star, gelu.K_star], rel=0.02)
    assert mlp.C_W[1:3] == (2.0, mish.C_W)
    back = ntkflow.tune(ntkflow.MLP((64, 32, 32, 3), ["gelu", "mish"]), X)
    assert "above K* = 1.67 of its activation mish" in " ".join(back.notes)


def test_critical_of_a_network():
    mlp = ntkflow.MLP((4, 8, 8, 8, 2), ["relu", "gelu", "relu"])
    points = ntkflow.critical(mlp)
    assert [point.C_W for point in points] == [ntkflow.critical(a).C_W for a in ("relu", "gelu", "relu")]
    assert ntkflow.critical(ntkflow.MLP((4, 2))) == ()


def test_order_of_inputs_does_not_matter(rng):
    other = ntkflow.tune(network("relu"), X[rng.permutation(len(X))])
    for name in ("C_W", "lambda_W", "lambda_b"):
        assert getattr(other.mlp, name) == pytest.approx(getattr(recipe("relu").mlp, name), rel=1e-10)


def test_what_is_frozen_stays_so():
    mlp = network("tanh").replace(lambda_b=[0, 1, 0, 1], lambda_W=[1, 1, 0, 1])
    tuned = ntkflow.tune(mlp, X)
    assert [x > 0 for x in tuned.mlp.lambda_b] == [False, True, False, True]
    assert [x > 0 for x in tuned.mlp.lambda_W] == [True, True, False, True]
    assert sum(tuned.weight_shares) + sum(tuned.bias_shares) == pytest.approx(1, rel=1e-12)
    assert tuned.weight_shares[0] / sum(tuned.weight_shares) == pytest.approx(KAPPA, rel=1e-12)
    with pytest.raises(DataError, match="no parameter is trained"):
        ntkflow.tune(mlp.replace(lambda_b=0, lambda_W=0), X)


@pytest.mark.parametrize(
    ("widths", "samples"),
    [((64, 3), slice(6)), ((64, 1, 1), slice(1)), ((64, 32, 2), [0, 0, 1]), ((64, 32, 2), slice(0, 1))],
    ids=["no hidden layer", "width 1", "a duplicate", "one input"],
)
def test_small_cases(widths, samples):
    inputs = X[samples].astype(np.float32)
    tuned = ntkflow.tune(ntkflow.MLP(widths, "relu"), inputs, loss="mse")
    last = ntkflow.flow(tuned.mlp, inputs, "mean")[-1]
    assert np.linalg.eigvalsh(last.H)[-1] / len(inputs) == pytest.approx(1, rel=1e-9)
    assert tuned.eta == pytest.approx(0.8)
    assert np.isfinite([tuned.lambda_max, tuned.lambda_max_std, tuned.ntk_std]).all()
    if len(widths) == 2:
        assert tuned.ntk_std == 0 and tuned.lambda_max == pytest.approx(1) and tuned.largest_depth == 1
    assert "nan" not in repr(tuned)


@pytest.mark.parametrize("classes", [None, 7])
def test_the_edge_is_that_of_the_loss(classes, rng):
    """By the loss's Hessian at z = 0, on the mean kernel: labels of four classes, a softmax over all ten outputs or over seven."""
    tuned = ntkflow.tune(network("tanh"), X, classes=classes)
    y = rng.integers(4, size=len(X))

    def loss(z):
        return finite.cross_entropy(z.reshape(len(X), 10)[:, :classes], y)

    with jax.enable_x64(True):
        hessian = np.asarray(jax.hessian(loss)(jax.numpy.zeros(10 * len(X))))
    kernel = np.kron(ntkflow.flow(tuned.mlp, X, "mean")[-1].H, np.eye(10))
    assert np.linalg.eigvals(hessian @ kernel).real.max() * tuned.edge == pytest.approx(2, rel=1e-9)
    assert tuned.eta == pytest.approx(0.4 * tuned.edge)


def test_masked_outputs_count_for_nothing():
    """A softmax over seven of ten outputs is that of a network with seven."""
    masked = ntkflow.tune(network("tanh"), X, classes=7)
    narrower = ntkflow.tune(ntkflow.MLP((64, 64, 64, 64, 7), "tanh"), X)
    for name in ("eta", "edge", "lambda_max", "lambda_max_std", "lambda_max_truncation"):
        assert getattr(masked, name) == pytest.approx(getattr(narrower, name), rel=1e-9), name
    assert "cross-entropy of 7 classes (3 outputs masked)" in repr(masked)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": "mae"}, SpecError, "loss must be one of cross_entropy, mse"),
        ({"loss": "mse", "classes": 10}, SpecError, "classes goes with the cross-entropy"),
        ({"classes": 11}, SpecError, "outputs that the softmax is over, must be a whole number from 2 to 10"),
        ({"first_share": 1.0}, SpecError, "first_share must be a number above 0 and below 1"),
        ({"bias_share": -0.1}, SpecError, "bias_share must be a number at least 0"),
        ({"output_variance": 0}, SpecError, "output_variance must be a number above 0"),
        ({"sd": 0}, DataError, "sd must be a relative standard deviation"),
        ({"optimizer": 3}, SpecError, "optimizer must be a name"),
        ({"optimizer": "sdg"}, SpecError, "no optimizer 'sdg'"),
        ({"seed": -1}, DataError, "seed must be a whole number"),
    ],
)
def test_refused_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ntkflow.tune(network("tanh"), X, **arguments)


def test_refused_networks():
    with pytest.raises(ActivationError, match=r"hidden layer 1: sigmoid has no critical point.*C_W = 16"):
        ntkflow.tune(network("sigmoid"), X)
    with pytest.raises(DataError, match="all inputs are zero"):
        ntkflow.tune(network("tanh"), 0 * X)
    with pytest.raises(DataError, match="softmax over two outputs"):
        ntkflow.tune(ntkflow.MLP((64, 8, 1)), X)


def test_learning_rates_far_from_criticality_are_refused():
    """torch's default: at depth 16 the λ's would differ by 10⁸ and more."""
    mlp = ntkflow.MLP((64, *[64] * 15, 10), "tanh", 1 / 192, 1 / 3)
    with pytest.raises(SpecError, match="far from criticality"):
        shared_learning_rates(mlp, X, BETA, KAPPA)
    shared_learning_rates(mlp.replace(C_b=0.0, C_W=1.0), X, BETA, KAPPA)


def test_an_input_of_zeros_counts_for_nothing():
    """Its NTK vanishes without biases: the spread over seeds is that of the other inputs."""
    rows = np.vstack([X, 0 * X[:1]])
    with_zeros, without = (ntkflow.tune(network("relu"), x, bias_share=0) for x in (rows, X))
    assert with_zeros.ntk_std == pytest.approx(without.ntk_std, rel=1e-6)
    assert with_zeros.lambda_max_truncation > 0
    assert with_zeros.lambda_max == pytest.approx(without.lambda_max, rel=0.1)


def test_sizes_of_inputs():
    """λ's undo the size of the inputs; beyond float64's range a sentence says what to do."""
    small = ntkflow.tune(network("relu"), 1e-20 * X)
    assert small.lambda_max == pytest.approx(recipe("relu").lambda_max, rel=1e-6)
    for size in (1e-150, 1e160):
        with pytest.raises(DataError, match="scale X to about 1"):
            ntkflow.tune(network("tanh"), size * X)


def test_other_optimisers():
    adam = ntkflow.tune(network("tanh"), X, optimizer="Adam")
    assert adam.eta is None and adam.mlp.C_W == recipe("tanh").mlp.C_W
    assert adam.ntk_std == recipe("tanh").ntk_std
    with pytest.raises(SpecError, match="no learning rates for adam"):
        adam.optax()
    assert "adam: no learning rates" in repr(adam) and "lambda" not in repr(adam) and "0.4" not in repr(adam)


@pytest.mark.parametrize("row", json.loads(sampled_recipes.FILE.read_text()), ids=lambda row: f"{row['activation']}-{row['depth']}-{row['width']}")  # fmt: skip
def test_sampled_networks(row):
    """240 networks: standard errors of λ_max are below 3 %, of the NTK's sd below 8 %."""
    tuned = ntkflow.tune(network(row["activation"], row["depth"], row["width"]), sampled_recipes.inputs())
    for name in ("C_b", "C_W", "lambda_b", "lambda_W"):
        assert getattr(tuned.mlp, name) == pytest.approx(row[name], rel=1e-7)
    aspect = row["depth"] / row["width"]
    if aspect <= 1 / 16:
        assert tuned.lambda_max == pytest.approx(row["lambda_max"], rel=0.2)
    error = row["lambda_max_std"] / row["draws"] ** 0.5
    assert abs(tuned.lambda_max - row["lambda_max"]) < tuned.lambda_max_truncation + 3 * error
    if aspect <= 1 / 16:
        assert tuned.lambda_max_std == pytest.approx(row["lambda_max_std"], rel=0.3)
    if row["ntk_std"] <= 0.6:
        assert tuned.ntk_std == pytest.approx(row["ntk_std"], rel=0.3)
    if aspect <= 1 / 16:
        H = ntkflow.flow(tuned.mlp, sampled_recipes.inputs(), "mean")[-1].H
        for shares, name in ((tuned.weight_shares, "weight"), (tuned.bias_shares, "bias")):
            sampled, error = np.array(row[name]), np.array(row[f"{name}_error"])
            # False alarms: below 1e-3 for all 150 contributions together.
            assert np.all(
                np.abs(np.array(shares) * np.trace(H) / len(H) - sampled) <= 0.02 * sampled + 4.5 * error
            )


@pytest.mark.slow
def test_kept_samples_are_those_of_today():
    """Fifty networks of one case, drawn anew with other seeds, within five standard errors."""
    row = next(row for row in json.loads(sampled_recipes.FILE.read_text()) if row["activation"] == "tanh")
    mlp = network("tanh").replace(**{name: row[name] for name in ("C_b", "C_W", "lambda_b", "lambda_W")})
    with jax.enable_x64(True):
        sampled = sampled_recipes.sampled(mlp, 50, seed=1)
    error = sampled["lambda_max_std"] / 50**0.5
    assert abs(sampled["lambda_max"] - row["lambda_max"]) < 5 * error


def test_width_and_depth():
    mlp = network("relu", 3, 32).replace(C_W=2.0)
    width = ntkflow.width_for(mlp, X, sd=0.3)
    sds = [relative_sd(one_by_one(network("relu", 3, n).replace(C_W=2.0), X)[-1]) for n in (width - 1, width)]
    assert sds[1] <= 0.3 * 1.002 and sds[0] > 0.3 * 0.998
    depth = ntkflow.depth_for(mlp, X, sd=0.5)
    sds = [relative_sd(one_by_one(with_depth(mlp, L), X)[-1]) for L in (depth, depth + 1)]
    assert sds[0] <= 0.5 < sds[1]
    assert ntkflow.width_for(ntkflow.MLP((64, 10)), X) == 1
    with pytest.raises(SpecError, match="does not say what to add"):
        ntkflow.depth_for(ntkflow.MLP((64, 10)), X)


def test_the_recipe_knows_them():
    tuned = recipe("relu")
    assert tuned.least_width == least_width(one_by_one(tuned.mlp, X), 0.5)
    depths = []

    def of_depth(depth):
        depths.append(depth)
        return ntkflow.tune(network("relu", depth), X).mlp

    assert tuned.largest_depth == largest_depth(of_depth, 4, X, 0.5)
    assert len(depths) < 8


def test_with_depth():
    mlp = ntkflow.MLP((3, 5, 6, 2), ["relu", "tanh"], [0, 1, 2], [1, 2, 3])
    assert with_depth(mlp, 3) == mlp
    deep = with_depth(mlp, 5)
    assert deep.widths == (3, 5, 6, 6, 6, 2) and deep.C_W == (1, 2, 2, 2, 3)
    assert [a.name for a in deep.activation] == ["relu", "tanh", "tanh", "tanh"]
    assert with_depth(mlp, 2).widths == (3, 5, 2) and with_depth(mlp, 2).C_b == (0, 2)


def drawn_products(rng, n, shares, freedoms, draws):
    """Largest eigenvalues of Σ p_ℓ T_ℓ T_ℓᵀ from matrices of whole numbers of columns, (draws,)."""
    largest = []
    for _ in range(draws):
        T, total = np.eye(n), shares[-1] * np.eye(n)
        for share, m in zip(shares[-2::-1], freedoms[::-1], strict=True):
            T = T @ rng.normal(size=(T.shape[1], m)) / np.sqrt(m)
            total = total + share * T @ T.T
        largest.append(np.linalg.eigvalsh(total)[-1])
    return np.array(largest)


@pytest.mark.parametrize(
    ("n", "shares", "freedoms"),
    [
        (1, [1.0, 0.0], [7]),
        (10, [0.9, 0.1], [25]),
        (10, [0.6, 0.2, 0.1, 0.1], [40, 30, 20]),
        (10, [0.7, 0.2, 0.1], [6, 4]),
        (100, [0.8, 0.2], [300]),
        (300, [0.8, 0.2], [10]),
    ],
)
def test_largest_eigenvalue_of_products(n, shares, freedoms, rng):
    """Means within 5 standard errors of both samples: false alarms 1e-6 each. A hundred outputs stand for more: within 2 %."""
    largest = drawn_products(rng, n, shares, freedoms, 400 if n > 64 else 4000)
    variances = np.cumsum(shares)[:-1] ** 2 / np.array(freedoms)
    mean, std = largest_of_products(n, np.array(shares), variances)
    error = 5 * std * (1 / 1000 + 1 / len(largest)) ** 0.5
    assert abs(mean - largest.mean()) < (0.02 * mean if n > 64 else error)
    assert std == pytest.approx(largest.std(), rel=0.15)


def test_products_without_fluctuations():
    assert largest_of_products(10, np.array([0.7, 0.2, 0.1]), np.zeros(2)) == pytest.approx((1, 0))
    assert largest_of_products(3, np.array([2.0]), np.zeros(0)) == pytest.approx((2, 0))


def test_products_are_gaussian_where_they_fluctuate_little(rng):
    """To leading order the block is GOE, whatever the layers: e(10) = 5.32, TUNING's figure; of a 2 × 2 matrix it is √(π/2)."""
    for n, expected in ((10, 5.32), (2, np.sqrt(np.pi / 2))):
        mean, _ = largest_of_products(n, np.array([0.5, 0.3, 0.2]), np.array([2e-7, 3e-7]))
        assert (mean - 1) / np.sqrt(5e-7) == pytest.approx(expected, rel=0.03)


def step_by_hand(mlp, eta, params, y):
    def loss(z, y):
        return finite.cross_entropy(z, y)

    return finite.gradient_step(mlp, params, X, y, loss, eta)


def test_optax_steps(rng):
    optax = pytest.importorskip("optax")
    tuned = recipe("tanh", 12, 8)  # layers 10 and 11 come behind layer 9
    params = finite.init(tuned.mlp, 0)
    y = rng.integers(10, size=len(X))

    def loss(params):
        return finite.cross_entropy(finite.forward(tuned.mlp, params, X)[-1], y)

    with jax.enable_x64(True):
        gradient = jax.grad(loss)(params)
        transformation = tuned.optax()
        updates, _ = transformation.update(gradient, transformation.init(params), params)
        after = optax.apply_updates(params, updates)
    expected = step_by_hand(tuned.mlp, tuned.eta, params, y)
    for layer, other in zip(after, expected, strict=True):
        assert np.allclose(layer.W, other.W, rtol=1e-12, atol=1e-12)
        assert np.allclose(layer.b, other.b, rtol=1e-12, atol=1e-12)
    # Flax sorts its layers by name, Dense_10 before Dense_2; its weights are (n_{ℓ-1}, n_ℓ).
    with jax.enable_x64(True):
        named = {f"Dense_{i}": {"kernel": layer.W.T, "bias": layer.b} for i, layer in enumerate(gradient)}
        flax_updates: Any = tuned.optax(0).update(named, tuned.optax(0).init(named), None)[0]
    expected_updates: Any = updates
    for i, layer in enumerate(expected_updates):
        assert np.allclose(flax_updates[f"Dense_{i}"]["kernel"].T, layer.W, rtol=1e-12, atol=0)
        assert np.allclose(flax_updates[f"Dense_{i}"]["bias"], layer.b, rtol=1e-12, atol=0)
    with pytest.raises(ntkflow.errors.InteropError, match="11 biases in the tree, and learning rates for 12"):
        tuned.optax().init(params[:-1])


def test_optax_trees_that_do_not_fit():
    optax = pytest.importorskip("optax")
    tuned = ntkflow.tune(ntkflow.MLP((64, 9, 8, 10), "tanh", lambda_b=0), X)
    W = [np.zeros(shape) for shape in ((9, 64), (8, 9), (10, 8))]
    state = tuned.optax().init({f"layer{i}": w for i, w in enumerate(W)})  # without biases
    assert state is not None and optax
    with pytest.raises(
        ntkflow.errors.InteropError, match=r"shape \(64, 9\), its layer \(9, 64\); give fan_in_axis=0"
    ):
        tuned.optax().init({f"layer{i}": w.T for i, w in enumerate(W)})
    with pytest.raises(
        ntkflow.errors.InteropError, match=r"\['body'\] has shape .* taken in their names' order"
    ):
        tuned.optax().init({"embed": W[0], "body": W[1], "head": W[2]})


def test_files(tmp_path):
    path = tmp_path / "recipe.toml"
    recipe("gelu").save(path)
    assert ntkflow.tuning.Recipe.load(path) == recipe("gelu")
    assert ntkflow.MLP.from_toml(path) == recipe("gelu").mlp
    adam = ntkflow.tune(network("tanh"), X, optimizer="adam")
    adam.save(path)
    assert ntkflow.Recipe.load(path) == adam
    (tmp_path / "net.toml").write_text('widths = [64, 10]\nactivation = "tanh"\n')
    with pytest.raises(SpecError, match="holds a network, but no recipe"):
        ntkflow.Recipe.load(tmp_path / "net.toml")
    with pytest.raises(FileError, match="cannot write"):
        adam.save(tmp_path / "nowhere" / "recipe.toml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.toml", "recipe.toml"]
    recipe("gelu").save(path)
    text = path.read_text()
    for old, new, message in (
        ("eta = 8.0\n", "", "its recipe has no eta"),
        ("eta = 8.0\n", "eta = 'x'\n", "eta of its recipe can't be 'x'"),
        ("eta = 8.0\n", "eta = 8.0\nbeta = 1.0\n", "its recipe has an unknown beta"),
        ("inputs = 6", "inputs = 6.5", "inputs of its recipe can't be 6.5"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(SpecError, match=message):
            ntkflow.Recipe.load(path)
    mine = ntkflow.tune(ntkflow.MLP((64, 8, 2), jax.numpy.tanh), X)
    with pytest.raises(SpecError, match="which is a callable"):
        mine.save(path)


def test_a_file_is_read_once(tmp_path, monkeypatch):
    """What changes between two readings can't mix two recipes."""
    path = tmp_path / "recipe.toml"
    recipe("gelu").save(path)
    text, reads = path.read_text(), []
    monkeypatch.setattr("pathlib.Path.read_text", lambda *arguments, **keywords: reads.append(0) or text)
    assert ntkflow.Recipe.load(path) == recipe("gelu") and len(reads) == 1


def test_command(tmp_path):
    (tmp_path / "net.toml").write_text('widths = [64, 64, 64, 64, 10]\nactivation = "gelu"\n')
    np.save(tmp_path / "X.npy", X)
    status, out, err = within(tmp_path, "tune", "net.toml", "--data", "X.npy", "-o", "recipe.toml")
    assert (status, err) == (0, "") and out.strip() == repr(recipe("gelu"))
    assert all(len(line) <= 96 for line in out.splitlines())
    assert ntkflow.Recipe.load(tmp_path / "recipe.toml") == recipe("gelu")
    status, _, err = within(tmp_path, "tune", "net.toml", "--data", "X.npy", "-o", "recipe.toml")
    assert status == 2 and "exists" in err
    np.save(tmp_path / "many.npy", sampled_recipes.inputs())
    status, out, err = within(tmp_path, "tune", "net.toml", "--data", "many.npy", "--seed", "3")
    seeds = [repr(ntkflow.tune(network("gelu"), sampled_recipes.inputs(), seed=seed)) for seed in (0, 3)]
    assert (status, err) == (0, "") and out.strip() == seeds[1] != seeds[0]
    status, _, err = within(tmp_path, "tune", "net.toml", "--data", "X.npy", "-o", "recipe.txt")
    assert status == 2 and "must end in .toml" in err
