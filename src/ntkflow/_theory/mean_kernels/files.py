"""G and H of any number of samples on disk, and which squares of them are done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..._disk.kinds import of_another_kind
from ..._disk.saved_networks import network_of
from ..._disk.store import BEGIN, Store, checked
from ...errors import FileError
from ...network.mlp import MLP
from ..scales import KERNELS

if TYPE_CHECKING:
    import xarray as xr
    import zarr

END = "end"
BOUNDS = tuple(f"{name}_relative_error" for name in KERNELS)


class KernelStore(Store):
    """A folder of kernels; FileError whenever it can't be made, read or written, or is not one.

    A square is of some rows and columns: one chunk of each kernel and layer, and below the diagonal their mirror images. It records in `of_tiles`
    (tile, of, hidden layer) the largest errors of its integrals, and its largest ρ² at kinks.
    """

    KEY = "ntkflow_kernels"
    RECORDS = "of_tiles"
    PART, PARTS = "tile", "tiles"

    @classmethod
    def create(
        cls, path: Path, header: Mapping, arrays: Mapping[str, tuple[Sequence[str], np.ndarray]], chunk: tuple[int, int],
        squares: int, hidden: int, overwrite: bool,
    ) -> KernelStore:  # fmt: skip
        """A new store with these arrays, `X` and `layer` among them, and no square in it."""
        layers, N = len(arrays["layer"][1]), len(arrays["X"][1])
        N2 = len(arrays.get("X2", arrays["X"])[1])

        def fill(group: zarr.Group) -> None:
            for name, (dims, values) in arrays.items():
                group.create_array(name, data=np.ascontiguousarray(values), dimension_names=dims, **checked())
            for name in KERNELS:  # they don't compress
                group.create_array(
                    name, shape=(layers, N, N2), chunks=(1, *chunk), dtype="float64", fill_value=np.nan,
                    dimension_names=("layer", "alpha1", "alpha2"), **checked(),
                )  # fmt: skip
            for name in BOUNDS:
                group.create_array(
                    name, shape=(layers,), dtype="float64", fill_value=np.nan, dimension_names=("layer",), **checked()
                )  # fmt: skip
            shape = (2, max(1, hidden))
            group.create_array(
                cls.RECORDS, shape=(squares, *shape), chunks=(1, *shape), dtype="float64", fill_value=np.nan,
                dimension_names=("tile", "of", "hidden"), **checked(),
            )  # fmt: skip

        return cls.make(path, header, fill, overwrite)

    @property
    def symmetric(self) -> bool:
        return "X2" not in self.names

    @property
    def grid(self) -> tuple[int, int]:
        """How many strips of rows and of columns there are."""
        _, *sizes = self.shape("G")
        _, *chunks = self.chunks("G")
        rows, cols = (-(-n // chunk) for n, chunk in zip(sizes, chunks, strict=True))
        return rows, cols

    def begun_with(self, name: str) -> bool:
        return name not in (*KERNELS, *BOUNDS, self.RECORDS)

    def record_of(self, name: str, place: tuple[int, ...]) -> str:
        if self.begun_with(name):
            return BEGIN
        if name in BOUNDS:
            return END
        return str(place[0] if name == self.RECORDS else self._square(*place[1:]))

    def _square(self, i: int, j: int) -> int:
        """The number of a square between strips i and j; in symmetric kernels of those on and above the diagonal, row by row."""
        columns = self.grid[1]
        if not self.symmetric:
            return i * columns + j
        i, j = sorted((i, j))
        return i * columns - i * (i - 1) // 2 + j - i

    @property
    def strips(self) -> list[slice]:
        """The samples of each strip of columns."""
        N, chunk = self.shape("G")[2], self.chunks("G")[2]
        return [slice(start, min(start + chunk, N)) for start in range(0, N, chunk)]

    def of_last_layer(self, name: str, rows, cols) -> np.ndarray:
        """Rows and columns, slices or sample numbers, of G or H of the last layer, read and verified."""
        with self._reading(name):
            return np.asarray(self.member(name).oindex[-1, rows, cols])

    def network(self, activation) -> MLP:
        """The network; `activation` as of `Flow.load`."""
        return network_of(json.loads(self.header["mlp"]), self.header["callable_activations"], activation)

    def end(self, bounds: Mapping[str, np.ndarray]) -> None:
        """Write the errors' bounds: the store is finished."""
        for name, values in bounds.items():
            self.put(self.member(name), slice(None), values)
        self.write_record(END)

    def check_finished(self) -> None:
        """FileError, saying how many squares are done, unless all are, and unless the arrays' shapes fit each other."""
        self.check_inputs(self.header.get("X_sha256", ""))
        rows, cols = self.grid
        layers, (N, N2) = (
            self.shape("layer"),
            (self.shape(x)[:1] for x in ("X", "X" if self.symmetric else "X2")),
        )
        expected = {
            **dict.fromkeys(KERNELS, (*layers, *N, *N2)), **dict.fromkeys(BOUNDS, layers),
            "G_variance": (*layers, *N), "G_variance2": (*layers, *N2),
        }  # fmt: skip
        parts = rows * (rows + 1) // 2 if self.symmetric else rows * cols
        if any(self.shape(name) != shape for name, shape in expected.items()) or parts != self.parts:
            raise FileError(f"{self.path} is damaged: the shapes of its arrays don't fit each other")
        super().check_finished()

    @property
    def unfinished(self) -> str:
        return super().unfinished or (
            "" if self.has_record(END) else "all tiles are done, but not the errors"
        )

    def record_names(self) -> list[str]:
        return [*super().record_names(), *([END] if self.has_record(END) else [])]


def finished_kernels(path: Path) -> KernelStore:
    """The store at a path; FileError if there is none, or it is unfinished or damaged."""
    if not KernelStore.is_at(path):
        raise of_another_kind(path, "infinite-width kernels")
    store = KernelStore(path)
    store.check_finished()
    return store


def open_kernels(path) -> xr.Dataset:
    """The dataset that `store_kernels` wrote; entries are read from disk, and verified, when they are indexed.

    Variables: `G`, `H` (layer, alpha1, alpha2); `X` and perhaps `X2`; `G_variance`, `G_variance2`: G_αα of the rows' and
    the columns' samples; `G_relative_error`, `H_relative_error` (layer): bounds of the errors in units of √(G_αα G_ββ) and
    √(H_αα H_ββ).

    Raises:
        FileError: there is none, it is unfinished, or it can't be read; also where entries are read that are damaged.
    """
    store = finished_kernels(Path(path))
    names = ["layer", "X", *([] if store.symmetric else ["X2"]), "G_variance", "G_variance2", *BOUNDS]
    return store.to_xarray()[[*KERNELS, *names]].assign(
        {name: (store.dims(name), store.array(name)) for name in names}
    )
