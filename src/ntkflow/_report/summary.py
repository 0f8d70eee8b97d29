"""The numbers per layer that both the table and the picture show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._recursions import TENSORS
from .._theory.scales import KERNELS
from ..errors import ComponentError

if TYPE_CHECKING:
    from .. import Flow, LayerStatistics

_MOST_DIGITS = 15  # what float64 can hold


@dataclass(frozen=True)
class LayerSummary:
    """One layer's averages over the diagonal of the kernel; NaN for what the flow doesn't hold.

    Ratios are averaged over the samples whose infinite-width kernel isn't zero.
    """

    layer: int
    width: int
    kernel: float
    """Mean of H_aa, the infinite-width kernel."""
    ntk_mean: float
    """Mean of H_aa + H1_aa / n; of H_aa if the flow doesn't hold H1."""
    ntk_mean_truncation: float
    """Mean truncation error of that."""
    ntk_std: float
    """Mean standard deviation of the kernel's diagonal over seeds, one neuron."""
    relative_correction: float
    """Mean of H1_aa / (n H_aa)."""
    worst_correction: float
    """Largest |H1_ab| / (n √(H_aa H_bb)) over pairs."""
    relative_std: float
    """Mean of the standard deviation over H_aa."""
    relative_std_truncation: float
    """Mean of its truncation error over H_aa."""
    relative_trace_std: float
    """Standard deviation of the trace over its infinite-width value."""
    digits: dict[str, int | None]
    """Digits to trust in each tensor; None where it is zero or the flow doesn't hold it."""


def layer_summary(flow: Flow) -> list[LayerSummary]:
    """The summary of every layer of `flow`, from the first to the last; ComponentError for a train/test block."""
    if flow.X2 is not None:
        raise ComponentError("the kernels between X and X2 have no diagonal to average over")
    return [_summarize(statistics) for statistics in flow]


def _summarize(s: LayerStatistics) -> LayerSummary:
    kernel = np.diag(s.H)
    nonzero = kernel > 0
    std = _or_nan(s.ntk_std, s.H)
    of_mean, of_std = (
        np.diag(_or_nan(lambda name=name: s.truncation(name), s.H)) for name in ("ntk_mean", "ntk_std")
    )
    mean = _or_nan(s.ntk_mean, s.H)
    shift = np.diag(mean) - kernel
    root = np.sqrt(kernel[nonzero])
    pairs = np.abs(mean - s.H)[np.ix_(nonzero, nonzero)] / np.multiply.outer(root, root)
    return LayerSummary(
        layer=s.layer,
        width=s.width,
        kernel=_mean(kernel),
        ntk_mean=_mean(np.diag(mean) if np.isfinite(shift).any() else kernel),
        ntk_mean_truncation=_mean(of_mean),
        ntk_std=_mean(np.diag(std)),
        relative_correction=_mean(shift[nonzero] / kernel[nonzero]),
        worst_correction=float(np.nanmax(pairs)) if np.isfinite(pairs).any() else math.nan,
        relative_std=_mean(np.diag(std)[nonzero] / kernel[nonzero]),
        relative_std_truncation=_mean(of_std[nonzero] / kernel[nonzero]),
        relative_trace_std=_trace_std(s) / (s.width * kernel.sum()) if nonzero.any() else math.nan,
        digits={name: _digits(s, name) for name in (*KERNELS, *TENSORS)},
    )


def _or_nan(table: Callable[[], np.ndarray], like: np.ndarray) -> np.ndarray:
    """`table()`, or NaN of the shape of `like` if the flow doesn't hold it."""
    try:
        return table()
    except ComponentError:
        return np.full_like(like, np.nan)


def _trace_std(s: LayerStatistics) -> float:
    try:
        return s.trace_std()
    except ComponentError:
        return math.nan


def _mean(values: np.ndarray) -> float:
    """The mean of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _digits(s: LayerStatistics, name: str) -> int | None:
    try:
        if s.vanishes(name):
            return None
        error = s.relative_error(name)
    except ComponentError:
        return None
    if not math.isfinite(error):
        return None
    if error <= 10.0**-_MOST_DIGITS:
        return _MOST_DIGITS
    return max(0, math.floor(-math.log10(error)))
