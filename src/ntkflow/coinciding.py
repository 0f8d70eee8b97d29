"""Inputs that are equal are computed once: from the distinct ones to the user's."""

from __future__ import annotations

import functools

import numpy as np

from .recursions import means
from .runs import Kernels, roundoff
from .statistics import Tables


def distinct_rows(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct inputs in their order of appearance, and for each input the one it equals."""
    _, first, inverse = np.unique(X, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return X[first[order]], rank[inverse.ravel()]


def on_all(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """A table (…, n, n) of the distinct inputs as (…, N, N)."""
    return table if table.shape[-1] == len(index) else table[..., index[:, None], index]


def kernel_tables(
    fine: Kernels, coarse: Kernels, errors: dict[str, np.ndarray], index: np.ndarray
) -> tuple[Tables, Tables]:
    """G and H, and how H splits by layers, made when it is looked at: values and errors, on all inputs."""
    exact, rough, layer = fine.contributions, coarse.contributions, fine.layer

    def value(split):
        return on_all(split(exact, layer), index)

    def error(split):
        found = split(exact, layer)
        return on_all(np.abs(found - split(rough, layer)) + roundoff(layer, np.abs(found).max()), index)

    splits = {
        "bias_contributions": means.Contributions.of_biases,
        "weight_contributions": means.Contributions.of_weights,
    }
    values = Tables({"G": on_all(fine.G, index), "H": on_all(fine.H, index)})
    bounds = Tables({name: on_all(errors[name], index) for name in values})
    for name, split in splits.items():
        values[name], bounds[name] = functools.partial(value, split), functools.partial(error, split)
    return values, bounds
