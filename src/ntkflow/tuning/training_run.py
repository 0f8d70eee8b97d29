"""Our own training loop of one network at one learning rate, and what is measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks.inputs import checked_inputs
from ..errors import DataError
from ..finite import losses
from ..finite.parameters import Parameters, init, whole_number
from ..finite.preactivations import forward
from ..finite.training import train
from ..network.mlp import MLP

EARLY = 10  # steps, after which the preactivations' change is measured
_LOOKED_AT = 256  # samples of it
_RECORDS = 10  # of the loss during training


class TrainingRun:
    """run(mlp, eta, seed): draws the network in float32, trains it, and returns losses, errors and what the first steps changed.

    Args:
        X, y, held_out, loss, steps, batch_size: as of `learning_rate_transfer`.
    """

    def __init__(self, X, y, held_out: Mapping[str, tuple[Any, Any]], loss: str, steps: int, batch_size: int):
        self.X, self.y = np.asarray(X), np.asarray(y)
        self.held_out = {}
        for name, pair in held_out.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise DataError(f"held_out: {name!r} must be a pair of inputs and targets")
            self.held_out[name] = tuple(map(np.asarray, pair))
        self.classes = loss == "cross_entropy"
        self.loss = losses.cross_entropy if self.classes else losses.mse
        self.steps = whole_number(steps, "steps", EARLY, 2**40, DataError)
        self.batch_size = min(whole_number(batch_size, "batch_size", 1, 2**40, DataError), len(self.X))

    def check(self, mlp: MLP) -> None:
        """DataError if the data don't fit the network."""
        for name, (X, y) in {"X": (self.X, self.y), **self.held_out}.items():
            rows = len(checked_inputs(mlp, X, name))
            if rows != len(y):
                raise DataError(f"{name}: there are {rows} inputs but {len(y)} targets")
            self.loss(np.zeros((rows, mlp.widths[-1])), y)

    def __call__(self, mlp: MLP, eta: float, seed: int) -> dict[str, Any]:
        params = init(mlp, seed, np.float32)
        looked_at = self.X[:_LOOKED_AT]
        before = forward(mlp, params, looked_at)
        params, early = self._trained(mlp, params, eta, EARLY, 2 * seed)
        change, losses = [np.inf] * mlp.depth, early
        if np.isfinite(early[-1]):
            after = forward(mlp, params, looked_at)
            change = _sizes([new - old for new, old in zip(after, before, strict=True)])
            params, losses = self._trained(mlp, params, eta, self.steps - EARLY, 2 * seed + 1)
        diverged = not np.isfinite(losses[-1])
        results: dict[str, Any] = {
            "loss": np.inf if diverged else losses[-1],
            "mean_loss": np.inf if diverged else float(np.mean([early[0], *losses])),
            "size": _sizes(before),
            "change": change,
        }
        for name, (X, y) in self.held_out.items():
            z = None if diverged else forward(mlp, params, X)[-1]
            results[f"{name}_loss"] = np.inf if z is None else float(self.loss(z, y))
            if self.classes:
                results[f"{name}_error"] = 1.0 if z is None else float(np.mean(z.argmax(axis=1) != y))
        return results

    def _trained(self, mlp: MLP, params: Parameters, eta: float, steps: int, seed: int) -> tuple[Parameters, list[float]]:  # fmt: skip
        """The parameters after so many steps, and the loss before them, after each tenth of the whole training, and at the end."""
        params, history = train(
            mlp, params, self.X, self.y, self.loss, eta, steps, batch_size=self.batch_size, seed=seed,
            record_every=max(EARLY, self.steps // _RECORDS),
        )  # fmt: skip
        return params, history.loss


def _sizes(z) -> list[float]:
    """The root mean square of each layer's preactivations."""
    return [float(np.sqrt(np.mean(np.square(layer, dtype=float)))) for layer in z]
