"""Inputs that are all zeros: which, and what the network makes of them."""

from __future__ import annotations

import numpy as np

from .._report.describe import listed
from ..network.mlp import MLP


def about_silent(mlp: MLP, X: np.ndarray) -> list[str]:
    """A note on the rows of X (N, n_0) that are all zeros; none if there are none."""
    rows = np.flatnonzero(~X.any(axis=1))
    if len(rows) == 0:
        return []
    which = f"{len(rows)} of {len(X)} inputs are zero in every entry: rows {listed(list(map(str, rows)))}"
    if len(rows) == 1:
        which = f"input {rows[0]} is zero in every entry"
    layers = _layers_without_signal(mlp)
    if layers == 0:
        return [f"{which}; biases alone reach the network"]
    where = "every layer" if layers == mlp.depth else f"layer{'s 1 to' * (layers > 1)} {layers}"
    left_out = ": 1 - rho is of the other inputs alone, while the mean of G counts it"
    return [f"{which}; with C_b = 0 its G is 0 in {where}{left_out if len(rows) < len(X) else ''}"]


def _layers_without_signal(mlp: MLP) -> int:
    """In how many layers, from the first on, an input of zeros has G = 0: no bias, and nothing but σ(0) = 0 from below."""
    for layer, C_b in enumerate(mlp.C_b):
        fed = layer > 0 and mlp.C_W[layer] > 0 and float(mlp.activation[layer - 1](np.zeros(()))) != 0
        if C_b > 0 or fed:
            return layer
    return mlp.depth
