"""The parts that all pictures share: the figure, its axis of layers, and saving it."""

from __future__ import annotations

import io
import textwrap
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .._disk.atomic import replaced
from ..errors import FileError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_PER_INCH = 12  # characters of a title


class Picture(Figure):
    """A figure that notebooks show, whether or not pyplot is in use."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, dpi=100)
        return buffer.getvalue()


def new_picture(title: str, size: tuple[float, float]) -> Picture:
    """An empty figure with a title, of as many lines as its width takes; `size` in inches."""
    figure = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    lines = (textwrap.fill(line, int(_PER_INCH * size[0])) for line in title.splitlines())
    figure.suptitle("\n".join(lines), fontsize="medium")
    return figure


def by_layer(axes: Axes, columns: int = 2, below: float = 0.15) -> None:
    """Layers as the horizontal axis, and a legend as of `legend_below`."""
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(axes, columns, below)


def legend_below(axes: Axes, columns: int = 2, below: float = 0.15) -> None:
    """A legend below the axes, by a share of their height, if there is something to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -below), ncols=columns
        )


def log_normal_band(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 16 % and 84 % quantiles of log-normal variables: never below 0, where the NTK of one sample can't be either."""
    sigma = np.sqrt(np.log1p(np.divide(std, mean, out=np.zeros_like(mean), where=mean > 0) ** 2))
    median = mean * np.exp(-(sigma**2) / 2)
    return median * np.exp(-sigma), median * np.exp(sigma)


def saved(figure: Picture, path: str | PathLike | None) -> Picture:
    """The figure, written to `path` if there is one; FileError if it can't be."""
    if path is not None:
        try:
            with replaced(Path(path)) as temporary:
                figure.savefig(temporary, dpi=150)
        except FileError:
            raise
        except ValueError as error:  # such as of a suffix that Matplotlib doesn't know
            raise FileError(f"cannot write the picture {path}: {error}") from error
    return figure
