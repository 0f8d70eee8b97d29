"""Inputs that nearly coincide, through kinked activations: against 200 digits, and against smooth activations' own digits."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_networks import exact_flow
from exact_pieces import exact_flow_of_pieces

import ntkflow
from ntkflow import kinked
from ntkflow._theory.near_duplicates import _fit, _nodes
from ntkflow._theory.scales import natural_scales

LEAKY = {"name": "leaky_relu", "slope": 0.2}
WIDTHS = (6, 20, 30, 25, 2)
TENSORS = ("G1", "H1", "V", "D", "F", "A", "B")
ROUNDOFF = 1e-13
GAPS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14, 1e-16, 1e-20)


def network(activation, C_b, widths=WIDTHS, C_W=1.6):
    return ntkflow.MLP(widths, activation, C_b=C_b, C_W=C_W, lambda_b=0.3, lambda_W=0.8)


def near_pair(gap, seed=0, sign=1, ratio=1.0, tilt=0.0):
    """Inputs at 1 - |ρ| = gap; with `tilt`, the second one's norm differs by tilt times their separation as well."""
    rng = np.random.default_rng(seed)
    a, d = rng.normal(size=(2, WIDTHS[0]))
    d -= d @ a / (a @ a) * a
    d *= np.linalg.norm(a) / np.linalg.norm(d)
    return np.stack([a, sign * ratio * (a + np.sqrt(2 * gap) * (d + tilt * a))])


@functools.cache
def with_others(seed=1):
    return np.random.default_rng(100 + seed).normal(size=(2, WIDTHS[0]))


def check(mlp, pair, covered, others=None, components="all", limit=1e-6, natural=False):
    """The pair's components: within their estimates, these small next to the largest component of the tensor."""
    X = pair if others is None else np.concatenate([others[:1], pair[:1], others[1:], pair[1:]])
    own = [0, 1] if others is None else [1, 3]
    with warnings.catch_warnings():
        # Components of three samples next to each other keep large estimates.
        warnings.simplefilter("ignore" if others is not None and components == "all" else "error")
        flow = ntkflow.flow(mlp, X, components)
    for layer, exact in zip(list(flow)[1:], exact_flow(mlp, pair)[1:], strict=True):
        for name in ("H", *TENSORS):
            value, estimate = layer.values[name], layer.error(name)
            top = np.nanmax(np.abs(value))
            if value.ndim == 5:
                row = np.flatnonzero((layer.sets == own).all(axis=1))[0]
                value, estimate = value[row], estimate[row]
            elif value.shape[0] > 2:
                grid = np.ix_(*[own] * value.ndim)
                value, estimate = value[grid], estimate[grid]
            error = np.abs(value - exact[name])
            assert np.all(error <= 10 * estimate), (name, layer.layer)
            covered.append(np.mean(error <= estimate))
            if name in ("G1", "H1") and natural:
                # They may be small themselves: they vanish towards coincidence where there are no other samples.
                top = natural_scales(layer.values)[name]
            assert np.all(estimate <= limit * top + ROUNDOFF * natural_scales(layer.values)[name]), (
                name,
                layer.layer,
            )


@pytest.mark.parametrize(
    ("activation", "C_b"), [("relu", 0.0), ("relu", 0.1), (LEAKY, 0.1), ("abs", 0.0)], ids=str
)
def test_near_duplicates_among_others(activation, C_b):
    covered = []
    check(network(activation, C_b), near_pair(1e-12, tilt=0.4), covered, with_others(), "pairs")
    assert np.mean(covered) > 0.99


@pytest.mark.parametrize("apart", [1e-16, 3e-15, 5e-14, 1e-12])
def test_multiples_up_to_a_little(apart):
    """Whether they are taken for exact multiples or not, estimates cover what that costs."""
    x = np.array([-0.03487039784718101, 0.11639973168191803])
    pair = np.stack([x, 1.7 * x + apart * np.array([0.11, 0.03])])
    mlp = ntkflow.MLP((2, 64, 1, 16, 2), ["linear", "abs", LEAKY], 0.0, [0.5, 0.9, 1.3, 1.4], 0.3, 1.0)
    for layer, exact in zip(ntkflow.flow(mlp, pair), exact_flow(mlp, pair), strict=True):
        for name in ("G", "H", *TENSORS):
            assert np.all(np.abs(layer.values[name] - exact[name]) <= layer.error(name)), (name, layer.layer)


@pytest.mark.parametrize("above", ["linear", {"name": "leaky_relu", "slope": 1.0}], ids=str)
@pytest.mark.parametrize("below", ["linear", "relu"])
def test_a_linear_layer_above(below, above):
    """It has no kink, and tells two samples apart whatever rounding made of their angle: V, D, A in either order of the inputs."""
    X = np.array(
        [
            [1.836622090234208, 1.0361420857323038, 0.2641146051791707],
            [1.8366221036409554, 1.0361420908410406, 0.26411460259741554],
        ]
    )
    for gap in (1.0, 1e-2, 1e-4):
        pair = np.stack([X[0], X[0] + gap * (X[1] - X[0])])
        mlp = ntkflow.MLP((3, 2, 64, 16), [below, above], 0.1, 1.5, 0.0, 1.0)
        flow, swapped = ntkflow.flow(mlp, pair), ntkflow.flow(mlp, pair[::-1])
        for layer, other, exact in zip(flow, swapped, exact_flow(mlp, pair), strict=True):
            for name in ("G", "H", *TENSORS):
                value, estimate = layer.values[name], layer.error(name)
                assert np.all(np.abs(value - exact[name]) <= estimate), (name, layer.layer)
                back = other.values[name][np.ix_(*[[1, 0]] * value.ndim)]
                assert np.all(np.abs(value - back) <= 2 * estimate), (name, layer.layer)
                if below == "linear" or name == "V":
                    scale = natural_scales(layer.values)[name]
                    assert np.all(np.abs(value - exact[name]) <= 1e-12 * scale), (name, layer.layer)


@pytest.mark.slow
@pytest.mark.parametrize("C_b", [0.0, 0.1])
@pytest.mark.parametrize("activation", ["relu", LEAKY, "abs"], ids=str)
def test_every_separation(activation, C_b):
    """Equal norms and not, pairs alone, in "pairs" and in "all" with other samples around."""
    covered = []
    mlp = network(activation, C_b)
    for seed, gap in enumerate(GAPS):
        check(mlp, near_pair(gap, seed), covered, natural=True)
        check(mlp, near_pair(gap, seed, tilt=-0.7), covered, with_others(seed), "pairs")
        check(mlp, near_pair(gap, seed, tilt=5.0), covered, with_others(seed))
    assert np.mean(covered) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", LEAKY, "abs"], ids=str)
@pytest.mark.parametrize("C_b", [0.0, [0.0, 0.1, 0.1, 0.1], 0.1], ids=str)
def test_opposite_inputs_and_multiples(activation, C_b):
    covered = []
    mlp = network(activation, C_b)
    for seed, gap in enumerate(GAPS):
        for sign, ratio in ((-1, 1.0), (-1, 0.6), (1, 1.7)):
            check(mlp, near_pair(gap, seed, sign, ratio), covered, with_others(seed), "pairs", natural=True)
    assert np.mean(covered) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "C_b", "C_W"), [("relu", 0.5, 1.0), ("abs", 0.1, 1.0), (LEAKY, 0.0, 2.0)], ids=str
)
def test_depth_six(activation, C_b, C_W):
    covered = []
    mlp = network(activation, C_b, (6, 20, 30, 25, 22, 28, 2), C_W)
    for seed, gap in enumerate((1e-2, 1e-3, 1e-4, 1e-6, 1e-9, 1e-13)):
        check(mlp, near_pair(gap, seed, tilt=0.3), covered, with_others(seed), "pairs")
    assert np.mean(covered) > 0.99


@pytest.mark.parametrize("gap", [pytest.param(1e-8, marks=pytest.mark.slow), 1e-12])
def test_smooth_activations_lose_nothing(gap):
    flow = ntkflow.flow(network("tanh", 0.1), near_pair(gap))
    same = ntkflow.flow(network("tanh", 0.1), near_pair(0.0))
    separation = np.sqrt(2 * gap)
    for layer, limit in zip(list(flow)[1:], list(same)[1:], strict=True):
        for name in TENSORS:
            assert layer.relative_error(name) < 1e-11, name
            top = np.abs(limit.values[name]).max()
            assert np.all(np.abs(layer.values[name] - limit.values[name]) <= 3 * separation * top), name


@pytest.mark.slow
@pytest.mark.parametrize("C_b", [0.0, 0.1])
def test_elu_moves_smoothly_to_coincidence(C_b):
    """Values at t = 1e-2 … 1e-9 lie on one polynomial through coincidence and separations where the direct ones are exact."""
    mlp = network("elu", C_b)
    far = (0.0, 0.08, 0.14, 0.2, 0.26, 0.32, 0.38)
    flows = [ntkflow.flow(mlp, near_pair(t**2 / 2)) for t in far]
    for t in (1e-2, 1e-4, 1e-6, 1e-9):
        flow = ntkflow.flow(mlp, near_pair(t**2 / 2))
        for ell in range(2, len(flow) + 1):
            for name in ("G1", "H1", "D", "A")[2 * (ell == 2) :]:  # G1 and H1 of layer 2 are zero
                through = np.array([f[ell].values[name].ravel() for f in flows])
                expected = through.T @ _lagrange(np.array(far), t)
                top = np.abs(through).max()
                assert flow[ell].relative_error(name) < 1e-6
                assert (
                    np.abs(flow[ell].values[name].ravel() - expected).max()
                    < 3e-5 * t / 1e-2 * top + 1e-6 * top
                )


def _lagrange(nodes, t):
    return np.array([np.prod([(t - m) / (n - m) for m in nodes if m != n]) for n in nodes])


@pytest.mark.parametrize("t", [1e-12, 1e-3, 0.02, 0.3])
def test_interpolation_knows_its_errors(t):
    """An analytic function, noisy next to 0 as the tensors are; and a kink, which no degree follows."""
    rng = np.random.default_rng(0)
    nodes = _nodes(1.2)
    error = 1e-13 * (1 + (nodes[1:2] / np.maximum(nodes, nodes[1])) ** 3 * 1e4)[None]
    value = 1 / (1.5 + np.sin(nodes))[None] + error * rng.uniform(-1, 1, (1, len(nodes)))
    exact = 1 / (1.5 + np.sin(t))
    for some in (nodes >= 0, nodes > 0):
        found, left = _fit(nodes[some], value[:, some], error[:, some], t)
        assert abs(found[0] - exact) <= left[0] < 1e-6
    kink = np.abs(nodes - 0.48)[None]
    found, left = _fit(nodes, kink, error, t)
    assert abs(found[0] - abs(t - 0.48)) <= 10 * left[0]


def test_interpolation_leaves_out_what_is_lost():
    """Next to 0 only the coinciding pair has digits: it and the far nodes are enough."""
    nodes = _nodes(1.2)
    error = np.where(nodes == 0, 1e-14, 1e-14 / np.maximum(nodes, 1e-3) ** 3)[None]
    value = np.exp(-nodes)[None] + error * np.random.default_rng(1).choice([-1, 1], (1, len(nodes)))
    for t in (1e-6, 1e-4, 1e-3):
        found, left = _fit(nodes, value, error, t)
        assert abs(found[0] - np.exp(-t)) <= left[0] < 1e-11


def hard_tanh(z):
    return jnp.clip(z, -1.0, 1.0)


def softshrink(z):
    return jnp.where(jnp.abs(z) > 0.5, z - 0.5 * jnp.sign(z), 0.0)


def leaky_ramp(z):
    return jnp.clip(z, -1.0, 2.0) + 0.1 * z


ELSEWHERE = {
    "hard tanh": kinked(hard_tanh, at=(-1.0, 1.0)),
    "softshrink": kinked(softshrink, at=(-0.5, 0.5)),
    "leaky ramp": kinked(leaky_ramp, at=(-1.0, 2.0)),
    "relu6": kinked(jax.nn.relu6, at=(0.0, 6.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ELSEWHERE)
def test_kinks_elsewhere(name):
    """Against 70 digits: equal norms and not, opposites, multiples, with biases and without, standard deviations from 0.6 to 4."""
    rng = np.random.default_rng(7)
    covered = []
    for case in range(9):
        gap, s = 10 ** rng.uniform(-16, -2), 10 ** rng.uniform(-0.2, 0.6)
        tilt, ratio, sign = rng.choice([0, rng.normal()]), rng.choice([1, 1, 1.5]), rng.choice([1, 1, -1])
        X = (
            s
            * np.sqrt(2)
            * np.array([[1, 0], sign * ratio * np.array([1 + np.sqrt(2 * gap) * tilt, np.sqrt(2 * gap)])])
        )
        C_b = ([0, 0, 0], [0, 0.1, 0.1], [0.1, 0.1, 0.1])[case % 3]
        mlp = ntkflow.MLP(
            (2, 30, 20, 2), ELSEWHERE[name], C_b=C_b, C_W=[1, 1.5, 1.5], lambda_b=0.3, lambda_W=0.8
        )
        for layer, exact in zip(
            ntkflow.flow(mlp, X).layers[1:], exact_flow_of_pieces(mlp, X)[1:], strict=True
        ):
            scales = natural_scales(layer.values)
            for tensor in TENSORS:
                error, estimate = np.abs(layer.values[tensor] - exact[tensor]), layer.error(tensor)
                assert np.all(error <= 10 * estimate + 1e-14 * scales[tensor]), (case, tensor)
                assert np.all(estimate <= 1e-6 * scales[tensor]), (case, tensor)
                covered.append(np.mean(error <= estimate + 1e-14 * scales[tensor]))
    assert np.mean(covered) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 1.3])
def test_opposite_inputs_through_an_odd_activation(ratio):
    """Without biases every preactivation of -x is that of x with its sign changed."""
    pair = near_pair(1e-10, tilt=0.4, ratio=ratio)
    mlp = network(ELSEWHERE["hard tanh"], 0.0, (6, 20, 30, 2))
    same, opposite = (ntkflow.flow(mlp, pair * np.array([[1.0], [sign]])) for sign in (1, -1))
    sign = np.array([1.0, -1.0])
    for one, other in zip(list(same)[1:], list(opposite)[1:], strict=True):
        for tensor in ("G1", "V"):
            signs = functools.reduce(np.multiply.outer, [sign] * one.values[tensor].ndim)
            assert np.all(
                np.abs(one.values[tensor] - signs * other.values[tensor])
                <= one.error(tensor) + other.error(tensor)
            )
        for tensor in ("H1", "D", "A"):
            assert other.relative_error(tensor) < 1e-8, tensor


@pytest.mark.parametrize(
    "function",
    [lambda z: jax.nn.relu(z) ** 2, pytest.param(lambda z: z * jnp.abs(z), marks=pytest.mark.slow)],
    ids=["relu²", "z|z|"],
)
def test_multiples_through_homogeneous_activations(function):
    """σ(cz) = c² σ(z): without biases the second sample's statistics are those of one of the first one's norm, times powers of c."""
    mlp = ntkflow.MLP((6, 20, 30, 2), function, C_b=0.0, C_W=1.0, lambda_b=0.0, lambda_W=0.8)
    one, other = (ntkflow.flow(mlp, near_pair(1e-8, ratio=c)) for c in (1.0, 3.0))
    for ell in (2, 3):
        c = np.array([1.0, 3.0 ** (2 ** (ell - 1))])
        for tensor in TENSORS:
            powers = functools.reduce(np.multiply.outer, [c] * one[ell].values[tensor].ndim)
            error = one[ell].error(tensor) * powers + other[ell].error(tensor)
            assert np.all(np.abs(one[ell].values[tensor] * powers - other[ell].values[tensor]) <= error), (
                ell,
                tensor,
            )
        for tensor in ("G1", "H1", "D", "A"):
            assert other[ell].relative_error(tensor) < 1e-8, (ell, tensor)
