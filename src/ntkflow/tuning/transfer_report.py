"""Loss against learning rate, as a table and as a picture; and how far layers move, the coordinate check."""

from __future__ import annotations

import textwrap
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from .._report.describe import counted
from .._report.digits import number
from .._report.picture import Picture, new_picture, saved
from .._report.table import titled_table
from ..errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

    from .transfer import Transfer

_PANEL = (3.6, 4.2)  # inches
_DIVERGED = "diverged"
_PER_PANEL = 40  # characters below it
_LEAST_SHOWN = 1e-6  # of the largest change


def transfer_table(transfer: Transfer) -> Table:
    """One row per network and scheme."""
    data = transfer.data
    best = transfer.best()
    measures = ["loss", *(str(name) for name in data if str(name).endswith("_error"))]
    headings = [name.replace("_", "\n") for name in measures]
    table = titled_table(
        f"After training, mean over {counted(data.sizes['seed'], 'seed')}, at {counted(data.sizes['eta'], 'learning rate')}",
        "Best: the learning rate with the least training loss, and what was measured there. Own: the learning rate that the scheme itself "
        "says, and what was measured there.",
        ("network", "scheme", "best η", *headings, "own η", *headings),
    )
    for network in data.network.values:
        for scheme in data.scheme.values:
            means = data[measures].sel(network=network, scheme=scheme).mean("seed", skipna=False)
            cells = [str(network), str(scheme)]
            for eta, unknown in ((best, _DIVERGED), (data.told, "-")):
                rate = float(eta.sel(network=network, scheme=scheme))
                if np.isnan(rate):
                    cells += [unknown, *["-"] * len(measures)]
                else:
                    values = means.sel(eta=rate)
                    cells += [number(rate, ".3g"), *(number(float(values[name]), ".3g") for name in measures)]
            table.add_row(*cells)
    return table


def plot_transfer(transfer: Transfer, path: str | PathLike | None, measure: str) -> Picture:
    """A panel for each scheme: the measure's mean over seeds against η, and the range over seeds."""
    transfer.best(measure)
    data = transfer.data
    values = data[measure]
    words = str(values.attrs["long_name"]).replace("_", " ")
    figure, panels = _panels(transfer, f"{words}; mean and range over {counted(data.sizes['seed'], 'seed')}")
    for axes, scheme in zip(panels, data.scheme.values, strict=True):
        for network in data.network.values:
            runs = values.sel(network=network, scheme=scheme)
            runs = runs.where(runs.mean("seed", skipna=False) < np.inf)
            (line,) = axes.plot(data.eta, runs.mean("seed"), "o-", ms=3, label=str(network))
            axes.fill_between(
                data.eta, runs.min("seed"), runs.max("seed"), alpha=0.2, lw=0, color=line.get_color()
            )
        own = np.unique(data.told.sel(scheme=scheme).values)
        for eta in own[np.isfinite(own)]:
            axes.axvline(eta, color="k", ls=":", lw=1, zorder=0)
        axes.set_xscale("log", base=2)
        axes.set_xlim(float(data.eta[0]) / 1.3, float(data.eta[-1]) * 1.3)
        axes.set_xlabel("learning rate η")
    finite = values.values[np.isfinite(values.values) & (values.values > 0)]
    if len(finite):
        panels[0].set_yscale("log")
        panels[0].set_ylim(
            float(finite.min()) / 1.2, 1.2 * min(float(finite.max()), 10 * float(np.median(finite)))
        )
    panels[0].set_ylabel(measure.replace("_", " "))
    return _finished(
        figure,
        panels,
        "Dotted: the scheme's own learning rate. Where a line is missing a run diverged.",
        path,
    )


def plot_coordinates(transfer: Transfer, path: str | PathLike | None, eta: float | None) -> Picture:
    """A panel for each scheme: the change of each layer's preactivations against its place in the network."""
    data = transfer.data
    if "change" not in data:
        raise DataError('there is no "change": let your training loop return it, one number for each layer')
    if eta is not None and not np.isin(eta, data.eta.values):
        raise DataError(f"eta = {eta!r} was not tried")
    figure, panels = _panels(transfer, "change of preactivations in the first 10 steps")
    for axes, scheme in zip(panels, data.scheme.values, strict=True):
        rate = _common_eta(transfer, scheme) if eta is None else eta
        axes.set_title(f"{scheme}, η = {rate:.3g}", fontsize="medium")
        for network in data.network.values:
            change = (
                data.change.sel(network=network, scheme=scheme, eta=rate).mean("seed", skipna=False).values
            )
            depth = int(data.depth.sel(network=network))
            place = np.arange(1, depth + 1) / depth
            axes.plot(
                place,
                np.where(np.isfinite(change[:depth]), change[:depth], np.nan),
                "o-",
                ms=3,
                label=str(network),
            )
        axes.set_xlabel("layer / depth")
        axes.set_xlim(0, 1.03)
    heights = np.concatenate([np.asarray(line.get_ydata()) for axes in panels for line in axes.lines])
    heights = heights[heights > 0]
    if len(heights):
        panels[0].set_yscale("log")
        panels[0].set_ylim(max(heights.min() / 2, heights.max() * _LEAST_SHOWN), 2 * heights.max())
    panels[0].set_ylabel("root mean square of the change")
    return _finished(
        figure,
        panels,
        "Lines of all widths and depths together: one learning rate does the same in all of them.",
        path,
    )


def _common_eta(transfer: Transfer, scheme: str) -> float:
    """The scheme's own η, the same for all networks or their median; else the one on the grid that is best for all networks."""
    data = transfer.data
    own = data.told.sel(scheme=scheme).values
    if np.isfinite(own).all():
        return float(np.sort(own)[len(own) // 2])
    losses = data.loss.sel(scheme=scheme).mean("seed")
    with np.errstate(divide="ignore"):
        total = np.log(losses).where(losses < np.inf, np.inf).sum("network", skipna=False)
    return float(data.eta[int(total.argmin("eta"))])


def _panels(transfer: Transfer, what: str) -> tuple[Picture, list[Axes]]:
    data = transfer.data
    schemes = data.scheme.values
    figure = new_picture(what[0].upper() + what[1:], (_PANEL[0] * len(schemes) + 0.6, _PANEL[1]))
    panels = list(figure.subplots(1, len(schemes), sharey=True, squeeze=False)[0])
    for axes, scheme in zip(panels, schemes, strict=True):
        axes.set_title(str(scheme), fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _finished(figure: Picture, panels: list[Axes], words: str, path: str | PathLike | None) -> Picture:
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize="small", loc="outside lower center", ncols=3)
    lines = textwrap.fill(words, _PER_PANEL * len(panels))
    panels[len(panels) // 2].set_xlabel(f"{panels[0].get_xlabel()}\n\n{lines}")
    return saved(figure, path)
