"""A flow as a table for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

from ntkflow.summary import TENSORS, layer_summary

if TYPE_CHECKING:
    from ntkflow import Flow


def flow_table(flow: Flow) -> Table:
    """One row per layer: width, kernel, 1/n correction, spread over seeds, digits to trust."""
    table = Table(
        caption="averages over the diagonal of the kernel; last columns: digits to trust per tensor"
    )
    for heading in ("layer", "width", "mean H", "1/n correction %", "sd over seeds %", *TENSORS):
        table.add_column(heading, justify="right")
    for row in layer_summary(flow):
        digits = [row.digits[name] for name in TENSORS]
        table.add_row(
            str(row.layer),
            str(row.width),
            _number(row.kernel, "#.5g"),
            _number(100 * row.relative_correction, ".2f"),
            _number(100 * row.relative_std, ".2f"),
            *("-" if d is None else str(d) for d in digits),
        )
    return table


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
