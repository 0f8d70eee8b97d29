"""A flow as a table for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ntkflow.summary import TENSORS, layer_summary

if TYPE_CHECKING:
    from ntkflow import Flow


def flow_table(flow: Flow) -> Table:
    """One row per layer: width, mean NTK, its 1/n correction and its spread over seeds, digits to trust."""
    table = Table(
        caption="H, its 1/n correction and sd over seeds: averages over samples, of one neuron's Ĥ_αα. "
        "Worst pair: largest |H1_αβ| / n over √(H_αα H_ββ). Digits to trust in each tensor; - where it is zero.",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for heading in ("layer", "width", "H", "1/n\n%", "worst\npair %", "sd\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
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


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
