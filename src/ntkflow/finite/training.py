"""Tensorial gradient descent, full batch or mini-batch."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from .._report import describe
from .._report.describe import InNotebooks
from .._report.progress import Report, shows_progress
from ..errors import DataError
from ..network.mlp import MLP
from ..network.network import Network
from .descent import Loss, checked_eta, checked_function, stacked, stepped
from .learning_rates import LearningRates, checked_rates
from .parameters import Parameters, checked, in_their_precision, inputs, whole_number
from .preactivations import preactivations

if TYPE_CHECKING:
    from rich.table import Table

Metric = Callable[[jax.Array, jax.Array], jax.Array]
_AT_ONCE = 64  # steps of one call of the program
_MOST_ROWS = 2**22  # of X, whose numbers one call is given


@dataclass(frozen=True)
class History(InNotebooks):
    """What was recorded: the number of steps done, and the loss and each metric on all of X, `samples` of them, at that moment."""

    mlp: MLP | Network
    samples: int
    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        measures = {"loss": self.loss, **self.metrics}
        changes = [
            f"{name} {values[0]:.5g} → {values[-1]:.5g}" for name, values in measures.items() if values
        ]
        return (
            f"History of {self.step[-1] if self.step else 0} steps of {self.mlp!r}\n"
            f"{describe.counted(self.samples, 'sample')}; {describe.counted(len(self.step), 'record')}: {', '.join(changes) or 'none'}"
        )

    def table(self) -> Table:
        """Loss and metrics at some of the steps that were recorded."""
        from .._report.table import history_table

        return history_table(self)


@shows_progress
@in_their_precision
def train(
    mlp: MLP | Network, params: Parameters, X, y, loss: Loss, eta: float, steps: int, *, batch_size: int | None = None,
    seed: int = 0, rates: LearningRates | None = None, record_every: int = 10,
    metrics: dict[str, Metric] | None = None, progress: Report | None = None,
) -> tuple[Parameters, History]:  # fmt: skip
    """Train by θ_μ → θ_μ - η Σ_ν λ_μν dL/dθ_ν.

    Args:
        X: (N, n_0). y: targets with N rows, in the form that `loss` takes.
        loss: loss(z, y), a scalar JAX function of the outputs z (N, n_L). It is compiled once for each function
            object: define it once, and don't change what it refers to afterwards.
        eta: the global learning rate.
        steps: of gradient descent, each on one batch.
        batch_size: by default all of X; otherwise each epoch deals the samples anew into batches of this size, and
            leaves out what does not fill one.
        seed: of the dealing.
        rates: the learning-rate tensor; by default that of `mlp`, or `plain(mlp)`.
        record_every: record the loss and metrics on all of X before the first step, every so many steps, and last.
        metrics: functions m(z, y) to record beside the loss.
        progress: called as progress(done, total, message); by default a bar is shown, as of `flow`.

    Returns:
        The trained parameters and the history. Training that diverges ends early, with an infinite or NaN loss as the
        last record.

    Raises:
        ParameterError, DataError: an argument doesn't fit the network, or is out of range.
    """
    params = checked(mlp, params)
    X, y = inputs(mlp, params, X), jnp.asarray(y)
    if len(y) != len(X):
        raise DataError(f"y has {len(y)} rows but X has {len(X)}")
    size = len(X) if batch_size is None else whole_number(batch_size, "batch_size", 1, len(X), DataError)
    steps = whole_number(steps, "steps", 0, sys.maxsize, DataError)
    record_every = whole_number(record_every, "record_every", 1, sys.maxsize, DataError)
    seed = whole_number(seed, "seed", 0, sys.maxsize, DataError)
    eta = float(checked_eta(eta))
    if "loss" in (metrics or {}):
        raise DataError("metrics: the name 'loss' is taken by the loss itself")
    stacked_rates = stacked(checked_rates(mlp, rates), params)
    measures = {name: checked_function(m, name) for name, m in {"loss": loss, **(metrics or {})}.items()}
    history = History(mlp, len(X), metrics={name: [] for name in metrics or {}})
    batches = _batches(len(X), size, np.random.default_rng(seed))
    at_once = max(1, min(_AT_ONCE, _MOST_ROWS // size))
    for step in _stops(steps, record_every, at_once):
        if step % record_every == 0 or step == steps:
            values = {
                name: float(_measure(mlp.architecture, m, params, X, y)) for name, m in measures.items()
            }
            history.step.append(step)
            history.loss.append(values.pop("loss"))
            for name, value in values.items():
                history.metrics[name].append(value)
            if progress is not None:
                progress(step, steps, f"loss {history.loss[-1]:.4g}")
            if not np.isfinite(history.loss[-1]):
                break
        if step < steps:
            count = min(at_once, record_every - step % record_every, steps - step)
            rows = np.zeros((at_once, size), int)
            rows[:count] = list(itertools.islice(batches, count))
            params = _after(mlp.architecture, stacked_rates, loss, params, X, y, rows, count, eta)
    return params, history


def _stops(steps: int, record_every: int, at_once: int) -> list[int]:
    """The steps from 0 to the last between which the program runs: multiples of `record_every`, and at most `at_once` apart."""
    stops = {
        step
        for start in range(0, steps, record_every)
        for step in range(start, min(start + record_every, steps), at_once)
    }
    return sorted({*stops, steps})


def _batches(N: int, size: int, rng: np.random.Generator):
    while True:
        order = np.arange(N) if size == N else rng.permutation(N)
        for start in range(0, N - size + 1, size):
            yield order[start : start + size]


@functools.partial(jax.jit, static_argnums=(0, 2))
def _after(
    architecture: MLP | Network, rates: jax.Array, loss: Loss, params: Parameters, X, y, rows, count, eta
):
    """The parameters after `count` steps on the batches X[rows[k]]; rows from `count` on fill a shape that is compiled once."""

    def step(k, params):
        return stepped(architecture, rates, loss, params, X[rows[k]], y[rows[k]], eta)

    return jax.lax.fori_loop(0, count, step, params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measure(architecture: MLP | Network, measure: Metric, params, X, y):
    return measure(preactivations(architecture, params, X)[-1], y)
