"""The forward equation of the preactivations."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..network.mlp import MLP
from .parameters import Parameters, checked, in_their_precision, inputs


def preactivations(mlp: MLP, params: Parameters, X: jax.Array) -> tuple[jax.Array, ...]:
    """z^(1) … z^(L), each (N, n_ℓ); traceable, nothing is checked."""
    z = []
    below = X
    for ell, (W, b) in enumerate(params):
        z.append(below @ W.T + b)
        if ell < mlp.depth - 1:
            below = mlp.activation[ell](z[-1])
    return tuple(z)


def slopes(mlp: MLP, z: tuple[jax.Array, ...]) -> list[jax.Array]:
    """σ'(z^(ℓ)) of the hidden layers, each (N, n_ℓ)."""
    return [
        jax.jvp(f.function, (x,), (jnp.ones_like(x),))[1] for f, x in zip(mlp.activation, z, strict=False)
    ]


_compiled = jax.jit(preactivations)


@in_their_precision
def forward(mlp: MLP, params: Parameters, X) -> tuple[jax.Array, ...]:
    """Every layer's preactivations (z^(1), …, z^(L)), each (N, n_ℓ), PDLT (8.9).

    Raises:
        ParameterError, DataError: parameters or X don't fit the network.
    """
    params = checked(mlp, params)
    return _compiled(mlp, params, inputs(mlp, params, X))
