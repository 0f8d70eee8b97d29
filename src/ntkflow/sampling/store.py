"""The ensemble on disk: one record of sums per block of draws.

A Zarr group with the specification in its attributes, the inputs `X`, the `reference` and `sums` (blocks, 1 + numbers): a block's
number of draws and then its sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._disk import store
from .._disk.store import checked, not_written

if TYPE_CHECKING:
    import zarr


class Store(store.Store):
    """An ensemble's folder; FileError whenever it can't be made, read or written, or is not one."""

    WHAT = "an ensemble"
    KEY = "ntkflow_ensemble"
    FORMAT = 2
    RECORDS = "sums"
    PART = "block"

    @classmethod
    def create(
        cls, path: Path, header: Mapping, X: np.ndarray, reference: np.ndarray, blocks: int, numbers: int
    ) -> Store:
        """A new store, with no draws in it."""

        def fill(group: zarr.Group) -> None:
            group.create_array("X", data=X, **checked())
            group.create_array("reference", data=reference, **checked())
            shape, chunks = (blocks, 1 + numbers), (1, 1 + numbers)
            group.create_array(
                "sums", shape=shape, chunks=chunks, dtype="float64", fill_value=0.0, **checked()
            )

        return cls.make(path, header, fill)

    @property
    def reference(self) -> np.ndarray:
        return self.array("reference")

    @property
    def blocks(self) -> int:
        return self.records.shape[0]

    def read(self, block: int) -> tuple[int, np.ndarray] | None:
        """A block's number of draws and sums, or None if it was not written."""
        record = self.record(block)
        return None if record is None else (int(record[0]), record[1:])

    def write(self, block: int, draws: int, sums: np.ndarray) -> None:
        """Write a block's record, or replace it."""
        self.put(self.records, block, np.concatenate([[draws], sums]))

    def update(self, blocks: int | None = None, **attributes) -> None:
        """Make room for more blocks, and change attributes."""
        try:
            if blocks is not None and blocks > self.blocks:
                self.records.resize((blocks, self.records.shape[1]))
            self.group.update_attributes(attributes)
        except OSError as error:
            raise not_written(self.path, error) from error
        self.header |= attributes


def is_ensemble(path) -> bool:
    """Whether there is a folder that says it is an ensemble, damaged or not."""
    return Store.is_at(path)
