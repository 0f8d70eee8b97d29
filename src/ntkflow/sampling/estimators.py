"""From sums over draws to the tensors and their standard errors.

V, D and A are covariances. With c the draws of `Measured.yy`, s and t those of two components of y, the estimate of n Cov is

    n [mean(c) - Σ_{a≠b} s_a t_b / (m (m-1))],

unbiased over m draws, and its variance to leading order that of the mean of c - s E[t] - t E[s]. Everything is summed after a
reference near the means was taken off y, so that plain sums lose no digits: sums over blocks of draws are just added.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .networks import Measured


class Sums(NamedTuple):
    """Sums over draws, of what `Measured` names; `_squared` of its squares. None for what was not asked."""

    y: Any
    y_squared: Any
    yy: Any
    yy_squared: Any
    yy_y: Any
    """yy_12 y_1: (2p, 2p)."""
    y_y: Any
    """y_1 y_2: (2p, 2p)."""
    F: Any
    F_squared: Any
    B: Any
    B_squared: Any
    zH: Any
    zH_squared: Any


def terms(one: Measured) -> Sums:
    """What one network adds to the sums, in float64."""
    if one.yy is None:
        y = one.y.astype(jnp.float64)
        return Sums(y, y**2, *[None] * 10)
    y, yy, F, B, zH = (x.astype(jnp.float64) for x in one if x is not None)
    return Sums(y, y**2, yy, yy**2, yy * y[:, None], jnp.outer(y, y), F, F**2, B, B**2, zH, zH**2)


def estimates(sums: Sums, reference: np.ndarray, draws: int, n: int, k: int) -> tuple[dict, dict]:
    """The tensors of one layer and their standard errors, two tables by name, with the sets (S,) as first axis.

    Args:
        sums: over `draws` ≥ 2 networks. reference: (S, 2p), what was taken off y. n: the layer's fan-in. k: samples.

    Returns:
        G, H (S, k, k); V, D, F, A, B (S, k, k, k, k), axes as their subscripts; zH (S, k, k, k).
    """
    mean = Sums(*(None if x is None else np.asarray(x) / draws for x in sums))
    p = k * (k + 1) // 2
    pair = np.zeros((k, k), int)
    pair[np.triu_indices(k)] = np.arange(p)
    pair = np.maximum(pair, pair.T)
    values, errors = {}, {}
    for table, y in ((values, mean.y + reference), (errors, _error(mean.y, mean.y_squared, draws))):
        table["G"], table["H"] = y[:, pair], y[:, p + pair]
    if mean.yy is None:
        return values, errors
    _12, _34 = pair[:, :, None, None], pair[None, None]
    i = np.arange(k)
    a1, a3, a2, a4 = i[:, None, None, None], i[:, None, None], i[:, None], i
    covariance, covariance_error = _covariance(mean, draws)
    for table, yy, F, B, zH in (
        (values, covariance, mean.F, mean.B, mean.zH),
        (
            errors, covariance_error, _error(mean.F, mean.F_squared, draws),
            _error(mean.B, mean.B_squared, draws), _error(mean.zH, mean.zH_squared, draws),
        ),
    ):  # fmt: skip
        table["V"] = n * yy[:, _12, _34]
        table["D"] = n * yy[:, _12, p + _34]
        table["A"] = n * yy[:, p + _12, p + _34]
        # A pair is held once, smaller index first: the other order exchanges the neurons.
        table["F"] = n * np.where(a3 <= a4, F[:, pair[a3, a4], a1, a2], F[:, pair[a3, a4], a2, a1])
        table["B"] = n * B[:, ((a1 <= a2) != (a3 <= a4)).astype(int), pair[a1, a2], pair[a3, a4]]
        table["zH"] = zH[:, :, pair]
    return values, errors


def _error(mean: np.ndarray, mean_of_squares: np.ndarray, draws: int) -> np.ndarray:
    return np.sqrt(np.maximum(mean_of_squares - mean**2, 0.0) / (draws - 1))


def _covariance(mean: Sums, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Cov[y, y] (S, 2p, 2p) and its standard error."""
    s, t = mean.y[:, :, None], mean.y[:, None, :]
    ss, tt = mean.y_squared[:, :, None], mean.y_squared[:, None, :]
    value = mean.yy - (m * s * t - mean.y_y) / (m - 1)
    second = (
        mean.yy_squared
        - 2 * (t * mean.yy_y + s * mean.yy_y.swapaxes(1, 2))
        + t**2 * ss + s**2 * tt + 2 * s * t * mean.y_y
    )  # fmt: skip
    return value, _error(mean.yy - 2 * s * t, second, m)
