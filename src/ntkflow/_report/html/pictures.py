"""Pictures as data: the numbers, their errors and their labels, which `page.js` draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ..describe import evenly

_DIGITS, _ERROR_DIGITS = 7, 2
_MOST_NUMBERS = 100_000
"""Values of all heat maps of a report together; with two errors each they take 3 MB."""
_MOST_LAYERS = 12
_MOST_SAMPLES = 200


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        label: what it is.
        at, values: (K,); NaN where there is none.
        errors, truncations: of the integration or the sampling, and of cutting the expansion at 1/n, (K,); None where they don't apply.
        band: the lower and the upper edge, (K,) each, and what they are.
        names: of each point, in place of its `at`.
        dashed: how the line is drawn.
    """

    label: str
    at: ArrayLike
    values: ArrayLike
    errors: ArrayLike | None = None
    truncations: ArrayLike | None = None
    band: tuple[ArrayLike, ArrayLike, str] | None = None
    names: Sequence[str] | None = None
    dashed: bool = False

    def data(self) -> dict[str, Any]:
        table: dict[str, Any] = {"label": self.label, "at": numbers(self.at), "values": numbers(self.values)}
        for name, errors in (("errors", self.errors), ("truncations", self.truncations)):
            if errors is not None:
                table[name] = numbers(errors, _ERROR_DIGITS)
        if self.band is not None:
            low, high, label = self.band
            table["band"] = {"low": numbers(low), "high": numbers(high), "label": label}
        if self.names is not None:
            table["names"] = list(self.names)
        return table | {"dashed": self.dashed}


@dataclass(frozen=True)
class Chart:
    """Series over a common axis.

    Attributes:
        whole: the axis counts layers or the like. log, log_x: its axes at first. from_zero: its vertical axis begins there unless it is logarithmic.
        points_only: without lines. diagonal: with the line x = y.
    """

    KIND: ClassVar = "chart"
    title: str
    caption: str
    x: str
    y: str
    series: Sequence[Series]
    whole: bool = True
    log: bool = False
    log_x: bool = False
    from_zero: bool = True
    points_only: bool = False
    diagonal: bool = False

    def data(self) -> dict[str, Any]:
        names = ("title", "x", "y", "whole", "log", "log_x", "from_zero", "points_only", "diagonal")
        return {name: getattr(self, name) for name in names} | {
            "kind": self.KIND,
            "series": [series.data() for series in self.series],
        }


@dataclass(frozen=True)
class Choice:
    """Charts of which the reader chooses one."""

    KIND: ClassVar = "choice"
    title: str
    caption: str
    label: str
    charts: Sequence[Chart]

    def data(self) -> dict[str, Any]:
        return {"kind": self.KIND, "label": self.label, "charts": [chart.data() for chart in self.charts]}


@dataclass(frozen=True)
class Quantity:
    """Matrices by layer, each (rows, columns), as lists of such; errors as of `Series`, None of a layer where there are none."""

    label: str
    symbol: str
    values: Sequence[np.ndarray]
    errors: Sequence[np.ndarray | None]
    truncations: Sequence[np.ndarray | None]


@dataclass(frozen=True)
class Pairs:
    """Heat maps over pairs of samples, by quantity and layer.

    Attributes:
        layers, rows, columns: numbers of the layers and samples that are there.
        symmetric: whether rows and columns are the same samples and matrices symmetric; the upper triangle is kept then.
        labels: of rows and columns.
    """

    KIND: ClassVar = "pairs"
    title: str
    caption: str
    layers: Sequence[int]
    rows: Sequence[int]
    columns: Sequence[int]
    quantities: Sequence[Quantity]
    symmetric: bool = True
    labels: tuple[str, str] = ("sample α", "sample β")

    def data(self) -> dict[str, Any]:
        triangle = np.triu_indices(len(self.rows)) if self.symmetric else ...

        def packed(matrices: Sequence[np.ndarray | None], digits: int) -> list:
            return [
                None if matrix is None else numbers(np.ravel(matrix[triangle]), digits) for matrix in matrices
            ]

        quantities = [
            {
                "label": quantity.label,
                "symbol": quantity.symbol,
                "values": packed(quantity.values, _DIGITS),
                "errors": packed(quantity.errors, _ERROR_DIGITS),
                "truncations": packed(quantity.truncations, _ERROR_DIGITS),
            }
            for quantity in self.quantities
        ]
        return {
            "kind": self.KIND, "title": self.title, "layers": list(self.layers), "rows": list(self.rows), "columns": list(self.columns),
            "symmetric": self.symmetric, "labels": list(self.labels), "quantities": quantities,
        }  # fmt: skip


Picture = Chart | Choice | Pairs


@dataclass(frozen=True)
class Shown:
    """The layers and samples that heat maps show, and what they leave out in words.

    Attributes:
        layers: numbers from 1. rows, columns: numbers of samples from 0.
    """

    layers: list[int]
    rows: list[int]
    columns: list[int]
    words: str = field(default="")

    @classmethod
    def of(cls, depth: int, rows: int, columns: int | None, quantities: int) -> Shown:
        """At most so much as a file takes: layers and samples evenly spread. `columns` is None for pairs of the samples of `rows`."""
        layers = [ell + 1 for ell in evenly(depth, _MOST_LAYERS)]
        cells = _MOST_NUMBERS / (len(layers) * quantities)
        side = min(_MOST_SAMPLES, int(cells**0.5 if columns is not None else (2 * cells) ** 0.5))
        down = evenly(rows, side)
        across = down if columns is None else evenly(columns, side)
        return cls(layers, down, across, _left_out(len(layers), depth, down, rows, across, columns))


def _left_out(
    layers: int, depth: int, down: list[int], rows: int, across: list[int], columns: int | None
) -> str:
    sentences = []
    if layers < depth:
        sentences.append(
            f"{layers} of the {depth} layers are shown, evenly spread; {depth - layers} are left out."
        )
    if columns is None and len(down) < rows:
        shown, pairs = len(down) * (len(down) + 1) // 2, rows * (rows + 1) // 2
        sentences.append(
            f"{len(down)} of the {rows} samples are shown, evenly spread over their numbers: {shown:,} of {pairs:,} pairs; {pairs - shown:,} are left out."
        )
    elif columns is not None and len(down) * len(across) < rows * columns:
        sentences.append(
            f"{len(down)} of {rows} samples α and {len(across)} of {columns} samples β are shown, evenly spread over their numbers; "
            f"{rows * columns - len(down) * len(across):,} of {rows * columns:,} pairs are left out."
        )
    return " ".join(sentences)


def numbers(values: ArrayLike, digits: int = _DIGITS) -> list[float | None]:
    """Numbers for JSON, to so many digits; None for what is not finite."""
    return [
        float(f"{value:.{digits}g}") if np.isfinite(value) else None
        for value in np.asarray(values, float).tolist()
    ]
