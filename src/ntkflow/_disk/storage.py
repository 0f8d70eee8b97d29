"""Labelled arrays on disk: NetCDF and Zarr, replaced whole or not at all."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .._theory.tiles.store import TileStore
from ..errors import FileError

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".nc", ".zarr")


def write(dataset: xr.Dataset, path, overwrite: bool = False) -> None:
    """Write `dataset` to `path`, which ends in `.nc` or `.zarr`.

    What is there is replaced only when all is written; a folder only if it is a Zarr store.

    Raises:
        FileError: the path exists and `overwrite` is not set, has another suffix, or can't be written.
    """
    path = Path(path)
    check_writable(path, overwrite)
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".nc":
            dataset.to_netcdf(partial, engine="h5netcdf")
        else:
            dataset.to_zarr(partial, mode="w", consolidated=False)
            if path.exists():
                shutil.rmtree(path)
        partial.replace(path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink(missing_ok=True)
        raise FileError(f"cannot write {path}: {error.strerror or 'the disk may be full'}") from error


def check_writable(path: Path, overwrite: bool) -> None:
    """FileError if `write` would refuse this path."""
    if path.suffix not in SUFFIXES:
        raise FileError(f"cannot write {path}: its name must end in {' or '.join(SUFFIXES)}")
    try:
        exists, folder = path.exists(), path.is_dir()
        if not path.parent.is_dir():
            raise FileError(f"cannot write {path}: there is no directory {path.parent}")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error
    if exists and not overwrite:
        raise FileError(f"{path} exists already; overwrite=True replaces it")
    if folder and not (path.suffix == ".zarr" and (path / "zarr.json").exists()):
        raise FileError(f"cannot write {path}: it is a directory, and not a Zarr store")


def read(path) -> xr.Dataset:
    """The dataset at `path`, in memory, or for a finished store of tiles on disk; FileError if there is none or it can't be read."""
    import xarray as xr

    path = Path(path)
    if not path.exists():
        raise FileError(f"{path} does not exist")
    if TileStore.is_at(path):
        TileStore(path).check_finished()
        return _of_tiles(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix == ".zarr":
                opened = xr.open_zarr(path, consolidated=False)
            else:
                opened = xr.open_dataset(path, engine="h5netcdf")
            with opened as dataset:
                return dataset.load()
    except Exception as error:  # what a damaged file raises is up to the libraries that parse it
        raise FileError(f"cannot read {path}: it is damaged, or not NetCDF or Zarr") from error


def _of_tiles(path: Path) -> xr.Dataset:
    """A store's dataset, of which only what is small and always looked at is read now."""
    import xarray as xr

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = xr.open_zarr(path, consolidated=False, chunks=None)
            return dataset.assign({name: dataset[name].load() for name in ("X", "sets", "largest")})
    except Exception as error:  # as in `read`
        raise FileError(f"{path} is damaged ({error})") from error
