"""Eigenvalues' spread for many inputs, without N⁴ components: against those components, and sampled networks."""

import warnings

import numpy as np
import pytest

import ntkflow
from ntkflow._theory.quadratic_forms import ACCURACY, variances


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("layer", [1, 2, 4])
def test_against_all_components(activation, layer):
    """With C's, λ's and widths that differ from layer to layer, and a sample that is twice another."""
    X = np.random.default_rng(0).normal(size=(4, 3))
    X[3] = 2 * X[0]
    mlp = ntkflow.MLP(
        (3, 80, 200, 120, 2),
        activation,
        [0.1, 0, 0.3, 0.2],
        [1.8, 1.1, 1.3, 0.9],
        [0.3, 1, 0.5, 0.7],
        [1.5, 0.7, 1, 2],
    )
    found = ntkflow.flow(mlp, X)[layer]
    expected = found.eigenvalue_std(order=1)
    v = np.linalg.eigh(found.ntk_mean())[1]
    sampled = variances(mlp, X, layer, v)
    variance, error = sampled.total, sampled.error
    A, B = (np.einsum("abcd,ai,bi,ci,di->i", found[name], v, v, v, v) / found.fan_in for name in "AB")
    assert np.all(np.abs(sampled.A - A) <= 5 * error + 1e-12 * expected.max() ** 2)
    assert np.all(np.abs(sampled.B - B) <= 5 * error + 1e-12 * expected.max() ** 2)
    assert np.all(np.abs(variance - expected**2) <= 5 * error + 1e-12 * expected.max() ** 2)
    assert np.all(np.sqrt(variance) <= expected * (1 + 5 * ACCURACY) + 1e-6 * expected.max())


def test_a_repeated_input_counts_twice():
    X = np.random.default_rng(1).normal(size=(3, 3))
    mlp = ntkflow.MLP((3, 50, 50, 1), "relu", 0.0, 2.0)
    once, twice = (
        variances(mlp, x, 3, v[:, None]).total[0]
        for x, v in ((X, np.array([1.0, 1.0, 2.0])), (X[[0, 1, 2, 2]], np.ones(4)))
    )
    assert once == pytest.approx(twice, rel=1e-9)


def test_flow_on_pairs_has_eigenvalues():
    X = np.random.default_rng(2).normal(size=(4, 3))
    mlp = ntkflow.MLP((3, 60, 60, 60, 1), "tanh", 0.1, 1.3)
    whole, pairs = (ntkflow.flow(mlp, X, components)[-1] for components in ("all", "pairs"))
    assert np.allclose(pairs.eigenvalues(), whole.eigenvalues(), rtol=1e-9)
    assert np.allclose(pairs.eigenvalue_std(), whole.eigenvalue_std(), rtol=5 * ACCURACY)
    assert np.allclose(
        pairs.truncation("eigenvalue_std"), whole.truncation("eigenvalue_std"), rtol=6 * ACCURACY
    )
    with pytest.raises(ntkflow.errors.ComponentError, match="all"):
        ntkflow.ensemble(mlp, X, 10, components="pairs")[-1].eigenvalue_std()


@pytest.mark.parametrize(
    ("mlp", "X"),
    [
        (ntkflow.MLP((2, 1, 1, 1), "relu", 0.0, 2.0), np.ones((1, 2))),
        (ntkflow.MLP((2, 8, 8, 1), "relu", 0.0, 2.0), np.zeros((2, 2))),
        (ntkflow.MLP((2, 8, 8, 1), "tanh", 0.1, 0.0), np.eye(2)),
        (ntkflow.MLP((2, 1), "relu", 0.1, 1.0), np.eye(2)),
    ],
    ids=["width 1", "zero inputs", "no weights", "depth 1"],
)
def test_corners(mlp, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        last = ntkflow.flow(mlp, X, "pairs")[-1]
    assert np.all(np.isfinite(last.eigenvalue_std())) and np.all(last.eigenvalue_std() >= 0)


@pytest.mark.slow
def test_sampled_networks_of_thirty_digits():
    """λ_max of 30 digits over 4,000 networks: within 5 standard errors and the truncation error."""
    from sklearn.datasets import load_digits

    X = np.asarray(load_digits(return_X_y=True)[0])[:30] / 8 - 1
    mlp = ntkflow.MLP((64, 64, 64, 1), "relu", 0.0, 2.0)
    last = ntkflow.flow(mlp, X, "pairs")[-1]
    v = np.linalg.eigh(last.ntk_mean())[1][:, -1]
    predicted, cut = last.eigenvalue_std()[-1], last.truncation("eigenvalue_std")[-1]
    draws = np.array(
        [v @ ntkflow.finite.ntk_trace(mlp, ntkflow.finite.init(mlp, seed), X) @ v for seed in range(4000)]
    )
    noise = draws.std() * np.sqrt((((draws - draws.mean()) / draws.std()) ** 4).mean() / 4 / len(draws))
    assert abs(draws.std() - predicted) < 5 * noise + cut + 2 * ACCURACY * predicted
