"""Flows, ensembles, comparisons and verifications as tables for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ntkflow.describe import network
from ntkflow.recursions import TENSORS
from ntkflow.statistics import KERNELS
from ntkflow.summary import layer_summary

if TYPE_CHECKING:
    from ntkflow import Comparison, Ensemble, Flow, Verification

_LEAST_WIDTH = 72
_LARGE_Z = 1000.0  # whose digits say no more
_INFINITE_WIDTH = "Mean NTK at infinite width: the average over samples, of one neuron's H_αα."
_FINITE_WIDTH = (
    "Mean NTK, its 1/n correction and sd over seeds: averages over samples, of one neuron's Ĥ_αα. Worst pair: largest |H1_αβ| / n over "
    "√(H_αα H_ββ). In brackets what cutting the expansion at 1/n may do to the last digits: 28.7(9) is 28.7 ± 0.9."
)
_VERDICTS = {"noise": "noise", "1/n": "noise + O(1/n)", "differs": "NEITHER"}


def flow_table(flow: Flow, accuracy: bool = False) -> Table:
    """One row per layer: width, mean NTK, its 1/n correction and its spread over seeds; with `accuracy` the integration's digits too.

    Of a flow of means there are width and mean NTK alone.
    """
    means_alone = flow.components == "mean"
    caption = _INFINITE_WIDTH if means_alone else _FINITE_WIDTH
    effects = () if means_alone else ("1/n\n%", "worst\npair %", "sd\n%")
    if accuracy:
        caption += " Digits of the integration in each tensor; - where it is zero."
    table = titled_table(_title(flow), caption, ("layer", "width", "mean NTK", *effects))
    columns = {name: max(len(name) + 1, 3) for name in (*KERNELS, *TENSORS) if name in flow[1].values}
    if accuracy:
        table.add_column(
            "digits of the integration\n" + "".join(f"{name:>{width}}" for name, width in columns.items()),
            no_wrap=True,
        )
    for row in layer_summary(flow):
        cells = [str(row.layer), str(row.width), uncertain(row.ntk_mean, row.ntk_mean_truncation)]
        if not means_alone:
            cells += [
                _number(100 * row.relative_correction, ".2g"),
                _number(100 * row.worst_correction, ".2g"),
                uncertain(100 * row.relative_std, 100 * row.relative_std_truncation),
            ]
        if accuracy:
            digits = {name: "-" if row.digits[name] is None else row.digits[name] for name in columns}
            cells.append("".join(f"{digits[name]:>{width}}" for name, width in columns.items()))
        table.add_row(*cells)
    return table


def ensemble_table(ensemble: Ensemble) -> Table:
    """One row per layer and tensor: the component of one sample alone, and its error.

    The largest component would be one that noise has made large; the sample with the largest |x| does not depend on noise.
    """
    sets = ensemble[1].sets
    held = np.arange(len(ensemble.X)) if sets is None else np.unique(sets)
    sample = int(held[np.argmax(np.sum(ensemble.X[held] ** 2, axis=1))])
    table = titled_table(
        _title(ensemble),
        f"{ensemble.draws} networks, seed {ensemble.seed}, {ensemble.estimators} estimators: of each tensor the component of sample "
        f"{sample} alone, whose |x| is largest, with the standard error of its last digits in brackets; and the largest error of all "
        "components in percent of the largest component. G and H at the real width.",
        ("layer", "width", "", "measured", "error %"),
    )
    for s in ensemble:
        for name in (name for name in s.values if name != "zH"):
            if not _vanishes(s.values[name]):
                at = _of_one_sample(s.values[name], sets, sample)
                cells = (
                    _measured(s.values[name], s.errors[name], at),
                    _number(100 * s.relative_error(name), ".2g"),
                )
                table.add_row(str(s.layer), str(s.width), name, *cells)
    return table


def comparison_table(comparison: Comparison) -> Table:
    """One row per layer and tensor; numbers are of the component that is largest in the prediction."""
    table = titled_table(
        _title_of(comparison),
        f"{comparison.draws} networks. Largest component as predicted and as measured; of all components the largest z-score, and the largest difference in "
        "percent of the largest component, beside what the neglected order may amount to. G and H with their 1/n corrections.",
        ("layer", "", "predicted", "measured", "max\n|z|", "diff.\n%", "O(1/n)\n%", "within"),
    )
    for d in comparison:
        if _vanishes(d.predicted) and _vanishes(d.measured):
            continue
        at = _largest(d.predicted)
        table.add_row(
            str(d.layer), d.name, f"{d.predicted[at]:#.5g}", _measured(d.measured, d.error, at),
            _z_score(float(np.nanmax(np.abs(d.z)))), _number(100 * d.relative, ".2g"), _number(100 * d.allowed, ".2g"),
            _VERDICTS[d.verdict],
        )  # fmt: skip
    return table


def verification_table(verification: Verification) -> Table:
    """One row per layer and tensor; numbers are of the component that is largest in the prediction."""
    table = titled_table(
        _title_of(verification),
        f"{verification.draws} networks at each of the widths {', '.join(map(str, verification.widths))} of the first hidden layer, "
        "measured m(n) = a + b / n, n the width below the layer. Of the largest component the prediction, a and b with the standard "
        "error of their last digits in brackets; of all components the largest z-score of a less the prediction, beyond what curvature "
        "allows, and of b where it must vanish.",
        ("layer", "", "predicted", "a", "b", "max\n|z|", "max |z|\nof b", ""),
    )
    for one in verification:
        if _vanishes(one.predicted) and _vanishes(one.measured):
            continue
        at = _largest(one.predicted)
        table.add_row(
            str(one.layer), one.name, f"{one.predicted[at]:#.5g}", _measured(one.a, one.a_error, at),
            _measured(one.b, one.b_error, at, one.scale), _z_score(one.z), _z_score(one.z_b) if one.exact else "-",
            "agrees" if one.agrees else "DISAGREES",
        )  # fmt: skip
    return table


def titled_table(title: str, caption: str, headings: tuple[str, ...]) -> Table:
    """An empty table with a line above that says what it is of, and a caption that says what its numbers are."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="",
        caption_justify="left",
        caption=caption,
        box=SIMPLE_HEAD,
        min_width=_LEAST_WIDTH,
        pad_edge=False,
        collapse_padding=True,
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _title(of: Flow | Ensemble) -> str:
    X2 = getattr(of, "X2", None)
    return network(of.mlp, len(of.X), None if X2 is None else len(X2))


def _title_of(outcome: Comparison | Verification) -> str:
    return network(outcome.mlp, outcome.samples)


def _largest(values: np.ndarray) -> tuple[int, ...]:
    flat = int(np.argmax(np.where(np.isnan(values), -1.0, np.abs(values))))
    return tuple(int(i) for i in np.unravel_index(flat, values.shape))


def _of_one_sample(values: np.ndarray, sets: np.ndarray | None, sample: int) -> tuple[int, ...]:
    """The index of the component all of whose samples are `sample`."""
    if sets is None or values.ndim < 5:
        return (sample,) * values.ndim
    row = int(np.argmax(np.any(sets == sample, axis=1)))
    return row, *[int(np.argmax(sets[row] == sample))] * 4


def _vanishes(values: np.ndarray) -> bool:
    return not np.any(np.nan_to_num(values))


def _measured(values: np.ndarray, errors: np.ndarray, at: tuple[int, ...], scale: float = 0.0) -> str:
    """A component with two digits of its error in brackets: 0.8495(47) is 0.8495 ± 0.0047, 0.85(?) has an error that is not known.

    Of numbers of size `scale`, by default the component's own, errors below 1e-6 are left out, with the digits that they leave.
    """
    value, error = float(values[at]), float(errors[at])
    least = 1e-6 * max(scale, abs(value))
    if math.isinf(error):
        return f"{value:.2g}(?)"
    if not error > least:
        return f"{value:#.5g}" if abs(value) > least else "0"
    # An error of 0.0996 would be 100 in units of 0.001.
    unit = math.floor(math.log10(error / 0.995)) - 1
    return _bracketed(value, error, unit, math.floor(math.log10(max(abs(value), error))))


def uncertain(value: float, error: float) -> str:
    """A number to its uncertain digit, whose error stands in brackets: 28.7(9) is 28.7 ± 0.9, 260(80) is 260 ± 80; five digits at most."""
    if math.isnan(value):
        return "-"
    if not error > 1e-5 * abs(value):
        return f"{value:#.5g}" if value else "0"
    if error > 10 * abs(value):
        return f"{value:.1g} ± {error:.1g}"
    magnitude = math.floor(math.log10(abs(value)))
    # An error of 0.96 would be 10 in units of 0.1.
    return _bracketed(value, error, min(math.floor(math.log10(error / 0.95)), magnitude), magnitude)


def _bracketed(value: float, error: float, unit: int, magnitude: int) -> str:
    """Both to the digit of 10^unit, the error in brackets, and a power of ten behind them where 10^magnitude is small or large."""
    exponent = 0 if -3 <= magnitude < 5 else magnitude
    value, error, unit = value / 10.0**exponent, error / 10.0**exponent, unit - exponent
    digits = f"{round(value, -unit):.{max(0, -unit)}f}({error * 10 ** max(0, -unit):.0f})"
    if unit > 0:
        digits = f"{round(value, -unit):.0f}({round(error, -unit):.0f})"
    return digits + (f"e{exponent:+03d}" if exponent else "")


def _number(value: float, form: str) -> str:
    if math.isinf(value):
        return "?"
    return "-" if math.isnan(value) else format(value, form)


def _z_score(value: float) -> str:
    return f"{value:.2f}" if value < _LARGE_Z else f"{value:.0e}"
