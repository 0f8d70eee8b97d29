"""Inputs that nearly coincide, through kinked activations: against 80 digits, and against smooth activations' own digits."""

import functools
import warnings

import numpy as np
import pytest
from exact_pairs import exact_flow

import ntkflow
from ntkflow.near_duplicates import _INTERVALS, _REACH, _fit, _interpolate, _nodes
from ntkflow.statistics import natural_scales

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


@pytest.mark.parametrize("gap", [1e-8, 1e-12])
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
    """An analytic function, noisy next to 0 as the tensors are; and noise that was not announced is not believed to be none."""
    rng = np.random.default_rng(0)
    nodes = _nodes()
    error = 1e-13 * (1 + (nodes[1:2] / np.maximum(nodes, nodes[1])) ** 3 * 1e4)[None]
    value = 1 / (1.5 + np.sin(nodes))[None] + error * rng.uniform(-1, 1, (1, _INTERVALS + 1))
    exact = 1 / (1.5 + np.sin(t))
    for method, skipped in ((_interpolate, 0), (_fit, 1)):
        found, left = method(value, error, t) if not skipped else method(value[:, 1:], error[:, 1:], t)
        assert abs(found[0] - exact) <= left[0] < 1e-6
    kink = np.abs(nodes - 0.4 * _REACH)[None]
    found, left = _interpolate(kink, error, t)
    assert abs(found[0] - abs(t - 0.4 * _REACH)) <= 10 * left[0]
