"""Three and four samples, singular and nearly singular metrics included, against rules in the metric's eigenvectors."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from placements import EVERY, WORDS, by_order

from ntkflow._gaussian import COARSE, FINE, SampleSets
from ntkflow._gaussian.quadruples import four_sample_moments, moments_on_samples
from ntkflow._gaussian.rules import evaluate
from ntkflow._gaussian.series_integrals import SeriesIntegrals
from ntkflow._theory.two_runs import NUDGE, symmetric_noise
from ntkflow.activations import activation

SMOOTH = ["tanh", "erf", "sigmoid", "softplus", "gelu", "silu"]
KINDS = {
    "three dimensions": (0, 0, 0),
    "nearly a plane": (0, 0, -4),
    "nearly a line": (0, -3, -5),
    "a plane": (0, 0),
}


def metric(rng, kind, lowest, highest):
    """G of four samples with variances of 10^lowest to 10^highest, whose directions spread by powers of 10."""
    z = rng.normal(size=(4, len(KINDS[kind]))) * 10.0 ** np.array(KINDS[kind])
    z *= 10.0 ** (rng.uniform(lowest, highest, (4, 1)) / 2) / np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


def at_once(spec, G, rule):
    return by_order(four_sample_moments(activation(spec), G[None], EVERY, rule))[0]


def by_eigenvectors(spec, G):
    """Trapezoidal rule along wide eigenvectors of G, Gauss-Hermite along narrow ones; and √(⟨f²⟩⟨g²⟩) of the pairs."""
    eigenvalues, directions = np.linalg.eigh(G)
    lines = []
    for value in eigenvalues:
        s = math.sqrt(max(value, 0.0))
        if s < 0.05:
            x, w = np.polynomial.hermite_e.hermegauss(1 if s < 1e-7 else 7)
            lines.append((s * x, w / w.sum()))
        else:
            step = min(0.35, 0.28 / s)
            x = np.arange(-9.5, 9.5 + step, step)
            lines.append((s * x, step * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)))
    moments, squares = np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2, 2, 2))
    # The widest direction in turn, so that memory is bounded.
    for x, w in zip(*lines[-1], strict=True):
        along = np.meshgrid(*(line for line, _ in lines[:-1]), [x], indexing="ij")
        weight = w * np.einsum("i,j,k->ijk", *(weights for _, weights in lines[:-1])).ravel()
        z = np.einsum("id,dp->ip", directions, np.stack(along).reshape(4, -1))
        s, d = evaluate(activation(spec), z, 1)
        pairs = [np.stack([f * g for f in (s[i], d[i]) for g in (s[i + 1], d[i + 1])]) for i in (0, 2)]
        moments += ((pairs[0] * weight) @ pairs[1].T).reshape(2, 2, 2, 2)
        squares[0] += np.add.outer(pairs[0] ** 2 @ weight, np.zeros(4)).reshape(2, 2, 2, 2)
        squares[1] += np.add.outer(np.zeros(4), pairs[1] ** 2 @ weight).reshape(2, 2, 2, 2)
    return moments, np.sqrt(squares[0] * squares[1])


@pytest.mark.parametrize("kind", ["nearly a plane", "nearly a line", "a plane"])
@pytest.mark.parametrize("spec", ["tanh", pytest.param("gelu", marks=pytest.mark.slow)])
def test_nearly_dependent_samples(spec, kind):
    """The steepest σ of the range, at the variance of 10: 1e-9."""
    G = metric(np.random.default_rng(1), kind, 0.5, 1.0)
    exact, scale = by_eigenvectors(spec, G)
    assert np.all(np.abs(at_once(spec, G, FINE) - exact) < 1e-9 * scale)


def test_more_samples_than_dimensions():
    G = metric(np.random.default_rng(2), "three dimensions", -3.0, 0.3)
    exact, scale = by_eigenvectors("tanh", G)
    assert np.all(np.abs(at_once("tanh", G, FINE) - exact) < 1e-9 * scale)


@pytest.mark.parametrize("spec", ["sin", "cos"])
def test_series_against_closed_forms(spec):
    """σ = sin, cos without their closed forms, on full and on rank-three metrics: Hermite series and shared variables."""
    rng = np.random.default_rng(0)
    for dimensions, variance in itertools.product((3, 4, 7), (0.3, 2.0, 9.0)):
        z = rng.normal(size=(3, 4, dimensions)) * math.sqrt(variance / dimensions)
        G = z @ z.swapaxes(1, 2)
        apart = np.where(np.eye(4) == 1, 1.0, np.nan)
        closed = [
            SeriesIntegrals(activation(spec), g, apart, FINE).moments(np.arange(4)[None], EVERY)[0] for g in G
        ]
        series = four_sample_moments(dataclasses.replace(activation(spec), exponentials=()), G, EVERY, FINE)
        assert np.abs(closed - series).max() < 1e-10


@pytest.mark.parametrize("dimensions", [2, 3, 9])
@pytest.mark.parametrize("spec", ["sin", "cos"])
def test_coefficients_of_pairs_against_closed_forms(spec, dimensions):
    """All quadruples of six samples, opposite, small and nearly equal ones among them; each pair's coefficients computed once."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(6, dimensions)) * math.sqrt(1.5 / dimensions)
    X[3], X[4], X[5] = -X[0], X[1] * (1 + 1e-7), 0.03 * X[5]
    G = X @ X.T
    samples = SampleSets(np.array(list(itertools.combinations(range(6), 4))).T, 6, WORDS).quadruples
    closed = SeriesIntegrals(activation(spec), G, np.where(np.eye(6) == 1, 1.0, np.nan), FINE).moments(
        samples, EVERY
    )
    open_ = dataclasses.replace(activation(spec), exponentials=())
    for rule, accuracy in ((FINE, 1e-11), (COARSE.to_accuracy(1e-6), 1e-8)):
        assert np.abs(moments_on_samples(open_, G, samples, EVERY, rule) - closed).max() < accuracy


@pytest.mark.parametrize(("spec", "accuracy"), [("tanh", 1e-12), ("elu", 1e-8), ("sin", 1e-12)])
def test_every_placement_of_primes_and_order(spec, accuracy):
    """`moments` on the same four samples in another order: the primes follow the samples."""
    G = metric(np.random.default_rng(3), "three dimensions", -1.0, 0.5)
    G = G + 0.2 * np.diag(np.diag(G))
    held = SeriesIntegrals(activation(spec), G, np.where(np.eye(4) == 1, 1.0, np.nan), FINE)
    orders = np.array([(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0), (0, 0, 1, 2), (1, 0, 2, 0)])
    first, other, third, twice, again = by_order(held.moments(orders, EVERY))
    for moved, moments, axes in (
        (other, first, (2, 0, 3, 1)), (third, first, (3, 2, 1, 0)), (again, twice, (2, 0, 3, 1)),
    ):  # fmt: skip
        assert np.abs(moved - moments.transpose(axes)).max() < accuracy * np.abs(moments).max()
    # The first sample twice: σ σ' and σ' σ are the same.
    assert np.allclose(twice[0, 1], twice[1, 0], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SMOOTH)
def test_accuracy_and_honesty_of_smooth_moments(spec):
    """1e-9 from variance 1e-3 to 10 for every kind of metric, with an estimate that covers the error.

    As flows have it: by the coarse rule, on a metric changed in its last digits.
    """
    rng = np.random.default_rng(0)
    ratios = []
    for kind, (lowest, highest) in itertools.product(KINDS, [(-3.0, 1.0), (0.9, 1.0)]):
        for _ in range(1 if kind == "three dimensions" else 6):
            G = metric(rng, kind, lowest, highest)
            exact, scale = by_eigenvectors(spec, G)
            changed = G * (1 + NUDGE * symmetric_noise(rng, 4))
            fine, coarse = (at_once(spec, metric, rule) for metric, rule in ((G, FINE), (changed, COARSE)))
            error = np.abs(fine - exact) / scale
            assert np.all(error < 1e-9), kind
            ratios.append(error / (np.abs(fine - coarse) / scale + 1e-13))
    assert np.mean(np.array(ratios) <= 1) > 0.99 and np.max(ratios) < 10
