"""Inputs that are all zeros: which, and what the network makes of them."""

from __future__ import annotations

import numpy as np

from .._report.describe import listed
from ..network.blocks import Block
from ..network.mlp import MLP
from ..network.network import Network


def about_silent(mlp: MLP | Network, X: np.ndarray) -> list[str]:
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


def _layers_without_signal(mlp: MLP | Network) -> int:
    """In how many layers, from the first on, an input of zeros has G = 0: no bias, and nothing but σ(0) = 0 from below."""
    for number, layer in enumerate(mlp.layers):
        signal = False
        for stage in layer.stages if isinstance(layer, Block) else (layer,):
            σ = stage.activation
            fed = σ is not None and (signal or float(σ(np.zeros(()))) != 0)
            signal = stage.C_b > 0 or (stage.C_W > 0 and fed)
        if signal:
            return number
    return mlp.depth
