"""Results on disk: a Zarr group with a header in its attributes, its arrays, and records of what was written.

The group's `zarr.json` holds the metadata of all arrays and a digest of itself. Records are files of the subgroup `records`, which other
readers don't look into: `begin` is of the arrays that were written when the store was made, and of jobs that are done in parts each
part has one. A record lists the checksums of its chunks, so that a chunk that is missing, another's or of another store is noticed; each chunk
ends in the checksum of its content. Which parts are done is which chunks of the array RECORDS are there. One run at a time holds the lock.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..errors import FileError, NtkflowError, UnfinishedError
from .atomic import not_written, replaced
from .locks import OF_RECORDS, of_run
from .sealed import DIGEST, MOST, digest_of, parsed, read_record, write_json, write_record

# Imported where they are needed: they take longer than all of ntkflow.
if TYPE_CHECKING:
    import xarray as xr
    import zarr
    from filelock import FileLock

FORMAT = 4
KINDS = {
    "ntkflow_flow": "a flow",
    "ntkflow_tiles": "a flow by tiles",
    "ntkflow_batches": "a flow by batches of sample sets",
    "ntkflow_kernels": "infinite-width kernels",
    "ntkflow_ensemble": "an ensemble",
    "ntkflow_ntk": "the NTK of one network",
    "ntkflow_sweep": "a sweep",
}
"""Of each kind of store the attribute that holds the number of its format, and what it is."""

FLOWS = ("ntkflow_flow", "ntkflow_tiles", "ntkflow_batches")
"""Those that are flows."""

BEGIN = "begin"
_ID = "ntkflow_store"
_IN_WORDS = {"X_sha256": "other inputs", "mlp": "another network", "callable_activations": "another network"}


class Store:
    """A result's folder; FileError whenever it can't be made, read or written, or is not one.

    Subclasses name the attribute that says what they are (KEY), and for jobs in parts the array of which each part writes one chunk last
    (RECORDS), and what a part is (PART), and several (PARTS).
    """

    KEY: ClassVar[str]
    FORMAT: ClassVar[int] = FORMAT
    RECORDS: ClassVar[str] = ""
    PART: ClassVar[str] = ""
    PARTS: ClassVar[str] = ""

    def __init__(self, path: Path):
        self.path = path
        self._open()

    def _open(self) -> None:
        import zarr

        from .files import Files

        self._members: dict[str, Any] = {}
        self._record = functools.lru_cache(maxsize=64)(self._read_record)
        document = self._verified_document()
        with self._reading("its metadata"):
            self._attributes: dict[str, Any] = document["attributes"]
            self.id: str = self._attributes[_ID]
            members = document["consolidated_metadata"]["metadata"]
            self._arrays: dict[str, dict] = {
                name: member for name, member in members.items() if member["node_type"] == "array"
            }
            self._check_arrays()
            metadata = {f"{name}/zarr.json": array for name, array in self._arrays.items()}
            self.files = Files(
                self.path, read_only=not os.access(self.path, os.W_OK), metadata=metadata | {"zarr.json": document},
                expected=self._expected,
            )  # fmt: skip
            mode = "r" if self.files.read_only else "r+"
            self.group = zarr.open_group(self.files, mode=mode, use_consolidated=True)

    @property
    def header(self) -> dict[str, Any]:
        """What the store says of its job."""
        return {
            name: value for name, value in self._attributes.items() if name not in (self.KEY, _ID, DIGEST)
        }

    @classmethod
    def what(cls) -> str:
        return KINDS[cls.KEY]

    @classmethod
    def make(
        cls, path: Path, header: Mapping, fill: Callable[[zarr.Group], None], overwrite: bool = False
    ) -> Self:
        """A new store with the arrays that `fill` makes; other processes see nothing of it until it is whole."""
        import zarr

        from .files import Files

        with replaced(path, overwrite) as partial:
            files = Files(partial)
            identity = uuid.uuid4().hex
            attributes = {cls.KEY: cls.FORMAT, _ID: identity, **header}
            fill(zarr.create_group(files, attributes=attributes))
            zarr.create_group(files, path=OF_RECORDS)
            write_record(partial / OF_RECORDS, identity, BEGIN, files.written)
            _seal(partial, attributes)
        return cls(path)

    @classmethod
    def is_at(cls, path) -> bool:
        """Whether there is a folder that says it is such a store, damaged or not."""
        return kind_at(path) == cls.KEY

    def lock(self) -> FileLock:
        """Held until released or the process ends, however it ends; FileError if another run holds it."""
        return of_run(self.path)

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

    @property
    def names(self) -> list[str]:
        """The arrays' names."""
        return list(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._arrays[name]["shape"]) if name in self._arrays else ()

    def chunks(self, name: str) -> tuple[int, ...]:
        return tuple(self._arrays[name]["chunk_grid"]["configuration"]["chunk_shape"])

    def dims(self, name: str) -> tuple[str, ...]:
        return tuple(self._arrays[name]["dimension_names"] or ())

    def dtype(self, name: str) -> str:
        return self._arrays[name]["data_type"]

    def array(self, name: str, index: int | slice = np.s_[:]) -> np.ndarray:
        """An array, whole or at an index of its first axis."""
        with self._reading(name):
            return np.asarray(self.member(name)[index])

    def member(self, name: str) -> Any:
        """An array, to be read or written in parts."""
        if name not in self._members:
            with self._reading(name):
                self._members[name] = self.group[name]
        return self._members[name]

    def dataset(self, names: Iterable[str]) -> xr.Dataset:
        """The dataset of some arrays, in memory."""
        import xarray as xr

        variables = {
            name: (self.dims(name), self.array(name), self._arrays[name]["attributes"]) for name in names
        }
        return xr.Dataset(variables, attrs=self.header)

    def to_xarray(self) -> xr.Dataset:
        """The dataset of all arrays, which are read, and verified, when they are looked at."""
        import xarray as xr

        with self._reading("its metadata"):
            return xr.open_zarr(self.files, consolidated=True, chunks=None)

    @property
    def records(self) -> Any:
        """The array of which each part writes one chunk."""
        return self.member(self.RECORDS)

    @property
    def parts(self) -> int:
        """How many parts the job has; 0 if it was written at once."""
        return self.shape(self.RECORDS)[0] if self.RECORDS else 0

    @property
    def done(self) -> int:
        """How many parts are done."""
        try:
            numbers = [int(name) for name in os.listdir(self.path / self.RECORDS / "c") if name.isdecimal()]
            return sum(self.has(part) for part in numbers if part < self.parts)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise FileError(f"{self.path} can't be read: {error.strerror}") from error

    def check_finished(self) -> None:
        """FileError, saying how many parts are done, unless all are."""
        if self.unfinished:
            raise UnfinishedError(f"{self.path} is unfinished: {self.unfinished}; resume it")

    @property
    def unfinished(self) -> str:
        """How much is done, in words, if not all is."""
        return f"{self.done} of {self.parts} {self.PARTS} are done" if self.done < self.parts else ""

    def has(self, part: int) -> bool:
        """Whether a part is done."""
        return (self.path / self._record_chunk(part)).exists()

    def record(self, part: int) -> np.ndarray | None:
        """What a part wrote to RECORDS, or None if it is not done."""
        if not self.has(part):
            return None
        with self._reading(f"the record of {self.PART} {part}"):
            return np.asarray(self.records[part])

    def put(self, array: Any, place, value: np.ndarray) -> None:
        """Write whole chunks of an array, or replace them."""
        try:
            with self.files.replacing():
                array[place] = value
        except OSError as error:
            raise not_written(self.path, error) from error

    def finish(self, part: int, value: np.ndarray) -> None:
        """Record that a part is done, whose chunks were written since the last one was: `value` is what it writes to RECORDS."""
        from .files import checksum_of

        chunk = {self._record_chunk(part): checksum_of(np.ascontiguousarray(value, "<f8").tobytes())}
        self.write_record(str(part), chunk)
        self.put(self.records, part, value)
        self.files.written.clear()

    def write_record(self, name: str, further: Mapping = MappingProxyType({})) -> None:
        """Write the record of all chunks that were written since the last one was, and of further ones."""
        try:
            write_record(self.path / OF_RECORDS, self.id, name, {**self.files.written, **further})
        except OSError as error:
            raise not_written(self.path, error) from error
        self._record.cache_clear()
        self.files.written.clear()

    def has_record(self, name: str) -> bool:
        return (self.path / OF_RECORDS / f"{name}.json").exists()

    def update(self, attributes: Mapping) -> None:
        """Change attributes of the header, and take over what arrays' own metadata say."""
        try:
            _seal(self.path, {**self._attributes, **attributes})
        except OSError as error:
            raise not_written(self.path, error) from error
        self._open()

    def begun_with(self, name: str) -> bool:
        """Whether an array was written when the store was made, and not by parts."""
        return name != self.RECORDS

    def record_of(self, name: str, place: tuple[int, ...]) -> str | None:
        """The record that lists a chunk of an array; None if the chunk itself says which one it is."""
        del place
        return BEGIN if self.begun_with(name) else None

    def check(self) -> int:
        """Verify every file of the store: how many bytes they have. FileError names the first one that is damaged."""
        from .files import chunk

        total = 0
        for name in self.record_names():
            for key, (size, checksum) in self._record(name).items():
                chunk(self.path, key, size, checksum)
                total += size
        return total

    def record_names(self) -> list[str]:
        """The records of what is done."""
        parts = [part for part in range(self.parts) if self.has(part)] if self.done else []
        return [BEGIN, *(str(part) for part in parts)]

    def _record_chunk(self, part: int) -> str:
        return "/".join([self.RECORDS, "c", str(part), *["0"] * (len(self.shape(self.RECORDS)) - 1)])

    def _expected(self, key: str) -> tuple[int, str | None]:
        """See `files.Files`."""
        from .files import CHECKSUM

        name, _, place = key.partition("/c/")
        record = self.record_of(name, tuple(map(int, place.split("/"))))
        if record is None:
            return 8 * math.prod(self.chunks(name)) + CHECKSUM, None  # float64, not compressed
        try:
            size, checksum = self._record(record)[key]
        except KeyError as error:
            raise FileError(f"{self.path}: {key} is missing: it was never written") from error
        return size, checksum

    def _read_record(self, name: str) -> dict:
        from .files import contents

        try:
            return read_record(contents(self.path, f"{OF_RECORDS}/{name}.json", MOST), self.id, name)
        except FileError as error:
            raise FileError(f"{self.path} is damaged: {error}") from error

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """FileError in the place of any other exception: what damaged files raise is up to the libraries that parse them."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except NtkflowError:
            raise
        except Exception as error:
            raise FileError(
                f"{self.path}: {what} can't be read: it is missing or damaged ({error})"
            ) from error

    def _verified_document(self) -> dict:
        """The group's metadata, of this kind and format and undamaged."""
        try:
            if not self.path.exists():
                raise FileError(f"{self.path} does not exist")
        except OSError as error:
            raise FileError(f"cannot read {self.path}: {error.strerror}") from error
        what = self.what()
        document = document_at(self.path)
        if document is None:
            from .kinds import kind_of, of_another_kind

            if kind_of(self.path) not in (None, self.KEY):
                raise of_another_kind(self.path, what)
            raise FileError(f"{self.path} is not {what}, or it is damaged: it is no Zarr group")
        number = document["attributes"].get(self.KEY)
        if number is None:
            raise FileError(f"{self.path} {_of_another_kind(document['attributes'])}not {what} of ntkflow")
        if number != self.FORMAT:
            raise FileError(
                f"{self.path} is {what} of format {number}; this version reads format {self.FORMAT}"
            )
        if document["attributes"].get(DIGEST) != digest_of(without_digest(document)):
            raise FileError(
                f"{self.path} is damaged, or was changed by another program: its metadata don't fit their digest"
            )
        return document

    def _check_arrays(self) -> None:
        """FileError unless every array's own metadata are what the group says, and the records hold each of its chunks."""
        from .files import contents

        begun = self._record(BEGIN)
        for name, array in self._arrays.items():
            try:
                own = parsed(contents(self.path, f"{name}/zarr.json", MOST))
            except (FileError, ValueError) as error:
                raise FileError(f"{self.path} is damaged: {name} is missing or can't be read") from error
            # Where parts are added, the array's own metadata know of them first.
            if own | {"shape": array["shape"]} != array:
                raise FileError(f"{self.path} is damaged: the metadata of {name} are not what was written")
            if self.begun_with(name):
                number = math.prod(-(-n // c) for n, c in zip(array["shape"], self.chunks(name), strict=True))
                listed = sum(key.startswith(f"{name}/c/") for key in begun)
                if number != listed:
                    raise FileError(f"{self.path} is damaged: {name} has {listed} chunks, not {number}")


def document_at(path: Path) -> dict | None:
    """The metadata of a Zarr group, verified or not; None if there is none at the path."""
    from .files import contents

    try:
        document = parsed(contents(path, "zarr.json", MOST))
    except (FileError, ValueError):
        return None
    return document if isinstance(document.get("attributes"), dict) else None


def kind_at(path) -> str | None:
    """The KEY of the store in a folder, damaged or not; None if it says of none that it is one."""
    try:
        with (Path(path) / "zarr.json").open(encoding="utf-8") as file:
            text = file.read(MOST)
    except (OSError, UnicodeDecodeError):
        return None
    return next((key for key in KINDS if f'"{key}"' in text), None)


def _of_another_kind(attributes: Mapping) -> str:
    """What a store is, for a sentence; older versions of ntkflow wrote other attributes."""
    other = next((what for key, what in KINDS.items() if key in attributes), None)
    if other is None and "ntkflow_version" in attributes:
        return "is of an older version of ntkflow, without checksums, which this version doesn't read: "
    return "is " if other is None else f"is {other}, "


def _seal(folder: Path, attributes: Mapping) -> None:
    """Write the group's metadata, with those of all arrays and a digest of them."""
    arrays = {
        file.parent.name: parsed(file.read_bytes())
        for file in sorted(folder.glob("*/zarr.json"))
        if file.parent.name != OF_RECORDS
    }
    document = {
        "zarr_format": 3, "node_type": "group", "attributes": dict(attributes),
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }  # fmt: skip
    document["attributes"][DIGEST] = digest_of(without_digest(document))
    write_json(folder / "zarr.json", document)


def without_digest(document: Mapping) -> dict:
    attributes = {name: value for name, value in document["attributes"].items() if name != DIGEST}
    return {**document, "attributes": attributes}


def checked(*compressors) -> dict[str, Any]:
    """How arrays are written: with a checksum, after what compresses them, and every chunk, whatever is in it."""
    from zarr.codecs import BytesCodec, Crc32cCodec

    return {
        "serializer": BytesCodec(),
        "compressors": [*compressors, Crc32cCodec()],
        "config": {"write_empty_chunks": True},
    }


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
            ways_out = f"it is not {kind.what()}: choose another name"
        raise FileError(f"{path} exists already; {ways_out}")
    return exists


def digest(X: np.ndarray) -> str:
    """SHA-256 of inputs and their shape."""
    return hashlib.sha256(np.ascontiguousarray(X, np.float64).tobytes() + repr(X.shape).encode()).hexdigest()
