"""Inputs that are equal are computed once: from the distinct ones to the user's."""

from __future__ import annotations

import functools

import numpy as np

from .._recursions import means
from .deferred import Tables
from .error_estimates import Errors
from .two_runs import Kernels


def distinct_rows(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct inputs in their order of appearance, and for each input the one it equals."""
    seen: dict[bytes, int] = {}
    # Adding 0 turns -0 into 0.
    index = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in X + 0.0])
    return X[np.unique(index, return_index=True)[1]], index


def on_all(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """A table (…, n, n) of the distinct inputs as (…, N, N)."""
    return table if table.shape[-1] == len(index) else table[..., index[:, None], index]


def kernel_tables(of: Kernels, errors: Errors, index: np.ndarray) -> tuple[Tables, Tables]:
    """G and H, and how H splits by layers, made when it is looked at: values and errors, on all inputs.

    A part of H has twice the largest relative error of H as its own: it is made of the same expectations, or of fewer.
    """
    contributions, layer = of.contributions, of.layer
    assert contributions is not None
    size = np.sqrt(np.multiply.outer(np.diag(of.H), np.diag(of.H)))
    relative = 2 * float(np.max(np.divide(errors["H"], size, out=np.zeros_like(size), where=size > 0)))

    def value(split):
        return on_all(split(contributions, layer), index)

    def error(split):
        root = np.sqrt(np.diagonal(split(contributions, layer), axis1=1, axis2=2))
        return on_all(relative * root[:, :, None] * root[:, None], index)

    splits = {
        "bias_contributions": means.Contributions.of_biases,
        "weight_contributions": means.Contributions.of_weights,
    }
    values = Tables({"G": on_all(of.G, index), "H": on_all(of.H, index)})
    bounds = Tables({name: on_all(errors[name], index) for name in values})
    for name, split in splits.items():
        values[name], bounds[name] = functools.partial(value, split), functools.partial(error, split)
    return values, bounds
