"""The NTK of one network as a labelled array."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from ..network.mlp import MLP
from ..version import __version__
from .parameters import init, layer_number
from .tangent_kernel import ntk

if TYPE_CHECKING:
    import xarray as xr


def ntk_dataset(mlp: MLP, X, seed: int, layer: int = -1) -> xr.Dataset:
    """Ĥ (i1, i2, alpha1, alpha2) of the network that `init(mlp, seed)` draws, with its inputs and specification."""
    import xarray as xr

    number = layer_number(mlp, layer)
    H = ntk(mlp, init(mlp, seed), X, layer=number)
    attributes = {
        "mlp": json.dumps(mlp.to_spec()),
        "seed": seed,
        "layer": number,
        "ntkflow_version": __version__,
    }
    return xr.Dataset(
        {"ntk": (("i1", "i2", "alpha1", "alpha2"), H), "X": (("sample", "input"), np.asarray(X, np.float64))},
        attrs=attributes,
    )
