"""Arrays that are computed or read from disk on first access."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import UserDict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError

if TYPE_CHECKING:
    import xarray as xr

_KEPT = 2**24  # bytes


class Deferred(ABC):
    """An array that is made when it is called; or some entries of it, when it is indexed.

    Attributes:
        largest: its largest absolute value, if that is known.
    """

    largest: float | None = None

    @abstractmethod
    def __call__(self) -> np.ndarray: ...

    @abstractmethod
    def __getitem__(self, index: tuple) -> np.ndarray:
        """The entries at an index as of NumPy: integers, or arrays of integers that broadcast."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """How many axes it has."""

    def of_all_sets(self, index: tuple) -> np.ndarray:
        """See `Tables.of_all_sets`."""
        return self()[:, *index]


class OnDisk(Deferred):
    """An array on disk without NaNs, read as float64."""

    def __init__(self, array: xr.DataArray, name: str, largest: float | None):
        self._array, self._name, self.largest = array, name, largest

    def __call__(self) -> np.ndarray:
        return self._read(self._array)

    def __getitem__(self, index: tuple) -> np.ndarray:
        import xarray as xr

        index = np.broadcast_arrays(*index)
        points = tuple(f"point{axis}" for axis in range(index[0].ndim))
        places = {
            dim: xr.DataArray(indices, dims=points)
            for dim, indices in zip(self._array.dims, index, strict=True)
        }
        return self._read(self._array.isel(places))

    @property
    def rank(self) -> int:
        return self._array.ndim

    def _read(self, array: xr.DataArray) -> np.ndarray:
        try:
            values = array.values.astype(float, copy=False)
        except Exception as error:  # what a damaged chunk raises is up to the codecs
            raise FileError(f"{self._name} can't be read: its file is damaged ({error})") from error
        if np.any(np.isnan(values)):
            raise FileError(f"{self._name} can't be read: some of its files are missing")
        return values


class OfSets(OnDisk):
    """A tensor of sets of samples on disk, whose sets may be in another order there.

    Args:
        order: (S,), where on disk each set is; None where they are in their order.
        at_once: how many sets to read at a time.
    """

    def __init__(
        self, array: xr.DataArray, name: str, largest: float | None, order: np.ndarray | None, at_once: int
    ):
        super().__init__(array, name, largest)
        self._order, self._at_once = order, at_once

    def __call__(self) -> np.ndarray:
        return self._ordered(super().__call__())

    def __getitem__(self, index: tuple) -> np.ndarray:
        sets = index[0] if self._order is None else self._order[index[0]]
        return super().__getitem__((sets, *index[1:]))

    def of_all_sets(self, index: tuple) -> np.ndarray:
        starts = range(0, self._array.sizes["set"], self._at_once)
        parts = (self._read(self._array.isel(set=slice(start, start + self._at_once))) for start in starts)
        return self._ordered(np.concatenate([part[:, *index] for part in parts]))

    def _ordered(self, values: np.ndarray) -> np.ndarray:
        return values if self._order is None else values[self._order]


class OnPairs(OnDisk):
    """A tensor of two samples that is kept by sets on disk (S, k, k), as a table (N, N), NaN where no set holds both samples.

    Args:
        sets: (S, k), as on disk. N: how many samples there are.
    """

    def __init__(self, array: xr.DataArray, name: str, largest: float | None, sets: np.ndarray, N: int):
        super().__init__(array, name, largest)
        self._sets, self._N = sets, N

    def __call__(self) -> np.ndarray:
        table = np.full((self._N, self._N), np.nan)
        table[self._sets[:, :, None], self._sets[:, None, :]] = super().__call__()
        return table

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self()[index]

    @property
    def rank(self) -> int:
        return 2


class Tables(UserDict[str, Any]):
    """Arrays by name. A function in the place of an array is called on access to make it; the result is kept if it is small."""

    def __getitem__(self, name: str) -> np.ndarray:
        value = self.data[name]
        if isinstance(value, np.ndarray):
            return value
        array = value()
        if array.nbytes <= _KEPT:
            self[name] = array
        return array

    def rank(self, name: str) -> int:
        """How many axes an array has; nothing is made for it."""
        value = self.data[name]
        return value.rank if isinstance(value, Deferred) else self[name].ndim

    def entries(self, name: str, index: tuple) -> np.ndarray:
        """`self[name][index]` for integers or arrays of integers; only these entries are made, or read from disk."""
        value = self.data[name]
        return value[index] if isinstance(value, Deferred) else self[name][index]

    def of_all_sets(self, name: str, index: tuple) -> np.ndarray:
        """`self[name][:, *index]` for integers or arrays of integers that count slots; no others are made, and what is on disk is read some sets at a time."""
        value = self.data[name]
        return value.of_all_sets(index) if isinstance(value, Deferred) else self[name][:, *index]

    def largest(self, name: str) -> float:
        """The largest absolute value of an array, without NaNs."""
        value = self.data[name]
        if isinstance(value, Deferred) and value.largest is not None:
            return value.largest
        return float(np.nanmax(np.abs(self[name]), initial=0.0))
