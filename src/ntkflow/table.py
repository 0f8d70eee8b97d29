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
_VERDICTS = {"noise": "noise", "1/n": "noise + O(1/n)", "differs": "NEITHER"}


def flow_table(flow: Flow, accuracy: bool = False) -> Table:
    """One row per layer: width, mean NTK, its 1/n correction and its spread over seeds; with `accuracy` the integration's digits too."""
    caption = (
        "Mean NTK, its 1/n correction and sd over seeds: averages over samples, of one neuron's Ĥ_αα. Worst pair: largest |H1_αβ| / n over "
        "√(H_αα H_ββ). In brackets what cutting the expansion at 1/n may do to the last digits: 28.7(9) is 28.7 ± 0.9."
    )
    if accuracy:
        caption += " Digits of the integration in each tensor; - where it is zero."
    table = titled_table(
        _title(flow), caption, ("layer", "width", "mean NTK", "1/n\n%", "worst\npair %", "sd\n%")
    )
    if accuracy:
        table.add_column(
            "digits of the integration\n"
            + "".join(f"{name:>{max(len(name) + 1, 3)}}" for name in (*KERNELS, *TENSORS)),
            no_wrap=True,
        )
    for row in layer_summary(flow):
        cells = [
            str(row.layer),
            str(row.width),
            uncertain(row.ntk_mean, row.ntk_mean_truncation),
            _number(100 * row.relative_correction, ".2g"),
            _number(100 * row.worst_correction, ".2g"),
            uncertain(100 * row.relative_std, 100 * row.relative_std_truncation),
        ]
        if accuracy:
            digits = (
                f"{'-' if count is None else count:>{max(len(name) + 1, 3)}}"
                for name, count in row.digits.items()
            )
            cells.append("".join(digits))
        table.add_row(*cells)
    return table


def ensemble_table(ensemble: Ensemble) -> Table:
    """One row per layer and tensor: the largest component and its error."""
    table = titled_table(
        _title(ensemble),
        f"{ensemble.draws} networks, seed {ensemble.seed}, {ensemble.estimators} estimators: the largest component of each "
        "tensor, the standard error of its last digits in brackets, and the largest error in percent of that component. "
        "G and H at the real width.",
        ("layer", "width", "", "measured", "error %"),
    )
    for s in ensemble:
        for name in (name for name in s.values if name != "zH"):
            if not _vanishes(s.values[name]):
                cells = _measured(s.values[name], s.errors[name]), f"{100 * s.relative_error(name):.2g}"
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
            f"{np.nanmax(np.abs(d.z)):.2f}", _number(100 * d.relative, ".2g"), _number(100 * d.allowed, ".2g"),
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
            _measured(one.b, one.b_error, at, one.scale), f"{one.z:.2f}", f"{one.z_b:.2f}" if one.exact else "-",
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


def _vanishes(values: np.ndarray) -> bool:
    return not np.any(np.nan_to_num(values))


def _measured(
    values: np.ndarray, errors: np.ndarray, at: tuple[int, ...] | None = None, scale: float = 0.0
) -> str:
    """A component, by default the largest, with two digits of its error in brackets: 0.8495(47) is 0.8495 ± 0.0047.

    Of numbers of size `scale`, by default the component's own, errors below 1e-9 are round-off and left out.
    """
    at = _largest(values) if at is None else at
    value, error = float(values[at]), float(errors[at])
    least = 1e-9 * max(scale, abs(value))
    if not error > least:
        return f"{value:#.5g}" if abs(value) > least else "0"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f}({error * 10**decimals:.0f})"


def uncertain(value: float, error: float) -> str:
    """A number to its uncertain digit, whose error stands in brackets: 28.7(9) is 28.7 ± 0.9, 260(80) is 260 ± 80; five digits at most."""
    if math.isnan(value):
        return "-"
    if not error > 1e-5 * abs(value):
        return f"{value:#.5g}" if value else "0"
    if error > 10 * abs(value):
        return f"{value:.1g} ± {error:.1g}"
    magnitude = math.floor(math.log10(abs(value)))
    exponent = 0 if -3 <= magnitude < 5 else magnitude
    value, error = value / 10.0**exponent, error / 10.0**exponent
    # An error of 0.96 would be 10 in units of 0.1.
    unit = min(math.floor(math.log10(error / 0.95)), magnitude - exponent)
    digits = f"{round(value, -unit):.{max(0, -unit)}f}({error * 10 ** max(0, -unit):.0f})"
    if unit > 0:
        digits = f"{round(value, -unit):.0f}({round(error, -unit):.0f})"
    return digits + (f"e{exponent:+03d}" if exponent else "")


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
