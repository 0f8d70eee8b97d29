"""A trained ensemble in a report: losses over time, modes of the NTK, and what is predicted at the end."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ...training.finite_width import FiniteWidthPrediction, FiniteWidthTrained
from ..describe import counted, evenly
from ..digits import number
from .document import write
from .parts import Section, Table, Verdict, of_terminal
from .pictures import Chart, Series
from .provenance import Provenance

if TYPE_CHECKING:
    from ...training.trained import Trained

_TIMES = 40
_SLOWEST = 8.0  # of the slowest mode's own time
_MOST_CURVES = 4


def report(trained: Trained, path: str | PathLike, inputs: bool) -> None:
    """Write a trained ensemble's report; raises as `write`."""
    X = trained.flow.X if isinstance(trained, FiniteWidthTrained) else None
    options = [] if trained.scale == 1.0 else ['loss="mse"']
    options += [] if X is None else ["order=1"]
    n = trained.training
    samples = [f"X[:{n}]", "y", f"X[{n}:]"] if n < len(trained.H) else ["X", "y"]
    calls = [
        f"y = ...  # {trained.y.shape}, the targets",
        f"predict = ntkflow.trained({', '.join(['network', *samples, *options])})",
        'predict.report("again.html")',
    ]
    shape = f"({len(trained.H)}, {trained.mlp.widths[0]}): the training inputs, then the test inputs"
    write(
        path,
        sections(trained),
        Provenance(trained.mlp, calls, X, inputs, shape=shape),
        "by the kernels' errors",
    )


def sections(trained: Trained) -> list[Section]:
    """The course of training, and the prediction at its end."""
    counts = f"{counted(trained.training, 'training sample')}, {counted(len(trained.H) - trained.training, 'test sample')}"
    at_width = isinstance(trained, FiniteWidthTrained)
    fails_from = trained.fails_from() if at_width else np.inf
    times = _times(trained, fails_from)
    predictions = [trained(float(t)) for t in times]
    end = trained(float(times[-1]) if at_width else np.inf)
    of_end = "at the last time shown" if at_width else "at infinite time"
    return [
        Section(
            f"Trained ensemble {trained.WIDTH}: {counts}", Verdict(_heading(trained), _sentences(trained, times, fails_from)),
            ["Gradient flow on the whole training set; times are those of the loss that the ensemble was asked for."],
            [_losses(trained, times, predictions), _outputs(trained, times, predictions), _rates(trained)],
            [of_terminal(end.table(), f"Outputs {of_end}"), _error_table(trained, times, predictions)],
        )
    ]  # fmt: skip


def _heading(trained: Trained) -> str:
    still = int(np.sum(trained.modes.rates == 0))
    if still:
        return f"{counted(still, 'mode')} of {len(trained.modes.rates)} never {'trains' if still == 1 else 'train'}"
    return f"Slowest and fastest mode differ by a factor {trained.condition:.3g}"


def _sentences(trained: Trained, times: np.ndarray, fails_from: float) -> list[str]:
    sentences = [f"Gradient descent diverges from the learning rate {trained.largest_eta:.4g} on."]
    if isinstance(trained, FiniteWidthTrained):
        sentences.append(
            f"The expansion in 1/n is of little use from time {number(fails_from, '.3g')} on."
            if np.isfinite(fails_from)
            else "The expansion in 1/n holds at all times."
        )
        if trained.linearised:
            sentences.append("An activation has a kink: that the NTK changes while training is left out.")
    return [*sentences, f"Pictures go from time {number(times[0], '.2g')} to {number(times[-1], '.2g')}."]


def _times(trained: Trained, fails_from: float) -> np.ndarray:
    """From before the fastest mode trains until the slowest that is not lost in rounding has, or until the expansion in 1/n fails."""
    rates = trained.modes.rates[trained.modes.rates > 0] * trained.scale
    if not len(rates):
        return np.geomspace(0.1, 10.0, _TIMES)
    last = min(_SLOWEST / rates[0], fails_from)
    return np.geomspace(0.01 / rates[-1], max(last, 1 / rates[-1]), _TIMES)


def _losses(trained: Trained, times: np.ndarray, predictions: list) -> Chart:
    loss = [prediction.train.loss(trained.y) for prediction in predictions]
    return Chart(
        "Training loss", "The mean over seeds and training samples of ½ Σ_i (z_i - y_i)².", "time", "loss", [Series("training", times, loss)],
        whole=False, log=True, log_x=True,
    )  # fmt: skip


def _outputs(trained: Trained, times: np.ndarray, predictions: list) -> Chart:
    N, n = len(trained.H), trained.training
    tests = [n + k for k in evenly(N - n, _MOST_CURVES)] if N > n else evenly(N, _MOST_CURVES)
    means = np.array([prediction.mean[:, 0] for prediction in predictions])
    stds = np.array([prediction.std[:, 0] for prediction in predictions])
    series = []
    for sample in tests:
        name = f"test sample {sample - n}" if sample >= n else f"training sample {sample}"
        mean, std = means[:, sample], stds[:, sample]
        truncations = None
        if isinstance(predictions[0], FiniteWidthPrediction):
            truncations = [p.truncation["mean"][sample, 0] for p in predictions]
        band = (mean - std, mean + std, "mean ± sd over seeds")
        series.append(Series(name, times, mean, truncations=truncations, band=band))
    kind = "test" if N > n else "training"
    return Chart(
        "First output while training", f"{len(tests)} of {N - n if N > n else N} {kind} samples, evenly spread.", "time", "output", series,
        whole=False, log_x=True, from_zero=False,
    )  # fmt: skip


def _rates(trained: Trained) -> Chart:
    rates = trained.modes.rates[::-1] * trained.scale
    return Chart(
        "Rates of the modes", "Eigenvalues of the training samples' mean NTK. Those that are 0 to rounding are left out.",
        "mode, from the fastest", "rate", [Series("rate", np.arange(1, len(rates) + 1), np.where(rates > 0, rates, np.nan))],
        log=True, points_only=True,
    )  # fmt: skip


def _error_table(trained: Trained, times: np.ndarray, predictions: list) -> Table:
    """Mean and sd of the first output of some samples at four times, with both errors."""
    N, n = len(trained.H), trained.training
    samples = evenly(N, 6)
    rows = []
    for k in evenly(len(times), 4):
        t, prediction = times[k], predictions[k]
        errors = _integration(trained, float(t))
        truncation = prediction.truncation if isinstance(prediction, FiniteWidthPrediction) else None
        for sample in samples:
            name = f"training {sample}" if sample < n else f"test {sample - n}"
            cut = "-" if truncation is None else f"{truncation['mean'][sample, 0]:.1g}"
            error = "-" if errors is None else f"{errors[sample, 0]:.1g}"
            rows.append(
                [number(t, ".3g"), name, f"{prediction.mean[sample, 0]:.5g}", error, cut, f"{prediction.std[sample, 0]:.4g}"]
            )  # fmt: skip
    headings = ["time", "sample", "mean", "± integration", "± cut at 1/n", "sd over seeds"]
    caption = "Of the first output. - where an error is not known: of infinite width nothing is cut."
    return Table("First output at four times", caption, headings, rows, folded=True)


def _integration(trained: Trained, t: float) -> np.ndarray | None:
    """Errors of the means at infinite width, (N, m); None to order 1/n."""
    return None if isinstance(trained, FiniteWidthTrained) else trained.error(t).mean
