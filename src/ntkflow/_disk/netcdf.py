"""NetCDF files, for other programs and for one file in the place of a folder: a checksum over all that is read stands in their attributes.

HDF5 may wait for ever for what is damaged: behind its last byte, where it doesn't look, stands a checksum of all but the variables' numbers, which is
looked at first; the numbers are summed while they are read. HDF5 stops the process where the disk is full, reads whatever other files a file names, and
unpacks whatever a file holds: room is made sure of before, and only the variables that are known are read, with the shapes that they must have.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from ..errors import FileError, NtkflowError
from .sealed import digest_of

if TYPE_CHECKING:
    from io import BufferedIOBase, FileIO

    import xarray as xr

CHECKSUM = "ntkflow_checksum"
_OF_HDF5 = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS")
_MARGIN = 2**20  # bytes of metadata
_PIECE = 2**26  # bytes
_IN_CACHE = 2**20  # bytes, read and summed while a core's cache has them
_TRAILER = b"\nntkflow metadata"  # before it the places of numbers, how many these are, and the checksum
_ENDS = struct.Struct("<II")

Shapes = Mapping[str, tuple[tuple[str, ...] | None, tuple[int, ...]]]
"""Of variables by name: their dimensions, None for any, and their shape."""


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset to a new file; OSError if it can't be."""
    _make_room(path, dataset.nbytes + _MARGIN)
    checked = dataset.assign_attrs({CHECKSUM: checksum(dataset)})
    checked.to_netcdf(path, engine="h5netcdf")
    with path.open("r+b") as file:
        places = _places_of_numbers(path)
        size = file.seek(0, os.SEEK_END)
        packed = places.astype("<u8").tobytes()
        crc = google_crc32c.extend(_crc_around(file, places, size), packed)
        file.seek(size)
        file.write(packed + _ENDS.pack(len(places), crc) + _TRAILER)


def check_file(path: Path) -> None:
    """FileError if a file ends in a checksum and doesn't fit it, the variables' numbers apart; files of other programs end in none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END) - len(_TRAILER) - _ENDS.size
            if size < 0:
                return
            file.seek(size)
            count, written = _ENDS.unpack(file.read(_ENDS.size))
            if file.read() != _TRAILER:
                return
            size -= 16 * count
            if size < 0 or written != _crc_of_metadata(file, count, size):
                raise FileError(f"{path} is damaged: it does not fit its checksum")
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error


def _crc_of_metadata(file: BufferedIOBase, count: int, size: int) -> int | None:
    """The checksum of a file of so many bytes before its trailer; None where the places are none."""
    file.seek(size)
    packed = file.read(16 * count)
    places = np.frombuffer(packed, "<u8").reshape(count, 2)
    bounds = places.ravel().tolist()
    if bounds != sorted(bounds) or any(bound > size for bound in bounds):
        return None
    return google_crc32c.extend(_crc_around(file, places, size), packed)


def _places_of_numbers(path: Path) -> np.ndarray:
    """Where a file's first and last bytes of each variable's numbers are, (variables, 2), in order."""
    import h5py

    with h5py.File(path, "r") as file:
        places = [place for name in file if (place := _place(file[name])) is not None]
    return np.array(sorted(places), np.uint64).reshape(-1, 2)


def _place(array: Any) -> tuple[int, int] | None:
    """Where the numbers of a variable lie as NumPy has them, in one piece; None for texts, and for what is packed or empty."""
    offset = array.id.get_offset()
    if (
        offset is None
        or array.chunks is not None
        or array.dtype.kind not in "fiu"
        or not array.dtype.isnative
    ):
        return None
    size = array.id.get_storage_size()
    return (offset, offset + size) if size == array.nbytes else None


def _crc_around(file: BufferedIOBase, places: np.ndarray, size: int) -> int:
    """The checksum of a file's first bytes, without those at the places."""
    bounds, crc, buffer = [0, *places.ravel().tolist(), size], 0, np.empty(_IN_CACHE, np.uint8)
    for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
        for begin in range(start, stop, _IN_CACHE):
            crc = _crc_into(file, begin, buffer[: stop - begin], crc)
    return crc


def _crc_into(file: BufferedIOBase | FileIO, start: int, flat: np.ndarray, crc: int = 0) -> int:
    """Read bytes from a place of a file, and extend a checksum by them while they are in a core's cache; OSError if there are too few."""
    file.seek(start)
    for begin in range(0, len(flat), _IN_CACHE):
        piece = flat[begin : begin + _IN_CACHE]
        if file.readinto(piece.data) != len(piece):
            raise OSError(0, "it ends before its numbers do")
        crc = google_crc32c.extend(crc, piece)
    return crc


def read_netcdf(
    path: Path, known: Callable[[Mapping[str, Any], Mapping[str, tuple[int, ...]]], Shapes]
) -> tuple[xr.Dataset, bool]:
    """The dataset in a file, and whether it has a checksum, which it fits.

    Args:
        path: the file's.
        known: from the attributes, and the shapes of all variables, those that are to be read and what they must be.

    Raises:
        FileError: it is damaged, or not what is to be read.
    """
    import h5py
    import xarray as xr

    try:
        with h5py.File(path, "r") as file, path.open("rb", buffering=0) as raw:
            attributes = {
                name: _attribute(file.attrs[name]) for name in file.attrs if not name.startswith("_")
            }
            arrays = {str(name): item for name in file if (item := _own(file, str(name))) is not None}
            shapes = known(attributes, {name: array.shape for name, array in arrays.items()})
            variables, sums = {}, {}
            for name, (dims, shape) in shapes.items():
                array = arrays[name]
                if array.shape != shape or array.dtype.kind not in "fiuO" or dims not in (None, _dims(array)):
                    raise FileError(f"{path} is damaged: {name} does not fit the network and inputs")
                values, sums[name] = _values(array, raw)
                variables[name] = (_dims(array), values, _attributes(array))
    except NtkflowError:
        raise
    except Exception as error:  # what a damaged file raises is up to the library
        raise FileError(f"cannot read {path}: it is damaged, or not NetCDF") from error
    written = attributes.pop(CHECKSUM, None)
    dataset = xr.Dataset(variables, attrs=attributes)
    if written is not None and written != checksum(dataset, sums):
        raise FileError(f"{path} is damaged, or was changed by another program: it does not fit its checksum")
    return dataset, written is not None


def checksum(dataset: xr.Dataset, sums: Mapping[str, int | None] | None = None) -> str:
    """A digest of the attributes and of all variables: their names, dimensions, types, shapes and values.

    Args:
        sums: of the variables' numbers, where they are known.
    """
    variables = {
        str(name): [
            list(variable.dims),
            list(variable.shape),
            dict(variable.attrs),
            *_content(variable.values, (sums or {}).get(str(name))),
        ]
        for name, variable in dataset.variables.items()
    }
    return digest_of({"attributes": dataset.attrs, "variables": variables})


def _content(values: np.ndarray, crc: int | None) -> tuple[str, Any]:
    """The type of an array and the checksum of its numbers; or its texts."""
    if values.dtype.kind in "OU":
        return "text", values.tolist()
    return values.dtype.str, _crc(values) if crc is None else crc


def _crc(values: np.ndarray) -> int:
    flat, crc = np.ascontiguousarray(values).reshape(-1).view(np.uint8), 0
    for start in range(0, len(flat), _PIECE):
        crc = google_crc32c.extend(crc, flat[start : start + _PIECE])
    return crc


def _make_room(path: Path, size: int) -> None:
    """OSError unless the disk has room for a file of so many bytes."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)


def _own(file: Any, name: str) -> Any:
    """A variable whose numbers are in the file itself; None for others."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return None
    item = file[name]
    return item if isinstance(item, h5py.Dataset) and item.external is None and not item.is_virtual else None


def _dims(array: Any) -> tuple[str, ...]:
    if array.is_scale and array.ndim == 1:
        return (array.name.lstrip("/"),)
    return tuple(dim[0].name.lstrip("/") for dim in array.dims)


def _values(array: Any, raw: FileIO) -> tuple[np.ndarray, int | None]:
    """A variable's values, and the checksum of these where they are summed while they are read from the file."""
    if array.dtype.kind == "O":
        return np.asarray(array.asstr()[...], str), None
    place = _place(array)
    if place is None:
        return array[...].astype(array.dtype.newbyteorder("="), copy=False), None
    values = np.empty(array.shape, array.dtype)
    return values, _crc_into(raw, place[0], values.reshape(-1).view(np.uint8))


def _attributes(item: Any) -> dict[str, Any]:
    """The attributes of a file or a variable, without those by which NetCDF is made of HDF5."""
    names = (name for name in item.attrs if not name.startswith("_") and name not in _OF_HDF5)
    return {name: _attribute(item.attrs[name]) for name in names}


def _attribute(value: Any) -> Any:
    """A number or a text as Python has it."""
    if isinstance(value, np.ndarray | np.generic) and np.size(value) == 1:
        return np.asarray(value).reshape(-1)[0].item()
    return value
