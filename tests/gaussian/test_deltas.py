"""Moments with one second derivative of a piecewise-linear σ, whose δ conditions on a sample at its kink."""

import itertools
import math

import jax
import numpy as np
import pytest

from ntkflow._gaussian import FINE
from ntkflow._gaussian.four_signs import quadrature
from ntkflow._gaussian.linear_pieces import pair_moment, slot_moments
from ntkflow._gaussian.piecewise_linear import PiecewiseLinear
from ntkflow._gaussian.requests import placements
from ntkflow._gaussian.series_integrals import SeriesIntegrals
from ntkflow.activations import activation, kinked
from ntkflow.errors import ActivationError

SLOPES = (-0.3, 1.2)
EDDS = placements(("edds",))
LEAKY = activation({"name": "leaky_relu", "slope": -0.25})


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def G(rng):
    z = rng.normal(size=(4, 7))
    return z @ z.T / 7 + 0.1 * np.eye(4)


def moment(pattern, orders, G, scale=None):
    """One moment; its δ leaves no four signs."""
    n = max(pattern) + 1
    return float(slot_moments(pattern, (orders,), SLOPES, 0.0, None, G[:n, :n], scale)[0])


def by_price(pattern, lowered, raised, G):
    """∂/∂G_ab of a moment without δ, by the exact derivative of its closed form."""
    a, b = raised
    nodes = quadrature(64) if len(set(pattern)) == 4 else None
    n = max(pattern) + 1

    def along(t):
        return slot_moments(
            pattern, (lowered,), SLOPES, 0.0, nodes, jax.numpy.asarray(G[:n, :n]).at[[a, b], [b, a]].add(t)
        )[0]

    return float(jax.jacfwd(along)(0.0))


def test_four_and_three_samples_by_price_s_theorem(G):
    """⟨σ''0 σ'1 σ'2 σ3⟩ = ∂/∂G_01 ⟨σ'0 σ1 σ'2 σ3⟩; and with σ' twice on sample 0 half of the derivative of ⟨σ'0² …⟩."""
    cases = [
        ((0, 1, 2, 3), (2, 1, 1, 0), (1, 0, 1, 0), (0, 1), 1),
        ((0, 1, 2, 3), (1, 0, 2, 1), (1, 0, 1, 0), (2, 3), 1),
        ((0, 1, 1, 2), (2, 1, 1, 0), (1, 1, 0, 0), (0, 1), 1),
        ((0, 1, 2, 2), (2, 1, 1, 0), (1, 0, 1, 0), (0, 1), 1),
        ((0, 0, 1, 2), (2, 1, 1, 0), (1, 1, 0, 0), (0, 1), 2),
    ]
    for pattern, orders, lowered, raised, times in cases:
        expected = by_price(pattern, lowered, raised, G)
        assert times * moment(pattern, orders, G) == pytest.approx(expected, rel=1e-12), (pattern, orders)


def test_samples_that_coincide(G):
    """δ takes the mean of what σ' passes through, and z δ(z) = 0."""
    a, b = SLOPES
    density = 1 / math.sqrt(2 * math.pi * G[0, 0])
    given = (b - a) * math.sqrt((G[1, 1] - G[0, 1] ** 2 / G[0, 0]) / (2 * math.pi))  # ⟨σ(z1)⟩ where z0 = 0
    assert moment((0, 0, 0, 1), (2, 1, 1, 0), G) == pytest.approx(
        (b**3 - a**3) / 3 * density * given, rel=1e-13
    )
    assert moment((0, 0, 1, 2), (2, 0, 1, 1), G) == 0.0
    assert float(pair_moment((2, 1, 1), (), SLOPES, 0.0, *G[[0, 0, 1], [0, 1, 1]])) == pytest.approx(
        (b**3 - a**3) / 3 * density, rel=1e-13
    )  # fmt: skip
    assert float(pair_moment((0,), (2, 0), SLOPES, 0.0, *G[[0, 0, 1], [0, 1, 1]])) == 0.0


@pytest.mark.parametrize("f", [(2,), (1, 2), (1, 1, 2)])
@pytest.mark.parametrize("g", [(0,), (1,), (1, 1), (0, 1), (0, 0)])
def test_pairs_against_slots(G, f, g):
    """Two samples as slots, with the rest of four on a third one that is independent and whose σ' has the mean (a + b) / 2."""
    if len(f) + len(g) > 4:
        return
    spare = 4 - len(f) - len(g)
    metric = np.diag([0.0, 0.0, 1.0])
    metric[:2, :2] = G[:2, :2]
    pattern, orders = (0,) * len(f) + (1,) * len(g) + (2,) * spare, (*f, *g, *(1,) * spare)
    mean = sum(slope**spare for slope in SLOPES) / 2 if spare else 1.0
    expected = moment(pattern, orders, metric) / mean
    for first, second, order in ((f, g, [0, 0, 1]), (g, f, [1, 0, 0])):
        own = G[[order[0], 0, order[2]], [order[0], 1, order[2]]]
        assert float(pair_moment(first, second, SLOPES, 0.0, *own)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("c", [0.5, -2.0])
def test_parallel_samples(c):
    """Tables of pairs and moments of quadruples on z1 = c z0: what σ' of both passes through together."""
    G = np.array([[1.3, 1.3 * c], [1.3 * c, 1.3 * c * c]])
    assert LEAKY.slopes is not None
    a, b = LEAKY.slopes
    t = (np.polynomial.legendre.leggauss(4)[0] + 1) / 2
    weights = np.polynomial.legendre.leggauss(4)[1] / 2
    first, second = a + (b - a) * t, a + (b - a) * (t if c > 0 else 1 - t)
    pairs = PiecewiseLinear(LEAKY, G, np.array([[1.0, c], [1 / c, 1.0]]), FINE)
    density = (b - a) / math.sqrt(2 * math.pi * 1.3)
    for f, g, product in (((2,), (1,), second), ((2, 1), (1,), first * second), ((2,), (1, 1), second**2)):
        found = pairs.pair(f, g)
        assert found[0, 1] == pytest.approx(density * (weights @ product), rel=1e-13), (f, g)
        assert found[1, 0] * abs(c) == pytest.approx(found[0, 1], rel=1e-13)
    assert np.all(pairs.pair((2,), (0,)) == 0)
    with_third = np.zeros((4, 4))
    with_third[:2, :2], with_third[2:, 2:] = G, [[0.7, 0.2], [0.2, 0.4]]
    ratio = np.where(np.eye(4) > 0, 1.0, np.nan)
    ratio[0, 1], ratio[1, 0] = c, 1 / c
    integrals = PiecewiseLinear(LEAKY, with_third, ratio, FINE)
    quadruples = integrals.moments(np.array([[0, 1, 2, 3]]), EDDS)[0]
    third = integrals.pair((1,), (0,))[2, 3]
    expected = density * (weights @ second) * third
    assert quadruples[EDDS.index((2, 1, 1, 0))] == pytest.approx(expected, rel=1e-12)
    assert quadruples[EDDS.index((1, 2, 1, 0))] == pytest.approx(expected * (weights @ first) / (weights @ second) / abs(c), rel=1e-12)  # fmt: skip
    assert quadruples[EDDS.index((2, 0, 1, 1))] == 0


def test_moments_follow_their_samples(G):
    integrals = PiecewiseLinear(LEAKY, G, np.where(np.eye(4) > 0, 1.0, np.nan), FINE)
    straight = dict(zip(EDDS, integrals.moments(np.arange(4)[None], EDDS)[0], strict=True))
    for order in itertools.permutations(range(4)):
        turned = dict(zip(EDDS, integrals.moments(np.array([order]), EDDS)[0], strict=True))
        for placement in EDDS:
            moved = tuple(placement[order.index(sample)] for sample in range(4))
            assert straight[moved] == pytest.approx(turned[placement], rel=1e-11)


def test_samples_that_vanish():
    G = np.diag([1.0, 0.0, 2.0, 0.5])
    integrals = PiecewiseLinear(LEAKY, G, np.where(np.eye(4) > 0, 1.0, np.nan), FINE)
    moments = dict(zip(EDDS, integrals.moments(np.arange(4)[None], EDDS)[0], strict=True))
    assert all(np.isfinite(value) for value in moments.values())
    assert all(value == 0 for placement, value in moments.items() if placement[1] in (0, 2))
    assert np.all(np.isfinite(integrals.pair((2,), (1,)))) and np.all(integrals.pair((2,), (1,))[1] == 0)


def test_what_diverges_is_refused(G):
    apart = np.where(np.eye(4) > 0, 1.0, np.nan)
    for integrals in (
        PiecewiseLinear(LEAKY, G, apart, FINE),
        SeriesIntegrals(kinked(lambda z: abs(z - 0.5), at=(0.5,)), G, apart, FINE),
    ):
        for word in ("eedd", "fddd"):
            with pytest.raises(ActivationError, match="second"):
                integrals.moments(np.arange(4)[None], placements((word,)))
        with pytest.raises(ActivationError, match="second"):
            integrals.pairs([((3,), (0,))])


def test_second_derivatives_of_two_slopes(G):
    """The mean of both second derivatives is the derivative of that of the slopes by G_12; 0 stands where samples are one."""
    apart, step = np.where(np.eye(4) > 0, 1.0, np.nan), 1e-6
    moved = [
        PiecewiseLinear(LEAKY, G + sign * step * (1 - np.eye(4)), apart, FINE).pair((1,), (1,))
        for sign in (1, -1)
    ]
    of_two = PiecewiseLinear(LEAKY, G, apart, FINE)
    both, third = of_two.pair((2,), (2,)), of_two.pair((3,), (1,))
    off = ~np.eye(4, dtype=bool)
    assert np.allclose(both[off], ((moved[0] - moved[1]) / (2 * step))[off], rtol=1e-6)
    assert np.allclose(third[off], (-G / np.diag(G)[:, None] * both)[off], rtol=1e-12)
    assert not np.diag(both).any() and not np.diag(third).any()
