"""The tensors of a flow on disk, and which tiles of them are done.

The Zarr group is the dataset of `Flow.to_xarray`, in chunks of one layer and b samples along each axis.
Errors are float64 of eight bits each: the other bytes are zeros, which compress.
Besides, `largest` (tile, layer, tensor, of): a tile's largest absolute value and error; it is the tile's record, written after its
chunks. What is not yet there is NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..._disk import store
from ..._disk.store import BEGIN, checked
from ..._recursions import TENSORS, Tensor, declarations
from ...errors import FileError
from .plan import Plan, Tile

if TYPE_CHECKING:
    import xarray as xr
    import zarr


class TileStore(store.Store):
    """A flow's folder; FileError whenever it can't be made, read or written, or is not one."""

    KEY = "ntkflow_tiles"
    RECORDS = "largest"
    PART = "tile"

    @classmethod
    def create(
        cls, path: Path, header: Mapping, kernels: xr.Dataset, block: int, tiles: int
    ) -> TileStore:  # fmt: skip
        """A new store, with no tile in it: of `kernels` and of the tensors that the header names."""
        from zarr.codecs import ZstdCodec

        layers, N = kernels.sizes["layer"], kernels.sizes["sample"]
        packed, tensors = checked(ZstdCodec(level=1)), declarations(header["tensors"])

        def fill(group: zarr.Group) -> None:
            for name, variable in kernels.variables.items():
                group.create_array(
                    str(name), data=variable.values, fill_value=np.nan if variable.dtype.kind == "f" else 0,
                    dimension_names=[str(dim) for dim in variable.dims], **checked(),
                )  # fmt: skip
            for declared in tensors:
                for suffix in ("", "_error"):
                    group.create_array(
                        declared.name + suffix, shape=(layers,) + (N,) * declared.rank, chunks=(1,) + (block,) * declared.rank, dtype="float64",
                        fill_value=np.nan, dimension_names=["layer", *declared.axes], **packed,
                    )  # fmt: skip
            shape = (layers, len(tensors), 2)
            group.create_array(
                cls.RECORDS, shape=(tiles, *shape), chunks=(1, *shape), dtype="float64", fill_value=np.nan,
                dimension_names=["tile", "layer", "tensor", "of"], **checked(),
            )  # fmt: skip

        return cls.make(path, header, fill)

    @functools.cached_property
    def tensors(self) -> list[Tensor]:
        """The declarations of those that it holds."""
        names = self.header.get("tensors")
        if not isinstance(names, list) or not names or not set(names) <= set(TENSORS):
            raise FileError(f"{self.path} holds other tensors than are declared here: {names}")
        return declarations(names)

    @property
    def block(self) -> int:
        """How many samples to a chunk."""
        return self.chunks(self.tensors[0].name)[1]

    def check_finished(self) -> None:
        """FileError, saying how many tiles are done, unless all are; or if the inputs are damaged."""
        blocks = -(-self.shape("X")[0] // self.block)
        chunks = {self.chunks(declared.name) for declared in self.tensors if declared.rank == 4}
        if chunks != {(1, *[self.block] * 4)} or self.parts != math.comb(blocks + 3, 4):
            raise FileError(f"{self.path} is damaged: its tiles don't fit its inputs")
        super().check_finished()
        self.check_inputs(self.header.get("X_sha256", ""))

    def begun_with(self, name: str) -> bool:
        return name != self.RECORDS and name.removesuffix("_error") not in TENSORS

    def record_of(self, name: str, place: tuple[int, ...]) -> str:
        """A tile has the chunks whose samples lie in its blocks, in any order."""
        if self.begun_with(name):
            return BEGIN
        if name == self.RECORDS:
            return str(place[0])
        blocks = place[1:] if len(place) == 5 else (place[1], place[1], place[2], place[2])
        return str(self._tile[tuple(sorted(blocks))])

    @functools.cached_property
    def _tile(self) -> dict[Tile, int]:
        N = self.shape(self.tensors[0].name)[1]
        return {tile: number for number, tile in enumerate(Plan(N, self.block).tiles)}

    def write(
        self, name: str, layer: int, corner: Sequence[int], values: np.ndarray, errors: np.ndarray
    ) -> None:
        """Write a chunk of a tensor at `layer` (1 … L), whose first samples are `corner`."""
        place = (layer - 1, *(slice(a, a + n) for a, n in zip(corner, values.shape, strict=True)))
        self.put(self.member(name), place, values)
        self.put(self.member(f"{name}_error"), place, errors)
