"""The ensemble on disk: one record of sums per block of draws, each written whole or not at all, with a checksum.

A Zarr group with the specification in its attributes, the inputs `X`, the `reference` and `sums` (blocks, 1 + numbers): a block's
number of draws and then its sums, one chunk, and so one file, per block. Which blocks are done is which files are there.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from filelock import FileLock, Timeout
from zarr.codecs import BytesCodec, Crc32cCodec

from ..errors import FileError

FORMAT = 1
_LOCK = ".lock"


class Store:
    """An ensemble's folder; FileError whenever it can't be made, read or written, or is not one."""

    def __init__(self, path: Path):
        self.path = path
        self._group = _opened(path)
        self.header = _header(path, self._group)
        self._sums: Any = _member(path, self._group, "sums")

    @classmethod
    def create(
        cls, path: Path, header: dict, X: np.ndarray, reference: np.ndarray, blocks: int, numbers: int
    ):
        """A new store, with no draws in it; what other processes see is either none or all of it."""
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            group = zarr.create_group(partial, attributes={"ntkflow_ensemble": FORMAT, **header})
            checked: Any = {"serializer": BytesCodec(), "compressors": [Crc32cCodec()]}
            group.create_array("X", data=X, **checked)
            group.create_array("reference", data=reference, **checked)
            shape, chunks = (blocks, 1 + numbers), (1, 1 + numbers)
            group.create_array("sums", shape=shape, chunks=chunks, dtype="float64", fill_value=0.0, **checked)
            partial.rename(path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise _not_written(path, error) from error
        return cls(path)

    def lock(self) -> FileLock:
        """Held until released or the process ends, however it ends; FileError if another run holds it."""
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise FileError(f"{self.path} is in use by another run") from error
        except OSError as error:
            raise _not_written(self.path, error) from error
        return lock

    @property
    def X(self) -> np.ndarray:
        return self._array("X")

    @property
    def reference(self) -> np.ndarray:
        return self._array("reference")

    @property
    def blocks(self) -> int:
        return self._sums.shape[0]

    def has(self, block: int) -> bool:
        """Whether the record of a block was written."""
        return (self.path / "sums" / self._sums.metadata.encode_chunk_key((block, 0))).exists()

    def read(self, block: int) -> tuple[int, np.ndarray] | None:
        """A block's number of draws and sums, or None if it was not written."""
        if not self.has(block):
            return None
        try:
            record = np.asarray(self._sums[block])
        except Exception as error:  # what a damaged chunk raises is up to the codecs
            raise FileError(f"{self.path}: the record of block {block} is damaged ({error})") from error
        return int(record[0]), record[1:]

    def write(self, block: int, draws: int, sums: np.ndarray) -> None:
        """Write a block's record, or replace it."""
        try:
            self._sums[block] = np.concatenate([[draws], sums])
        except OSError as error:
            raise _not_written(self.path, error) from error

    def update(self, blocks: int | None = None, **attributes) -> None:
        """Make room for more blocks, and change attributes."""
        try:
            if blocks is not None and blocks > self.blocks:
                self._sums.resize((blocks, self._sums.shape[1]))
            self._group.update_attributes(attributes)
        except OSError as error:
            raise _not_written(self.path, error) from error
        self.header |= attributes

    def _array(self, name: str) -> np.ndarray:
        try:
            return np.asarray(_member(self.path, self._group, name)[:])
        except FileError:
            raise
        except Exception as error:  # as above
            raise FileError(f"{self.path}: {name} is damaged ({error})") from error


def is_ensemble(path) -> bool:
    """Whether there is a folder that says it is an ensemble, damaged or not."""
    try:
        return '"ntkflow_ensemble"' in (Path(path) / "zarr.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _opened(path: Path) -> zarr.Group:
    if not path.exists():
        raise FileError(f"{path} does not exist")
    try:
        return zarr.open_group(path, mode="r+" if os.access(path, os.W_OK) else "r")
    except Exception as error:  # what a damaged or foreign folder raises is up to the library
        raise FileError(f"{path} is not an ensemble, or it is damaged: it is no Zarr group") from error


def _header(path: Path, group: zarr.Group) -> dict:
    header = dict(group.attrs)
    found = header.pop("ntkflow_ensemble", None)
    if found is None:
        raise FileError(f"{path} is not an ensemble of ntkflow")
    if found != FORMAT:
        raise FileError(f"{path} is an ensemble of format {found}; this version reads format {FORMAT}")
    return header


def _member(path: Path, group: zarr.Group, name: str) -> Any:
    try:
        return group[name]
    except Exception as error:  # as above
        raise FileError(f"{path} is damaged: {name} is missing or can't be read") from error


def _not_written(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot write {path}: {error.strerror or error}")
