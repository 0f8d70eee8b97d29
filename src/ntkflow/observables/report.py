"""What `ntkflow observe` and `ntkflow first-step` print."""

from __future__ import annotations

import numpy as np
from rich.markup import escape
from rich.table import Table

from ..describe import network
from ..flow_result import Flow
from .expansion import Expanded
from .expressions import parse
from .first_step import FirstStep
from .joint import joint


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


def first_step_table(found: FirstStep) -> Table:
    """The loss's and each output's change as a table."""
    table = Table("", "mean", "sd over seeds", "Monte-Carlo errors")
    table.add_row(
        "loss",
        f"{found.loss_mean:.6g}",
        f"{found.loss_std:.4g}",
        f"{found.loss_mean_err:.1g}, {found.loss_std_err:.1g}",
    )
    for a, i in np.ndindex(found.output_mean.shape):
        table.add_row(
            f"output {i} on sample {a}", f"{found.output_mean[a, i]:.6g}", f"{found.output_std[a, i]:.4g}",
            f"{found.output_mean_err[a, i]:.1g}, {found.output_std_err[a, i]:.1g}",
        )  # fmt: skip
    return table
