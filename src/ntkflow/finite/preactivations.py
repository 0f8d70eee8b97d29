"""The forward equation of the preactivations."""

from __future__ import annotations

import jax

from ..network.mlp import MLP
from ..network.network import Network
from .parameters import Parameters, checked, in_their_precision, inputs


def preactivations(mlp: MLP | Network, params: Parameters, X: jax.Array) -> tuple[jax.Array, ...]:
    """z^(1) … z^(L), each (N, n_ℓ); traceable, nothing is checked."""
    z = [X]
    for layer, p in zip(mlp.layers, params, strict=False):
        z.append(layer.forward(p, z[-1]))
    return tuple(z[1:])


_compiled = jax.jit(preactivations)


@in_their_precision
def forward(mlp: MLP | Network, params: Parameters, X) -> tuple[jax.Array, ...]:
    """Every layer's preactivations (z^(1), …, z^(L)), each (N, n_ℓ), PDLT (8.9).

    Raises:
        ParameterError, DataError: parameters or X don't fit the network.
    """
    params = checked(mlp, params)
    return _compiled(mlp, params, inputs(mlp, params, X))
