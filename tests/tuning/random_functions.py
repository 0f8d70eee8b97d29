"""Random activations with their derivatives and kinks by hand, and their averages by scipy's adaptive quadrature."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import quad


def _softplus(xp, x):
    return xp.logaddexp(x, 0.0)


def _sigmoid(xp, x):
    return 0.5 * (1 + xp.tanh(x / 2))


# σ, σ' and the kinks
PIECES: dict[str, tuple[Any, Any, tuple[float, ...]]] = {
    "tanh": (lambda xp, x: xp.tanh(x), lambda xp, x: 1 / xp.cosh(xp.clip(x, -300, 300)) ** 2, ()),
    "sin": (lambda xp, x: xp.sin(x), lambda xp, x: xp.cos(x), ()),
    "softplus": (_softplus, _sigmoid, ()),
    "relu": (lambda xp, x: xp.maximum(x, 0.0), lambda xp, x: xp.where(x > 0, 1.0, 0.0), (0.0,)),
    "abs": (lambda xp, x: xp.abs(x), lambda xp, x: xp.sign(x), (0.0,)),
    "clip": (
        lambda xp, x: xp.clip(x, -1.0, 1.0),
        lambda xp, x: xp.where(xp.abs(x) < 1, 1.0, 0.0),
        (-1.0, 1.0),
    ),
    "elu": (
        lambda xp, x: xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0.0))),
        lambda xp, x: xp.where(x > 0, 1.0, xp.exp(xp.minimum(x, 0.0))),
        (0.0,),
    ),
    "huber": (
        lambda xp, x: xp.where(xp.abs(x) < 1, x * x / 2, xp.abs(x) - 0.5),
        lambda xp, x: xp.clip(x, -1.0, 1.0),
        (-1.0, 1.0),
    ),
}


@dataclass(frozen=True)
class RandomFunction:
    """Σ c f(s (z - a)) - shift, or a polynomial times a Gaussian - shift."""

    terms: tuple[tuple[str, float, float, float], ...] = ()
    polynomial: tuple[float, ...] = ()
    centre: float = 0.0
    width: float = 1.0
    centred: bool = True

    def value(self, xp, z):
        return self._raw(xp, z) - (self._at_zero if self.centred else 0.0)

    @functools.cached_property
    def _at_zero(self) -> float:
        return self._raw(np, np.float64(0.0))

    def _raw(self, xp, z):
        total = 0.0 * z
        for name, c, s, a in self.terms:
            total = total + c * PIECES[name][0](xp, s * (z - a))
        if self.polynomial:
            u = (z - self.centre) / self.width
            total = total + xp.polyval(xp.asarray(self.polynomial), z) * xp.exp(-u * u / 2)
        return total

    def slope(self, z):
        total = 0.0 * z
        for name, c, s, a in self.terms:
            total = total + c * s * PIECES[name][1](np, s * (z - a))
        if self.polynomial:
            u = (z - self.centre) / self.width
            p, dp = np.polyval(self.polynomial, z), np.polyval(np.polyder(self.polynomial), z)
            total = total + (dp - p * u / self.width) * np.exp(-u * u / 2)
        return total

    @property
    def kinks(self) -> list[float]:
        return sorted({a + k / s for name, _, s, a in self.terms for k in PIECES[name][2]})

    def average(self, f, K: float) -> float:
        """⟨f⟩ over N(0, K), cut at the kinks and wherever a term varies."""
        s = np.sqrt(K)
        marks = [*self.kinks, *(a + k / b for _, _, b, a in self.terms for k in (-8, -2, 0, 2, 8))]
        marks += [self.centre + k * self.width for k in (-9, -3, 0, 3, 9)]
        marks += [s * k for k in range(-12, 13)]
        cuts = np.unique(np.clip(marks, -12 * s, 12 * s))
        density = 1 / np.sqrt(2 * np.pi * K)
        parts = [
            quad(
                lambda z: f(z) * density * np.exp(-z * z / (2 * K)),
                low,
                high,
                epsabs=0,
                epsrel=1e-13,
                limit=200,
            )[0]
            for low, high in itertools.pairwise(cuts)
        ]
        return float(np.sum(parts))


def random_function(rng: np.random.Generator) -> RandomFunction:
    centred = bool(rng.random() < 0.75)
    if rng.random() < 0.25:
        degree = int(rng.integers(1, 5))
        return RandomFunction(
            polynomial=tuple(rng.normal(size=degree + 1)),
            centre=float(rng.normal() * rng.choice([0, 1])),
            width=float(np.exp(rng.normal())),
            centred=centred,
        )
    names = list(PIECES)
    terms = tuple(
        (
            str(rng.choice(names)),
            float(rng.normal()),
            float(np.exp(0.7 * rng.normal())),
            float(rng.choice([0.0, 1.0, 3.0]) * rng.normal()),
        )
        for _ in range(rng.integers(1, 4))
    )
    return RandomFunction(terms, centred=centred)
