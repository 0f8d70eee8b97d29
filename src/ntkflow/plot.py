"""Pictures: a flow's finite-width effects layer by layer, and measurements against predictions."""

from __future__ import annotations

import contextlib
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ntkflow.errors import ComponentError, FileError
from ntkflow.summary import LayerSummary, layer_summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ntkflow import Comparison, Flow, LayerStatistics, Verification


_WIDE_RANGE = 100  # of a layer's mean NTK to another's: an axis from 0 would hide the smaller


def picture_suffixes() -> list[str]:
    """The file suffixes that `plot_flow` can write, such as ".png"."""
    return sorted(f".{name}" for name in FigureCanvasAgg.get_supported_filetypes())


def plot_flow(flow: Flow, path: str | PathLike) -> None:
    """Draw `flow` and write the picture to `path`, replacing what is there."""
    rows = layer_summary(flow)
    effects = any(row.relative_std > 0 or row.worst_correction > 0 for row in rows)
    figure = Figure(figsize=(13 if effects else 9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    mean_axes, *effect_axes, pair_axes = figure.subplots(1, 3 if effects else 2)
    _draw_mean(mean_axes, rows)
    if effects:
        _draw_relative(effect_axes[0], rows)
    for axes in (mean_axes, *effect_axes):
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    _draw_pairs(pair_axes, flow[-1])
    _save(figure, path)


def _save(figure: Figure, path: str | PathLike) -> None:
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise FileError(f"cannot write the picture {path}: {error}") from error


def _draw_mean(axes: Axes, rows: list[LayerSummary]) -> None:
    layers = [row.layer for row in rows]
    mean = np.array([row.ntk_mean for row in rows])
    std = np.array([row.ntk_std for row in rows])
    kernel = np.array([row.kernel for row in rows])
    if np.isfinite(std).any():
        low, high = _log_normal_band(mean, std)
        axes.fill_between(layers, low, high, alpha=0.25, lw=0, label="two thirds of the seeds")
        axes.plot(layers, mean, "o-", label="mean over seeds")
        axes.plot(layers, kernel, "k--", lw=1, label="infinite width")
    else:
        axes.plot(layers, kernel, "o-", label="infinite width")
    if 0 < _WIDE_RANGE * kernel.min() < kernel.max():
        axes.set_yscale("log")
    axes.set_title("NTK of one neuron and sample")
    axes.set_ylabel(r"$\hat H_{ii;\alpha\alpha}$, average over samples")


def _log_normal_band(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 16 % and 84 % quantiles of log-normal variables: never below 0, where the NTK of one sample can't be either."""
    sigma = np.sqrt(np.log1p(np.divide(std, mean, out=np.zeros_like(mean), where=mean > 0) ** 2))
    median = mean * np.exp(-(sigma**2) / 2)
    return median * np.exp(-sigma), median * np.exp(sigma)


def _draw_relative(axes: Axes, rows: list[LayerSummary]) -> None:
    layers = [row.layer for row in rows]
    for label, marker, values, errors in (
        (
            "sd over seeds, one neuron and sample", "o-",
            [row.relative_std for row in rows], [row.relative_std_truncation for row in rows],
        ),
        ("sd over seeds, trace", "^-", [row.relative_trace_std for row in rows], None),
        ("1/n correction, largest over pairs", "s-", [row.worst_correction for row in rows], None),
    ):  # fmt: skip
        percent = 100 * np.array(values)
        shown = np.where(percent > 0, percent, np.nan)
        if np.isnan(shown).all():
            continue
        (line,) = axes.semilogy(layers, shown, marker, label=label)
        if errors is not None:
            spread = 100 * np.array(errors)
            axes.fill_between(
                layers, np.maximum(shown - spread, shown / 3), shown + spread, alpha=0.25, lw=0, color=line.get_color(),
                label="error of cutting at 1/n",
            )  # fmt: skip
    axes.set_title("finite-width effects")
    axes.set_ylabel("% of the infinite-width NTK")


def _draw_pairs(axes: Axes, last: LayerStatistics) -> None:
    values, what = last.H, "infinite-width mean"
    with contextlib.suppress(ComponentError):
        if np.any(last.ntk_std() > 0):
            values, what = last.ntk_std(), "sd over seeds"
    image = axes.imshow(values, vmin=min(0.0, float(np.nanmin(values))))
    axes.set_title(f"{what} of the NTK, layer {last.layer}")
    axes.set_xlabel(r"sample $\beta$")
    axes.set_ylabel(r"sample $\alpha$")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.figure.colorbar(image, ax=axes, label=what + r" of $\hat H_{ii;\alpha\beta}$")


def plot_comparison(comparison: Comparison, path: str | PathLike) -> None:
    """Draw measured against predicted components with error bars, a panel per tensor, and write the picture to `path`."""
    rows = [
        (d.layer, d.name, np.ravel(d.predicted), np.ravel(d.measured), np.ravel(d.error)) for d in comparison
    ]
    _draw_measured(rows, "measured", path)


def plot_verification(verification: Verification, path: str | PathLike) -> None:
    """Draw the measurements' limits at infinite width against the predictions, and write the picture to `path`."""
    rows = [
        (one.layer, one.name, np.ravel(one.predicted), np.ravel(one.a), np.ravel(one.a_error))
        for one in verification
    ]
    _draw_measured(rows, "a, measured and extrapolated", path)


_MOST_POINTS = 500


def _draw_measured(rows: list[tuple], label: str, path: str | PathLike) -> None:
    names = list(dict.fromkeys(name for _, name, *_ in rows))
    columns = min(len(names), 4)
    figure = Figure(figsize=(3.4 * columns, 3.3 * -(-len(names) // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = np.ravel(figure.subplots(-(-len(names) // columns), columns, squeeze=False))
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        ends = []
        for layer, _, predicted, measured, error in (row for row in rows if row[1] == name):
            color = f"C{(layer - 1) % 10}"
            held = np.flatnonzero(np.isfinite(predicted) & np.isfinite(measured))
            # Many components are each other's mirror images: some of each size tell the same.
            held = held[np.argsort(predicted[held])][:: max(1, len(held) // _MOST_POINTS)]
            axes.errorbar(
                predicted[held],
                measured[held],
                error[held],
                fmt="o",
                ms=3,
                lw=1,
                color=color,
                label=f"layer {layer}",
            )
            ends += [*predicted[held][[0, -1]]] if len(held) else []
        if ends:
            axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "k--", lw=1, zorder=0)
        axes.set_title(name)
        axes.set_xlabel("predicted")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize="small")
    _save(figure, path)
