"""The learning-rate tensor λ_μν, diagonal within layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import jax
from jax.core import Tracer

from ..errors import ParameterError
from ..network.mlp import MLP
from ..network.network import Network


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LearningRates:
    """λ_bb and λ_WW of each layer 1 … L: the factors that multiply η for each bias and each weight.

    Of a block they are tuples, stage by stage, and `gain` and `beta` are those of its norms, layer by layer; both are empty where no layer is a
    block.
    """

    bias: tuple[Any, ...]
    weight: tuple[Any, ...]
    gain: tuple[Any, ...] = ()
    beta: tuple[Any, ...] = ()

    def of_layer(self, index: int) -> tuple[Any, ...]:
        """Those of layer index + 1, as of `Layer.learning_rates`."""
        of_norms = (self.gain[index], self.beta[index]) if self.gain and self.gain[index] else ()
        return self.bias[index], self.weight[index], *of_norms

    def of_parameters(self, index: int, params: Any) -> tuple[Any, ...]:
        """One for each array of the parameters of layer index + 1, W and b, of each stage with those of its norm."""
        rates = self.of_layer(index)
        if len(rates) == 2:
            return rates[1], rates[0]
        by_stage = zip(*rates, params, strict=True)
        return tuple(
            rate
            for bias, weight, gain, beta, stage in by_stage
            for rate in ((weight, bias) if stage.g is None else (weight, bias, gain, beta))
        )


def checked_rates(mlp: MLP | Network, rates: LearningRates | None) -> LearningRates:
    """`rates`, or those of `mlp`; ParameterError if they are not one of each, finite and ≥ 0, for every layer."""
    if rates is None:
        return tensorial(mlp)
    expected = jax.tree.structure(tensorial(mlp))
    if not isinstance(rates, LearningRates) or jax.tree.structure(rates) != expected:
        raise ParameterError(f"rates must be LearningRates of {mlp.depth} layers, not {rates!r}")
    if not all(
        isinstance(rate, Tracer) or isinstance(rate, Real) and 0 <= float(rate) < math.inf
        for rate in jax.tree.leaves(rates)
    ):
        raise ParameterError(f"rates must be finite and not negative, not {rates!r}")
    return rates


def tensorial(mlp: MLP | Network) -> LearningRates:
    """λ_bb = λ_b, λ_WW = λ_W / n_{ℓ-1}: the NTK stays of order 1 at any width, PDLT (8.5)."""
    rates = [layer.learning_rates(n) for layer, n in zip(mlp.layers, mlp.widths, strict=False)]
    biases, weights = (tuple(of_layer[part] for of_layer in rates) for part in (0, 1))
    if not any(len(of_layer) > 2 for of_layer in rates):
        return LearningRates(biases, weights)
    gains, betas = (
        tuple(of_layer[part] if len(of_layer) > 2 else () for of_layer in rates) for part in (2, 3)
    )
    return LearningRates(biases, weights, gains, betas)


def plain(mlp: MLP | Network) -> LearningRates:
    """λ_μν = δ_μν, ordinary gradient descent: the NTK grows as the width, and the biases have no part in it."""
    return jax.tree.map(lambda _: 1.0, tensorial(mlp))
