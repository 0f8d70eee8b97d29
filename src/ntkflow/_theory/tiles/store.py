"""The tensors of a flow on disk, and which parts of them are done.

The Zarr group is the dataset of `Flow.to_xarray`, but for what is said below. Errors are float64 of eight bits each: the other bytes are
zeros, which compress. Besides, `largest` (part, layer, tensor, of): a part's largest absolute value and error; it is the part's record,
written after its chunks. What is not yet there is NaN.

Of all components a part is a tile, with chunks of one layer and b samples along each axis. Of sets of samples it is a batch, with chunks of
one layer and b sets; tensors of two samples have an axis of sets there too. The sets of "pairs" are in an order of their own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..._disk import store
from ..._disk.store import BEGIN, checked
from ..._recursions import TENSORS, Tensor, declarations
from ...errors import FileError
from ..dimensions import ERROR, dimensions
from ..scales import KERNELS, SPLIT
from .plan import Plan, Tile

if TYPE_CHECKING:
    import zarr

    from ..statistics import LayerStatistics

_KERNELS_AT_ONCE = 2048  # samples to a chunk


class FlowStore(store.Store):
    """A flow's folder; FileError whenever it can't be made, read or written, or is not one."""

    RECORDS = "largest"
    BY_SETS: ClassVar[bool]

    @classmethod
    def create(
        cls, path: Path, header: Mapping, depth: int, X: np.ndarray, sets: np.ndarray, layers: Iterable[LayerStatistics], block: int,
        parts: int,
    ) -> Self:  # fmt: skip
        """A new store with no part in it: of the kernels of `layers`, and of the tensors that the header names.

        Args:
            sets: (S, k). block: samples, or sets, to a chunk.
        """
        from zarr.codecs import ZstdCodec

        N = len(X)
        packed, tensors = checked(ZstdCodec(level=1)), declarations(header["tensors"])
        sizes: dict[str, int] = {"layer": depth, "set": len(sets)}

        def fill(group: zarr.Group) -> None:
            numbers = np.arange(1, depth + 1)
            for name, dims, values in (
                ("layer", ["layer"], numbers), ("source_layer", ["source_layer"], numbers), ("X", ["sample", "input"], X),
                ("sets", ["set", "slot"], sets),
            ):  # fmt: skip
                group.create_array(name, data=values, fill_value=0, dimension_names=dims, **checked())
            _write_kernels(group, depth, N, layers)
            for declared in tensors:
                dims = dimensions(declared.name, cls.BY_SETS, cls.BY_SETS)
                shape = tuple(sizes[dim] if dim in sizes else sets.shape[1] for dim in dims)
                for suffix in ("", ERROR):
                    group.create_array(
                        declared.name + suffix, shape=shape, chunks=cls._chunks_of(shape, block), dtype="float64", fill_value=np.nan, dimension_names=dims, **packed
                    )  # fmt: skip
            shape = (depth, len(tensors), 2)
            group.create_array(
                cls.RECORDS, shape=(parts, *shape), chunks=(1, *shape), dtype="float64", fill_value=np.nan,
                dimension_names=[cls.PART, "layer", "tensor", "of"], **checked(),
            )  # fmt: skip

        return cls.make(path, header, fill)

    @classmethod
    def _chunks_of(cls, shape: tuple[int, ...], block: int) -> tuple[int, ...]:
        """The chunks of a tensor of this shape."""
        return (1, block, *shape[2:]) if cls.BY_SETS else (1, *[block] * (len(shape) - 1))

    @functools.cached_property
    def tensors(self) -> list[Tensor]:
        """The declarations of those that it holds."""
        names = self.header.get("tensors")
        if not isinstance(names, list) or not names or not set(names) <= set(TENSORS):
            raise FileError(f"{self.path} holds other tensors than are declared here: {names}")
        return declarations(names)

    @property
    def block(self) -> int:
        """How many samples, or sets, to a chunk."""
        return self.chunks(self.tensors[0].name)[1]

    @property
    def parts_expected(self) -> int:
        """How many parts there must be, by the shapes of other arrays."""
        raise NotImplementedError

    def check_finished(self) -> None:
        """FileError, saying how many parts are done, unless all are; or if the inputs are damaged."""
        fits = all(
            self.chunks(name + suffix) == self._chunks_of(self.shape(name + suffix), self.block)
            for name in (declared.name for declared in self.tensors)
            for suffix in ("", ERROR)
        )
        if not fits or self.parts != self.parts_expected:
            raise FileError(f"{self.path} is damaged: its {self.PARTS} don't fit its inputs")
        super().check_finished()
        self.check_inputs(self.header.get("X_sha256", ""))

    def begun_with(self, name: str) -> bool:
        return name != self.RECORDS and name.removesuffix(ERROR) not in TENSORS

    def write(self, name: str, place: tuple, values: np.ndarray, errors: np.ndarray) -> None:
        """Write a chunk of a tensor."""
        self.put(self.member(name), place, values)
        self.put(self.member(name + ERROR), place, errors)


class TileStore(FlowStore):
    """Of all components, by tiles."""

    KEY = "ntkflow_tiles"
    PART, PARTS = "tile", "tiles"
    BY_SETS = False

    @property
    def parts_expected(self) -> int:
        return math.comb(-(-self.shape("X")[0] // self.block) + 3, 4)

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

    def write_at(
        self, name: str, layer: int, corner: Sequence[int], values: np.ndarray, errors: np.ndarray
    ) -> None:
        """Write a chunk of a tensor at `layer` (1 … L), whose first samples are `corner`."""
        place = (layer - 1, *(slice(a, a + n) for a, n in zip(corner, values.shape, strict=True)))
        self.write(name, place, values, errors)


class BatchStore(FlowStore):
    """Of sets of samples, by batches."""

    KEY = "ntkflow_batches"
    PART, PARTS = "batch", "batches"
    BY_SETS = True

    @property
    def parts_expected(self) -> int:
        return -(-self.shape("sets")[0] // self.block)

    def record_of(self, name: str, place: tuple[int, ...]) -> str:
        """A batch has one chunk of each layer of a tensor."""
        if self.begun_with(name):
            return BEGIN
        return str(place[0] if name == self.RECORDS else place[1])

    def write_batch(self, name: str, layer: int, number: int, values: np.ndarray, errors: np.ndarray) -> None:
        """Write the chunk of a tensor at `layer` (1 … L) of a batch."""
        start = number * self.block
        self.write(name, (layer - 1, slice(start, start + len(values))), values, errors)


def _write_kernels(group: zarr.Group, depth: int, N: int, layers: Iterable[LayerStatistics]) -> None:
    """G, H and how H splits, layer by layer: of all layers together they may be larger than memory."""
    arrays: dict[str, Any] = {}
    chunk = min(N, _KERNELS_AT_ONCE)
    for name in (*KERNELS, *SPLIT):
        dims = dimensions(name, has_sets=False)
        leading = len(dims) - 2
        for suffix in ("", ERROR):
            arrays[name + suffix] = group.create_array(
                name + suffix, shape=(depth,) * leading + (N, N), chunks=(1,) * leading + (chunk, chunk), dtype="float64", fill_value=np.nan,
                dimension_names=dims, **checked(),
            )  # fmt: skip
    for statistics in layers:
        for name, array in arrays.items():
            table = statistics.errors if name.endswith(ERROR) else statistics.values
            values = table[name.removesuffix(ERROR)]
            if values.ndim > 2:
                values = np.pad(values, ((0, depth - len(values)), (0, 0), (0, 0)))
            array[statistics.layer - 1] = values
