"""Verification: it passes where theory is right, and fails for every error that is planted in it."""

import dataclasses

import numpy as np
import planted
import pytest
from sklearn.datasets import load_digits

import ntkflow
from ntkflow._comparison.verification import extrapolate, scaled
from ntkflow._theory.deferred import Tables

DIGITS = load_digits(return_X_y=True)[0][:4]
DIGITS = (DIGITS - DIGITS.mean()) / DIGITS.std()
RATES = {"C_b": 0.1, "C_W": 1.5, "lambda_b": 0.7, "lambda_W": 1.3}
# Doubled, each of these changes what it enters by much more than others.
LARGE = [
    "means.weight_share: h.lambda_W * e.Phi",
    "vertex.V: h.r / 4 * h.C_W ** 2 * over_both(e.J_ss, t.V, e.J_ss)",
    "cross.D: h.r / 2 * h.C_W ** 2 * e.dPhi * over_pair(e.J_ss, t.D)",
    "cross.F: h.r * h.C_W ** 2 * swap(over_first(e.K_sd, swap(over_first(e.K_sd, t.F))))",
    "variance.A: omega.with_omega",
    "variance.B: h.r * outer(e.dPhi, e.dPhi) * t.B",
]


def network(activation, **rates):
    return ntkflow.MLP((64, 64, 64, 64, 10), activation, **rates)


def measured(activation, widths, draws, X=DIGITS):
    return [
        ntkflow.ensemble(one, X, draws, seed)
        for seed, one in enumerate(scaled(network(activation, **RATES), widths))
    ]


def judged(ensembles):
    return extrapolate(ntkflow.flow(ensembles[-1].mlp, ensembles[-1].X), ensembles)


@pytest.mark.slow
@pytest.mark.parametrize("labels", [LARGE[::2], LARGE[1::2]], ids=["half", "others"])
def test_large_errors_are_caught_by_a_small_ensemble(labels):
    ensembles = measured("sin", (8, 16), 5000, DIGITS[:2])
    assert judged(ensembles).agrees
    wrong = dict(planted.errors())
    for label in labels:
        with wrong[label]:
            found = judged(ensembles)
        assert not found.agrees, label
        assert "disagree" in found.words
    assert judged(ensembles).agrees


@pytest.mark.slow
def test_every_planted_error_is_caught():
    """A factor 2 in each additive term; what is right passes but with probability 1e-3."""
    ensembles = measured("sin", (8, 16, 32), 300_000)
    assert judged(ensembles).agrees
    missed = []
    for label, wrong in planted.errors():
        with wrong:
            if judged(ensembles).agrees:
                missed.append(label)
    assert not missed


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sin"])
def test_theory_is_right_on_digits(activation):
    """Depth 4 at the default widths; each passes but with probability 1e-3."""
    rates = {"C_b": 0.0, "C_W": 2.0} if activation == "relu" else RATES
    found = ntkflow.verify(network(activation, **rates), DIGITS, (32, 64, 128))
    assert found.agrees, found.words


def as_of(ensemble, mlp):
    """The same measurements, as if of networks of other widths."""
    layers = [
        dataclasses.replace(s, mlp=mlp, values=Tables(dict(s.values)), errors=Tables(dict(s.errors)))
        for s in ensemble
    ]
    return dataclasses.replace(ensemble, mlp=mlp, layers=layers)


def test_fit_of_known_measurements():
    """Measurements made up as a + b / n, with noise of known size: a and b come back within their errors."""
    flow = ntkflow.flow(network("tanh", **RATES), DIGITS[:2])
    # One ensemble serves all widths: what it measured is replaced.
    networks = scaled(network("tanh", **RATES), (16, 32, 64))
    one = ntkflow.ensemble(networks[0], DIGITS[:2], 50)
    ensembles = [as_of(one, mlp) for mlp in networks]
    rng = np.random.default_rng(0)
    layer, b, error = 4, 7.0, 0.01
    for one in ensembles:
        s = one[layer]
        noise = error * rng.normal(size=s.B.shape)
        s.values["B"] = flow[layer].B + b / s.fan_in + noise
        s.errors["B"] = np.full(s.B.shape, error)
    found = next(e for e in extrapolate(flow, ensembles) if (e.layer, e.name) == (layer, "B"))
    assert np.all(np.abs(found.a - found.predicted) < 5 * found.a_error)
    assert np.all(np.abs(found.b - b) < 5 * found.b_error)
    x = 1 / found.widths
    expected = np.sqrt(np.linalg.inv([[3, x.sum()], [x.sum(), (x**2).sum()]]).diagonal()) * error
    assert np.allclose(found.a_error, expected[0], rtol=1e-6)
    assert np.allclose(found.b_error, expected[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("widths", "hidden", "word"),
    [
        ((32,), (64, 64), "two"),
        ((32, 32), (64, 64), "two"),
        ((32, 0), (64, 64), "widths"),
        ((32, 33), (64, 32), "ratios"),
        ((32, 64), (), "hidden"),
    ],
)
def test_bad_widths(widths, hidden, word):
    with pytest.raises(ntkflow.errors.DataError, match=word):
        ntkflow.verify(ntkflow.MLP((64, *hidden, 2)), DIGITS, widths, draws=10)


@pytest.mark.slow
def test_smallest_cases():
    """One sample; two layers, where nothing is left to fit but constants; duplicate, parallel and zero inputs."""
    assert ntkflow.verify(ntkflow.MLP((64, 8, 1), "tanh", **RATES), DIGITS[:1], (1, 2), draws=500).agrees
    rows = np.stack([DIGITS[0], DIGITS[0], 2 * DIGITS[0], 0 * DIGITS[0]])
    with pytest.warns(UserWarning, match="zero"):
        assert ntkflow.verify(ntkflow.MLP((64, 8, 8, 1), "relu", C_W=2.0), rows, (16, 32), draws=500).agrees
