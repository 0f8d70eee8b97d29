"""A diagnosis in a report: the verdict, what to do, and the measurements it rests on."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ..._diagnosis.report import notes, table_rows
from ..page import inputs as inputs_in_words
from .document import write
from .parts import Section, Table, Verdict
from .pictures import Chart, Series
from .provenance import Provenance

if TYPE_CHECKING:
    from ..._diagnosis import Diagnosis, Measurements

_MOST_ROWS = 40


def report(diagnosis: Diagnosis, path: str | PathLike, inputs: bool) -> None:
    """Write a diagnosis' report; raises as `write`."""
    calls = ["diagnosis = ntkflow.diagnose(network, X)", 'diagnosis.report("again.html")']
    shape = f"{inputs_in_words(diagnosis.inputs, diagnosis.inputs)} of {diagnosis.mlp.widths[0]} numbers"
    provenance = Provenance(diagnosis.mlp, calls, diagnosis.X, inputs, shape=shape)
    write(path, [section(diagnosis)], provenance)


def section(diagnosis: Diagnosis) -> Section:
    """The verdict, four pictures and the table."""
    m, verdict = diagnosis.measurements, diagnosis.verdict
    heading = "Trainable" if verdict.trainable else f"Not trainable: {verdict.cause}"
    sentences = [verdict.words, *(f"What to do: {sentence}" for sentence in verdict.advice), *verdict.remarks]
    headings, *rows = table_rows(diagnosis, _MOST_ROWS)
    caption = "G, 1 - rho: means over inputs; sd: of one neuron's NTK of one input."
    charts = [_signal(m), _apart(m), _shares(m), _spread(m), _eigenvalues(m)]
    return Section(
        "Will it train?", Verdict(heading, sentences, "good" if verdict.trainable else "bad"), notes(diagnosis),
        [chart for chart in charts if _has_numbers(chart)], [Table("By layer", caption, headings, rows)],
    )  # fmt: skip


def _has_numbers(chart: Chart) -> bool:
    return any(np.isfinite(np.asarray(series.values, float)).any() for series in chart.series)


def _layers(m: Measurements) -> np.ndarray:
    return np.arange(1, len(m.metric) + 1)


def _signal(m: Measurements) -> Chart:
    band = (m.metric_least, m.metric_most, "range over inputs")
    return Chart(
        "Signal: variance of preactivations", "Too large or too small, and gradients explode or vanish.", "layer", "G_αα",
        [Series("mean over inputs", _layers(m), m.metric, band=band)], log=bool(m.metric_least.min() > 0),
    )  # fmt: skip


def _apart(m: Measurements) -> Chart:
    series = [
        Series("mean over pairs", _layers(m), m.apart),
        Series("closest pair", _layers(m), m.apart_least, dashed=True),
    ]
    return Chart(
        "Inputs told apart", "1 - ρ between two inputs, ρ the correlation of their preactivations. Below 1e-12 they are the same to rounding.",
        "layer", "1 - ρ", series, log=True,
    )  # fmt: skip


def _shares(m: Measurements) -> Chart:
    series = [
        Series("weights", _layers(m), 100 * m.weight_share),
        Series("biases", _layers(m), 100 * m.bias_share),
    ]
    return Chart(
        "Gradient: shares of layers in the output's NTK", "Of each layer's weights and biases.", "layer", "%",
        [line for line in series if np.any(line.values)],
    )  # fmt: skip


def _spread(m: Measurements) -> Chart:
    series = [
        Series("sd over seeds", _layers(m), 100 * m.ntk_std, truncations=100 * m.ntk_std_truncation),
        Series("leading order in 1/n", _layers(m), 100 * m.ntk_std_leading, dashed=True),
    ]
    return Chart(
        "Seeds: sd of the NTK, one neuron and input", "In percent of its mean.", "layer", "%", series
    )


def _eigenvalues(m: Measurements) -> Chart:
    numbers = np.arange(1, len(m.eigenvalues) + 1)
    largest_first = np.asarray(m.eigenvalues)[::-1]
    return Chart(
        "Eigenvalues of the output's mean NTK", "At infinite width, on the inputs looked at. What is lost in rounding is left out.",
        "eigenvalue, from the largest", "eigenvalue", [Series("eigenvalue", numbers, np.where(largest_first > 1e-13 * m.eigenvalues[-1], largest_first, np.nan))],
        log=True, points_only=True,
    )  # fmt: skip
