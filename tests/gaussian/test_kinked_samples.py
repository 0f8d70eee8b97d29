"""Three and four samples through a σ with kinks anywhere: against closed forms of relu, Price's theorem and independent pairs."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from placements import EVERY, by_order

from ntkflow import kinked
from ntkflow._gaussian import COARSE, FINE
from ntkflow._gaussian.piecewise_linear import PiecewiseLinear
from ntkflow._gaussian.quadruples import four_sample_moments
from ntkflow._gaussian.series_integrals import SeriesIntegrals
from ntkflow.activations import activation

RELU = activation("relu")
# The same function for the general method: with its kink declared, and with others that are none.
AT_0 = dataclasses.replace(RELU, slopes=None)
ELSEWHERE = kinked(jax.nn.relu, at=(0.0, 0.7))
SPREADS = {
    "seven dimensions": (0,) * 7,
    "three dimensions": (0, 0, 0),
    "a plane": (0, 0),
    "nearly a plane": (0, 0, -4),
    "nearly a plane, two ways": (0, 0, -2, -2),
    "nearly a line": (0, -3, -5),
}
RULES = tuple(rule.to_accuracy(1e-6) for rule in (FINE, COARSE))


def metrics(rng, kind, count):
    """Standard deviations from 0.03 to 3, directions that spread by powers of 10: (count, 4, 4)."""
    z = rng.normal(size=(count, 4, len(SPREADS[kind]))) * 10.0 ** np.array(SPREADS[kind])
    z *= 10.0 ** rng.uniform(-1.5, 0.5, (count, 4, 1)) / np.linalg.norm(z, axis=2, keepdims=True)
    return z @ z.swapaxes(1, 2)


def scales(G):
    """Π √G_ii over the samples that stand as σ, for every p: (count, 2, 2, 2, 2)."""
    s = np.sqrt(np.diagonal(G, axis1=1, axis2=2))
    one = np.stack([s, np.ones_like(s)], axis=2)
    return np.einsum("na,nb,nc,nd->nabcd", *np.moveaxis(one, 1, 0))


def moments(integrals, slots):
    return by_order(integrals.moments(np.array([slots]), EVERY))[0]


def closed(G, slots=(0, 1, 2, 3)):
    apart = np.where(np.eye(G.shape[1]) == 1, 1.0, np.nan)
    return np.stack([moments(PiecewiseLinear(RELU, g, apart, FINE), slots) for g in G])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPREADS)
@pytest.mark.parametrize("spec", [AT_0, ELSEWHERE], ids=["at 0", "elsewhere"])
def test_relu_by_the_general_method(spec, kind):
    """The worst of kinks: 1e-5 next to a plane, 1e-9 elsewhere, and an estimate that is of the error's size."""
    G = metrics(np.random.default_rng(3), kind, 6)
    exact = closed(G)
    fine, coarse = (by_order(four_sample_moments(spec, G, EVERY, rule)) for rule in RULES)
    error = np.abs(fine - exact) / scales(G)
    assert error.max() < (3e-5 if "nearly" in kind else 5e-8 if "three" in kind else 1e-9)
    estimate = np.abs(fine - coarse) / scales(G) + 1e-9
    assert np.mean(error <= estimate) > 0.9 and np.all(error < 10 * estimate)


@pytest.mark.parametrize("slots", [(0, 1, 2, 3), (0, 0, 1, 2), (0, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("sine", [4e-6, 8e-7, 1e-7, 2e-8])
def test_two_samples_that_nearly_coincide(sine, slots):
    """Up to their sign and norms, 40 times apart: in G one direction is 1e-15 of another, and has its part in P(z_0 > 0 > z_1).

    That probability, sine / 2π, is known to ε / sine.
    """
    rng = np.random.default_rng(2)
    distinct = []
    norms = ((1.3, 0.03, 0.5, 1.2), (0.03, 1.3, 0.5, 1.2), (1.0, 1.0, 1.0, 1.0))
    for sign, norm, _ in itertools.product((1, -1), norms, range(3)):
        z = rng.normal(size=(4, 4))
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        z[1] = sign * z[0] + sine * z[1]
        z *= np.array(norm)[:, None] / np.linalg.norm(z, axis=1, keepdims=True)
        distinct.append((z @ z.T)[: max(slots) + 1, : max(slots) + 1])
    distinct = np.stack(distinct)
    G = distinct[:, slots][:, :, slots]
    error = np.abs(
        by_order(four_sample_moments(AT_0, G, EVERY, RULES[0])) - closed(distinct, slots)
    ) / scales(G)
    assert error.max() < 2e-8 + 2e-16 / sine


@pytest.mark.parametrize(
    "spec", ["elu", kinked(lambda z: jnp.abs(z - 0.5) + jnp.tanh(z), at=(0.5,))], ids=["elu", "bump"]
)
def test_independent_pairs_factor(spec):
    """G_13 = G_14 = G_23 = G_24 = 0: the moment is a product of two-sample ones, which other methods make."""
    spec = activation(spec)
    G = np.zeros((4, 4))
    G[:2, :2], G[2:, 2:] = [[0.9, 0.5], [0.5, 1.4]], [[2.0, -0.7], [-0.7, 0.4]]
    pairs = SeriesIntegrals(spec, G, np.where(np.eye(4) == 1, 1.0, np.nan), FINE)
    moments = by_order(four_sample_moments(spec, G[None], EVERY, FINE))[0]
    held = pairs.pairs([((p,), (q,)) for p, q in itertools.product((0, 1), repeat=2)])
    for p in itertools.product((0, 1), repeat=4):
        expected = held[(p[0],), (p[1],)][0, 1] * held[(p[2],), (p[3],)][2, 3]
        assert abs(moments[p] - expected) < 1e-10, p


@pytest.mark.parametrize(
    ("kind", "accuracy"),
    [
        ("seven dimensions", 1e-6),
        ("nearly a plane, two ways", 1e-6),
        # Where terms of both signs leave a slope of 4e-4, and moments have errors of 1e-9.
        pytest.param("three dimensions", 5e-6, marks=pytest.mark.slow),
    ],
)
def test_elu_by_price(kind, accuracy):
    """d⟨σσσσ⟩ = Σ_i<j dG_ij ⟨σ'_i σ'_j σσ⟩ along a change of the samples that leaves their variances."""
    rng = np.random.default_rng(4)
    eigenvalues, directions = np.linalg.eigh(metrics(rng, kind, 1))
    z = directions[0] * np.sqrt(np.maximum(eigenvalues, 0.0))
    turn = 2e-3 * rng.normal(size=(4, 4)) @ z

    def at(t):
        moved = z + t * turn
        moved *= np.linalg.norm(z, axis=1, keepdims=True) / np.linalg.norm(moved, axis=1, keepdims=True)
        return moved @ moved.T

    def slope(values):
        return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / 12

    G = {t: at(t) for t in (-2, -1, 0, 1, 2)}
    along = np.stack(list(G.values()))
    moments = dict(zip(G, by_order(four_sample_moments(activation("elu"), along, EVERY, FINE)), strict=True))
    dG = slope(G)
    expected = 0.0
    for i, j in itertools.combinations(range(4), 2):
        primes = tuple(int(sample in (i, j)) for sample in range(4))
        expected += dG[i, j] * moments[0][primes]
    found = slope({t: m[0, 0, 0, 0] for t, m in moments.items()})
    assert abs(found - expected) < accuracy * abs(expected)
