"""Flows, ensembles, comparisons and verifications as tables for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ntkflow.summary import TENSORS, layer_summary

if TYPE_CHECKING:
    from ntkflow import Comparison, Ensemble, Flow, Verification

_VERDICTS = {"noise": "noise", "1/n": "noise + O(1/n)", "differs": "NEITHER"}


def flow_table(flow: Flow) -> Table:
    """One row per layer: width, mean NTK, its 1/n correction and its spread over seeds, digits to trust."""
    table = _table(
        "H, its 1/n correction and sd over seeds: averages over samples, of one neuron's Ĥ_αα. "
        "Worst pair: largest |H1_αβ| / n over √(H_αα H_ββ). Digits to trust in each tensor; - where it is zero.",
        ("layer", "width", "H", "1/n\n%", "worst\npair %", "sd\n%"),
    )
    table.add_column("digits to trust\n" + "".join(f"{name:>3}" for name in TENSORS), no_wrap=True)
    for row in layer_summary(flow):
        digits = ("-" if row.digits[name] is None else str(row.digits[name]) for name in TENSORS)
        table.add_row(
            str(row.layer),
            str(row.width),
            _number(row.kernel, "#.5g"),
            _number(100 * row.relative_correction, ".2g"),
            _number(100 * row.worst_correction, ".2g"),
            _number(100 * row.relative_std, ".2f"),
            "".join(f"{d:>3}" for d in digits),
        )
    return table


def ensemble_table(ensemble: Ensemble) -> Table:
    """One row per layer and tensor: the largest component and its error."""
    table = _table(
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
    table = _table(
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
    table = _table(
        "m(n) = a + b / n of the largest component; of all components the largest z-score of a less the prediction, beyond what "
        "curvature allows, and of b where it must vanish.",
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


def _table(caption: str, headings: tuple[str, ...]) -> Table:
    table = Table(caption=caption, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


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


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
