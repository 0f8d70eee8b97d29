"""Inputs from files: .npy, .npz, CSV and Parquet."""

from __future__ import annotations

import itertools
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import FileError
from .extras import needs
from .spelling import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_TEXT = (".csv", ".tsv", ".txt")
KINDS = "a .npy, .npz, .csv or .parquet file of numbers"
_LOOKED_AT = 100  # lines
_ENCODING = "utf-8-sig"  # of spreadsheets, and plain UTF-8


def read_inputs(path: str | Path, what: str = "inputs") -> np.ndarray | pd.DataFrame:
    """The array or the columns in a file, to be checked by who takes them.

    Args:
        path: of a .npy file; of a .npz file, with the array's name behind a colon if it holds several, `digits.npz:x_train`; of
            numbers as text (.csv, .tsv, .txt) separated by commas, semicolons, tabs or blanks, with or without a line of names; or
            of a Parquet file.
        what: what messages call it.

    Raises:
        FileError: the file can't be read, or holds several arrays; the message names them.
        MissingExtraError: a Parquet file, and no library that reads it.
    """
    file, chosen = _split(path)
    try:
        if file.suffix.lower() in _TEXT:
            return _text(file)
        if file.suffix.lower() in (".parquet", ".pq"):
            return _parquet(file)
        return _numpy(file, chosen, what)
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
    file, dot, chosen = str(path).partition(".npz:")
    return (Path(f"{file}.npz"), chosen) if dot else (Path(path), "")


def _numpy(file: Path, chosen: str, what: str) -> np.ndarray:
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    if chosen and chosen not in arrays:
        raise FileError(
            f"{file} holds no array {chosen!r}{did_you_mean(chosen, arrays)}; it holds {_named(arrays)}"
        )
    if not chosen and len(arrays) != 1:
        first = next(iter(arrays), "NAME")
        raise FileError(
            f"cannot read the {what} {file}: it holds {_named(arrays) or 'no array'}; choose one, such as {file}:{first}"
        )
    return arrays[chosen or next(iter(arrays))]


def _named(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items())


def _text(file: Path) -> pd.DataFrame:
    """Columns by their names, or where the first line is of numbers by their places."""
    import pandas as pd

    first, rest = _beginning(file)
    separator = max(";\t,", key=first.count)
    if separator not in first:
        separator = r"\s+"
    # Where numbers are written 0,5 semicolons separate them.
    decimal = "," if separator == ";" and "," in rest else "."
    cells, more = (re.split(separator, line) for line in (first, rest.partition("\n")[0]))
    if len(more) > len(cells):
        raise FileError(f"{file}: its second line has {len(more)} entries, and its first line {len(cells)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns of mixed types, which are refused
        return pd.read_csv(
            file, sep=separator, header=0 if _are_names(cells, decimal) else None, decimal=decimal, comment="#",
            encoding=_ENCODING, skipinitialspace=True,
        )  # fmt: skip


def _beginning(file: Path) -> tuple[str, str]:
    """The first line that isn't empty or a comment, and some of what follows."""
    with file.open(encoding=_ENCODING) as lines:
        told = (line.strip() for line in lines if line.strip() and not line.startswith("#"))
        return next(told, ""), "\n".join(itertools.islice(told, _LOOKED_AT))


def _are_names(cells: list[str], decimal: str) -> bool:
    """Whether the first line names columns: none of it is a number, or they are counted 0, 1, 2, …, perhaps behind another one."""
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
