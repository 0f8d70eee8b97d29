"""Pictures: a flow's finite-width effects layer by layer, and measurements against predictions."""

from __future__ import annotations

import contextlib
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import MaxNLocator

from ..errors import ComponentError
from .describe import network
from .picture import Picture, by_layer, log_normal_band, new_picture, saved
from .summary import LayerSummary, layer_summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .. import Comparison, Ensemble, Flow, LayerStatistics, Verification


_WIDE_RANGE = 100  # of a layer's mean NTK to another's: an axis from 0 would hide the smaller


def picture_suffixes() -> list[str]:
    """The file suffixes that `plot_flow` can write, such as ".png"."""
    return sorted(f".{name}" for name in FigureCanvasAgg.get_supported_filetypes())


def plot_flow(flow: Flow, path: str | PathLike | None = None) -> Picture:
    """Draw `flow`; written to `path` if there is one, replacing what is there."""
    rows = layer_summary(flow)
    effects = any(row.relative_std > 0 or row.worst_correction > 0 for row in rows)
    figure = new_picture(network(flow.mlp, len(flow.X)), (13 if effects else 9, 4.5))
    mean_axes, *effect_axes, pair_axes = figure.subplots(1, 3 if effects else 2)
    _draw_mean(mean_axes, rows)
    if effects:
        _draw_relative(effect_axes[0], rows)
    for axes in (mean_axes, *effect_axes):
        by_layer(axes)
    _draw_pairs(pair_axes, flow[-1], "infinite-width mean")
    return saved(figure, path)


def _draw_mean(axes: Axes, rows: list[LayerSummary]) -> None:
    layers = [row.layer for row in rows]
    mean = np.array([row.ntk_mean for row in rows])
    std = np.array([row.ntk_std for row in rows])
    kernel = np.array([row.kernel for row in rows])
    if np.any(std > 0):
        low, high = log_normal_band(mean, std)
        axes.fill_between(layers, low, high, alpha=0.25, lw=0, label="two thirds of the seeds")
        axes.plot(layers, mean, "o-", label="mean over seeds")
        axes.plot(layers, kernel, "k--", lw=1, label="infinite width")
    else:
        axes.plot(layers, kernel, "o-", label="infinite width")
    if 0 < _WIDE_RANGE * kernel.min() < kernel.max():
        axes.set_yscale("log")
    axes.set_title("NTK of one neuron and sample")
    axes.set_ylabel(r"$\hat H_{ii;\alpha\alpha}$, average over samples")


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
        if errors is not None and np.isfinite(np.array(errors, float)).any():
            spread = 100 * np.array(errors)
            axes.fill_between(
                layers, np.maximum(shown - spread, shown / 3), shown + spread, alpha=0.25, lw=0, color=line.get_color(),
                label="error of cutting at 1/n",
            )  # fmt: skip
    axes.set_title("finite-width effects")
    axes.set_ylabel("% of the infinite-width NTK")


def _draw_pairs(axes: Axes, last: LayerStatistics, mean: str) -> None:
    """The NTK's spread over seeds for every pair of samples; without tensors H, which the title calls `mean`."""
    values, label = last.H, mean
    with contextlib.suppress(ComponentError):
        if np.any(last.ntk_std() > 0):
            values, label = last.ntk_std(), "sd over seeds"
    image = axes.imshow(values, vmin=min(0.0, float(np.nanmin(values))))
    axes.set_title(f"{label} of the NTK, layer {last.layer}")
    axes.set_xlabel(r"sample $\beta$")
    axes.set_ylabel(r"sample $\alpha$")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.figure.colorbar(image, ax=axes, label=label + r" of $\hat H_{ii;\alpha\beta}$")


def plot_ensemble(ensemble: Ensemble, path: str | PathLike | None = None) -> Picture:
    """Draw mean and spread of the measured NTK by layer; written to `path` if there is one, replacing what is there."""
    figure = new_picture(network(ensemble.mlp, len(ensemble.X)), (9, 4.5))
    mean_axes, pair_axes = figure.subplots(1, 2)
    layers = [s.layer for s in ensemble]
    mean, error = (np.array([np.mean(np.diag(table)) for table in tables]) for tables in (
        [s.H for s in ensemble], [s.error("H") for s in ensemble]
    ))  # fmt: skip
    with contextlib.suppress(ComponentError):
        std = np.array([np.nanmean(np.diag(s.ntk_std())) for s in ensemble])
        mean_axes.fill_between(
            layers, *log_normal_band(mean, std), alpha=0.25, lw=0, label="two thirds of the seeds"
        )
    mean_axes.errorbar(layers, mean, error, fmt="o-", label=f"mean over {ensemble.draws} networks")
    if 0 < _WIDE_RANGE * mean.min() < mean.max():
        mean_axes.set_yscale("log")
    mean_axes.set_title("NTK of one neuron and sample")
    mean_axes.set_ylabel(r"$\hat H_{ii;\alpha\alpha}$, average over samples")
    by_layer(mean_axes)
    _draw_pairs(pair_axes, ensemble[-1], "mean")
    return saved(figure, path)


def plot_comparison(comparison: Comparison, path: str | PathLike | None = None) -> Picture:
    """Draw measured against predicted components with error bars, and their differences in units of these, a pair of panels per tensor.

    Written to `path` if there is one, replacing what is there.
    """
    rows = [
        (d.layer, d.name, np.ravel(d.predicted), np.ravel(d.measured), np.ravel(d.error), np.ravel(d.z))
        for d in comparison
    ]
    title = f"{network(comparison.mlp, comparison.samples)}; {comparison.draws} networks"
    return _draw_measured(rows, title, "measured", path)


def plot_verification(verification: Verification, path: str | PathLike | None = None) -> Picture:
    """Draw the measurements' limits at infinite width against the predictions, and their differences in units of the errors.

    Written to `path` if there is one, replacing what is there.
    """
    rows = [
        (e.layer, e.name, np.ravel(e.predicted), np.ravel(e.a), np.ravel(e.a_error), np.ravel(e.residuals))
        for e in verification
    ]
    widths = ", ".join(map(str, verification.widths))
    title = f"{network(verification.mlp, verification.samples)}; {verification.draws} networks at each of the widths {widths}"
    return _draw_measured(rows, title, "a, measured and extrapolated", path)


_MOST_POINTS = 500
_BANDS = ((1, 0.25), (3, 0.12))  # of residuals in units of their errors; and how dark they are


def _draw_measured(rows: list[tuple], title: str, label: str, path: str | PathLike | None) -> Picture:
    names = list(dict.fromkeys(name for _, name, *_ in rows))
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    figure = new_picture(title, (3.6 * columns, 4.9 * lines))
    grid = figure.subplots(2 * lines, columns, squeeze=False, height_ratios=[3, 2] * lines)
    panels = [
        (grid[2 * (k // columns), k % columns], grid[2 * (k // columns) + 1, k % columns])
        for k in range(lines * columns)
    ]
    for pair in panels[len(names) :]:
        for axes in pair:
            axes.set_visible(False)
    for (axes, residuals), name in zip(panels, names, strict=False):
        ends, largest = [], 0.0
        layer_rows = [row for row in rows if row[1] == name]
        for k, (layer, _, predicted, measured, error, z) in enumerate(layer_rows):
            color = f"C{(layer - 1) % 10}"
            shown = np.flatnonzero(np.isfinite(predicted) & np.isfinite(measured))
            # Many components are equal by symmetry: a part of them, of every size, shows the same.
            shown = shown[np.argsort(predicted[shown])][:: max(1, len(shown) // _MOST_POINTS)]
            axes.errorbar(
                predicted[shown], measured[shown], error[shown], fmt="o", ms=3, lw=1, color=color, label=f"layer {layer}"
            )  # fmt: skip
            ends += [*predicted[shown][[0, -1]]] if len(shown) else []
            # Components of a layer stand side by side, in the order of their sizes.
            place = (np.arange(len(shown)) + 0.5) / max(1, len(shown)) * 0.8 - 0.4
            residuals.plot(layer + place, z[shown], "o", ms=2, color=color)
            largest = max(largest, float(np.abs(z[shown]).max(initial=0.0)))
        if ends:
            axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "k--", lw=1, zorder=0)
        for size, alpha in _BANDS:
            residuals.axhspan(-size, size, color="grey", alpha=alpha, lw=0, zorder=0)
        residuals.set_ylim(-max(4.0, 1.1 * largest), max(4.0, 1.1 * largest))
        residuals.set_xticks([row[0] for row in layer_rows])
        residuals.set_xlabel("layer")
        residuals.set_ylabel("difference / error")
        axes.set_title(name)
        axes.set_xlabel("predicted")
        axes.set_ylabel(label)
        for panel in (axes, residuals):
            panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, fontsize="small")
    figure.supxlabel("Grey: differences of up to 1 and up to 3 errors.", fontsize="small", color="grey")
    return saved(figure, path)
