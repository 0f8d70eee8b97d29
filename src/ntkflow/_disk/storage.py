"""Datasets on disk: as a store, whose folder's name ends in `.zarr`, or as a NetCDF file, `.nc`; replaced whole or not at all."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FileError
from .atomic import not_written, replaced
from .locks import OF_RECORDS, of_run
from .store import Store, checked, kind_at

if TYPE_CHECKING:
    import xarray as xr
    import zarr

SUFFIXES = (".nc", ".zarr")
_CHUNK = 2**22  # numbers


def write(dataset: xr.Dataset, path, kind: type[Store], overwrite: bool = False) -> None:
    """Write `dataset` to `path`, which ends in `.nc` or `.zarr`; as a store it is of this kind.

    What is there is replaced only when all is written; a folder only if it is a store of ntkflow.

    Raises:
        FileError: the path exists and `overwrite` is not set, has another suffix, is in use or can't be written.
    """
    path = Path(path)
    check_writable(path, overwrite)
    if path.suffix == ".nc":
        from .netcdf import write_netcdf

        with replaced(path, overwrite) as temporary:
            write_netcdf(dataset, temporary)
        return
    check_unused(path)
    kind.make(path, dataset.attrs, lambda group: fill(group, dataset), overwrite)


def fill(group: zarr.Group, dataset: xr.Dataset) -> None:
    """Write all variables of a dataset to a new store."""
    from zarr.codecs import ZstdCodec

    packed = checked(ZstdCodec(level=1))
    fill_values = {"f": np.nan, "i": 0, "u": 0, "U": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # texts have no place in Zarr's specification yet
        for name, variable in dataset.variables.items():
            group.create_array(
                str(name), data=np.ascontiguousarray(variable.values), chunks=_chunks(variable.shape),
                fill_value=fill_values[variable.dtype.kind], dimension_names=[str(dim) for dim in variable.dims],
                attributes=dict(variable.attrs), **packed,
            )  # fmt: skip


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Some 32 MB each: the last axes whole, as many as fit."""
    chunks = list(shape)
    for axis, n in enumerate(shape):
        rest = math.prod(shape[axis + 1 :])
        chunks[axis] = min(n, max(1, _CHUNK // max(1, rest)))
        if chunks[axis] > 1 or rest <= _CHUNK:
            break
    return tuple(max(1, n) for n in chunks)


def check_unused(path: Path) -> None:
    """FileError if a run is at work on the store at this path."""
    if path.is_dir() and (path / OF_RECORDS).is_dir():
        of_run(path).release()


def check_writable(path: Path, overwrite: bool) -> None:
    """FileError if `write` would refuse this path."""
    if path.suffix not in SUFFIXES:
        raise FileError(f"cannot write {path}: its name must end in {' or '.join(SUFFIXES)}")
    try:
        exists, folder = path.exists(), path.is_dir()
        if not path.resolve().parent.is_dir():
            raise FileError(f"cannot write {path}: there is no directory {path.parent}")
    except OSError as error:
        raise not_written(path, error) from error
    except RuntimeError as error:  # a link that leads to itself, in Python 3.11 and 3.12
        raise FileError(f"cannot write {path}: {error}") from error
    if exists and not overwrite:
        raise FileError(f"{path} exists already; overwrite=True replaces it")
    if exists and (path.suffix == ".zarr") is not folder:
        raise FileError(f"cannot write {path}: it is a {'directory' if folder else 'file'}")
    if folder and kind_at(path) is None:
        raise FileError(f"cannot write {path}: it is a directory, and not a store of ntkflow")
