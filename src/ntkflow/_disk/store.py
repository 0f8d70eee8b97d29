"""Runs on disk: a Zarr group with a header in its attributes, arrays, and one record for each part of the run that is done.

Each record is one chunk, and so one file, written whole or not at all, with a checksum: which parts are done is which files are
there. One run at a time holds the lock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..errors import FileError

# Imported where they are needed: they take longer than all of ntkflow.
if TYPE_CHECKING:
    import zarr
    from filelock import FileLock

_LOCK = ".lock"
_IN_WORDS = {"X_sha256": "other inputs", "mlp": "another network", "callable_activations": "another network"}


class Store:
    """A run's folder; FileError whenever it can't be made, read or written, or is not one.

    Subclasses name what they are (WHAT), the attribute that says so (KEY), the number of their format (FORMAT), the array of
    their records (RECORDS), and the part of the run that one record is of (PART).
    """

    WHAT: ClassVar[str]
    KEY: ClassVar[str]
    FORMAT: ClassVar[int]
    RECORDS: ClassVar[str]
    PART: ClassVar[str]

    def __init__(self, path: Path):
        self.path = path
        self.group = self._opened()
        self.header = self._header()
        self._members: dict[str, Any] = {}
        self.records: Any = self.member(self.RECORDS)

    @classmethod
    def make(cls, path: Path, header: Mapping, fill: Callable[[zarr.Group], None]) -> Self:
        """A new store with the arrays that `fill` makes; other processes see nothing of it until it is whole."""
        import zarr

        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            fill(zarr.create_group(partial, attributes={cls.KEY: cls.FORMAT, **header}))
            partial.rename(path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise not_written(path, error) from error
        return cls(path)

    @classmethod
    def is_at(cls, path) -> bool:
        """Whether there is a folder that says it is such a store, damaged or not."""
        try:
            return f'"{cls.KEY}"' in (Path(path) / "zarr.json").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False

    def lock(self) -> FileLock:
        """Held until released or the process ends, however it ends; FileError if another run holds it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / self.RECORDS / _LOCK)  # not in the group, which other readers list
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise FileError(f"{self.path} is in use by another run") from error
        except OSError as error:
            raise not_written(self.path, error) from error
        return lock

    def check_same(self, job: Mapping, X: np.ndarray) -> None:
        """FileError unless the header says what `job` says, and the inputs are the same."""
        for name, value in job.items():
            written = self.header.get(name)
            if written != value:
                difference = _IN_WORDS.get(name, f"its {name} is {written!r}, not {value!r}")
                raise FileError(f"{self.path} is of another job: {difference}")
        self.check_inputs(digest(X))

    def check_inputs(self, expected: str) -> None:
        """FileError if the inputs in the store are not those of this digest."""
        if digest(self.X) != expected:
            raise FileError(f"{self.path} is damaged: its inputs are not those of its run")

    @property
    def X(self) -> np.ndarray:
        return self.array("X")

    def array(self, name: str) -> np.ndarray:
        """An array, whole."""
        try:
            return np.asarray(self.member(name)[:])
        except FileError:
            raise
        except Exception as error:  # what a damaged chunk raises is up to the codecs
            raise FileError(f"{self.path}: {name} is damaged ({error})") from error

    def member(self, name: str) -> Any:
        """An array, to be read or written in parts."""
        if name not in self._members:
            try:
                self._members[name] = self.group[name]
            except Exception as error:  # what a damaged folder raises is up to the library
                raise FileError(f"{self.path} is damaged: {name} is missing or can't be read") from error
        return self._members[name]

    def has(self, part: int) -> bool:
        """Whether the record of a part was written."""
        first = (part, *[0] * (self.records.ndim - 1))
        return (self.path / self.RECORDS / self.records.metadata.encode_chunk_key(first)).exists()

    def record(self, part: int) -> np.ndarray | None:
        """The record of a part, or None if it was not written."""
        if not self.has(part):
            return None
        try:
            return np.asarray(self.records[part])
        except Exception as error:  # as in `array`
            raise FileError(f"{self.path}: the record of {self.PART} {part} is damaged ({error})") from error

    def put(self, array: Any, place, value: np.ndarray) -> None:
        """Write a part of an array, or replace it."""
        try:
            array[place] = value
        except OSError as error:
            raise not_written(self.path, error) from error

    def _opened(self) -> zarr.Group:
        import zarr

        if not self.path.exists():
            raise FileError(f"{self.path} does not exist")
        try:
            return zarr.open_group(self.path, mode="r+" if os.access(self.path, os.W_OK) else "r")
        except Exception as error:  # as in `member`
            raise FileError(
                f"{self.path} is not {self.WHAT}, or it is damaged: it is no Zarr group"
            ) from error

    def _header(self) -> dict:
        header = dict(self.group.attrs)
        number = header.pop(self.KEY, None)
        if number is None:
            raise FileError(f"{self.path} is not {self.WHAT} of ntkflow")
        if number != self.FORMAT:
            raise FileError(
                f"{self.path} is {self.WHAT} of format {number}; this version reads format {self.FORMAT}"
            )
        return header


def checked(*compressors) -> dict[str, Any]:
    """How arrays are written: with a checksum, after what compresses them."""
    from zarr.codecs import BytesCodec, Crc32cCodec

    return {"serializer": BytesCodec(), "compressors": [*compressors, Crc32cCodec()]}


def exists_to_resume(kind: type[Store], path: Path, resume: bool) -> bool:
    """Whether there is a store at `path`; FileError if there is and `resume` is not set, or if none can be made there."""
    if path.suffix != ".zarr":
        raise FileError(f"cannot write {path}: its name must end in .zarr")
    try:
        if not path.parent.is_dir():
            raise FileError(f"cannot write {path}: there is no directory {path.parent}")
        exists = path.exists()
    except OSError as error:
        raise not_written(path, error) from error
    if exists and not resume:
        ways_out = "go on with it by --resume, in Python resume=True, or delete it"
        if not kind.is_at(path):
            ways_out = f"it is not {kind.WHAT}: choose another name"
        raise FileError(f"{path} exists already; {ways_out}")
    return exists


def digest(X: np.ndarray) -> str:
    """SHA-256 of inputs and their shape."""
    return hashlib.sha256(np.ascontiguousarray(X, np.float64).tobytes() + repr(X.shape).encode()).hexdigest()


def not_written(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot write {path}: {error.strerror or error}")
