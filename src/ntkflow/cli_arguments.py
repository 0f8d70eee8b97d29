"""What commands take: arguments that several share, and how their text is read."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ntkflow
from ntkflow.errors import DataError, FileError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_UNITS = {"": 1} | {
    prefix + binary: base**power
    for power, prefix in enumerate("KMGT", start=1)
    for binary, base in (("", 1000), ("i", 1024))
}


Spec = Annotated[
    Path, typer.Argument(metavar="SPEC.toml", help="The network; or module:function that makes it.")
]
Data = Annotated[
    Path,
    typer.Option("--data", metavar="X", help="The inputs, one sample per row: .npy, .npz, .csv or .parquet."),
]
Picture = Annotated[Path | None, typer.Option(metavar="PICTURE.png", help="Where to save a picture.")]
ReplacePicture = Annotated[bool, typer.Option("--force", help="Replace a picture that exists.")]


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


def whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise DataError(f"--widths must be whole numbers such as 32,64,128, not {text!r}") from error


def check_output(path: Path, force: bool) -> None:
    from ntkflow.storage import check_writable

    try:
        check_writable(path, overwrite=True)
        if path.exists() and not force:
            raise FileError(f"{path} exists; give --force to replace it")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def check_picture(path: Path, force: bool) -> None:
    from ntkflow.plot import picture_suffixes

    if path.suffix not in picture_suffixes():
        raise FileError(f"cannot write {path}: its name must end in one of {', '.join(picture_suffixes())}")
    try:
        if not path.parent.is_dir():
            raise FileError(f"cannot write {path}: there is no directory {path.parent}")
        if path.is_dir():
            raise FileError(f"cannot write {path}: it is a directory")
        if path.exists() and not force:
            raise FileError(f"{path} exists; give --force to replace it")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def network(spec: Path) -> ntkflow.MLP:
    """The network of a TOML file, or that `module:name` makes or is; modules of the working folder are found too."""
    module, _, name = str(spec).partition(":")
    if spec.suffix == ".toml" or not name.isidentifier():
        return ntkflow.MLP.from_toml(spec)
    sys.path.insert(0, "")
    try:
        network = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise FileError(f"cannot find the network {spec}: {error}") from error
    if inspect.isroutine(network) or inspect.isclass(network):
        try:
            inspect.signature(network).bind()
        except TypeError as error:
            raise FileError(
                f"{spec} must be a function that makes the network without arguments: {error}"
            ) from error
        network = network()
    return ntkflow.as_mlp(network)


def load_inputs(path: Path, what: str = "inputs") -> np.ndarray | pd.DataFrame:
    from ntkflow.input_files import read_inputs

    return read_inputs(path, what)
