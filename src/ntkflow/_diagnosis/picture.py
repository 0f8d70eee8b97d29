"""A diagnosis as one picture: signal, separation of inputs, shares of layers in the NTK, spread over seeds."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from .._report.describe import network
from .._report.picture import Picture, by_layer, new_picture, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .diagnose import Diagnosis
    from .measurements import Measurements

_LEAST_APART = 1e-16  # rounding of a correlation
_MOST_MARKERS = 40
_RANGE = 30.0  # of a variance, beyond which its axis is logarithmic


def draw(diagnosis: Diagnosis, path: str | PathLike | None) -> Picture:
    """The figure, saved to `path` if that is given; FileError if it cannot be."""
    m = diagnosis.measurements
    state = "trainable" if diagnosis.trainable else f"not trainable: {diagnosis.verdict.cause}"
    figure = new_picture(f"{state}\n{network(diagnosis.mlp, len(m.samples))}", (11, 7.5))
    (signal, apart), (shares, spread) = figure.subplots(2, 2)
    _draw_signal(signal, m)
    _draw_apart(apart, m)
    _draw_shares(shares, m)
    _draw_spread(spread, m)
    for axes in (signal, apart, shares, spread):
        axes.set_xlim(0.5, len(m.metric) + 0.5)
        by_layer(axes, columns=3, below=0.18)
    return saved(figure, path)


def _layers(m: Measurements) -> np.ndarray:
    return np.arange(1, len(m.metric) + 1)


def _marked(m: Measurements, style: str) -> str:
    """A line's style, without its marker where there would be too many."""
    return style if len(m.metric) <= _MOST_MARKERS else style.lstrip("ov")


def _draw_signal(axes: Axes, m: Measurements) -> None:
    axes.fill_between(_layers(m), m.metric_least, m.metric_most, alpha=0.25, lw=0, label="range over inputs")
    axes.plot(_layers(m), m.metric, _marked(m, "o-"), label="mean over inputs")
    positive = m.metric_least[m.metric_least > 0]
    if len(positive) == len(m.metric_least) and m.metric_most.max() > _RANGE * positive.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title("signal: variance of preactivations")
    axes.set_ylabel(r"$G_{\alpha\alpha}$")


def _draw_apart(axes: Axes, m: Measurements) -> None:
    axes.set_title("inputs told apart")
    axes.set_ylabel(r"$1 - \rho$ between two inputs")
    if not np.isfinite(m.apart).any():
        axes.text(0.5, 0.5, "one input: nothing to tell apart", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    axes.semilogy(_layers(m), np.maximum(m.apart, _LEAST_APART), _marked(m, "o-"), label="mean over pairs")
    axes.semilogy(_layers(m), np.maximum(m.apart_least, _LEAST_APART), _marked(m, "v:"), label="closest pair")
    axes.axhspan(_LEAST_APART / 3, 1e-12, color="0.9", label="the same to float64")
    axes.set_ylim(_LEAST_APART / 3, 3)


def _draw_shares(axes: Axes, m: Measurements) -> None:
    weights, biases = 100 * m.weight_share, 100 * m.bias_share
    axes.bar(_layers(m), weights, label="weights")
    if np.any(biases):
        axes.bar(_layers(m), biases, bottom=weights, label="biases")
    axes.set_title("gradient: shares of layers in the output's NTK")
    axes.set_ylabel("%")


def _draw_spread(axes: Axes, m: Measurements) -> None:
    axes.set_title("seeds: sd of the NTK, one neuron and input")
    axes.set_ylabel("% of its mean")
    percent, error = 100 * m.ntk_std, 100 * m.ntk_std_truncation
    if not np.any(percent > 0):
        axes.text(
            0.5,
            0.5,
            "not computed" if np.isnan(percent).all() else "no spread",
            ha="center",
            transform=axes.transAxes,
        )
        axes.set_yticks([])
        return
    if np.isfinite(error).any():
        axes.fill_between(
            _layers(m),
            np.maximum(percent - error, 0),
            percent + error,
            alpha=0.25,
            lw=0,
            label="error of cutting at 1/n",
        )
    axes.plot(_layers(m), percent, _marked(m, "o-"), label="sd over seeds")
    if percent.max() > 1000:
        axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(bottom=0)
