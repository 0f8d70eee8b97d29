"""How far training is: a time of gradient flow, or a number of steps of gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import DataError
from ..finite.parameters import whole_number


@dataclass(frozen=True)
class Clock:
    """Gradient flow for a time t, or T steps of gradient descent with learning rate η, on ½ Σ_a Σ_i (z_{i;a} - y_{i;a})².

    Attributes:
        t: the time, from 0 to infinity; None where steps are counted.
        steps, eta: the number of steps, and η; None where time is.
        factor: by which t or η was multiplied, from what they were given as.
    """

    t: float | None = None
    steps: int | None = None
    eta: float | None = None
    factor: float = 1.0

    def __post_init__(self):
        if (self.t is None) == (self.steps is None) or (self.steps is None) != (self.eta is None):
            raise DataError(
                "give a time, t=3.0, or a number of steps and a learning rate, steps=100, eta=0.1"
            )
        if self.t is not None and not (_is_number(self.t) and self.t >= 0):
            raise DataError(f"t must be a time from 0 to infinity, not {self.t!r}")
        if self.steps is not None:
            whole_number(self.steps, "steps", 0, 2**62, DataError)
            if self.eta is None or not (_is_number(self.eta) and 0 < self.eta < np.inf):
                raise DataError(f"eta must be a learning rate above 0, not {self.eta!r}")

    def scaled(self, factor: float) -> Clock:
        """The clock whose time, or η, is multiplied by a factor."""
        factor_so_far = self.factor * factor
        if self.t is not None:
            return replace(self, t=self.t * factor, factor=factor_so_far)
        assert self.eta is not None
        return replace(self, eta=self.eta * factor, factor=factor_so_far)

    def check(self, rates: np.ndarray) -> None:
        """DataError if gradient descent diverges in a mode with one of the rates κ, (N,) ascending: η κ must be below 2."""
        if self.eta is not None and self.eta * rates[-1] >= 2:
            modes = int(np.sum(self.eta * rates >= 2))
            raise DataError(
                f"eta = {self.eta:.6g} is above the edge of stability {2 / rates[-1]:.6g}: {modes} of {len(rates)} modes diverge, the fastest with "
                f"kappa = {rates[-1]:.6g}"
            )

    def remaining(self, rates: np.ndarray) -> np.ndarray:
        """φ(κ), the part of a mode's error that is left: exp(-κ t) or (1 - η κ)^T."""
        if self.t is not None:
            with np.errstate(invalid="ignore"):
                return np.where(rates > 0, np.exp(-rates * self.t), 1.0)
        factor = 1 - self.eta * rates
        return np.sign(factor) ** self.steps * np.abs(factor) ** self.steps

    def progress(self, rates: np.ndarray) -> np.ndarray:
        """(1 - φ(κ)) / κ, what a mode of rate κ has added up: t or η T where κ is 0, and 0 there at infinite time, which never trains it."""
        if self.t is not None:
            at_rest = self.t if self.t < np.inf else 0.0
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(rates > 0, -np.expm1(-rates * self.t) / rates, at_rest)
        assert self.steps is not None and self.eta is not None
        slow = self.eta * rates < 0.5
        with np.errstate(invalid="ignore", divide="ignore"):
            gone = np.where(
                slow,
                -np.expm1(self.steps * np.log1p(-np.where(slow, self.eta * rates, 0.0))),
                1 - self.remaining(rates),
            )
            return np.where(rates > 0, gone / rates, self.eta * self.steps)

    def __str__(self) -> str:
        """As it was given."""
        if self.t is not None:
            return f"t = {self.t / self.factor:g}"
        assert self.eta is not None
        return f"{self.steps} steps, eta = {self.eta / self.factor:g}"


def _is_number(value) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
