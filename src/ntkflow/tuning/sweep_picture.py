"""Pictures of a sweep: the NTK's spread over seeds, its eigenvalues, and powers of depth."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from .._report.describe import evenly
from .._report.digits import uncertain
from .._report.picture import Picture, legend_below, log_normal_band, new_picture, saved
from .spread import TRAINED

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_MOST_TICKS = 8
_MOST_LINES = 6  # of widths
_MOST_BELOW, _MOST_ABOVE = 3, 10  # factors, that a band reaches
_MOST_SPREAD = 10  # times the mean, in a band
_HOPELESS = 1e4  # %, at which an axis ends that begins below
_NARROW, _WIDE = 10.0, 1e3  # ranges of an axis, between which decades are subdivided
_SUBDIVISION = (1, 2, 5)
_MOST_MARKERS = 20
_BELOW = 0.15


def plot_sweep(swept: xr.Dataset, path: str | PathLike | None) -> Picture:
    """Draw a sweep's dataset; written to `path` if there is one, replacing what is there."""
    panels = 3 if "power" in swept else 2
    figure = new_picture(f"{swept.attrs['title']}, N = {swept.attrs['samples']}", (4.6 * panels, 5))
    spread, eigenvalues, *powers = figure.subplots(1, panels)
    # One depth: against width then.
    along, by = ("width", "depth") if swept.sizes["depth"] == 1 < swept.sizes["width"] else ("depth", "width")
    swept = swept.transpose(by, along, ...)
    _draw_spread(spread, swept, along, by)
    _draw_eigenvalues(eigenvalues, swept, along, by)
    for axes in powers:
        _draw_powers(axes, swept)
    return saved(figure, path)


def plot_powers(powers: xr.Dataset, path: str | PathLike | None) -> Picture:
    """Draw powers of depth; written to `path` if there is one, replacing what is there."""
    figure = new_picture(f"{powers.attrs['powers_of']} at its critical initialisation", (5.5, 5))
    _draw_powers(figure.subplots(), powers)
    return saved(figure, path)


def _draw_spread(axes: Axes, swept: xr.Dataset, along: str, by: str) -> None:
    x = swept[along].values
    for color, k in _colored(swept, by):
        sd, error = (100 * swept[name].values[k] for name in ("ntk_std", "ntk_std_truncation"))
        shown = np.isfinite(sd) & (sd > 0)
        if not shown.any():
            continue
        sd, error = sd[shown], error[shown]
        axes.plot(x[shown], sd, _marked(x, "o-"), color=color, label=f"{by} {swept[by].values[k]}")
        low, high = np.maximum(sd - error, sd / _MOST_BELOW), np.minimum(sd + error, sd * _MOST_ABOVE)
        _draw_band(axes, x[shown], low, high, color)
    axes.set_title("sd of the NTK over seeds, one output and input")
    axes.set_ylabel("% of its mean")
    if axes.lines:
        axes.axhline(100 * TRAINED, color="k", ls=":", lw=1, label="trained well up to here, on digits")
        _set_log_scale(axes, _HOPELESS)
        axes.fill_between([], [], [], color="grey", alpha=0.25, lw=0, label="error of cutting at 1/n")
    else:
        _say_nothing(axes, swept["ntk_std"].values, "no spread")
    _finish(axes, x, along)


def _draw_eigenvalues(axes: Axes, swept: xr.Dataset, along: str, by: str) -> None:
    x = swept[along].values
    largest = swept["lambda_max"].values
    for name, marker in (("lambda_max", "^"), ("lambda_min", "v")):
        for color, k in _colored(swept, by):
            value, sd = swept[name].values[k], swept[f"{name}_std"].values[k]
            shown = np.isfinite(value) & (value > 0)
            if not shown.any():
                continue
            label = f"{by} {swept[by].values[k]}" if name == "lambda_max" else None
            axes.plot(x[shown], value[shown], _marked(x, f"{marker}-"), color=color, ms=5, lw=1, label=label)
            if k in (0, swept.sizes[by] - 1):
                _draw_band(
                    axes,
                    x[shown],
                    *log_normal_band(value[shown], np.minimum(sd, _MOST_SPREAD * value)[shown]),
                    color,
                )
        infinite = np.broadcast_to(swept[f"{name}_infinite"].values, len(x))
        shown = np.isfinite(infinite) & (infinite > 0)
        axes.plot(x[shown], infinite[shown], "k--", lw=1)
    axes.set_title("eigenvalues of the NTK over N, one output")
    axes.set_ylabel(r"$\lambda / N$")
    if np.any(largest > 0):
        _set_log_scale(axes)
        for label, style in (("largest", "k^-"), ("smallest", "kv-"), ("infinite width", "k--")):
            axes.plot([], [], style, ms=5, lw=1, label=label)
        axes.fill_between([], [], [], color="grey", alpha=0.25, lw=0, label="two thirds of the seeds")
        if not np.any(swept["lambda_min"].values > 0):
            _say(axes, "the smallest is 0 to rounding", 0.05)
    else:
        _say_nothing(axes, largest, "the NTK is 0")
    _finish(axes, x, along)


def _draw_powers(axes: Axes, powers: xr.Dataset) -> None:
    depths = powers["doubled_depth"].values
    for k, tensor in enumerate(powers["tensor"].values):
        row = powers.sel(tensor=tensor)
        theory = float(row["power_theory"])
        measured = uncertain(float(row["power"]), float(row["power_drift"]))
        label = f"{tensor}: {measured}" + ("" if np.isnan(theory) else f", theory {theory:.0f}")
        axes.plot(depths, row["power_slope"].values, "o-", color=f"C{k}", ms=4, label=label)
        axes.axhline(theory, color="k", ls="--", lw=0.8, zorder=0)
    axes.set_title("powers of depth at criticality")
    axes.set_ylabel("d ln T / d ln L")
    _finish(axes, depths, "depth")


def _colored(swept: xr.Dataset, by: str) -> list[tuple[str, int]]:
    """A colour for each line that is drawn, and its index."""
    return [(f"C{color}", k) for color, k in enumerate(evenly(swept.sizes[by], _MOST_LINES))]


def _draw_band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: str) -> None:
    if len(x) > 1:
        axes.fill_between(x, low, high, alpha=0.25, lw=0, color=color)
    else:
        axes.vlines(x, low, high, alpha=0.4, lw=4, color=color)


def _say(axes: Axes, text: str, height: float = 0.5) -> None:
    axes.text(0.5, height, text, ha="center", transform=axes.transAxes)


def _say_nothing(axes: Axes, values: np.ndarray, zeros: str) -> None:
    _say(axes, "beyond float64" if np.all(np.isnan(values)) else zeros)
    axes.set_yticks([])


def _set_log_scale(axes: Axes, highest: float = np.inf) -> None:
    """A logarithmic vertical axis with plain numbers, which ends at `highest` at the latest if it begins below."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if low < highest < high:
        axes.set_ylim(top=highest)
        high = highest
    if high < _NARROW * low:
        locator = MaxNLocator(_MOST_TICKS)
    else:
        locator = LogLocator(subs=_SUBDIVISION if high < _WIDE * low else (1,), numticks=_MOST_TICKS)
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _ticks(x: np.ndarray) -> list[float]:
    """Some of ascending values, which don't stand too close on a logarithmic axis."""
    step = (x[-1] / x[0]) ** (1 / _MOST_TICKS)
    ticks = [float(x[0])]
    for value in x[1:]:
        if value >= ticks[-1] * step:
            ticks.append(float(value))
    return ticks


def _marked(x: np.ndarray, style: str) -> str:
    """A line's style, without its marker where there would be too many."""
    return style if len(x) <= _MOST_MARKERS else "-"


def _finish(axes: Axes, x: np.ndarray, along: str) -> None:
    """The horizontal axis, with the values that were asked for, and the legend."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_ticks(x)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel({"depth": "depth L, layers of weights", "width": "width n of the hidden layers"}[along])
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(axes, below=_BELOW)
