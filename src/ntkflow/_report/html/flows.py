"""A flow in a report: the NTK by layer and over pairs of samples, and how well both errors are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ..._recursions import TENSORS
from ..._theory.scales import KERNELS
from ...errors import ComponentError
from ...network.network import has_blocks
from ..describe import components, evenly, samples
from ..digits import number, uncertain
from ..picture import log_normal_band
from ..summary import LayerSummary, layer_summary
from .document import write
from .parts import Section, Table, Verdict, of_terminal
from .pictures import Chart, Pairs, Picture, Quantity, Series, Shown
from .provenance import Provenance, selection

if TYPE_CHECKING:
    from ..._theory.result import Flow
    from ..._theory.statistics import LayerStatistics

_MOST_ROWS = 40
_MOST_TENSOR_ROWS = 12  # layers
_MOST_COMPONENTS = 2**22  # of a tensor whose truncation errors are looked through
_WIDE_RANGE = 100  # of a layer's mean NTK to another's: an axis from 0 would hide the smaller
_LARGE = 0.3  # of the sd over seeds: the change by cutting at which `flow` warns


def report(flow: Flow, path: str | PathLike, inputs: bool) -> None:
    """Write a flow's report; raises as `write`."""
    write(path, sections(flow), provenance(flow, inputs))


def provenance(
    flow: Flow, inputs: bool, file: str | None = None, file_version: str | None = None
) -> Provenance:
    """How a flow is computed again; X2, of a flow between two sets of inputs, is not kept."""
    more = ", training=True" if flow.training else ""
    X2 = ["X2 = ...  # the inputs of the columns"] if flow.X2 is not None else []
    call = f"flow = ntkflow.flow(network, X, {selection(flow.components)}{', X2=X2' if X2 else ''}{more})"
    return Provenance(
        flow.mlp, [*X2, call, 'flow.report("again.html")'], flow.X, inputs, file, file_version, f"{samples(flow.X)}, as an array {flow.X.shape}",
    )  # fmt: skip


def sections(flow: Flow) -> list[Section]:
    """The flow by layer, over pairs, and its tensors."""
    heading = f"Flow on {samples(flow.X, flow.X2)}, {components(flow.components)}"
    if flow.X2 is not None:
        return [_block_section(flow, heading)]
    rows, errors = layer_summary(flow), _integration_errors(flow)
    pictures = [
        _mean_chart(rows, errors[0]),
        *([_effects_chart(rows, errors[1])] if _has_effects(rows) else []),
        _pairs(flow),
    ]
    tables = [_layer_table(flow, rows, errors), *([_tensor_table(flow)] if flow.components != "mean" else [])]
    return [Section(heading, _verdict(flow, rows), _explained(flow), pictures, tables)]


def _explained(flow: Flow) -> list[str]:
    if flow.components == "mean":
        return [
            "This flow holds the kernels of infinite width alone: of order 1/n, and of seeds, it knows nothing."
        ]
    if has_blocks(flow.mlp):
        return [
            "Errors are those of the integration. All is leading order in 1/n: what cutting the expansion costs is not known for networks of blocks."
        ]
    return [
        "Every number has two errors: that of the integration, and that of cutting the expansion at order 1/n, which is an estimate."
    ]


def _verdict(flow: Flow, rows: list[LayerSummary]) -> Verdict:
    last = rows[-1]
    if last.kernel == 0:
        return Verdict(
            "The NTK of the outputs vanishes", ["At infinite width nothing trains from here."], "bad"
        )
    sentences = [_integration(flow)]
    if not np.isfinite(last.relative_std):
        return Verdict(f"NTK of the outputs at infinite width: {last.kernel:.5g}", sentences)
    mean = _rounded(last.ntk_mean, last.ntk_mean_truncation)
    in_brackets = (
        "" if has_blocks(flow.mlp) else "; in brackets what cutting at 1/n may do to the last digits"
    )
    sentences.insert(
        0,
        f"Mean NTK of one output neuron and sample: {mean}, of which order 1/n is {number(100 * last.relative_correction, '.2g')} %. Averages over "
        f"samples{in_brackets}.",
    )
    if last.relative_std == 0:
        return Verdict("The NTK of the outputs does not vary over seeds", sentences)
    sd = _rounded(100 * last.relative_std, 100 * last.relative_std_truncation)
    unreliable = [row for row in rows if row.relative_std_truncation > _LARGE * row.relative_std > 0]
    if unreliable:
        sentences.append(
            f"From layer {unreliable[0].layer} on cutting the expansion at 1/n may change the sd over seeds by more than {_LARGE:.0%}: take it as a guide."
        )
    return Verdict(
        f"From seed to seed the NTK of the outputs varies by {sd} %", sentences, "bad" if unreliable else ""
    )


def _rounded(value: float, truncation: float) -> str:
    """A number to the digits that cutting the expansion leaves; to three where that is not known."""
    return uncertain(value, truncation) if np.isfinite(truncation) else number(value, ".3g")


def _integration(flow: Flow) -> str:
    errors = [
        (s.relative_error(name), name, s.layer)
        for s in flow
        for name in (*KERNELS, *TENSORS)
        if name in s.values
    ]
    worst, name, layer = max(errors)
    return f"Errors of the integration are at most {worst:.1g} of a tensor's largest component, of {name} in layer {layer}."


def _has_effects(rows: list[LayerSummary]) -> bool:
    return any(row.relative_std > 0 or row.worst_correction > 0 for row in rows)


def _mean_chart(rows: list[LayerSummary], errors: list[float]) -> Chart:
    layers, kernel = [row.layer for row in rows], np.array([row.kernel for row in rows])
    mean, std = (np.array([getattr(row, name) for row in rows]) for name in ("ntk_mean", "ntk_std"))
    infinite = Series("infinite width", layers, kernel, dashed=True)
    if not np.any(std > 0):
        series = [dataclasses.replace(infinite, errors=errors, dashed=False)]
    else:
        band = (*log_normal_band(mean, std), "two thirds of the seeds")
        truncations = [row.ntk_mean_truncation for row in rows]
        series = [Series("mean over seeds", layers, mean, errors, truncations, band), infinite]
    positive = kernel[kernel > 0]
    wide = bool(len(positive) and kernel.max() > _WIDE_RANGE * positive.min())
    return Chart(
        "NTK of one neuron and sample, by layer",
        "An average over samples.",
        "layer",
        "Ĥ of one neuron and sample",
        series,
        log=wide,
    )


def _effects_chart(rows: list[LayerSummary], errors: list[float]) -> Chart:
    def percent(name: str) -> np.ndarray:
        return 100 * np.array([getattr(row, name) for row in rows])

    layers = [row.layer for row in rows]
    series = [
        Series("sd over seeds, one neuron and sample", layers, percent("relative_std"), 100 * np.array(errors), percent("relative_std_truncation")),
        Series("sd over seeds, trace", layers, percent("relative_trace_std")),
        Series("1/n correction, largest over pairs", layers, percent("worst_correction")),
    ]  # fmt: skip
    return Chart(
        "What the finite width does", "In percent of the infinite-width NTK.", "layer", "%",
        [line for line in series if np.nanmax(line.values, initial=0.0) > 0],
    )  # fmt: skip


def _pairs(flow: Flow) -> Picture:
    quantities = _quantities(flow[-1])
    shown = Shown.of(len(flow), len(flow.X), None, len(quantities))
    chosen = np.ix_(shown.rows, shown.rows)
    blank = "" if flow.components in ("all", "pairs", "mean") else " Blank pairs are not held."
    caption = f"{shown.words} A click or tap on a pair chooses it for the chart below.{blank}".strip()
    return Pairs(
        "Pairs of samples", caption, shown.layers, shown.rows, shown.rows,
        [_over_layers(flow, name, shown.layers, chosen) for name in quantities],
    )  # fmt: skip


Matrices = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Of a quantity on all pairs: values, errors of the integration, errors of cutting the expansion."""


def _quantities(s: LayerStatistics) -> list[str]:
    """The names of those quantities that a flow holds."""
    names = []
    for name, (_, _, matrices) in _QUANTITIES.items():
        try:
            matrices(s)
        except ComponentError:
            continue
        names.append(name)
    return names


def _over_layers(flow: Flow, name: str, layers: list[int], chosen: tuple) -> Quantity:
    label, symbol, matrices = _QUANTITIES[name]
    values, errors, truncations = zip(*(matrices(flow[ell]) for ell in layers), strict=True)
    return Quantity(
        label, symbol, [table[chosen] for table in values], [table[chosen] for table in errors],
        [None if table is None else table[chosen] for table in truncations],
    )  # fmt: skip


def _of_errors(s: LayerStatistics) -> LayerStatistics:
    """The layer with its errors in the place of its values: sums of components are off by at most the same sums of errors."""
    return dataclasses.replace(s, values=s.errors)


def _truncation(s: LayerStatistics, name: str) -> np.ndarray | None:
    try:
        return s.truncation(name)
    except ComponentError:
        return None


def _ntk_mean(s: LayerStatistics) -> Matrices:
    return s.ntk_mean(), _of_errors(s).ntk_mean(), _truncation(s, "ntk_mean")


def _infinite_width(name: str) -> Callable[[LayerStatistics], Matrices]:
    return lambda s: (s[name], s.error(name), None)


def _ntk_std(s: LayerStatistics) -> Matrices:
    std, leading = s.ntk_std(), s.ntk_variance(order=1)
    resummed = np.divide(s.ntk_variance(), leading, out=np.ones_like(leading), where=leading > 0)
    error = np.maximum(_of_errors(s).ntk_variance(order=1) * resummed, 0.0)
    return std, np.divide(error, 2 * std, out=np.sqrt(error), where=std > 0), _truncation(s, "ntk_std")


def _shift(s: LayerStatistics) -> Matrices:
    truncation = _truncation(s, "H1")
    return s.H1 / s.fan_in, s.error("H1") / s.fan_in, None if truncation is None else truncation / s.fan_in


_QUANTITIES: dict[str, tuple[str, str, Callable[[LayerStatistics], Matrices]]] = {
    "ntk_std": ("sd of the NTK over seeds", "sd of Ĥ_ii;αβ", _ntk_std),
    "ntk_mean": ("mean NTK", "mean of Ĥ_ii;αβ", _ntk_mean),
    "shift": ("1/n correction of the mean NTK", "H1_αβ / n", _shift),
    "H": ("NTK at infinite width", "H_αβ", _infinite_width("H")),
    "G": ("covariance of preactivations at infinite width", "G_αβ", _infinite_width("G")),
}
"""By name: label, symbol, and the matrices of a layer; they raise ComponentError where the flow lacks what they take."""


def _integration_errors(flow: Flow) -> tuple[list[float], list[float]]:
    """By layer: of the mean NTK, and of the sd over seeds relative to H_αα, averages over samples; NaN where the flow does not hold it."""
    of_mean, of_std = [], []
    for s in flow:
        kernel = np.diag(s.H)
        errors = np.diag(_ntk_mean(s)[1]) if "H1" in s.values else np.diag(s.error("H"))
        of_mean.append(_average(errors))
        relative = np.diag(_ntk_std(s)[1])[kernel > 0] / kernel[kernel > 0] if "A" in s.values else kernel[:0]
        of_std.append(_average(relative))
    return of_mean, of_std


def _average(values: np.ndarray) -> float:
    """The mean of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else np.nan


def _layer_table(flow: Flow, rows: list[LayerSummary], errors: tuple[list[float], list[float]]) -> Table:
    shown = evenly(len(rows), _MOST_ROWS)
    means_alone = flow.components == "mean"
    headings = [
        "layer",
        "width",
        "mean NTK",
        "± integration",
        "± cut at 1/n",
        "1/n %",
        "worst\npair %",
        "sd over\nseeds %",
        "± integration",
        "± cut at 1/n",
    ]
    table = []
    for k in shown:
        row, of_mean, of_std = rows[k], errors[0][k], errors[1][k]
        cells = [str(row.layer), str(row.width), number(row.ntk_mean), number(of_mean, ".1g")]
        if not means_alone:
            cells += [
                number(row.ntk_mean_truncation, ".1g"), number(100 * row.relative_correction, ".2g"), number(100 * row.worst_correction, ".2g"),
                number(100 * row.relative_std, ".4g"), number(100 * of_std, ".1g"), number(100 * row.relative_std_truncation, ".1g"),
            ]  # fmt: skip
        table.append(cells)
    of = f" {len(shown)} of {len(rows)} layers." if len(shown) < len(rows) else ""
    of_pairs = (
        ""
        if means_alone
        else " Worst pair: the largest |H1_αβ| / n over √(H_αα H_ββ). A dash where it is not known or not held."
    )
    caption = f"Averages over samples, of one neuron's Ĥ_αα.{of}{of_pairs}"
    return Table("By layer", caption, headings[:4] if means_alone else headings, table)


def _tensor_table(flow: Flow) -> Table:
    layers = [flow[k + 1] for k in evenly(len(flow), _MOST_TENSOR_ROWS)]
    rows = []
    for s in layers:
        for name in (*KERNELS, *TENSORS):
            if name not in s.values or s.vanishes(name):
                continue
            rows.append(
                [
                    str(s.layer), name, f"{s.values.largest(name):.5g}", f"{s.errors.largest(name):.1g}",
                    _largest_truncation(s, name),
                ]
            )  # fmt: skip
    of = f" {len(layers)} of {len(flow)} layers." if len(layers) < len(flow) else ""
    caption = (
        f"Largest absolute component, and the largest of either error; tensors that vanish are left out.{of}"
    )
    return Table(
        "Tensors", caption, ["layer", "tensor", "largest", "± integration", "± cut at 1/n"], rows, folded=True
    )


def _largest_truncation(s: LayerStatistics, name: str) -> str:
    size = len(s.X) ** 4 if s.sets is None else len(s.sets) * s.sets.shape[1] ** 4
    errors = _truncation(s, name) if size <= _MOST_COMPONENTS else None
    return "-" if errors is None or not np.isfinite(errors).any() else number(float(np.nanmax(errors)), ".1g")


def _block_section(flow: Flow, heading: str) -> Section:
    from ..saved_tables import block_table

    assert flow.X2 is not None
    shown = Shown.of(len(flow), len(flow.X), len(flow.X2), 2)
    chosen = np.ix_(shown.rows, shown.columns)
    pairs = Pairs(
        "Pairs of samples", shown.words, shown.layers, shown.rows, shown.columns,
        [_over_layers(flow, name, shown.layers, chosen) for name in ("H", "G")], False, ("sample α of X", "sample β of X2"),
    )  # fmt: skip
    return Section(
        heading,
        Verdict(_integration(flow)),
        _explained(flow),
        [pairs],
        [of_terminal(block_table(flow), "By layer")],
    )
