"""Inputs in the forms in which people have them, as an array (N, n_0); where they don't fit, a message says what was probably meant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._machine.forks import refuse_forks
from ..errors import DataError, warn
from ..network.mlp import MLP
from ..network.network import Network

if TYPE_CHECKING:
    import pandas as pd

_FEW_LABELS = 100
_MOST_NAMED = 5


def checked_inputs(mlp: MLP | Network, X, name: str = "X") -> np.ndarray:
    """X as (N, n_0) float64, one sample per row.

    Args:
        X: an array of NumPy, JAX or torch (on any device, in any precision, with or without gradient), a SciPy sparse matrix, a
            pandas DataFrame of numeric columns, or nested lists. Images (N, …) of n_0 numbers each are flattened, and a warning says so.
        name: what messages call it.

    Raises:
        DataError: X has another shape, no samples, or entries that are not real and finite; the message says what was
            probably meant.
    """
    refuse_forks()
    if isinstance(X, MLP):
        raise DataError(f"{name} is a network: the network comes first, the inputs second")
    columns = [repr(column) for column in X.columns] if _is_frame(X) else []
    values = as_array(X, name)
    if values.dtype.kind not in "iuf" and not jnp.issubdtype(values.dtype, np.floating):
        raise DataError(_not_numbers(values, name))
    n_0 = mlp.widths[0]
    if values.ndim > 2 and math.prod(values.shape[1:]) == n_0:
        warn(f"{name} of shape {values.shape} is taken as {len(values)} samples of {n_0} numbers each")
        values = values.reshape(len(values), n_0)
    if values.ndim != 2 or values.size == 0 or values.shape[1] != n_0:
        raise DataError(_misshapen(values, n_0, name, columns))
    if _raw_bytes(values):
        warn(
            f"{name} holds whole numbers from 0 to {values.max():g}, as raw images do; most networks are meant for inputs whose "
            f"squares are 1 on average, such as ({name} - mean) / sd"
        )  # fmt: skip
    values = values.astype(np.float64)
    _check_finite(values, name)
    return values


def as_array(X, name: str, error: type[Exception] = DataError) -> np.ndarray:
    """Anything that `checked_inputs` takes, as a NumPy array of any shape and type; `error` where it can't be made one."""
    try:
        return np.asarray(_on_host(X, name))
    except DataError:
        raise
    except jax.errors.TracerArrayConversionError as reason:
        raise error(
            f"{name} is traced by JAX; inside of jit, vmap and grad use ntkflow.traced_flow or ntkflow.kernels"
        ) from reason
    except (TypeError, ValueError, RuntimeError) as reason:
        raise error(f"{name} must be an array of numbers: {_ragged(X) or reason}") from reason


def _on_host(X, name: str) -> Any:
    """X, or what NumPy can make an array of."""
    if isinstance(X, list | tuple):
        return [_on_host(row, name) for row in X] if any(hasattr(row, "__len__") for row in X) else X
    if _library(X) == "torch":
        tensor = X.detach().to_dense().cpu()
        return (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    if _is_frame(X):
        return _of_frame(X, name)
    return X.toarray() if _library(X) == "scipy" else X


def _library(X) -> str:
    """The name of the package that defines an object's type; the package isn't imported for that."""
    return type(X).__module__.partition(".")[0]


def _is_frame(X) -> bool:
    return _library(X) == "pandas" and hasattr(X, "columns")


def _of_frame(frame: pd.DataFrame, name: str) -> np.ndarray:
    """The frame's values; DataError that names its columns that are not numeric."""
    not_numeric = [
        f"{column!r} ({_first_text(frame.iloc[:, position]) or kind})"
        for position, (column, kind) in enumerate(frame.dtypes.items())
        if kind.kind not in "iuf" and len(frame)
    ]
    if not_numeric:
        more = ", …" if len(not_numeric) > _MOST_NAMED else ""
        raise DataError(
            f"{name} must have numeric columns, and these are not: {', '.join(not_numeric[:_MOST_NAMED])}{more}; drop them, or make "
            "numbers of them"
        )
    if all(kind.kind in "iu" for kind in frame.dtypes) and not frame.isna().any(axis=None):
        return frame.to_numpy(dtype=np.int64)
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def _first_text(column: pd.Series) -> str:
    """Where a column of text holds its first entry that is no number."""
    for row, entry in enumerate(column):
        if isinstance(entry, str):
            try:
                float(entry)
            except ValueError:
                return f"row {row} is {entry!r}"
    return ""


def _not_numbers(values: np.ndarray, name: str) -> str:
    text = f"{name} must be an array of real numbers, not of {values.dtype}"
    if values.dtype.kind == "b":
        return f"{text}: was a mask meant to choose samples? For inputs 0 and 1 write {name}.astype(float)"
    if values.dtype.kind in "OUS":
        return f"{text}: if they are numbers, write numpy.asarray({name}, float)"
    return text


def _misshapen(values: np.ndarray, n_0: int, name: str, columns: list[str]) -> str:
    """Why X is not (N, n_0), and what was probably meant."""
    if values.ndim == 0:
        return f"{name} must have shape (N, {n_0}), one sample per row, not be a single number"
    if values.size == 0:
        return f"{name} must have shape (N, {n_0}) with N ≥ 1, not {values.shape}: there are no samples in it"
    if values.ndim == 1:
        return f"{name} must have shape (N, {n_0}), one sample per row, not {values.shape}" + _of_one_axis(
            values, n_0, name
        )
    if values.ndim > 2:
        sample_shape = values.shape[1:]
        hint = (
            f"; for one sample write {name}[None]" if values.size == n_0 else f": samples of shape {sample_shape} have {math.prod(sample_shape)}"
        )  # fmt: skip
        return f"{name} must have n_0 = {n_0} numbers for each sample, not shape {values.shape}{hint}"
    text = f"{name} has {values.shape[1]} column{'s' if values.shape[1] > 1 else ''} but the network's n_0 is {n_0}"
    if values.shape[1] == 1 and _like_labels(values):
        return f"{text}: are these the labels? The inputs are asked for"
    if len(values) == n_0:
        return f"{text}: samples are rows, was {name}.T meant?"
    if values.size == n_0:
        return f"{text}: for one sample of shape {values.shape} write {name}[None]"
    if values.shape[1] == n_0 + 1:
        which = f", such as {columns[0]} or {columns[-1]}," if columns else ""
        return f"{text}: is one of the columns{which} an index or the labels?"
    return f"{text}, the first of widths"


def _of_one_axis(values: np.ndarray, n_0: int, name: str) -> str:
    if n_0 == 1:
        return f"; for {len(values)} samples of one number write {name}[:, None]"
    if len(values) == n_0:
        return f"; for one sample write {name}[None]"
    if _like_labels(values):
        return f"; whole numbers of {len(np.unique(values))} kinds look like labels, and the inputs are asked for"
    return ""


def _like_labels(values: np.ndarray) -> bool:
    """Whether these are whole numbers with few different values."""
    whole_numbers = values.dtype.kind in "iu" or (
        values.dtype.kind == "f" and np.array_equal(values, np.round(values))
    )
    return whole_numbers and len(np.unique(values)) <= min(_FEW_LABELS, values.size / 2)


def _raw_bytes(values: np.ndarray) -> bool:
    """Whether these are integers as in images of eight bits."""
    return values.dtype.kind in "iu" and values.min() >= 0 and 127 < values.max() <= 255


def _check_finite(values: np.ndarray, name: str) -> None:
    not_finite = np.argwhere(~np.isfinite(values))
    if len(not_finite):
        row, column = not_finite[0]
        rows = np.unique(not_finite[:, 0])
        others = f" ({len(rows)} of {len(values)} rows have such entries)" if len(rows) > 1 else ""
        raise DataError(
            f"{name} must be finite; {name}[{row}, {column}] is {values[row, column]}{others}: drop row {row}, or fill it in"
        )


def _ragged(X) -> str:
    """Words that say which two rows of nested lists have different lengths; "" if none have."""
    lengths = (
        [len(row) if hasattr(row, "__len__") else None for row in X] if isinstance(X, list | tuple) else []
    )
    for row, length in enumerate(lengths):
        if length != lengths[0]:
            return f"row 0 has {lengths[0]} entries and row {row} has {length}"
    return ""
