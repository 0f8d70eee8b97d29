"""A flow as a picture: the kernel and its finite-width effects, layer by layer."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ntkflow.errors import FileError
from ntkflow.summary import layer_summary

if TYPE_CHECKING:
    from ntkflow import Flow


def picture_suffixes() -> list[str]:
    """The file suffixes that `plot_flow` can write, such as ".png"."""
    return sorted(f".{name}" for name in FigureCanvasAgg.get_supported_filetypes())


def plot_flow(flow: Flow, path: str | PathLike) -> None:
    """Draw `flow` and write the picture to `path`, replacing what is there."""
    rows = layer_summary(flow)
    layers = np.array([row.layer for row in rows])
    mean = np.array([row.ntk_mean for row in rows])
    std = np.array([row.ntk_std for row in rows])

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    kernel_axes, relative_axes = figure.subplots(1, 2)

    kernel_axes.fill_between(layers, mean - std, mean + std, alpha=0.25, lw=0, label="±1 sd over seeds")
    kernel_axes.plot(layers, mean, "o-", label="mean over seeds")
    kernel_axes.plot(layers, [row.kernel for row in rows], "k--", lw=1, label="infinite width")
    kernel_axes.set_ylabel("NTK diagonal, mean over samples")

    relative_axes.axhline(0, color="0.8", lw=1)
    relative_axes.plot(layers, [100 * row.relative_std for row in rows], "o-", label="sd over seeds")
    relative_axes.plot(layers, [100 * row.relative_correction for row in rows], "s-", label="1/n correction")
    relative_axes.set_ylabel("% of the infinite-width NTK")

    for axes in (kernel_axes, relative_axes):
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)

    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise FileError(f"cannot write the picture {path}: {error}") from error
