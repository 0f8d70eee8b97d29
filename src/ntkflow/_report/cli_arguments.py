"""Arguments that several commands share, and the functions that read their text."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import ntkflow

from .._checks.spelling import did_you_mean
from ..errors import ActivationError, DataError, FileError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_UNITS = {"": 1} | {
    prefix + binary: base**power
    for power, prefix in enumerate("KMGT", start=1)
    for binary, base in (("", 1000), ("i", 1024))
}
_TABLE = '{name = "elu", alpha = 0.5}'

Spec = Annotated[
    Path, typer.Argument(metavar="SPEC.toml", help="The network; or module:function that makes it.")
]
Data = Annotated[
    Path,
    typer.Option("--data", metavar="X", help="The inputs, one sample per row: .npy, .npz, .csv or .parquet."),
]
ActivationName = Annotated[
    str,
    typer.Argument(
        metavar="ACTIVATION", help=f"A name such as gelu, a table such as '{_TABLE}', or module:function."
    ),
]
Picture = Annotated[Path | None, typer.Option(metavar="PICTURE.png", help="Where to save a picture.")]
ReplacePicture = Annotated[bool, typer.Option("--force", help="Replace a picture that exists.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, metavar="4", help="Of a store: so many processes compute its parts."),
]
Dask = Annotated[
    str | None,
    typer.Option(
        "--dask", metavar="tcp://…:8786", help="Of a store: the workers of this scheduler compute its parts."
    ),
]
Part = Annotated[
    str | None,
    typer.Option("--part", metavar="3/16", help="Of a store: compute this part of it, one of 16, say."),
]

Training = Annotated[bool, typer.Option("--training", help="The tensors of training too, P, Q, R, S, T, U.")]


class Losses(str, Enum):
    mse = "mse"
    cross_entropy = "cross_entropy"


def fraction(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise DataError(f"--until must be a number or a percentage such as 1%, not {text!r}") from error


def number_of_bytes(text: str) -> int:
    number = text.rstrip("KMGTiB ")
    unit = text[len(number) :].strip()
    try:
        return int(float(number) * _UNITS[unit.removesuffix("B")])
    except (KeyError, ValueError, OverflowError) as error:
        raise DataError(f"--memory must be a number of bytes such as 500MB or 2GiB, not {text!r}") from error


def part_of(text: str | None) -> tuple[int, int] | None:
    """(3, 16) of "3/16"."""
    if text is None:
        return None
    try:
        number, of = map(int, text.split("/"))
    except ValueError as error:
        raise DataError(f"--part must be like 3/16, not {text!r}") from error
    if not 1 <= number <= of:
        raise DataError(f"--part {text}: parts are 1/{of} … {of}/{of}")
    return number, of


def whole_numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise DataError(f"{option} must be whole numbers such as 32,64,128, not {text!r}") from error


def check_output(path: Path, force: bool) -> None:
    from .._disk.storage import check_writable

    try:
        check_writable(path, overwrite=True)
        if path.exists() and not force:
            raise FileError(f"{path} exists; give --force to replace it")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def check_picture(path: Path, force: bool) -> None:
    from .plot import picture_suffixes

    check_file(path, tuple(picture_suffixes()), force)


def check_file(path: Path, suffixes: tuple[str, ...], force: bool) -> None:
    if path.suffix not in suffixes:
        raise FileError(
            f"cannot write {path}: its name must end in {'one of ' if len(suffixes) > 1 else ''}{', '.join(suffixes)}"
        )
    try:
        if not path.parent.is_dir():
            raise FileError(f"cannot write {path}: there is no directory {path.parent}")
        if path.is_dir():
            raise FileError(f"cannot write {path}: it is a directory")
        if path.exists() and not force:
            raise FileError(f"{path} exists; give --force to replace it")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def network(spec: Path, blocks: bool = False) -> ntkflow.MLP:
    """The network of a TOML file, or that `module:name` makes or is; `blocks`: whether a network of blocks may be."""
    from ..network.lift import as_network, without_blocks  # JAX is imported when it is needed

    return cast("ntkflow.MLP", as_network(model(spec)) if blocks else without_blocks(model(spec)))


def model(spec: Path) -> Any:
    """The network of a TOML file, or the model that `module:name` makes or is."""
    from ..network.network import network_from_toml

    name = str(spec)
    if spec.suffix == ".toml" or not _is_imported(name):
        try:
            return network_from_toml(spec)
        except FileError as error:
            if spec.suffix == ".toml" or not all(map(str.isidentifier, name.removesuffix(":").split("."))):
                raise
            raise FileError(f"{error}; a network of a module is written package.module:callable") from error
    imported = _imported(name)
    return _made(name, imported) if inspect.isroutine(imported) or inspect.isclass(imported) else imported


def activation(text: str) -> str | dict | Callable:
    """The activation of that name, of a table as in a specification, or that `module:name` is; a class is called to make it."""
    if text.lstrip().startswith("{"):
        try:
            return tomllib.loads(f"activation = {text}")["activation"]
        except (ValueError, RecursionError) as error:
            raise ActivationError(f"{text} is not a table such as {_TABLE}") from error
    if _is_imported(text):
        activation = _imported(text)
        return _made(text, activation) if inspect.isclass(activation) else activation
    if not text.isidentifier():
        raise ActivationError(
            f"{text!r} is not an activation's name; one with parameters is written {_TABLE}, a function of yours module:function"
        )
    return text


def _is_imported(text: str) -> bool:
    module, _, name = text.partition(":")
    return bool(module) and name.isidentifier()


def _imported(text: str) -> Any:
    """The object `module:name`; modules of the working folder can be imported too."""
    module, _, name = text.partition(":")
    sys.path.insert(0, "")
    with _as_file_error(f"cannot import {text}"):
        imported = importlib.import_module(module)
    if not hasattr(imported, name):
        raise FileError(f"cannot import {text}: {module} has no {name!r}{did_you_mean(name, vars(imported))}")
    return getattr(imported, name)


def _made(text: str, function: Callable) -> Any:
    """The result of calling a user's function or class without arguments."""
    with _as_file_error(f"{text} failed"):
        return function()


@contextmanager
def _as_file_error(what: str) -> Iterator[None]:
    """Turn any exception of a user's module into a FileError that names the line in that module."""
    try:
        yield
    except Exception as error:
        elsewhere = (
            "<",
            str(Path(ntkflow.__file__).parent),
            contextlib.__file__,
            sys.prefix,
            sys.base_prefix,
        )
        user_frames = [
            f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(elsewhere)
        ]
        place = (
            f" ({Path(user_frames[-1].filename).name}, line {user_frames[-1].lineno})" if user_frames else ""
        )
        raise FileError(f"{what}: {type(error).__name__}: {error}{place}") from error


def load_inputs(path: Path, what: str = "inputs") -> np.ndarray | pd.DataFrame:
    from .._disk.input_files import read_inputs

    return read_inputs(path, what)
