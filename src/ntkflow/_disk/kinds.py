"""What a file or folder is, told by little of it."""

from __future__ import annotations

from pathlib import Path

from ..errors import FileError
from .store import KINDS, document_at, kind_at

_HDF5 = b"\x89HDF\r\n\x1a\n"
_OLDER = "ntkflow_version"
_READ_BY = {
    "ntkflow_flow": "ntkflow.Flow.load",
    "ntkflow_tiles": "ntkflow.Flow.load",
    "ntkflow_batches": "ntkflow.Flow.load",
    "ntkflow_kernels": "ntkflow.open_kernels",
    "ntkflow_ensemble": "ntkflow.Ensemble.load",
    "ntkflow_ntk": "ntkflow.load",
    "ntkflow_sweep": "ntkflow.Sweep.load",
}


def kind_of(path) -> str | None:
    """The kind, a key of KINDS, of a store or a NetCDF file, damaged or not; None if it is none of ntkflow.

    Raises:
        FileError: it doesn't exist or can't be read.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise FileError(f"{path} does not exist")
        if path.is_dir():
            return kind_at(path)
        if not path.is_file():
            raise FileError(f"cannot read {path}: it is no file or folder")
        with path.open("rb") as file:
            if file.read(len(_HDF5)) != _HDF5:
                return None
    except (OSError, RuntimeError) as error:
        raise FileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    return _of_netcdf(path)


def known_kind(path, expected: str = "a result of ntkflow") -> str:
    """`kind_of`; FileError, which says what it is, if it is none of ntkflow. What takes long to import isn't needed for that."""
    kind = kind_of(path)
    if kind is None:
        raise of_another_kind(Path(path), expected)
    return kind


def _of_netcdf(path: Path) -> str | None:
    import h5py

    from .netcdf import check_file

    check_file(path)
    try:
        with h5py.File(path, "r") as file:
            if "ntk" in file:
                return "ntkflow_ntk"
            if "ntk_std" in file:
                return "ntkflow_sweep"
            return "ntkflow_flow" if "mlp" in file.attrs else None
    except Exception as error:  # what a damaged file raises is up to the library
        raise FileError(f"cannot read {path}: it is damaged, or not NetCDF") from error


def of_another_kind(path: Path, expected: str) -> FileError:
    """The error that says what is at a path where something else was expected."""
    kind = kind_of(path)
    if kind is not None:
        return FileError(f"{path} is {KINDS[kind]}, not {expected}: {_READ_BY[kind]} reads it")
    if path.is_dir():
        document = document_at(path)
        if document is not None and _OLDER in document["attributes"]:
            return FileError(
                f"{path} is of an older version of ntkflow, without checksums, which this version doesn't read: compute it again"
            )
        return FileError(f"{path} is a folder, and not {expected}, or it is damaged")
    if path.suffix == ".toml":
        return FileError(f"{path} is not {expected}: MLP.from_toml and Recipe.load read TOML")
    return FileError(f"{path} is not {expected}, or it is damaged: it is not of ntkflow")
