"""The files of a store, as Zarr sees them: what is read is verified, of what is written the checksums are noted."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from ..errors import FileError

CHECKSUM = 4  # bytes, the last ones of a chunk
_SMALL = 2**20  # bytes

Checksums = dict[str, tuple[int, str]]
"""Of chunks, by their paths in the store: how many bytes, and the checksum, which is the last four of them."""


class Files(LocalStore):
    """A store's folder.

    Args:
        root: the folder.
        read_only: whether nothing may be written.
        metadata: of the group and of its arrays, verified already: Zarr gets these, and not the files'. Without them the store is new.
        expected: how many bytes a chunk must have, and its checksum where a record tells it; FileError if there is no such chunk.
        written: the checksums of chunks that were written.
    """

    def __init__(
        self,
        root: Path,
        *,
        read_only: bool = False,
        metadata: Mapping[str, Any] | None = None,
        expected: Callable[[str], tuple[int, str | None]] | None = None,
        written: Checksums | None = None,
    ):
        super().__init__(root, read_only=read_only)
        self._metadata, self._expected = metadata, expected
        self.written: Checksums = {} if written is None else written
        self._replacing = False
        self._inside: set[str] = set()

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Whole chunks are written: Zarr finds none in their places, which it would read where a chunk ends beyond its array."""
        self._replacing = True
        try:
            yield
        finally:
            self._replacing = False

    def with_read_only(self, read_only: bool = False) -> Files:
        return type(self)(
            self.root, read_only=read_only, metadata=self._metadata, expected=self._expected, written=self.written
        )  # fmt: skip

    async def get(self, key, prototype: BufferPrototype | None = None, byte_range=None) -> Buffer | None:
        if self._metadata is None:
            return await super().get(key, prototype, byte_range)
        expected = self._expected_of(key)
        # A thread takes longer than a small chunk.
        if expected is None or expected[0] < _SMALL:
            return self._verified(key, prototype, expected)
        return await asyncio.to_thread(self._verified, key, prototype, expected)

    def get_sync(self, key: str, *, prototype: BufferPrototype | None = None, byte_range=None):
        if self._metadata is None:
            return super().get_sync(key, prototype=prototype, byte_range=byte_range)
        return self._verified(key, prototype, self._expected_of(key))

    async def set(self, key: str, value: Buffer) -> None:
        self._note(key, value)
        await super().set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        self._note(key, value)
        super().set_sync(key, value)

    def _note(self, key: str, value: Buffer) -> None:
        if not key.endswith("zarr.json"):
            data = value.as_numpy_array()
            self.written[key] = (len(data), data[-CHECKSUM:].tobytes().hex())

    def _expected_of(self, key: str) -> tuple[int, str | None] | None:
        """What `expected` tells of a chunk that is to be read; None for all else."""
        assert self._expected is not None
        is_chunk = "/c/" in key and not key.endswith("zarr.json")
        return self._expected(key) if is_chunk and not self._replacing else None

    def _verified(
        self, key: str, prototype: BufferPrototype | None, expected: tuple[int, str | None] | None
    ) -> Buffer | None:
        buffer = (prototype or default_buffer_prototype()).buffer
        assert self._metadata is not None
        if key.endswith("zarr.json"):
            document = self._metadata.get(key)
            return None if document is None else buffer.from_bytes(json.dumps(document).encode())
        if expected is None:
            return None
        return buffer.from_bytes(chunk(self.root, key, *expected, self._inside))


def chunk(root: Path, key: str, size: int, checksum: str | None, inside: set[str] | None = None) -> bytes:
    """The bytes of a chunk; FileError unless it has this size, its content's checksum and, if there is one, this checksum."""
    data = contents(root, key, size, inside)
    fits = _crc(np.frombuffer(data, np.uint8)[:-CHECKSUM]) == data[-CHECKSUM:]
    if not fits or len(data) != size or checksum not in (None, data[-CHECKSUM:].hex()):
        raise FileError(f"{root}: {key} is damaged: it is not what was written")
    return data


def checksum_of(data: bytes) -> tuple[int, str]:
    """Size and checksum of the chunk that holds these bytes, not compressed."""
    return len(data) + CHECKSUM, _crc(data).hex()


def _crc(data: Any) -> bytes:
    return google_crc32c.value(data).to_bytes(CHECKSUM, "little")


def contents(root: Path, key: str, most: int, inside: set[str] | None = None) -> bytes:
    """The bytes of a file of a folder.

    Args:
        root: the folder.
        key: the file's path in it.
        most: bytes that it may have.
        inside: subfolders that are known to be in the folder, to which this one is added: looking takes longer than reading a small chunk.

    Raises:
        FileError: it is missing, larger than `most` bytes, no plain file (a device may never end), or outside of the folder.
    """
    path = root / key
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            raise FileError(f"{root}: {key} is no plain file")
        if found.st_size > most:
            raise FileError(f"{root}: {key} is damaged: it has {found.st_size} bytes, more than {most}")
        parent = key.rpartition("/")[0]
        if inside is None or parent not in inside:
            if os.path.realpath(root / parent) != os.path.join(os.path.realpath(root), parent).rstrip("/"):
                raise FileError(f"{root}: {key} is outside of the folder")
            if inside is not None:
                inside.add(parent)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{root}: {key} is missing") from error
    except OSError as error:
        raise FileError(f"{root}: {key} can't be read: {error.strerror or error}") from error
