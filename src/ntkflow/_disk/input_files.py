"""Inputs from files: .npy, .npz, CSV and Parquet."""

from __future__ import annotations

import itertools
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._checks.extras import needs
from .._checks.spelling import did_you_mean
from ..errors import FileError

if TYPE_CHECKING:
    import pandas as pd

_TEXT = (".csv", ".tsv", ".txt")
KINDS = "a .npy, .npz, .csv or .parquet file of numbers"
_LOOKED_AT = 100  # lines
_ENCODING = "utf-8-sig"  # of spreadsheets, and plain UTF-8


def read_inputs(path: str | Path, what: str = "inputs") -> np.ndarray | pd.DataFrame:
    """The array or the columns in a file; the caller must check them.

    Args:
        path: of a .npy file; of a .npz file, with the array's name behind a colon if it holds several, `digits.npz:x_train`; of
            numbers as text (.csv, .tsv, .txt) separated by commas, semicolons, tabs or blanks, with or without a line of names; or
            of a Parquet file.
        what: what messages call it.

    Raises:
        FileError: the file can't be read, or holds several arrays; the message names them.
        MissingExtraError: a Parquet file, and no library that reads it.
    """
    file, array_name = _split(path)
    try:
        if file.suffix.lower() in _TEXT:
            return _text(file)
        if file.suffix.lower() in (".parquet", ".pq"):
            return _parquet(file)
        return _numpy(file, array_name, what)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read the {what} {file}: {error.strerror or error}") from error
    except ImportError:
        raise
    except UnicodeDecodeError as error:
        raise FileError(f"cannot read the {what} {file}: it isn't text in UTF-8 ({error})") from error
    except Exception as error:  # what a damaged file raises is up to the libraries that parse it
        raise FileError(
            f"cannot read the {what} {file}: it isn't {KINDS} ({str(error).splitlines()[0]})"
        ) from error


def _split(path: str | Path) -> tuple[Path, str]:
    """`digits.npz:x_train` as the file and the array's name in it."""
    file, dot, array_name = str(path).partition(".npz:")
    return (Path(f"{file}.npz"), array_name) if dot else (Path(path), "")


def _numpy(file: Path, array_name: str, what: str) -> np.ndarray:
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    if array_name and array_name not in arrays:
        raise FileError(
            f"{file} holds no array {array_name!r}{did_you_mean(array_name, arrays)}; it holds {_named(arrays)}"
        )
    if not array_name and len(arrays) != 1:
        first = next(iter(arrays), "NAME")
        raise FileError(
            f"cannot read the {what} {file}: it holds {_named(arrays) or 'no array'}; choose one, such as {file}:{first}"
        )
    return arrays[array_name or next(iter(arrays))]


def _named(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items())


def _text(file: Path) -> pd.DataFrame:
    """Columns by their names; if the first line is of numbers, by their places."""
    import pandas as pd

    first, following = _beginning(file)
    separator = max(";\t,", key=first.count)
    if separator not in first:
        separator = r"\s+"
    # Numbers written as 0,5 are separated by semicolons.
    decimal = "," if separator == ";" and "," in following else "."
    cells, second_cells = (re.split(separator, line) for line in (first, following.partition("\n")[0]))
    if len(second_cells) > len(cells):
        raise FileError(
            f"{file}: its second line has {len(second_cells)} entries, and its first line {len(cells)}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns of mixed types, which are refused
        return pd.read_csv(
            file, sep=separator, header=0 if _are_names(cells, decimal) else None, decimal=decimal, comment="#",
            encoding=_ENCODING, skipinitialspace=True,
        )  # fmt: skip


def _beginning(file: Path) -> tuple[str, str]:
    """The first line that isn't empty or a comment, and up to a hundred such lines that follow."""
    with file.open(encoding=_ENCODING) as lines:
        content = (line.strip() for line in lines if line.strip() and not line.startswith("#"))
        return next(content, ""), "\n".join(itertools.islice(content, _LOOKED_AT))


def _are_names(cells: list[str], decimal: str) -> bool:
    """Whether the first line names columns: no cell is a number, or the numbers count 0, 1, 2, … or 1, 2, 3, …."""
    cells = [cell.strip().strip('"') for cell in cells]
    numbers = [cell for cell in cells if _is_number(cell, decimal)]
    counted = [[str(i + first) for i in range(len(numbers))] for first in (0, 1)]
    return not numbers or (len(numbers) > 2 and numbers in counted)


def _parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    file.open("rb").close()
    with needs("parquet", f"{file}, a Parquet file,"):
        return pd.read_parquet(file)


def _is_number(cell: str, decimal: str) -> bool:
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return False
    return True
