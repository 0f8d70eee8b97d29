"""The arrays of a flow's dataset, layer by layer: in memory, or on disk until they are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._recursions import TENSORS
from .components import places_of_pairs
from .deferred import OfSets, OnDisk, OnPairs, Tables
from .dimensions import ERROR
from .scales import SPLIT

if TYPE_CHECKING:
    import xarray as xr


class StoredArrays:
    """See the module.

    Args:
        dataset: as of `Flow.to_xarray`, or of a store by tiles or batches.
        components: what it is of.

    Attributes:
        sets: (S, k), in the order of `sample_sets`; None without tensors.
    """

    def __init__(self, dataset: xr.Dataset, components: str | list):
        self._dataset = dataset
        self._kept_sets = dataset["sets"].values if "sets" in dataset else None
        self._order: np.ndarray | None = None
        self.sets = self._kept_sets
        self._batch: int | None = dataset.attrs.get("batch")
        if self._kept_sets is not None and self._batch is not None and components == "pairs":
            self._order = places_of_pairs(self._kept_sets)
            self.sets = self._kept_sets[self._order]
        self._largest = dataset["largest"].values.max(axis=0) if "largest" in dataset else None
        self._tensors = list(dataset.attrs.get("tensors", ()))

    def of_layer(self, layer: int, names: list[str], suffix: str) -> Tables:
        """The arrays of these names of a layer (1 … L), or their errors."""
        return Tables({name: self._array(name, suffix, layer) for name in names})

    def _array(self, name: str, suffix: str, layer: int) -> Any:
        array = self._dataset[name + suffix][layer - 1]
        if name in SPLIT:
            array = array[:layer]
        if self._largest is None:
            return array.values
        what = f"{name}{suffix} of layer {layer}"
        if name not in self._tensors:
            return OnDisk(array, what, None)
        largest = self._largest[layer - 1, self._tensors.index(name), int(suffix == ERROR)]
        if self._batch is None or self._kept_sets is None:
            return OnDisk(array, what, largest)
        if TENSORS[name].rank == 2:
            return OnPairs(array, what, largest, self._kept_sets, self._dataset.sizes["sample"])
        return OfSets(array, what, largest, self._order, self._batch)
