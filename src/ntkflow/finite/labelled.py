"""The NTK of one network as a labelled array, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._disk.kinds import kind_of, of_another_kind
from .._disk.saved_networks import network_of
from .._disk.store import Store
from ..errors import FileError, warn
from ..network.mlp import MLP
from ..network.network import Network
from ..version import __version__
from .parameters import init, layer_number
from .tangent_kernel import ntk

if TYPE_CHECKING:
    import xarray as xr

_DIMS = {"ntk": ("i1", "i2", "alpha1", "alpha2"), "X": ("sample", "input")}


class SavedNTK(Store):
    """What `ntkflow ntk` wrote to a folder."""

    KEY = "ntkflow_ntk"


def ntk_dataset(mlp: MLP | Network, X, seed: int, layer: int = -1) -> xr.Dataset:
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
    arrays = {"ntk": np.asarray(H), "X": np.asarray(X, np.float64)}
    return xr.Dataset({name: (_DIMS[name], array) for name, array in arrays.items()}, attrs=attributes)


def read_ntk(path) -> xr.Dataset:
    """The dataset of `ntk_dataset` in a file or a store; FileError if there is none or it can't be read."""
    path = Path(path)
    if kind_of(path) != SavedNTK.KEY:
        raise of_another_kind(path, "the NTK of one network")
    if path.is_dir():
        store = SavedNTK(path)
        dataset = store.dataset(_shapes(store.header, {name: store.shape(name) for name in store.names}))
    else:
        from .._disk.netcdf import read_netcdf

        dataset, verified = read_netcdf(path, _shapes)
        if not verified:
            warn(f"{path} has no checksum: it was written by an older version; damage to it may not show")
    if not np.all(np.isfinite(dataset["ntk"].values)):
        raise FileError(f"{path} is damaged: its NTK is not finite")
    return dataset


def _shapes(
    attributes: Mapping[str, Any], found: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """The dimensions and shapes that the variables must have; arguments as of `_theory.dimensions.flow_shapes`."""
    try:
        mlp = network_of(json.loads(attributes["mlp"]), [])
        n, N = mlp.widths[layer_number(mlp, attributes["layer"])], found["X"][0]
        int(attributes["seed"])
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise FileError(
            f"this is not the NTK of one network, or it is damaged: its attributes don't fit ({error})"
        ) from error
    expected = {"ntk": (n, n, N, N), "X": (N, mlp.widths[0])}
    for name, shape in expected.items():
        if tuple(found.get(name, ())) != shape:
            raise FileError(
                f"this is not the NTK of one network, or it is damaged: {name} does not fit the network and inputs"
            )
    return {name: (_DIMS[name], shape) for name, shape in expected.items()}
