"""Tests of whether a layer's weights are independent entries of mean zero, or training or another way of drawing has left its marks.

Of matrices at initialisation, about one in a million fails a test.
"""

from __future__ import annotations

import numpy as np
from scipy import special

_RARE = 7.0  # -log10 of a probability
_TRACY_WIDOM = 7.0  # a top singular value beyond happens once in 1e7
_STEPS = 60  # of the power method
_MOST = 1024  # rows, or columns, whose correlations are looked at
_LONG = 16  # entries of a row that is correlated with others
_FEWEST = 8  # rows, columns, or biases that are tested at all


def of_weights(W: np.ndarray, fourth_cumulant: float) -> list[str]:
    """Sentences on a layer's weights (n_ℓ, n_{ℓ-1}); `fourth_cumulant` of the standardised entries."""
    W = W.astype(np.float64)
    if not np.any(W):
        return []
    if W.size > 1 and np.all(W == W[0, 0]):
        return [f"its weights are all {W[0, 0]:.3g}"]
    reasons = []
    if _mean_rarity(W) > _RARE:
        reasons.append(f"the mean of its weights is {_distance_of_mean(W)}")
    if min(W.shape) < _FEWEST:
        return reasons
    excess = _top_excess(W)
    size, rarity = _correlation(W) if max(W.shape) >= _LONG else (1.0, 0.0)
    if excess > 1:
        reasons.append(
            f"its top singular value is {excess:.2f} times the largest that independent weights have"
        )
    elif rarity > _RARE:
        reasons.append(f"its rows are correlated, {size:.2f} times as much as independent ones (squared)")
    elif rarity < -_RARE:
        reasons.append("its rows are closer to orthogonal than independent ones")
    for name, rows in (("rows", W), ("columns", W.T)):
        size, rarity = _unevenness(rows, fourth_cumulant)
        if rarity > _RARE:
            reasons.append(
                f"the squared lengths of its {name} have {size:.2f} times the variance of independent ones"
            )
    return reasons


def of_biases(b: np.ndarray) -> list[str]:
    """Sentences on a layer's biases (n_ℓ,)."""
    b = b.astype(np.float64)
    if not np.any(b) or len(b) < _FEWEST:
        return []
    if np.all(b == b[0]):
        return [f"its biases are all {b[0]:.3g}"]
    return [f"the mean of its biases is {_distance_of_mean(b)}"] if _mean_rarity(b) > _RARE else []


def _mean_rarity(x: np.ndarray) -> float:
    """-log10 of the probability that Student's t of x lies as far from 0."""
    if x.size < _FEWEST:
        return 0.0
    t = x.mean() / x.std(ddof=1) * x.size**0.5
    return -np.log10(max(2 * special.stdtr(x.size - 1, -abs(t)), 1e-300))


def _distance_of_mean(x: np.ndarray) -> str:
    return f"{x.mean():.2g}, {abs(x.mean()) / x.std() * x.size**0.5:.0f} standard errors from 0"


def _top_excess(W: np.ndarray) -> float:
    """The top singular value by the Marchenko-Pastur edge, moved to where a Tracy-Widom variable hardly comes."""
    m, n = (size**0.5 for size in W.shape)
    edge = (m + n) ** 2 + _TRACY_WIDOM * (m + n) * (1 / m + 1 / n) ** (1 / 3)
    v = np.random.default_rng(0).normal(size=W.shape[1])
    # The power method comes from below: it soon passes the edge if the top value does, and need not converge otherwise.
    for _ in range(_STEPS):
        v = W.T @ (W @ v)
        v /= np.linalg.norm(v)
    return float(np.linalg.norm(W @ v) / np.sqrt(edge * np.mean(W**2)))


def _correlation(W: np.ndarray) -> tuple[float, float]:
    """Squared correlations of rows by their mean, and its logarithmic rarity: negative where they are small."""
    rows = W if W.shape[0] <= W.shape[1] else W.T
    rows = rows[:_MOST]
    m, n = rows.shape
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    pairs = m * (m - 1) / 2
    total = (np.sum((unit @ unit.T) ** 2) - m) / 2
    return total / (pairs / n), _rarity(total, pairs / n, pairs * 2 * (n - 1) / (n**2 * (n + 2)))


def _unevenness(rows: np.ndarray, fourth_cumulant: float) -> tuple[float, float]:
    """The variance of rows' squared lengths by that of independent entries, and its logarithmic rarity."""
    m, n = rows.shape
    lengths = np.sum(rows**2, axis=1)
    expected = n * (2 + fourth_cumulant) * np.mean(rows**2) ** 2
    total = np.sum((lengths - lengths.mean()) ** 2) / expected
    return total / (m - 1), _rarity(total, m - 1, 2 * (m - 1) * (1 + 6 / n))


def _rarity(value: float, mean: float, variance: float) -> float:
    """-log10 of the probability that a gamma variable of this mean and variance lies beyond; as a negative number if below the mean."""
    shape, scale = mean**2 / variance, variance / mean
    tail_probability = special.gammaincc if value > mean else special.gammainc
    return float(np.copysign(-np.log10(max(tail_probability(shape, value / scale), 1e-300)), value - mean))
