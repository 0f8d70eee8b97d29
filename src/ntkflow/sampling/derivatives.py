"""The NTK's derivatives on one network: of each layer two neurons, drawn beside its own, so that layers of one neuron have them too."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._recursions.tensors import Derivative
from ..errors import SpecError
from ..finite.learning_rates import tensorial
from ..finite.ntk_derivatives import Legs, check_smooth
from ..finite.parameters import LayerParameters, Parameters
from ..finite.preactivations import preactivations
from ..network.dense import Dense
from ..network.mlp import MLP

_BESIDE = 2**32 - 1
"""What makes of a network's key that of the neurons beside its own."""


class _Arrays(NamedTuple):
    """With axes of four neurons, of which there are two, and of four samples."""

    dH_z: jax.Array
    ddH_I: jax.Array
    ddH_II: jax.Array

    def on(self, derivative: Derivative) -> jax.Array:
        """(k, k, k, k), on average over the exchange of the two neurons."""
        array, neurons = getattr(self, derivative.array), derivative.neurons
        return (array[neurons] + array[tuple(1 - neuron for neuron in neurons)]) / 2


def check_differentiable(mlp: MLP) -> None:
    """SpecError where the NTK's derivatives can't be measured."""
    check_smooth(mlp)
    for layer in mlp.layers:
        if not isinstance(layer, Dense):
            raise SpecError(
                f"the tensors of training are measured on dense layers, not on {type(layer).__name__}"
            )


def derivatives_on_layers(
    mlp: MLP, derivatives: tuple[Derivative, ...], params: Parameters, X: jax.Array, key: jax.Array, integrated: bool
) -> list[tuple[jax.Array, ...]]:  # fmt: skip
    """The derivatives that are asked for of each layer 1 … L, (k, k, k, k) each, axes in the order of the neurons.

    With 2k legs and P parameters below, time is that of some (2k)³ / 6 + 2k (2k)² / 2 evaluations of the network, memory (2k)² P.

    Args:
        key: the network's.
        integrated: whether the weights are integrated out of the neuron that z in dĤ z belongs to, in which it is linear.
    """
    z = preactivations(mlp, params, X)
    measured = [tuple(jnp.zeros((len(X),) * 4, X.dtype) for _ in derivatives)]
    rates, keys = tensorial(mlp), jax.random.split(jax.random.fold_in(key, _BESIDE), (mlp.depth, 2))
    for ell in range(1, mlp.depth):
        layer, n, of_layer = mlp.layers[ell], mlp.widths[ell], keys[ell]
        assert isinstance(layer, Dense)
        W, b = layer.draw(
            n, 2, lambda which, shape, keys=of_layer: jax.random.normal(keys[which], shape, X.dtype)
        )
        s = layer.seen(z[ell - 1])

        def legs(W, below=params[:ell], b=b):
            return Legs(mlp, rates, (*below, LayerParameters(W, b)), X, np.arange(2))

        if integrated:

            def in_place_of(neuron, row, legs=legs, W=W):
                return legs(W.at[neuron].set(row)).first()

            on_rows = jax.vmap(in_place_of, (None, 0), 6)
            dH_z = jax.vmap(on_rows, (0, None), 3)(jnp.arange(2), layer.C_W / n * s)
        else:
            dH_z = jnp.einsum("ijkabc,dl->ijklabcd", legs(W).first(), s @ W.T + b)
        arrays = _Arrays(dH_z, *legs(W).second())
        measured.append(tuple(arrays.on(derivative) for derivative in derivatives))
    return measured


def memory_of_derivatives(k: int, parameters: int, itemsize: int) -> int:
    """Bytes that `derivatives_on_layers` takes for one network of so many bytes of parameters on k samples."""
    legs = 2 * k
    return 2 * legs**2 * parameters + 4 * itemsize * legs**4
