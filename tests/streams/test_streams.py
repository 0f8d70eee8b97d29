"""Networks of blocks: exact cases and symmetries of their tensors."""

from typing import Any

import jax
import numpy as np
import pytest
from command_line import within

import ntkflow
from ntkflow import Block, Dense, Network, Stage
from ntkflow._report import describe

pytestmark = pytest.mark.filterwarnings("ignore:the network is too narrow")
NAMES = ("V", "D", "F", "A", "B")
MEANS = ("G1", "H1")
MEMORY = ("K", "L", "M")
WEIGHTS: dict[str, Any] = {"C_b": 0.06, "C_W": 0.8, "lambda_b": 0.3, "lambda_W": 0.7}
NORM: dict[str, Any] = {"eps": 0.02, "lambda_g": 0.3, "lambda_beta": 0.2}
EMBEDDING = Dense(0.1, 1.1, 0.4, 0.9)


def kinds(activation, n=24):
    """One network of each kind."""
    residual = Block(Stage(activation, **WEIGHTS), gamma=0.8)
    wide = Block([Stage("linear", "rms", 2 * n, **WEIGHTS, **NORM), Stage(activation, **WEIGHTS)], gamma=0.9)
    before = Block(Stage(activation, "layer", **WEIGHTS, **NORM), gamma=0.7)
    normed = Block(Stage(activation, "rms", **WEIGHTS, **NORM))
    read_out = Block(Stage(activation, **WEIGHTS))
    return {
        kind: Network((3, *[n] * 4, 2), [EMBEDDING, block, block, block, read_out])
        for kind, block in {
            "residual": residual,
            "pre-norm": wide,
            "pre-activation": before,
            "norms": normed,
        }.items()
    }


def largest_difference(layer, other, names, pick=lambda tensor: tensor):
    """Of tensors, next to their largest component; for those that vanish next to those of H."""
    return max(
        np.abs(pick(layer[name]) - other[name]).max()
        / max(np.abs(other[name]).max(), 1e-6 * np.abs(other.H).max())
        for name in names
    )


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("components", ["all", "pairs", [[0, 1, 2], [3, 0, 4]]])
def test_without_skips_and_norms_it_is_an_mlp(rng, activation, components):
    X = rng.normal(size=(5, 3))
    C = {
        "C_b": (0.1, 0.2, 0.3),
        "C_W": (1.1, 1.5, 1.3),
        "lambda_b": (0.4, 0.5, 0.6),
        "lambda_W": (0.9, 0.8, 0.7),
    }
    widths = (3, 24, 16, 5)
    mlp = ntkflow.MLP(widths, activation, **C)
    of_layers: list[dict[str, Any]] = [
        {name: values[layer] for name, values in C.items()} for layer in (1, 2)
    ]
    stages = [Stage(activation, **of_layer) for of_layer in of_layers]
    blocks = ntkflow.flow(Network(widths, [Dense(0.1, 1.1, 0.4, 0.9), *map(Block, stages)]), X, components)
    flow = ntkflow.flow(mlp, X, components)
    for layer, other in zip(blocks, flow, strict=True):
        # All are coefficients of 1/24 there.
        ratio = {"G": 1, "H": 1} | dict.fromkeys((*NAMES, *MEANS), 24 / other.fan_in)
        for name, factor in ratio.items():
            scale = max(np.nanmax(np.abs(other[name])), 1e-12)
            assert np.nanmax(np.abs(layer[name] - factor * other[name])) < 1e-12 * factor * scale, (
                layer.layer,
                name,
            )
        assert not any(np.nan_to_num(layer[name]).any() for name in MEMORY)
        assert np.allclose(layer.ntk_std(), other.ntk_std(order=1), rtol=1e-11, atol=0, equal_nan=True)
        for split in ("bias_contributions", "weight_contributions"):
            assert np.allclose(layer[split], other[split], rtol=1e-12, atol=1e-14)


def test_linear_residual_networks():
    """n Cov of |z|²/n, by hand: z' = γ z + η with η Gaussian of covariance U = C_b + C_W G."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3, 4))
    gammas, C_b, C_W = (0.7, -0.4, 1.1), (0.1, 0.0, 0.3), (0.9, 1.4, 0.2)
    blocks = [Block(Stage(C_b=b, C_W=w), gamma=γ) for γ, b, w in zip(gammas, C_b, C_W, strict=True)]
    flow = ntkflow.flow(Network((4, *[20] * 4), [EMBEDDING, *blocks]), X)
    G = 0.1 + 1.1 * X @ X.T / 4

    def wick(G, U):
        return np.einsum("ac,bd->abcd", G, U) + np.einsum("ad,bc->abcd", G, U)

    full = wick(G, G)
    for layer, γ, b, w in zip(flow.layers[1:], gammas, C_b, C_W, strict=True):
        U = b + w * G
        full = (γ**2 + w) ** 2 * full + γ**2 * (wick(G, U) + wick(U, G)) + wick(U, U)
        G = γ**2 * G + U
        assert np.allclose(layer.G, G, rtol=1e-13, atol=0)
        assert np.allclose(layer.V, full - wick(G, G), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["residual", "pre-norm", "pre-activation", "norms"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_inputs_are_permuted_added_and_repeated(kind, activation):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(5, 3))
    network = kinds(activation)[kind]
    some, all_ = ntkflow.flow(network, X[:3]), ntkflow.flow(network, X, [[2, 0, 1, 2], [0, 3, 4, 4]])
    for layer, other in zip(all_, some, strict=True):

        def first_three(tensor):
            """Slots 1, 2, 0 of the first set are samples 0, 1, 2."""
            return tensor[0][np.ix_(*[[1, 2, 0]] * (tensor.ndim - 1))]

        assert largest_difference(layer, other, (*NAMES, *MEMORY), first_three) < 1e-11, layer.layer
        assert np.allclose(layer.G[:3, :3], other.G, rtol=1e-13, atol=1e-15)
    single, repeated = ntkflow.flow(network, X[:1]), ntkflow.flow(network, X[[0, 0]])
    for layer, other in zip(repeated, single, strict=True):
        for name in (*NAMES, *MEMORY):
            assert np.all(layer[name] == other[name].ravel()[0])


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("kind", ["residual", "pre-norm", "pre-activation", "norms"])
def test_symmetries_of_tensors(kind, activation):
    rng = np.random.default_rng(7)
    for layer in ntkflow.flow(kinds(activation)[kind], rng.normal(size=(3, 3))):
        V, D, F, A, B, K, L = (layer[name] for name in (*NAMES, "K", "L"))
        for tensor, others in (
            (V, ("bacd", "cdab")), (A, ("bacd", "cdab")), (D, ("bacd", "abdc")), (F, ("cdab",)),
            (B, ("cdab", "badc")), (K, ("acb",)), (L, ("acb",)),
        ):  # fmt: skip
            for other in others:
                swapped = np.einsum(f"{other}->{''.join(sorted(other))}", tensor)
                assert np.allclose(tensor, swapped, rtol=1e-11, atol=1e-13 * max(np.abs(tensor).max(), 1e-3))
        if activation != "relu":
            assert all(np.abs(layer[name]).max() < 1e-13 for name in MEMORY)


def test_multiples_and_opposites_behind_a_norm(rng):
    """Behind a norm with ε = 0 the size of an input does not matter, but to the NTK, whose derivatives are by the stream."""
    x = rng.normal(size=3)
    network = Network((3, 24, 24, 1), [Dense(), Block(Stage("relu", "rms", C_W=2.0)), Block(Stage("relu"))])
    flow = ntkflow.flow(network, [x, 3 * x, -x])
    for layer in flow.layers[1:]:
        V = layer.V
        assert np.allclose(V[0, 0, 0, 0], [V[1, 1, 1, 1], V[0, 1, 0, 1], V[2, 2, 2, 2]], rtol=1e-12)
        assert layer.relative_error("V") < 1e-12


@pytest.mark.parametrize("kind", ["residual", "pre-norm", "pre-activation", "norms"])
def test_smallest_networks(kind):
    """One sample, one input, one neuron."""
    network = kinds("tanh", 1)[kind]
    network = Network((1, *network.widths[1:]), network.layers)
    flow = ntkflow.flow(network, [[0.5]])
    assert flow[-1].A.shape == (1, 1, 1, 1) and all(np.isfinite(flow[-1][name]).all() for name in NAMES)
    assert ntkflow.flow(network, [[0.5]], "mean")[3].H == flow[3].H


def test_two_activations_in_one_stream(rng):
    """Sources of one σ under another one: gelu written in two ways has other integrals for the same numbers."""
    same = ntkflow.Activation("mine", ntkflow.activations.activation("gelu").function, registered=False)
    X = rng.normal(size=(2, 3))

    def flow(second):
        blocks = [Block(Stage(φ, **WEIGHTS), gamma=0.8) for φ in ("gelu", second, "gelu")]
        return ntkflow.flow(Network((3, *[24] * 4), [EMBEDDING, *blocks]), X)

    for layer, other in zip(flow(same), flow("gelu"), strict=True):
        assert largest_difference(layer, other, (*NAMES, *MEMORY)) < 1e-11


def test_linear_layers_on_a_nonlinear_stream(rng):
    """φ(y) = y is taken by Stein's identity: a polynomial of one term is integrated."""
    X = rng.normal(size=(2, 3))

    def flow(linear):
        blocks = [Block(Stage(φ, **WEIGHTS), gamma=0.8) for φ in ("gelu", linear, "gelu", linear)]
        return ntkflow.flow(Network((3, *[24] * 5), [EMBEDDING, *blocks]), X)

    polynomial = {"name": "polynomial", "coefficients": [0.0, 1.0]}
    for layer, other in zip(flow("linear"), flow(polynomial), strict=True):
        assert largest_difference(layer, other, (*NAMES, *MEMORY)) < 1e-10


@pytest.mark.parametrize("kind", ["residual", "pre-norm"])
def test_saved_and_read(tmp_path, rng, kind):
    flow = ntkflow.flow(kinds("relu")[kind], rng.normal(size=(3, 3)))
    for name in ("flow.zarr", "flow.nc"):
        flow.save(tmp_path / name)
        again = ntkflow.Flow.load(tmp_path / name)
        assert again.equals(flow) and again.mlp.to_spec() == flow.mlp.to_spec()
        assert again[2].component("K", 0, 1, 2) == flow[2].K[0, 1, 2]


def test_what_is_refused(rng):
    X = rng.normal(size=(2, 3))
    network = kinds("relu")["residual"]
    with pytest.raises(ntkflow.errors.ComponentError, match="dense layers"):
        ntkflow.flow(network, X, training=True)
    flow = ntkflow.flow(network, X)
    with pytest.raises(ntkflow.errors.ComponentError, match="have not been measured for networks of blocks"):
        flow[-1].truncation("ntk_std")
    with pytest.raises(ntkflow.errors.ComponentError, match="is of networks of blocks"):
        ntkflow.flow(ntkflow.MLP((3, 8, 1)), X)[2].K  # noqa: B018
    for refused in (
        lambda: ntkflow.tune(network, X), lambda: ntkflow.width_for(network, X),
        lambda: ntkflow.trained(network, X, X), lambda: ntkflow.sweep(network, X, [8], [2]), lambda: ntkflow.joint(flow, 2),
        lambda: ntkflow.predict_first_step(flow, ntkflow.mse, X, 0.1), lambda: ntkflow.kernels(network, X),
        lambda: ntkflow.store_kernels(network, X, "k.zarr"), lambda: ntkflow.flow(network, X, store="f.zarr"),
    ):  # fmt: skip
        with jax.enable_x64(True), pytest.raises(ntkflow.errors.NtkflowError, match="blocks"):
            refused()


def test_what_the_page_says_of_the_spread_over_seeds():
    """The table of docs/architectures.md at L = 4: the NTK's sd in percent, at n = 128."""
    n, L, X = 128, 4, np.ones((1, 10))
    weights: dict[str, Any] = {"lambda_b": 0.0}

    def stage(activation, C, norm="none"):
        return Stage(activation, norm, C_W=C, lambda_W=C, **weights)

    plain, linear = Block(stage("relu", 2.0)), stage("linear", 2.0, "rms")
    kinds = [
        (Block(stage("relu", 2.0)), plain, 36.7),
        (Block(stage("relu", 1.0), gamma=0.5**0.5), plain, 35.7),
        (Block(stage("relu", 2 / L), gamma=(1 - 1 / L) ** 0.5), plain, 28.9),
        (Block(stage("relu", 2.0, "rms"), gamma=1.0), Block(linear), 18.7),
        (Block(stage("relu", 2 / L, "rms"), gamma=1.0), Block(stage("linear", 1.0, "rms")), 14.9),
    ]
    embedding = Dense(0.0, 1.0, 0.0, 1.0)
    for block, read_out, percent in kinds:
        last = ntkflow.flow(Network((10, *[n] * (L + 1), 1), [embedding, *[block] * L, read_out]), X)[-1]
        assert round(100 * float((last.ntk_std() / last.H)[0, 0]), 1) == percent


@pytest.mark.parametrize(
    ("activation", "norm", "gamma"), [("gelu", "layer", 0.8), ("gelu", "rms", 0.0), ("relu", "rms", 0.8)]
)
def test_inputs_next_to_each_other(activation, norm, gamma):
    """G1 and H1 between two inputs, which come from other integrals, go over into those of one: as the square of their distance, or as it at a kink."""
    block = Block(Stage(activation, norm, **WEIGHTS, **NORM), gamma=gamma)
    network = Network((3, *[24] * 3, 2), [EMBEDDING, block, block, Block(Stage(activation, **WEIGHTS))])
    x, away = np.array([1.0, 0.3, -0.8]), np.array([3e-4, -2e-4, 5e-4])
    for layer in ntkflow.flow(network, [x, x + away]).layers[1:]:
        for name, tolerance in (("G1", 1e-5), ("H1", 2e-3 if activation == "relu" else 1e-5)):
            table = layer[name]
            assert abs(table[0, 1] - (table[0, 0] + table[1, 1]) / 2) < tolerance * abs(table[0, 0]), (
                layer.layer,
                name,
            )


def test_command_line_takes_blocks(tmp_path, rng):
    network = kinds("relu")["residual"]
    (tmp_path / "net.toml").write_text(
        "embedding = {inputs = 3, width = 24, C_b = 0.1, C_W = 1.1, lambda_b = 0.4, lambda_W = 0.9}\n"
        + 3
        * "[[blocks]]\ngamma = 0.8\nstages = [{activation = 'relu', C_b = 0.06, C_W = 0.8, lambda_b = 0.3, lambda_W = 0.7}]\n"
        + "[[blocks]]\nstages = [{activation = 'relu', width = 2, C_b = 0.06, C_W = 0.8, lambda_b = 0.3, lambda_W = 0.7}]\n"
    )
    assert Network.from_toml(tmp_path / "net.toml").to_spec() == network.to_spec()
    np.save(tmp_path / "X.npy", rng.normal(size=(2, 3)))
    status, said, _ = within(tmp_path, "flow", "net.toml", "--data", "X.npy", "-o", "flow.nc")
    assert status == 0 and "3-24×4-2" in said


def test_titles_name_skips_and_norms():
    residual = Block(Stage("relu", C_W=0.5), gamma=0.866)
    two_stages = Block([Stage("linear", "rms", width=16), Stage("gelu")], gamma=1.0)
    network = Network((10, *[8] * 6, 1), [Dense(), *[residual] * 4, two_stages, Block(Stage("relu"))])
    title = describe.network(network)
    assert title == "10-8×6-1, relu, linear, gelu, 4 × (γ 0.866), 1 × (γ 1, rms / none), 1 × (no skip)"
    flow = ntkflow.flow(Network((10, 8, 8, 1), [Dense(), residual, Block(Stage("relu"))]), np.eye(10)[:2])
    table = flow.table()
    assert "γ 0.866" in str(table.title) and "cutting" not in str(table.caption)
    labels = [label for axes in flow.plot().axes for label in axes.get_legend_handles_labels()[1]]
    assert "error of cutting at 1/n" not in labels and "sd over seeds, trace" in labels
