"""Results as tables for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from .._recursions import TENSORS
from .._theory.scales import KERNELS
from ..network.network import has_blocks
from .describe import evenly, network
from .digits import measured, number, uncertain
from .summary import layer_summary

if TYPE_CHECKING:
    import xarray as xr

    from .. import Comparison, Criticality, Ensemble, Flow, OutputNTK, Verification
    from ..finite.training import History
    from ..training.finite_width import FiniteWidthPrediction
    from ..training.prediction import Prediction
    from ..tuning.exponents import Exponents

_LEAST_WIDTH = 72
_LARGE_Z = 1000.0  # whose digits say no more
_INFINITE_WIDTH = "Mean NTK at infinite width: the average over samples, of one neuron's H_αα."
_FINITE_WIDTH = (
    "Mean NTK, its 1/n correction and sd over seeds: averages over samples, of one neuron's Ĥ_αα. Worst pair: largest |H1_αβ| / n over "
    "√(H_αα H_ββ)."
)
_IN_BRACKETS = (
    " In brackets what cutting the expansion at 1/n may do to the last digits: 28.7(9) is 28.7 ± 0.9."
)
_MOST_WIDTHS = 4  # that fit in 80 columns
MOST_ROWS = 12  # of samples, steps and the like
_MOST_OUTPUTS = 5
_ABOUT = (0.01, 0.1, 0.3, 0.6, 0.9, 1.0, 1.1, 1.5, 3.0, 10.0)  # factors on K*
_VERDICTS = {"noise": "noise", "1/n": "noise + O(1/n)", "differs": "NEITHER", "?": "?"}


def flow_table(flow: Flow, accuracy: bool = False) -> Table:
    """One row per layer: width, mean NTK, its 1/n correction and its spread over seeds; with `accuracy` the integration's digits too.

    Of a flow of means there are width and mean NTK alone.
    """
    means_alone = flow.components == "mean"
    caption = _INFINITE_WIDTH if means_alone else _FINITE_WIDTH + _IN_BRACKETS * (not has_blocks(flow.mlp))
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
                number(100 * row.relative_correction, ".2g"),
                number(100 * row.worst_correction, ".2g"),
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
    samples = np.arange(len(ensemble.X)) if sets is None else np.unique(sets)
    sample = int(samples[np.argmax(np.sum(ensemble.X[samples] ** 2, axis=1))])
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
                index = _of_one_sample(s.values[name], sets, sample)
                relative = s.relative_error(name)
                table.add_row(
                    str(s.layer), str(s.width), name, _component(s.values[name], s.errors[name], index),
                    "?" if math.isinf(relative) else number(100 * relative, ".2g"),
                )  # fmt: skip
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
        index = _largest(d.predicted)
        table.add_row(
            str(d.layer), d.name, f"{d.predicted[index]:#.5g}", _component(d.measured, d.error, index),
            "?" if d.verdict == "?" else _z_score(float(np.nanmax(np.abs(d.z)))),
            number(100 * d.relative, ".2g"), number(100 * d.allowed, ".2g"),
            _VERDICTS[d.verdict],
        )  # fmt: skip
    return table


def verification_table(verification: Verification) -> Table:
    """One row per layer and tensor; numbers are of the component that is largest in the prediction."""
    table = titled_table(
        _title_of(verification),
        f"{verification.draws} networks at each of the widths {', '.join(map(str, verification.widths))} of the first hidden layer, "
        "measured m(n) = a + b / n, n the width below the layer, or of the stream. Of the largest component the prediction, a and b with the standard "
        "error of their last digits in brackets; of all components the largest z-score of a less the prediction, beyond what curvature "
        "allows, and of b where it must vanish.",
        ("layer", "", "predicted", "a", "b", "max\n|z|", "max |z|\nof b", ""),
    )
    for e in verification:
        if _vanishes(e.predicted) and _vanishes(e.measured):
            continue
        index = _largest(e.predicted)
        table.add_row(
            str(e.layer), e.name, f"{e.predicted[index]:#.5g}", _component(e.a, e.a_error, index),
            _component(e.b, e.b_error, index, e.scale), _z_score(e.z), _z_score(e.z_b) if e.exact else "-",
            "agrees" if e.agrees else "DISAGREES",
        )  # fmt: skip
    return table


def output_ntk_table(ntk: OutputNTK) -> Table:
    """One row per sample, of some of them."""
    table = titled_table(
        _title(ntk),
        f"{ntk.draws} networks, seed {ntk.seed}: one output neuron's Ĥ_αα, the standard error of the last digits in brackets."
        + of_many(len(ntk.X), "samples"),
        ("sample", "mean", "sd over seeds", "sd\n%"),
    )
    columns = ntk.diagonal()
    for a in evenly(len(ntk.X), MOST_ROWS):
        mean, mean_err, std, std_err = (float(column[a]) for column in columns)
        percent = f"{100 * std / mean:.3g}" if mean > 0 else "-"
        table.add_row(str(a), measured(mean, mean_err), measured(std, std_err), percent)
    return table


def history_table(history: History) -> Table:
    """One row per record, of some of them."""
    table = titled_table(
        network(history.mlp, history.samples),
        f"On all samples, after so many steps.{of_many(len(history.step), 'records')}",
        ("step", "loss", *history.metrics),
    )
    for k in evenly(len(history.step), MOST_ROWS):
        values = (history.loss[k], *(values[k] for values in history.metrics.values()))
        table.add_row(str(history.step[k]), *map(number, values))
    return table


def prediction_table(prediction: Prediction, with_sd: bool = True) -> Table:
    """One row per sample, of some of them, and one column per output, of the first ones."""
    shown = prediction.test if prediction.training < len(prediction.mean) else prediction
    N, m = shown.mean.shape
    outputs = min(m, _MOST_OUTPUTS)
    kind = "test" if shown.training == 0 else "training"
    table = titled_table(
        prediction.title,
        f"Mean over seeds of each output{', and its sd, the same for all outputs' if with_sd else ''}: infinite width.{of_many(N, f'{kind} samples')}"
        + (f" {outputs} of {m} outputs." if outputs < m else ""),
        (f"{kind} sample", *(f"output {i}" for i in range(outputs)), *(["sd"] if with_sd else [])),
    )
    for a in evenly(N, MOST_ROWS):
        sd = [number(shown.std[a, 0], ".3g")] if with_sd else []
        table.add_row(str(a), *(number(value, ".4g") for value in shown.mean[a, :outputs]), *sd)
    return table


def finite_width_table(prediction: FiniteWidthPrediction) -> Table:
    """One row per sample, of some of them, and output, of the first ones: mean and sd, each beside that of infinite width."""
    shown = prediction.test if prediction.training < len(prediction.mean) else prediction
    N, m = shown.mean.shape
    outputs = min(m, _MOST_OUTPUTS)
    rows = max(MOST_ROWS // max(outputs, 1), 1)
    kind = "test" if shown.training == 0 else "training"
    infinite = shown.sources["infinite"]
    wide = np.sqrt(np.maximum(np.einsum("aiai->ai", infinite.cov), 0.0))
    told = float(shown.truncation["mean"].flat[0])
    table = titled_table(
        prediction.title,
        f"Mean and sd over seeds of the outputs, to order 1/n and at infinite width. The corrections of order 1/n are "
        f"{number(100 * prediction.relative_size, '.2g')} % of the outputs, or of their variance{prediction.caution}; the next order changes means by some {number(told, '.2g')}."
        + of_many(N, f"{kind} samples", rows)
        + (f" {outputs} of {m} outputs." if outputs < m else ""),
        (f"{kind} sample", *(["output"] if m > 1 else []), "mean", "n = ∞", "sd", "n = ∞"),
    )
    for a in evenly(N, rows):
        for i in range(outputs):
            place = [str(a) if i == 0 else "", *([str(i)] if m > 1 else [])]
            values = shown.mean[a, i], infinite.mean[a, i], shown.std[a, i], wide[a, i]
            table.add_row(*place, *(number(value, ".4g") for value in values))
    return table


def criticality_table(criticality: Criticality) -> Table:
    """The susceptibilities about K*, or where there is none about 1; ActivationError without a critical point."""
    table = titled_table(
        f"{criticality.activation.name}: {criticality.kind}, C_W {criticality.C_W:.10g}, C_b {criticality.C_b:.10g}"
        if criticality.C_W is not None
        else f"{criticality.activation.name}: {criticality.kind}",
        "Susceptibilities at the critical C_W: of a change of one input's K, and of the distance of two inputs, in one layer.",
        ("K", "chi_parallel", "chi_perpendicular"),
    )
    K = (criticality.K_star or 1.0) * np.array(_ABOUT)
    for row in zip(K, criticality.chi_parallel(K), criticality.chi_perpendicular(K), strict=True):
        table.add_row(*(number(float(value), ".7g") for value in row))
    return table


def exponents_table(exponents: Exponents) -> Table:
    """The local exponents at each depth."""
    table = titled_table(
        f"p_0 {exponents.p_0:.4g}, p_perp {exponents.p_perp:.4g}",
        "K falls as depth^(-p_0), the product of chi_perpendicular as depth^(-p_perp), measured between half the depth and the depth."
        + ("" if exponents.settled else " They have not settled: it falls by no power of depth."),
        ("depth", "p_0", "p_perp"),
    )
    for depth, *slopes in zip(exponents.depths, exponents.slopes_0, exponents.slopes_perp, strict=True):
        table.add_row(str(depth), *(f"{slope + 0.0:.4f}" for slope in slopes))
    return table


def sweep_table(swept: xr.Dataset) -> Table:
    """One row per depth: the sd over seeds at some of the widths, and the extreme eigenvalues at infinite width."""
    columns = evenly(swept.sizes["width"], _MOST_WIDTHS)
    table = titled_table(
        swept.attrs["title"],
        "sd over seeds of one output's NTK of one input, in percent, at width n; in brackets what cutting the expansion at 1/n may do to the "
        "last digits. lambda: extreme eigenvalues of the mean NTK over N, at infinite width."
        + of_many(swept.sizes["width"], "widths", _MOST_WIDTHS)
        + of_many(swept.sizes["depth"], "depths"),
        ("depth", *(f"sd %\nn = {swept['width'].values[k]}" for k in columns), "lambda_min\n/ N", "lambda_max\n/ N"),
    )  # fmt: skip
    sd, error = (100 * swept[name].values for name in ("ntk_std", "ntk_std_truncation"))
    for k in evenly(swept.sizes["depth"], MOST_ROWS):
        extremes = (
            number(float(swept[name][k]), ".3g") for name in ("lambda_min_infinite", "lambda_max_infinite")
        )
        table.add_row(
            str(swept["depth"].values[k]), *(uncertain(float(sd[n, k]), float(error[n, k])) for n in columns), *extremes
        )  # fmt: skip
    return table


def powers_table(powers: xr.Dataset) -> Table:
    """One row per tensor: its power of depth up to each depth, what that tends to, and the theory's."""
    depths = powers["doubled_depth"].values
    table = titled_table(
        f"Powers of depth of {powers.attrs['powers_of']} at criticality, lambda_b = lambda_W = 1",
        "Measured on one input, between half the depth and the depth; their limit, with the last change of it in brackets; the theory's, where "
        "there is one.",
        ("", *map(str, depths), "limit", "theory"),
    )  # fmt: skip
    for tensor in powers["tensor"].values:
        row = powers.sel(tensor=tensor)
        slopes = (number(float(slope), ".2f") for slope in row["power_slope"])
        limit = uncertain(float(row["power"]), float(row["power_drift"]))
        table.add_row(str(tensor), *slopes, limit, number(float(row["power_theory"]), ".0f"))
    return table


def of_many(count: int, what: str, most: int = MOST_ROWS) -> str:
    """A sentence for the caption of a table that shows some rows only."""
    return f" {most} of {count} {what}." if count > most else ""


def titled_table(title: str, caption: str, headings: tuple[str, ...]) -> Table:
    """An empty table with a line above that says what it is of, and a caption that says what its numbers are."""
    table = Table(
        title=escape(title),
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


def _title(result: Flow | Ensemble | OutputNTK) -> str:
    X2 = getattr(result, "X2", None)
    return network(result.mlp, len(result.X), None if X2 is None else len(X2))


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


def _component(values: np.ndarray, errors: np.ndarray, index: tuple[int, ...], scale: float = 0.0) -> str:
    """A component with its error; `scale` as of `measured`."""
    return measured(float(values[index]), float(errors[index]), scale)


def _z_score(value: float) -> str:
    return f"{value:.2f}" if value < _LARGE_Z else f"{value:.0e}"
