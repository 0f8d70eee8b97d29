"""The ensemble on disk: one record of sums per block of draws.

A store with the specification in its attributes, the inputs `X`, the `reference` and `sums` (block, 3 + numbers): which job and which
block a row is of, its number of draws, and its sums.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._disk import store
from .._disk.atomic import not_written
from .._disk.sealed import digest_of
from .._disk.store import BEGIN, checked, digest
from ..errors import FileError

if TYPE_CHECKING:
    import zarr

_BEFORE = 3  # numbers of a row before its sums
_FINISHED = "finished"
_CHANGING = (_FINISHED, "draws", "until", "tensors", "ntkflow_version")


class Store(store.Store):
    """An ensemble's folder; FileError whenever it can't be made, read or written, or is not one."""

    KEY = "ntkflow_ensemble"
    RECORDS = "sums"
    PART, PARTS = "block", "blocks"

    @classmethod
    def create(
        cls, path: Path, header: Mapping, X: np.ndarray, reference: np.ndarray, blocks: int, numbers: int
    ) -> Store:
        """A new store, with no draws in it."""

        def fill(group: zarr.Group) -> None:
            group.create_array("X", data=X, dimension_names=["sample", "input"], **checked())
            group.create_array(
                "reference", data=reference, dimension_names=["set", "layer", "moment"], **checked()
            )
            width = _BEFORE + numbers
            group.create_array(
                "sums", shape=(blocks, width), chunks=(1, width), dtype="float64", fill_value=0.0,
                dimension_names=["block", "number"], **checked(),
            )  # fmt: skip

        return cls.make(path, header, fill)

    @property
    def reference(self) -> np.ndarray:
        return self.array("reference")

    def read(self, block: int) -> tuple[int, np.ndarray] | None:
        """A block's number of draws and sums, or None if it was not written."""
        record = self.record(block)
        if record is None:
            return None
        if record[0] != self._number or record[1] != block:
            raise FileError(
                f"{self.path}: the record of block {block} is damaged: it is of another block or job"
            )
        return int(record[2]), record[_BEFORE:]

    def write(self, block: int, draws: int, sums: np.ndarray) -> None:
        """Write a block's record, or replace it."""
        self.put(self.records, block, np.concatenate([[self._number, block, draws], sums]))

    @property
    def finished(self) -> int:
        """How many blocks a run that came to its end had; 0 if none has."""
        return self.header[_FINISHED] or 0

    def check_finished(self) -> None:
        """FileError if a run came to its end and a block is not there: it was deleted."""
        for block in range(self.finished):
            if not self.has(block):
                raise FileError(
                    f"{self.path} is damaged: there is no block {block}, which was written; --resume, in Python resume=True, computes it again"
                )

    @property
    def unfinished(self) -> str:
        return "" if self.finished else f"{self.done} of {self.parts} blocks are done"

    def record_names(self) -> list[str]:
        return [BEGIN]

    def check(self) -> int:
        rows = [block for block in range(self.parts) if self.read(block) is not None]
        return super().check() + len(rows) * 8 * self.shape(self.RECORDS)[1]

    def begin(self, blocks: int, **attributes) -> None:
        """Make room for more blocks, and change attributes: a run goes on."""
        try:
            if blocks > self.parts:
                self.records.resize((blocks, self.shape("sums")[1]))
        except OSError as error:
            raise not_written(self.path, error) from error
        self.update(attributes | {_FINISHED: None})

    def end(self, blocks: int) -> None:
        """A run came to its end with this many blocks."""
        if self.finished != blocks:
            self.update({_FINISHED: blocks})

    @functools.cached_property
    def _number(self) -> float:
        """The job as a number that float64 holds: the same for all that a block's sums depend on, besides its draws."""
        job = {name: value for name, value in self.header.items() if name not in _CHANGING}
        return float(int(digest_of([job, digest(self.reference)])[:13], 16))
