"""The tensors of a flow on disk, and which tiles of them are done.

The Zarr group is the dataset of `Flow.to_xarray`, in chunks of one layer and b samples along each axis.
Errors are float64 of eight bits each: the other bytes are zeros, which compress.
Besides, `largest` (tile, layer, tensor, of): a tile's largest absolute value and error; it is the tile's record, written after its
chunks. What is not yet there is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..._disk import store
from ..._disk.store import checked
from ..._recursions import TENSORS
from ...errors import FileError

if TYPE_CHECKING:
    import xarray as xr
    import zarr


class TileStore(store.Store):
    """A flow's folder; FileError whenever it can't be made, read or written, or is not one."""

    WHAT = "a flow by tiles"
    KEY = "ntkflow_tiles"
    FORMAT = 3
    RECORDS = "largest"
    PART = "tile"

    @classmethod
    def create(
        cls, path: Path, header: Mapping, kernels: xr.Dataset, block: int, tiles: int
    ) -> TileStore:  # fmt: skip
        """A new store, with no tile in it: of `kernels` and all declared tensors."""
        from zarr.codecs import ZstdCodec

        layers, N = kernels.sizes["layer"], kernels.sizes["sample"]
        packed = checked(ZstdCodec(level=1))

        def fill(group: zarr.Group) -> None:
            for name, variable in kernels.variables.items():
                group.create_array(
                    str(name), data=variable.values, fill_value=np.nan if variable.dtype.kind == "f" else 0,
                    dimension_names=[str(dim) for dim in variable.dims], **checked(),
                )  # fmt: skip
            for name, declared in TENSORS.items():
                for suffix in ("", "_error"):
                    group.create_array(
                        name + suffix, shape=(layers,) + (N,) * declared.rank, chunks=(1,) + (block,) * declared.rank, dtype="float64",
                        fill_value=np.nan, dimension_names=["layer", *declared.axes], **packed,
                    )  # fmt: skip
            shape = (layers, len(TENSORS), 2)
            group.create_array(
                cls.RECORDS, shape=(tiles, *shape), chunks=(1, *shape), dtype="float64", fill_value=np.nan,
                dimension_names=["tile", "layer", "tensor", "of"], **checked(),
            )  # fmt: skip

        return cls.make(path, header, fill)

    @property
    def block(self) -> int:
        """How many samples to a chunk."""
        return self.member(next(iter(TENSORS))).chunks[1]

    @property
    def done(self) -> list[bool]:
        """Of each tile, whether it is done."""
        return [self.has(tile) for tile in range(self.records.shape[0])]

    def check_finished(self) -> None:
        """FileError, saying how many tiles are done, unless all are; or if the inputs are damaged."""
        self.check_inputs(self.header.get("X_sha256", ""))
        done = self.done
        if not all(done):
            raise FileError(
                f"{self.path} is unfinished: {sum(done)} of {len(done)} tiles are done; resume it"
            )

    def write(
        self, name: str, layer: int, corner: Sequence[int], values: np.ndarray, errors: np.ndarray
    ) -> None:
        """Write a chunk of a tensor at `layer` (1 … L), whose first samples are `corner`."""
        place = (layer - 1, *(slice(a, a + n) for a, n in zip(corner, values.shape, strict=True)))
        self.put(self.member(name), place, values)
        self.put(self.member(f"{name}_error"), place, errors)

    def finish(self, tile: int, largest: np.ndarray) -> None:
        """Record that a tile is done: (layers, tensors, 2), largest values and errors."""
        self.put(self.records, tile, largest)
