"""P, Q, R, S, T, U: against a separate program, exact linear networks, the limit of narrow kinks, and with planted errors."""

import jax
import jax.numpy as jnp
import numpy as np
import planted
import pytest
from golden_trained import TENSORS, network

import ntkflow
from ntkflow._gaussian import FINE, expectations
from ntkflow._gaussian.sample_sets import on_sets
from ntkflow._recursions import Hyperparameters, Tensors, TensorSets, flowing, step

NAMES = ("P", "Q", "R", "S", "T", "U")


def distance(value, expected):
    return np.linalg.norm(value - np.array(expected)) / max(float(np.linalg.norm(expected)), 1e-300)


@pytest.mark.parametrize("name", TENSORS)
def test_a_separate_program_agrees(name):
    case = TENSORS[name]
    flow = ntkflow.flow(network(case), case["X"], training=True)
    assert flow.training
    for layer, reference in zip(flow, case["layers"], strict=True):
        for tensor in NAMES:
            tolerance = max(1e-9, 5 * case["relative_error_estimate"])
            assert distance(layer[tensor], reference[tensor]) <= tolerance or layer.layer == 1, (
                layer,
                tensor,
            )
            assert layer.relative_error(tensor) < 1e-10, (layer.layer, tensor)
    assert not any(flow[1][tensor].any() for tensor in NAMES)


def test_they_are_traced():
    case = TENSORS["tanh_three_inputs"]
    with jax.enable_x64(True):
        last = ntkflow.traced_flow(network(case), case["X"], training=True)[-1]
    for tensor in NAMES:
        assert distance(np.asarray(last[tensor]), case["layers"][-1][tensor]) < 1e-9, tensor


@pytest.fixture(scope="module")
def one_step():
    """From layer 2 of a golden case to layer 3, not compiled: hyperparameters, expectations, tensors of layer 2 and of layer 3."""
    case = TENSORS["tanh_three_inputs"]
    mlp, (_, below, above, *_) = network(case), case["layers"]
    G, H, N = np.array(below["G"]), np.array(below["H"]), len(case["X"])
    sets = TensorSets(np.arange(N)[:, None], N, flowing(training=True, kinked=False))
    ratio = np.where(np.eye(N) > 0, 1.0, np.nan)
    with jax.enable_x64(True):
        e = on_sets(
            expectations(mlp.activation[1], G, ratio, sets, FINE), H, sets.sets, sets.rows, sets.moments
        )
    e = type(e)(jax.tree.map(np.asarray, dict(e)))
    h = Hyperparameters(
        mlp.C_b[2], mlp.C_W[2], mlp.lambda_b[2], mlp.lambda_W[2], mlp.widths[2] / mlp.widths[1]
    )
    t = Tensors({name: np.array(below[name])[..., None] for name in (*NAMES, "F", "B")})
    return h, e, t, above


def worst(one_step):
    h, e, t, above = one_step
    new = step(h, e, Tensors({name: t[name] for name in ("F", "B", *NAMES)}))
    return max(distance(new[name][..., 0], above[name]) for name in NAMES)


def test_planted_errors_in_every_term_are_seen(one_step):
    assert worst(one_step) < 1e-9
    seen = []
    for label, wrong in planted.errors(("training",)):
        with wrong:
            seen.append(label)
            assert worst(one_step) > 1e-4, label
    assert len(seen) >= 25


@pytest.mark.parametrize("activation", ["linear", lambda z: z])
def test_a_linear_network_has_products_of_kernels(rng, activation):
    """All moments are products: P, R and U vanish at depth 2."""
    X, C_W, lambda_W = rng.normal(size=(3, 2)), 1.3, 0.7
    mlp = ntkflow.MLP((2, 5, 3), activation, 0.0, C_W, 0.0, lambda_W)
    first, second = ntkflow.flow(mlp, X, training=True)
    H, G = first.H, first.G
    assert not second.P.any() and not second.R.any() and not second.U.any()
    # Ω_{0̇1} = λ z1; ⟨λ z1 · z3⟩ of σ'2 = 1, and ⟨Ω_{1̇3} Ω_{2̇4}⟩ = λ² G_34.
    assert np.allclose(second.Q, C_W * lambda_W * np.einsum("bd,ac->abcd", G, H), rtol=1e-13)
    assert np.allclose(second.S, C_W * lambda_W * np.einsum("ac,bd->abcd", H, H), rtol=1e-13)
    assert np.allclose(second.T, lambda_W**2 * np.einsum("bd,ac->abcd", G, H), rtol=1e-13)


def test_of_a_kink_only_P_and_Q_exist(rng):
    X = rng.normal(size=(2, 3))
    flow = ntkflow.flow(ntkflow.MLP((3, 8, 2), "relu"), X, training=True)
    assert flow[2].P.shape == (2,) * 4
    with pytest.raises(ntkflow.errors.ComponentError, match="not offered for activations with a kink"):
        flow[2]["R"]
    with pytest.raises(ntkflow.errors.ComponentError, match="training=True"):
        ntkflow.flow(ntkflow.MLP((3, 8, 2), "relu"), X)[2]["P"]
    with pytest.raises(ntkflow.errors.ActivationError, match="elu"):
        ntkflow.flow(ntkflow.MLP((3, 8, 2), "elu"), X, training=True)
    with pytest.raises(ntkflow.errors.ComponentError, match="mean"):
        ntkflow.flow(ntkflow.MLP((3, 8, 2), "tanh"), X, "mean", training=True)


def test_relu_is_the_limit_of_narrow_kinks():
    """softplus(β z)/β: the difference falls as 1/β, and twice the value at 2β less that at β has none of that order."""
    X = np.array([[1.0, 0.4, -0.3], [-0.2, 0.9, 0.8]])

    def last(activation):
        return ntkflow.flow(ntkflow.MLP((3, 12, 16, 2), activation, 0.1, 1.5, 0.5, 1.0), X, training=True)[3]

    narrow = [last(lambda z, beta=beta: jax.nn.softplus(beta * z) / beta) for beta in (8.0, 16.0)]
    expected = last("relu")
    for name in ("P", "Q"):
        apart = [distance(layer[name], expected[name]) for layer in narrow]
        extrapolated = distance(2 * narrow[1][name] - narrow[0][name], expected[name])
        assert apart[1] < 0.75 * apart[0] and extrapolated < 0.5 * apart[1], (name, apart, extrapolated)


def test_near_duplicates_have_honest_estimates(rng):
    """Through relu Q has coefficients that diverge where samples coincide, and cancel.

    P and Q jump where two samples become one: σ'' σ' σ' is δ/4 or δ/2 before, and δ/3 then.
    """
    x, z, direction = rng.normal(size=(3, 3))
    mlp = ntkflow.MLP((3, 12, 16, 2), "relu", 0.0, 1.5, 0.5, 1.0)
    for c in (1.0, -2.0):
        layers = [
            ntkflow.flow(mlp, np.stack([x, c * x + separation * direction, z]), training=True, rtol=0.5)[3]
            for separation in (1e-4, 1e-6, 1e-8, 1e-10)
        ]
        for name in ("P", "Q"):
            reference = layers[0][name]
            assert layers[0].relative_error(name) < 1e-6
            for layer in layers[1:]:
                assert distance(layer[name], reference) < 1e-3 + 3 * layer.relative_error(name), (c, name)


def test_stores_and_files_hold_them(rng, tmp_path):
    X, mlp = rng.normal(size=(4, 3)), ntkflow.MLP((3, 6, 4, 2), "tanh")
    flow = ntkflow.flow(mlp, X, training=True)
    tiles = ntkflow.flow(mlp, X, training=True, store=tmp_path / "tiles.zarr")
    flow.save(tmp_path / "flow.nc")
    read = ntkflow.Flow.load(tmp_path / "flow.nc")
    assert read.equals(flow) and read.training and ntkflow.Flow.load(tmp_path / "tiles.zarr").training
    for layer, other in zip(flow, tiles, strict=True):
        for name in (*NAMES, "B"):
            assert np.allclose(layer[name], other[name], rtol=1e-12, atol=1e-15), (layer.layer, name)
            assert np.all(other.error(name) >= 0)
    assert flow.to_xarray()["T"].dims == ("layer", "alpha1", "alpha3", "alpha2", "alpha4")
    pairs = ntkflow.flow(mlp, X, "pairs", training=True)[3]
    assert pairs.component("T", 1, 3, 3, 1) == pytest.approx(flow[3].T[1, 3, 3, 1], rel=1e-12)


def test_what_else_flows_is_the_same(rng):
    """Numbers of the other tensors agree to round-off, and their error estimates are the same but for it."""
    X, mlp = rng.normal(size=(3, 3)), ntkflow.MLP((3, 6, 4, 2), "gelu")
    plain, training = ntkflow.flow(mlp, X)[3], ntkflow.flow(mlp, X, training=True)[3]
    for name in ("G1", "H1", "V", "D", "F", "A", "B"):
        assert np.allclose(plain[name], training[name], rtol=1e-12, atol=0), name
        assert np.allclose(plain.error(name), training.error(name), rtol=1.0, atol=1e-16), name


def test_samples_may_be_permuted_and_left_out(rng):
    X, mlp = rng.normal(size=(4, 3)), ntkflow.MLP((3, 6, 4, 2), jnp.tanh)
    order = rng.permutation(4)
    flow, permuted = (ntkflow.flow(mlp, x, training=True)[3] for x in (X, X[order]))
    fewer = ntkflow.flow(mlp, X[:3], training=True)[3]
    for name in NAMES:
        assert distance(permuted[name], flow[name][np.ix_(*[order] * 4)]) < 1e-12, name
        assert distance(fewer[name], flow[name][:3, :3, :3, :3]) < 1e-12, name
