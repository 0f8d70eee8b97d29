"""Flows in files and stores: which arrays there are, and that their numbers can be those of a flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .._disk.kinds import kind_of, of_another_kind
from .._disk.store import Store
from .._recursions import TENSORS
from ..errors import warn
from .dimensions import check_numbers, flow_shapes
from .tiles.store import BatchStore, FlowStore, TileStore

if TYPE_CHECKING:
    import xarray as xr

_KERNELS_AND_SETS = ("X", "sets", "G", "H")


class SavedFlow(Store):
    """What `Flow.save` wrote to a folder."""

    KEY = "ntkflow_flow"


def read_flow(path) -> xr.Dataset:
    """The dataset of a flow: in memory, or of a finished store by tiles or batches on disk; FileError if there is none or it can't be read."""
    path = Path(path)
    kind = kind_of(path)
    for stored in (TileStore, BatchStore):
        if kind == stored.KEY:
            return _by_parts(stored(path))
    if kind == SavedFlow.KEY and path.is_dir():
        store = SavedFlow(path)
        return store.dataset(flow_shapes(store.header, {name: store.shape(name) for name in store.names}))
    if kind != SavedFlow.KEY:
        raise of_another_kind(path, "a flow")
    from .._disk.netcdf import read_netcdf

    dataset, verified = read_netcdf(path, flow_shapes)
    if not verified:
        warn(
            f"{path} has no checksum: it was not written by save, or by an older version; damage to it may not show"
        )
        for name, variable in dataset.variables.items():
            held = str(name).removesuffix("_error") not in TENSORS or dataset.attrs["components"] == '"all"'
            check_numbers(str(name), variable.values, dataset.sizes["sample"], held)
    return dataset


def _by_parts(store: FlowStore) -> xr.Dataset:
    """A store's dataset, of which only what is small and always looked at is read now."""
    store.check_finished()
    shapes = flow_shapes(store.header, {name: store.shape(name) for name in store.names}, store.BY_SETS)
    dataset = store.to_xarray()
    small = {
        name: (store.dims(name), store.array(name)) for name in ("layer", *_KERNELS_AND_SETS, store.RECORDS)
    }
    for name in _KERNELS_AND_SETS:
        check_numbers(name, small[name][1], len(small["X"][1]))
    return dataset[list(shapes)].assign(small)
