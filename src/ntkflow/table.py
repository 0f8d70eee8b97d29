"""A flow as a table for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

from ntkflow.summary import TENSORS, layer_summary

if TYPE_CHECKING:
    from ntkflow import Flow


def flow_table(flow: Flow) -> Table:
    """One row per layer: width, mean NTK, its 1/n correction and its spread over seeds, digits to trust."""
    table = Table(
        caption="H, its 1/n correction and sd over seeds: averages over samples, of one neuron's Ĥ_αα. "
        "Worst pair: largest |H1_αβ| / n over √(H_αα H_ββ). V … B: digits to trust in each tensor."
    )
    for heading in ("layer", "width", "H", "1/n\n%", "worst\npair %", "sd\n%", *TENSORS):
        table.add_column(heading, justify="right")
    for row in layer_summary(flow):
        digits = [row.digits[name] for name in TENSORS]
        table.add_row(
            str(row.layer),
            str(row.width),
            _number(row.kernel, "#.5g"),
            _number(100 * row.relative_correction, ".2g"),
            _number(100 * row.worst_correction, ".2g"),
            _number(100 * row.relative_std, ".2f"),
            *("-" if d is None else str(d) for d in digits),
        )
    return table


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
