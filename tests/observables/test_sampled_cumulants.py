"""Cumulants with their neural indices, and functions of both z and Ĥ, on networks really sampled at two widths.

What is left after c/n^p, c from the two widths, is noise to 4 standard errors. By chance right formulas fail one of the 64 comparisons
with a probability below 64 × 6e-5 = 0.4 %; seeds are fixed. Factors of 1.5 fail in D, F, A and B.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from numpy_networks import assert_to_order, layers, mean_and_error

import ntkflow
from ntkflow.observables import NTK, Z, interlayer, joint

X = np.array([[0.9, -0.4, 1.1], [-0.3, 1.2, 0.5]])
WIDTHS, C_W = (16, 32), 1.4
BATCHES, OUT = 24, 8
# An even and an odd function, and one that is neither.
FUNCTIONS = {
    "smooth": lambda np: (lambda z: np.tanh(z) ** 2, np.tanh, lambda z: np.cos(z) + z),
    "kinked": lambda np: (np.abs, lambda z: np.sign(z) * z**2, lambda z: np.maximum(z, 0)),
}
# Neurons i ≠ j of E[zzzz], E[zzΔĤ], E[ΔĤΔĤ]; samples are in `CUMULANTS`.
CUMULANTS = [
    (Z(0, 0), Z(0, 0), Z(1, 0), Z(1, 0)),
    (Z(0, 0), Z(1, 0), Z(0, 1), Z(1, 1)),
    (Z(0, 0), Z(0, 0), Z(0, 1), Z(0, 1)),
    (Z(0, 0), Z(0, 1), NTK(1, 1, 0, 1)),
    (Z(0, 0), Z(0, 0), NTK(1, 1, 0, 1)),
    (Z(0, 0), Z(1, 1), NTK(0, 1, 0, 1)),
    (Z(0, 0), Z(1, 1), NTK(0, 1, 1, 0)),
    (Z(0, 0), Z(0, 1), NTK(0, 0, 0, 1)),
    (NTK(0, 0, 0, 1), NTK(1, 1, 0, 0)),
    (NTK(0, 1, 0, 0), NTK(0, 1, 1, 1)),
    (NTK(0, 1, 0, 1), NTK(0, 1, 1, 0)),
    (NTK(0, 0, 0, 1), NTK(0, 0, 0, 1)),
]


def network(activation, n):
    return ntkflow.MLP((3, n, n, OUT), activation, 0.1, C_W, 0.8, 1.1)


@functools.cache
def flow(activation, n):
    return ntkflow.flow(network(activation, n), X)


def cumulant(z, H, entries):
    """The connected expectation of entries with neurons 0 and 1, averaged over all pairs of different neurons."""
    i, j = np.nonzero(~np.eye(OUT, dtype=bool))
    which = (i, j)
    values = [
        z[:, which[e.neuron], e.sample] if isinstance(e, Z)
        else H[:, which[e.neuron1], which[e.neuron2], e.sample1, e.sample2]
        for e in entries
    ]  # fmt: skip
    values = [v - v.mean(axis=0) if isinstance(e, NTK) else v for v, e in zip(values, entries, strict=True)]
    mean = lambda *v: np.mean(functools.reduce(np.multiply, v), axis=0)
    full = mean(*values)
    if len(values) == 4:
        for a, b, c, d in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)):
            full = full - mean(values[a], values[b]) * mean(values[c], values[d])
    return full.mean()


@functools.cache
def measured(activation, n, draws):
    """Mean and error over batches of the cumulants and, by kind, of f(z, Ĥ) and of functions of two layers."""
    rows = []
    for seed in range(BATCHES):
        (_, z2, H2), (W, z, H) = layers(network(activation, n), X, draws, seed)[1:]
        row = [cumulant(z, H, entries) for entries in CUMULANTS]
        own = np.arange(OUT)
        h = H[:, own, own, 0, 1]
        i, j = np.nonzero(~np.eye(OUT, dtype=bool))
        for functions in FUNCTIONS.values():
            even, odd, g = functions(np)
            row += [
                np.mean(even(z[:, :, 0]) * g(z[:, :, 1]) * h**2),
                np.mean(odd(z[:, i, 0]) * odd(z[:, j, 1]) * H[:, i, j, 0, 1] * np.sqrt(1 + h[:, i] ** 2)),
            ]
            c = n / C_W
            own2 = np.arange(n)
            h2, O = H2[:, own2, own2, 0, 1], even(z[:, :, 0])
            one, q = W * g(z2[:, None, :, 1]), W * g(z2[:, None, :, 0])
            distinct = (q.sum(axis=2) ** 2 - np.sum(q**2, axis=2)) / (n * (n - 1))
            row += [
                np.mean(g(z[:, :, 0]) * one.sum(axis=2)) / n * c,
                np.mean(O * distinct) * c**2,
                np.mean(O * np.sum(W**2 * (even(z2[:, :, 1]) * h2)[:, None], axis=2)) / n * c,
                np.cov(O.mean(axis=1), h2.mean(axis=1))[0, 1],
            ]
        rows.append(row)
    return mean_and_error(rows)


SLOW = [pytest.param(a, 4000, marks=pytest.mark.slow) for a in ("tanh", "relu")]


@pytest.mark.parametrize(("activation", "draws"), [("tanh", 200), *SLOW])
def test_cumulants(activation, draws):
    """PDLT (8.31), (8.67), (8.82): what is left is of order 1/n²."""
    gaps = []
    for n in WIDTHS:
        value, error = (x[: len(CUMULANTS)] for x in measured(activation, n, draws))
        p = joint(flow(activation, n))
        gaps.append((value - [p.cumulant(*entries) for entries in CUMULANTS], error))
    assert_to_order(gaps, power=2)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize(("activation", "draws"), [("relu", 200), *SLOW])
def test_functions_of_both(activation, draws, kind):
    """E[f(z, Ĥ)], PDLT (8.40), (8.71): what is left is of order 1/n²."""
    even, odd, g = FUNCTIONS[kind](jnp)
    start = len(CUMULANTS) + 6 * list(FUNCTIONS).index(kind)
    gaps = []
    for n in WIDTHS:
        value, error = (x[start : start + 2] for x in measured(activation, n, draws))
        p = joint(flow(activation, n))
        predicted = [
            p.expect(lambda z, h: even(z[0]) * g(z[1]) * h[0] ** 2, [0, 1], [(0, 0, 0, 1)]).value,
            p.expect(
                lambda z, h: odd(z[0]) * odd(z[1]) * h[0] * jnp.sqrt(1 + h[1] ** 2),
                [(0, 0), (1, 1)],
                [(0, 1, 0, 1), (0, 0, 0, 1)],
            ).value,
        ]
        gaps.append((value - predicted, error))
    assert_to_order(gaps, power=2)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize(("activation", "draws"), SLOW)
def test_functions_of_two_layers(activation, draws, kind):
    """One, two unequal and two equal weights, and none, PDLT (8.54), (8.55): relative order 1/n, of the covariance order 1/n²."""
    even, _, g = FUNCTIONS[kind](jnp)
    start = len(CUMULANTS) + 6 * list(FUNCTIONS).index(kind) + 2
    c = 1 / C_W
    gaps = []
    for n in WIDTHS:
        value, error = (x[start : start + 4] for x in measured(activation, n, draws))
        made, O = flow(activation, n), lambda z: even(z[0])
        h = [(0, 0, 0, 1)]
        predicted = [
            interlayer(made, 3, lambda z: g(z[0]), [0], [(0, 0)], lambda z: g(z[0]), [1]).value * c * n,
            interlayer(
                made, 3, O, [0], [(0, 0), (0, 1)], lambda z: g(z[0]) * g(z[1]), [(0, 0), (1, 0)]
            ).value * (c * n) ** 2,
            interlayer(made, 3, O, [0], [(0, 0)] * 2, lambda z, h: even(z[0]) * h[0], [1], h).value * c * n,
            interlayer(made, 3, O, [0], (), lambda z, h: h[0], [0], h).fluctuation,
        ]  # fmt: skip
        gaps.append((value - predicted, error))
    assert_to_order([(gap[:-1], error[:-1]) for gap, error in gaps], power=1)
    assert_to_order([(gap[-1:], error[-1:]) for gap, error in gaps], power=2)
