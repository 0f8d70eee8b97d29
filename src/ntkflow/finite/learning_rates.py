"""The learning-rate tensor λ_μν, diagonal within layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import jax
from jax.core import Tracer

from ..errors import ParameterError
from ..network.mlp import MLP


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LearningRates:
    """λ_bb and λ_WW of each layer 1 … L: the factors that multiply η for each bias and each weight."""

    bias: tuple[float, ...]
    weight: tuple[float, ...]


def checked_rates(mlp: MLP, rates: LearningRates | None) -> LearningRates:
    """`rates`, or those of `mlp`; ParameterError if they are not one of each, finite and ≥ 0, for every layer."""
    if rates is None:
        return tensorial(mlp)
    if not isinstance(rates, LearningRates) or not len(rates.bias) == len(rates.weight) == mlp.depth:
        raise ParameterError(f"rates must be LearningRates of {mlp.depth} layers, not {rates!r}")
    values = (*rates.bias, *rates.weight)
    if not all(
        isinstance(rate, Tracer) or isinstance(rate, Real) and 0 <= rate < math.inf for rate in values
    ):
        raise ParameterError(f"rates must be finite and not negative, not {rates!r}")
    return rates


def tensorial(mlp: MLP) -> LearningRates:
    """λ_bb = λ_b, λ_WW = λ_W / n_{ℓ-1}: the NTK stays of order 1 at any width, PDLT (8.5)."""
    rates = [layer.learning_rates(n) for layer, n in zip(mlp.layers, mlp.widths, strict=False)]
    return LearningRates(tuple(bias for bias, _ in rates), tuple(weight for _, weight in rates))


def plain(mlp: MLP) -> LearningRates:
    """λ_μν = δ_μν, ordinary gradient descent: the NTK grows as the width, and the biases have no part in it."""
    return LearningRates((1.0,) * mlp.depth, (1.0,) * mlp.depth)
