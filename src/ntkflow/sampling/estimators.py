"""From sums over draws to the tensors and their standard errors.

V, D and A are covariances. With c the draws of `Measured.yy`, s and t those of two components of y, the estimate of n Cov is

    n [mean(c) - Σ_{a≠b} s_a t_b / (m (m-1))],

unbiased over m draws, and its variance to leading order that of the mean of c - s E[t] - t E[s]. Everything is summed after a
reference near the means was taken off y, so that plain sums lose no digits: sums over blocks of draws are just added.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._recursions import TENSORS
from .._recursions.measured import pair_index
from .._recursions.tensors import Covariance, Derivative, Expectation
from .networks import Measured

LEAST_FOR_ERRORS = 3
"""Draws for which covariances have standard errors: two draws differ equally from their mean, which says nothing of the error."""


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
    expectations: Any
    """(sum, sum of squares) of each."""


def terms(measured: Measured) -> Sums:
    """One network's terms of the sums, in float64."""
    y = measured.y.astype(jnp.float64)
    if measured.yy is None or measured.expectations is None:
        return Sums(y, y**2, *[None] * 5)
    yy = measured.yy.astype(jnp.float64)
    arrays = (array.astype(jnp.float64) for array in measured.expectations)
    return Sums(
        y, y**2, yy, yy**2, yy * y[:, None], jnp.outer(y, y), tuple((array, array**2) for array in arrays)
    )


def measured_expectations(streams: bool) -> dict[str, Expectation]:
    """The expectations that every ensemble measures besides covariances of y, by the names of declared tensors.

    Args:
        streams: whether the network has blocks, and so more tensors.
    """
    return {
        name: declared.measured
        for name, declared in TENSORS.items()
        if isinstance(declared.measured, Expectation) and (streams or not declared.streams)
    }


def measured_derivatives(training: bool) -> dict[str, Derivative]:
    """Those of the NTK's derivatives, by the names of declared tensors, which are all of training."""
    return {
        name: declared.measured
        for name, declared in TENSORS.items()
        if training and isinstance(declared.measured, Derivative)
    }


def measured_tensors(training: bool, streams: bool) -> tuple[str, ...]:
    """The names of all tensors that ensembles measure, of those that are declared; `streams` as of `measured_expectations`."""
    kinds = Covariance | Expectation | Derivative if training else Covariance | Expectation
    return tuple(
        name
        for name, declared in TENSORS.items()
        if isinstance(declared.measured, kinds) and (streams or not declared.streams)
    )


def estimates(
    sums: Sums, reference: np.ndarray, draws: int, n: int, k: int, training: bool, streams: bool
) -> tuple[dict, dict]:
    """The tensors of one layer and their standard errors, two tables by name, with the sets (S,) as first axis.

    Args:
        sums: over `draws` ≥ 2 networks. reference: (S, 2p), what was taken off y. n: the layer's `fan_in`. k: samples.
        training: whether they hold the NTK's derivatives. streams: as of `measured_expectations`.

    Returns:
        G, H (S, k, k); V, D, F, A, B and others (S, k, k, k, k), K, L and M (S, k, k, k), axes as their subscripts; zH (S, k, k, k).
    """
    mean: Sums = jax.tree.map(lambda total: np.asarray(total) / draws, sums)
    p, pair = k * (k + 1) // 2, pair_index(k)
    values, errors = {}, {}
    for table, y in ((values, mean.y + reference), (errors, _error(mean.y, mean.y_squared, draws))):
        table["G"], table["H"] = y[:, pair], y[:, p + pair]
    if mean.yy is None:
        return values, errors
    rows = {"G": pair, "H": p + pair}
    names = (*measured_expectations(streams), *measured_derivatives(training))
    *arrays, zH = ((first, _error(first, second, draws)) for first, second in mean.expectations)
    by_name = dict(zip(names, arrays, strict=True))
    covariances = _covariance(mean, draws)
    for table, kind in ((values, 0), (errors, 1)):
        covariance = covariances[kind]
        for name, declared in TENSORS.items():
            match declared.measured:
                case Covariance(first, second):
                    block = covariance[:, rows[first][:, :, None, None], rows[second][None, None]]
                    table[name] = n * block
                case Expectation() if name in by_name:
                    table[name] = n * declared.measured.expanded(by_name[name][kind], k)
                case Derivative() if training:
                    # From axes in ascending order of the subscripts.
                    order = [1 + sorted(declared.subscripts).index(sample) for sample in declared.subscripts]
                    table[name] = n * by_name[name][kind].transpose(0, *order)
        table["zH"] = zH[kind][:, :, pair]
    return values, errors


def _error(mean: np.ndarray, mean_of_squares: np.ndarray, draws: int) -> np.ndarray:
    return np.sqrt(np.maximum(mean_of_squares - mean**2, 0.0) / (draws - 1))


def _covariance(mean: Sums, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Cov[y, y] (S, 2p, 2p) and its standard error, infinite where there are too few draws to know it."""
    s, t = mean.y[:, :, None], mean.y[:, None, :]
    ss, tt = mean.y_squared[:, :, None], mean.y_squared[:, None, :]
    value = mean.yy - (m * s * t - mean.y_y) / (m - 1)
    if m < LEAST_FOR_ERRORS:
        return value, np.where(value == 0, 0.0, np.inf)
    second = (
        mean.yy_squared
        - 2 * (t * mean.yy_y + s * mean.yy_y.swapaxes(1, 2))
        + t**2 * ss + s**2 * tt + 2 * s * t * mean.y_y
    )  # fmt: skip
    return value, _error(mean.yy - 2 * s * t, second, m)
