"""Cases with an exact answer, and the theory's exact symmetries."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkflow
from ntkflow._theory.scales import natural_scales


def make(activation: str | dict = "tanh", widths=(5, 12, 20, 16, 2), **keys):
    return ntkflow.MLP(
        widths, activation, **({"C_b": 0.1, "C_W": 1.3, "lambda_b": 0.7, "lambda_W": 1.2} | keys)
    )


def worst(first, second):
    return np.max(np.abs(first - second)) / max(np.max(np.abs(second)), 1e-300)


def test_one_hidden_relu_layer_is_arc_cosine(rng):
    X = rng.normal(size=(4, 5))
    flow = ntkflow.flow(make("relu", (5, 9, 2), C_b=0.0, C_W=2.0, lambda_b=0.3, lambda_W=1.1), X)
    G = flow[1].G
    s = np.sqrt(np.diag(G))
    theta = np.arccos(np.clip(G / np.outer(s, s), -1, 1))
    Phi = np.outer(s, s) / (2 * np.pi) * (np.sin(theta) + (np.pi - theta) * np.cos(theta))
    dPhi = (np.pi - theta) / (2 * np.pi)
    assert worst(flow[2].G, 2 * Phi) < 1e-7  # arccos loses half the digits on the diagonal
    off = ~np.eye(4, dtype=bool)
    assert worst(flow[2].G[off], 2 * Phi[off]) < 1e-13
    assert worst(flow[2].H[off], (0.3 + 1.1 * Phi + 2 * dPhi * flow[1].H)[off]) < 1e-13


def test_linear_network_without_biases_is_exact(rng):
    """Deep linear, one input: V follows V' = C_W² [2 G² + r V] exactly, G1 = 0."""
    mlp = make("linear", C_b=0.0, C_W=1.2)
    flow = ntkflow.flow(mlp, rng.normal(size=(1, 5)))
    G, V = flow[1].G[0, 0], 0.0
    for layer in range(2, 5):
        r = mlp.widths[layer - 1] / mlp.widths[layer - 2]
        G, V = 1.2 * G, 1.44 * (2 * G**2 + r * V)
        assert flow[layer].V[0, 0, 0, 0] == pytest.approx(V, rel=1e-12)
        assert flow[layer].G[0, 0] == pytest.approx(G, rel=1e-12)
        assert flow[layer].G1[0, 0] == 0


def test_linear_pieces_agree_with_the_series(rng):
    """σ = z through the closed forms and through the Hermite series."""
    X = rng.normal(size=(4, 5))
    closed = ntkflow.flow(make("linear"), X)
    series = ntkflow.flow(make({"name": "polynomial", "coefficients": [0.0, 1.0]}), X)
    for name in ("G", "H", "V", "D", "F", "A", "B"):
        assert worst(getattr(series[-1], name), getattr(closed[-1], name)) < 1e-11, name


def test_abs_squared_moments():
    """|z| and z have the same square: V of abs equals Isserlis' ⟨|z1 z2 z3 z4|⟩ - ΦΦ where all samples coincide."""
    flow = ntkflow.flow(make("abs", (5, 12, 2), C_W=1.5), np.ones((1, 5)))
    assert flow[2].V[0, 0, 0, 0] == pytest.approx(1.5**2 * 2 * flow[1].G[0, 0] ** 2, rel=1e-13)


@pytest.mark.parametrize(
    "activation",
    ["relu", "tanh", "gelu", "sin", "softplus", {"name": "leaky_relu", "slope": 0.2}],
)
def test_symmetries(activation, rng):
    last = ntkflow.flow(make(activation), rng.normal(size=(4, 5)))[-1]
    for X in (last.V, last.A):
        for other in (X.transpose(1, 0, 2, 3), X.transpose(0, 1, 3, 2), X.transpose(2, 3, 0, 1)):
            assert worst(other, X) < 1e-12
    assert worst(last.D.transpose(1, 0, 2, 3), last.D) < 1e-12
    assert worst(last.D.transpose(0, 1, 3, 2), last.D) < 1e-12
    assert worst(last.F.transpose(2, 3, 0, 1), last.F) < 1e-12
    assert worst(last.B.transpose(2, 3, 0, 1), last.B) < 1e-12
    assert worst(last.B.transpose(1, 0, 3, 2), last.B) < 1e-12


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["relu", "tanh", "abs"]))
def test_permuting_inputs_permutes_tensors(order, activation):
    X = np.random.default_rng(1).normal(size=(4, 5))
    order = list(order)
    plain, permuted = ntkflow.flow(make(activation), X)[-1], ntkflow.flow(make(activation), X[order])[-1]
    for name in ("H", "H1"):
        assert worst(getattr(permuted, name), getattr(plain, name)[np.ix_(order, order)]) < 1e-10
    for name in ("V", "D", "F", "A", "B"):
        assert worst(getattr(permuted, name), getattr(plain, name)[np.ix_(*[order] * 4)]) < 1e-10


@pytest.mark.parametrize("activation", ["relu", pytest.param("tanh", marks=pytest.mark.slow)])
def test_marginalisation_and_component_choices(activation, rng):
    X = rng.normal(size=(4, 5))
    whole = ntkflow.flow(make(activation), X)
    pairs = ntkflow.flow(make(activation), X, components="pairs")[-1]
    some = ntkflow.flow(make(activation), X, components=[(1, 3), (0, 2, 3)])[-1]
    alone = ntkflow.flow(make(activation), X[[0, 2, 3]])[-1]
    mean = ntkflow.flow(make(activation), X, components="mean")[-1]
    assert worst(mean.H, whole[-1].H) < 1e-14
    for name in ("V", "D", "F", "A", "B"):
        full = getattr(whole[-1], name)
        assert worst(getattr(alone, name), full[np.ix_(*[[0, 2, 3]] * 4)]) < 1e-11
        assert pairs.component(name, 0, 2, 2, 0) == pytest.approx(full[0, 2, 2, 0], rel=1e-11)
        assert some.component(name, 0, 2, 3, 0) == pytest.approx(full[0, 2, 3, 0], rel=1e-11)
    assert worst(pairs.ntk_std(), whole[-1].ntk_std()) < 1e-11
    assert pairs.trace_std() == pytest.approx(whole[-1].trace_std(), rel=1e-11)
    with pytest.raises(ntkflow.errors.ComponentError, match=r"\(0, 1\)"):
        some.component("A", 0, 1, 0, 1)


@pytest.mark.parametrize("activation", ["relu", "tanh", "abs"])
def test_duplicate_parallel_and_zero_inputs(activation, rng):
    x = rng.normal(size=(2, 5))
    mlp = make(activation, C_b=0.0)
    once = ntkflow.flow(mlp, x)[-1]
    twice = ntkflow.flow(mlp, x[[0, 1, 0]])[-1]
    for name in ("V", "D", "F", "A", "B"):
        assert worst(getattr(twice, name)[0, 1, 2, 1], getattr(once, name)[0, 1, 0, 1]) < 1e-11
    X = np.vstack([x, 2 * x[0], -x[1], np.zeros(5)])
    flow = ntkflow.flow(mlp, X)[-1]
    assert all(np.all(np.isfinite(getattr(flow, name))) for name in ("G1", "H1", "V", "D", "F", "A", "B"))
    if activation in ("relu", "abs"):
        # z2 = 2 z0 in every layer: V and G scale with it exactly.
        assert flow.V[0, 2, 1, 1] == pytest.approx(2 * flow.V[0, 0, 1, 1], rel=1e-11)
        assert flow.V[2, 2, 2, 0] == pytest.approx(8 * flow.V[0, 0, 0, 0], rel=1e-11)
        assert flow.D[2, 0, 1, 1] == pytest.approx(2 * flow.D[0, 0, 1, 1], rel=1e-11)


hard_tanh = ntkflow.kinked(lambda z: jnp.clip(z, -1.0, 1.0), at=(-1.0, 1.0))
bump = ntkflow.kinked(lambda z: jnp.abs(z - 0.5) + jnp.tanh(z), at=(0.5,))


@pytest.mark.filterwarnings("ignore:by their error estimates", "ignore:an input is zero")
@pytest.mark.parametrize(
    ("activation", "components"),
    [
        pytest.param(hard_tanh, "pairs", marks=pytest.mark.slow),
        ("elu", "pairs"),
        pytest.param("silu", "pairs", marks=pytest.mark.slow),
        pytest.param(hard_tanh, "all", marks=pytest.mark.slow),
        pytest.param(bump, "all", marks=pytest.mark.slow),
        pytest.param("elu", "all", marks=pytest.mark.slow),
    ],
    ids=["hard tanh", "elu", "silu", "hard tanh, all", "bump, all", "elu, all"],
)
def test_a_zero_input_is_the_limit_of_small_ones(activation, components, rng):
    """Where σ' is continuous at 0."""
    mlp = make(activation, (5, 12, 20, 2), C_b=0.0)
    x, direction = rng.normal(size=(2, 5)), rng.normal(size=5)
    zero, small = (ntkflow.flow(mlp, np.vstack([x, size * direction]), components) for size in (0.0, 1e-9))
    for layer, limit in zip(zero, small, strict=True):
        scales = natural_scales(limit.values)
        for name in ("G", "H", "G1", "H1", "V", "D", "F", "A", "B"):
            change = np.abs(layer.values[name] - limit.values[name])
            assert np.all(change <= layer.error(name) + limit.error(name) + 1e-7 * scales[name]), (
                layer,
                name,
            )
    for layer, mean in zip(zero, ntkflow.flow(mlp, np.vstack([x, 0 * direction]), "mean"), strict=True):
        assert worst(mean.G, layer.G) < 1e-11 and worst(mean.H, layer.H) < 1e-11


@pytest.mark.parametrize("activation", ["linear", "relu", "abs", {"name": "leaky_relu", "slope": -0.3}])
def test_homogeneous_activations_scale(activation, rng):
    X = rng.normal(size=(3, 5))
    mlp = make(activation, C_b=0.0, lambda_b=0.0)
    plain, scaled = ntkflow.flow(mlp, X)[-1], ntkflow.flow(mlp, 3 * X)[-1]
    for name in ("G", "H", "G1", "H1"):
        assert worst(getattr(scaled, name), 9 * getattr(plain, name)) < 1e-11


@pytest.mark.parametrize("widths", [(5, 3), (5, 1, 1), (1, 4, 2)])
def test_smallest_networks(widths, rng):
    flow = ntkflow.flow(make("relu", widths), rng.normal(size=(1, widths[0])))
    assert len(flow) == len(widths) - 1
    assert np.isfinite(flow[-1].ntk_std()).all() and np.isfinite(flow[-1].trace_std())
    contributions = flow[-1].bias_contributions.sum(0) + flow[-1].weight_contributions.sum(0)
    assert worst(contributions, flow[-1].H) < 1e-13


def test_mean_is_independent_of_the_callers_x64_setting(rng):
    import jax

    X = rng.normal(size=(2, 5))
    with jax.enable_x64(False):
        off = ntkflow.flow(make("tanh"), X)[-1]
    with jax.enable_x64(True):
        on = ntkflow.flow(make("tanh"), X)[-1]
    assert off.A.dtype == np.float64 and worst(off.A, on.A) == 0
