"""The few numbers per layer that the table and the picture both show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntkflow.errors import ComponentError

if TYPE_CHECKING:
    from ntkflow import Flow, LayerStatistics

TENSORS = ("V", "D", "F", "A", "B")
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
    ntk_std: float
    """Mean standard deviation of the kernel's diagonal over seeds, one neuron."""
    relative_correction: float
    """Mean of H1_aa / (n H_aa)."""
    relative_std: float
    """Mean of the standard deviation over H_aa."""
    digits: dict[str, int | None]
    """Digits to trust in each tensor; None where it is zero or not held."""


def layer_summary(flow: Flow) -> list[LayerSummary]:
    """The summary of every layer of `flow`, from the first to the last."""
    return [_summarize(statistics) for statistics in flow]


def _summarize(s: LayerStatistics) -> LayerSummary:
    kernel = np.diag(s.H)
    std = _diagonal(s.ntk_std, len(kernel))
    mean = _diagonal(s.ntk_mean, len(kernel)) if s.H1 is not None else kernel
    nonzero = kernel != 0
    return LayerSummary(
        layer=s.layer,
        width=s.width,
        kernel=_mean(kernel),
        ntk_mean=_mean(mean),
        ntk_std=_mean(std),
        relative_correction=_mean((mean - kernel)[nonzero] / kernel[nonzero])
        if s.H1 is not None
        else math.nan,
        relative_std=_mean(std[nonzero] / np.abs(kernel[nonzero])),
        digits={name: _digits(s, name) for name in TENSORS},
    )


def _diagonal(matrix: Callable[[], np.ndarray], samples: int) -> np.ndarray:
    """The diagonal of what `matrix()` gives, or NaN if the flow doesn't hold it."""
    try:
        return np.diag(matrix())
    except ComponentError:
        return np.full(samples, np.nan)


def _mean(values: np.ndarray) -> float:
    """The mean of the finite values; NaN if there are none."""
    held = values[np.isfinite(values)]
    return float(held.mean()) if held.size else math.nan


def _digits(s: LayerStatistics, name: str) -> int | None:
    try:
        tensor = getattr(s, name)
        if tensor is None or not np.any(tensor):
            return None
        error = s.relative_error(name)
    except ComponentError:
        return None
    if not math.isfinite(error):
        return None
    if error <= 10.0**-_MOST_DIGITS:
        return _MOST_DIGITS
    return max(0, math.floor(-math.log10(error)))
