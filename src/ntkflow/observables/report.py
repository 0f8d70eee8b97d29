"""What `ntkflow observe` and `ntkflow first-step` print."""

from __future__ import annotations

import numpy as np
from rich.markup import escape
from rich.table import Table

from ..describe import network
from ..flow_result import Flow
from ..table import titled_table
from .expansion import Expanded
from .expressions import parse
from .first_step import FirstStep
from .joint import joint

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
    rows: list[tuple[str, Expanded]] = []
    one = parse(f)
    at = [(0, a) for a in one.samples]
    rows.append(("E[f]", p.expect(one.function, at)))
    own = p.covariance_of(one.function, at, one.function, at)
    rows.append(("Var[f]", own))
    if g is not None:
        two = parse(g)
        other = [(0 if neurons == "same" else 1, a) for a in two.samples]
        rows.append(("E[g]", p.expect(two.function, other)))
        its = p.covariance_of(two.function, other, two.function, other)
        rows.append(("Var[g]", its))
        both = p.covariance_of(one.function, at, two.function, other)
        rows.append(("Cov[f, g]", both))
        if own.value > 0 and its.value > 0:
            root = float(np.sqrt(own.value * its.value))
            rows.append(
                (
                    "Corr[f, g]",
                    Expanded(both.leading / root, both.correction / root, both.fan_in, both.error / root),
                )
            )
    asked = (
        f"f = {f}"
        if g is None
        else f"f = {f}\ng = {g}, of {'the same neuron' if neurons == 'same' else 'another neuron'}"
    )
    table = Table(
        "", "at infinite width", "1/n part", f"at n = {p.layer.fan_in}", "error of integration",
        title=escape(
            f"{network(flow.mlp, len(flow.X))}\nlayer {p.layer.layer}; z[a] is the preactivation of a neuron on sample a\n{asked}"
        ),
        title_justify="left", title_style="",
    )  # fmt: skip
    for name, found in rows:
        table.add_row(
            name,
            f"{found.leading:.10g}",
            f"{found.correction / found.fan_in:.4g}",
            f"{found.value:.10g}",
            f"{found.error:.0e}",
        )
    return table


def first_step_table(found: FirstStep, flow: Flow) -> Table:
    """The loss's and each output's change as a table; of more outputs and samples than fit on a page, root mean squares."""
    outputs = np.stack([found.output_mean, found.output_std, found.output_mean_err, found.output_std_err])
    rows, words = _outputs_on_a_page(outputs)
    rows = [
        ("loss", np.array([found.loss_mean, found.loss_std, found.loss_mean_err, found.loss_std_err])),
        *rows,
    ]
    table = titled_table(
        network(flow.mlp, len(flow.X)),
        f"Changes in the first step of gradient descent.{words}",
        ("change of", "mean", "sd over seeds", *(["Monte-Carlo errors"] if found.draws else [])),
    )
    for what, (mean, std, *errors) in rows:
        cells = [", ".join(f"{error:.1g}" for error in errors)] if found.draws else []
        table.add_row(what, f"{mean:.6g}", f"{std:.4g}", *cells)
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
