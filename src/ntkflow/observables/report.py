"""Observables as tables: what `ntkflow observe` and `ntkflow first-step` print, and what notebooks show."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from .._report.describe import counted, evenly, network
from .._report.digits import number
from .._report.table import MOST_ROWS, of_many, titled_table
from .._theory.result import Flow
from .action import QuarticAction
from .expansion import Expanded
from .expressions import parse
from .first_step import FirstStep
from .joint import JointDistribution, joint

_PAGE = 24  # rows


def observe(flow: Flow, layer: int, f: str, g: str | None = None, neurons: str = "same") -> Table:
    """Means and standard deviations of f and g, their covariance and correlation, as a table.

    Args:
        f, g: expressions of z[a]; without g the covariance is f's variance.
        neurons: whether f and g look at the "same" neuron or at "different" ones.

    Raises:
        ObservableError, ComponentError: an expression is not allowed, or reads samples that the flow does not hold.
    """
    p = joint(flow, layer)
    of_f = parse(f)
    f_at = [(0, a) for a in of_f.samples]
    f_variance = p.covariance_of(of_f.function, f_at, of_f.function, f_at)
    rows: list[tuple[str, Expanded]] = [("E[f]", p.expect(of_f.function, f_at)), ("Var[f]", f_variance)]
    functions = f"f = {f}"
    if g is not None:
        of_g = parse(g)
        g_at = [(0 if neurons == "same" else 1, a) for a in of_g.samples]
        g_variance = p.covariance_of(of_g.function, g_at, of_g.function, g_at)
        covariance = p.covariance_of(of_f.function, f_at, of_g.function, g_at)
        rows += [
            ("E[g]", p.expect(of_g.function, g_at)),
            ("Var[g]", g_variance),
            ("Cov[f, g]", covariance),
        ]
        if f_variance.value > 0 and g_variance.value > 0:
            sds = float(np.sqrt(f_variance.value * g_variance.value))
            correlation = Expanded(
                covariance.leading / sds,
                covariance.correction / sds,
                covariance.fan_in,
                covariance.error / sds,
            )
            rows.append(("Corr[f, g]", correlation))
        functions += f"\ng = {g}, of {'the same neuron' if neurons == 'same' else 'another neuron'}"
    table = titled_table(
        f"{network(flow.mlp, len(flow.X))}\nlayer {p.layer.layer}; z[a] is the preactivation of a neuron on sample a\n{functions}",
        "",
        ("", "at infinite width", "1/n part", f"at n = {p.layer.fan_in}", "error of\nintegration"),
    )
    for name, moment in rows:
        table.add_row(
            name,
            f"{moment.leading:.10g}",
            f"{moment.correction / moment.fan_in:.4g}",
            f"{moment.value:.10g}",
            f"{moment.error:.0e}",
        )
    return table


def first_step_table(step: FirstStep) -> Table:
    """The loss's and each output's change as a table; of more outputs and samples than fit on a page, root mean squares."""
    outputs = np.stack([step.output_mean, step.output_mean_err, step.output_std, step.output_std_err])
    rows, words = _outputs_on_a_page(outputs)
    loss = np.array([step.loss_mean, step.loss_mean_err, step.loss_std, step.loss_std_err])
    errors = ", standard errors of the last digits in brackets" if step.draws else ""
    table = titled_table(
        network(step.layer.mlp, len(step.layer.X)),
        f"Changes in the first step with {step.loss}, eta = {step.eta:g}, on {counted(len(step.train), 'training sample')}: mean and standard deviation "
        f"over seeds, {step.how}{errors}.{words}",
        ("change of", "mean", "sd over seeds"),
    )
    for label, (mean, mean_err, std, std_err) in [("loss", loss), *rows]:
        table.add_row(label, step.text(mean, mean_err), step.text(std, std_err))
    return table


def joint_table(p: JointDistribution) -> Table:
    """Moments of one neuron's z and NTK, a row per sample, of some of them."""
    layer, n, N = p.layer, p.layer.fan_in, len(p.layer.X)
    # V comes first: a flow of means lacks it, and the error says so.
    V = layer.on_pairs("V", "aaaa", diagonal=True)
    G = np.diag(layer.G)
    kurtosis = np.divide(3 * V, n * G**2, out=np.zeros_like(V), where=G != 0)
    H = np.diag(layer.ntk_mean())
    columns = (
        G + np.diag(layer.G1) / n,
        kurtosis,
        H,
        np.diag(layer.ntk_std(order=1)),
        np.diag(layer.ntk_preactivation_correlation()),
    )
    table = titled_table(
        network(layer.mlp, N),
        f"Layer {layer.layer}, one neuron, to order 1/n: z its preactivation, Ĥ its NTK with itself on the same sample; excess kurtosis of z, sd over "
        f"seeds of Ĥ.{of_many(N, 'samples')}",
        ("sample", "mean z²", "kurtosis", "mean Ĥ", "sd of Ĥ", "Corr(z², Ĥ)"),
    )
    for a in evenly(N, MOST_ROWS):
        table.add_row(str(a), *(number(float(column[a]), ".4g") for column in columns))
    return table


def action_table(action: QuarticAction) -> Table:
    """Metric and couplings of some of the samples."""
    k = len(action.samples)
    table = titled_table(
        network(action.layer.mlp, len(action.layer.X)),
        f"The action of {counted(action.neurons, 'neuron')} in layer {action.layer.layer}: of each sample the metric at infinite width, the quadratic coupling "
        f"and the quartic one, their diagonal components.{of_many(k, 'samples')}",
        ("sample", "metric", "g", "v"),
    )
    for place in evenly(k, MOST_ROWS):
        values = action.metric[place, place], action.g[place, place], action.v[(place,) * 4]
        table.add_row(str(action.samples[place]), *(number(float(value)) for value in values))
    return table


def _outputs_on_a_page(outputs: np.ndarray) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Rows of a table, and what they are of in words, from numbers (4, N, n_L)."""
    _, N, m = outputs.shape
    if N * m <= _PAGE:
        return [(f"output {i} on sample {a}", outputs[:, a, i]) for a, i in np.ndindex(N, m)], ""
    elsewhere = "predict_first_step in Python has those of every output on every sample."
    if m <= _PAGE:
        rows = [(f"output {i}, rms", numbers) for i, numbers in enumerate(_root_mean_square(outputs, 1).T)]
        return rows, f" Of an output: root mean squares over {N} samples; {elsewhere}"
    if N <= _PAGE:
        rows = [
            (f"outputs on sample {a}, rms", numbers)
            for a, numbers in enumerate(_root_mean_square(outputs, 2).T)
        ]
        return rows, f" Of a sample: root mean squares over {m} outputs; {elsewhere}"
    rows = [("outputs, rms", _root_mean_square(outputs, (1, 2)))]
    return rows, f" Root mean squares over {m} outputs and {N} samples; {elsewhere}"


def _root_mean_square(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    return np.sqrt(np.mean(values**2, axis=axis))
