"""Linear maps between what pairs of samples carry: (k, k, S) coefficients, with samples as slots, as in `_recursions.contract`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .._recursions.contract import swap


def total(terms: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of one array or several."""
    return functools.reduce(np.add, terms)


def aligned(table: np.ndarray, X: np.ndarray) -> np.ndarray:
    """A table (k, k, S) as a factor of X (k, k, …, S)."""
    return table.reshape(*table.shape[:2], *[1] * (X.ndim - 3), table.shape[-1])


def _diagonal(table: np.ndarray) -> np.ndarray:
    """(k, S) of (k, k, S)."""
    i = np.arange(len(table))
    return table[i, i]


class PairMap(NamedTuple):
    """X_12 → first X_11 + both X_12 + second X_22: the response of a neuron average to the metric, ½ Σ J_γγ' X_γγ'."""

    first: np.ndarray
    both: np.ndarray
    second: np.ndarray

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """On the first two axes of X (k, k, …, S)."""
        i = np.arange(len(X))
        same = X[i, i]
        first, both, second = (aligned(table, X) for table in self)
        return first * same[:, None] + both * X + second * same[None]

    def after(self, below: PairMap) -> PairMap:
        """`below`, and then this map."""
        whole = _diagonal(total(below))
        return PairMap(
            self.first * whole[:, None] + self.both * below.first,
            self.both * below.both,
            self.second * whole[None] + self.both * below.second,
        )

    @staticmethod
    def identity(k: int, S: int) -> PairMap:
        return PairMap(np.zeros((k, k, S)), np.ones((k, k, S)), np.zeros((k, k, S)))

    def scaled(self, table: np.ndarray | float) -> PairMap:
        return PairMap(*(table * part for part in self))

    def plus(self, other: PairMap) -> PairMap:
        return PairMap(*(a + b for a, b in zip(self, other, strict=True)))


class SlopeMap(NamedTuple):
    """Y_13 → first Y_13 + second Y_33: the derivatives ⟨∂_γ f_13⟩, γ ∈ {1, 3}, contracted with Y_γ3."""

    first: np.ndarray
    second: np.ndarray

    def __call__(self, Y: np.ndarray) -> np.ndarray:
        """On the first two axes of Y (k, k, …, S)."""
        i = np.arange(len(Y))
        first, second = (aligned(table, Y) for table in self)
        return first * Y + second * Y[i, i][None]

    def after(self, below: SlopeMap) -> SlopeMap:
        """`below`, and then this map."""
        whole = _diagonal(below.first + below.second)
        return SlopeMap(self.first * below.first, self.first * below.second + self.second * whole[None])

    @staticmethod
    def identity(k: int, S: int) -> SlopeMap:
        return SlopeMap(np.ones((k, k, S)), np.zeros((k, k, S)))

    def on_both(self, Y: np.ndarray) -> np.ndarray:
        """On both pairs of Y (k, k, k, k, S)."""
        return self(on_second_pair(self, Y))

    def scaled(self, number: float) -> SlopeMap:
        return SlopeMap(number * self.first, number * self.second)

    def plus(self, number: float) -> SlopeMap:
        """With `number` times the identity added."""
        return SlopeMap(self.first + number, self.second)


def on_second_pair(of_pair: PairMap | SlopeMap, X: np.ndarray) -> np.ndarray:
    """A map on axes 3 and 4 of X (k, k, k, k, S)."""
    return swap(of_pair(swap(X)))
