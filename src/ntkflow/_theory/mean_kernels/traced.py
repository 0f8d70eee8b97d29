"""The infinite-width kernels as a function that JAX compiles, vectorises and differentiates."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..._gaussian.traced import differentiable
from ...errors import ActivationError, DataError
from ...network import as_mlp
from ...network.dense import OfInputs
from ...network.layer import Layer, through_layers
from .core import diagonal_expectations, integrate, samples
from .flow import has_tiles


def kernels(network: Any, X, X2=None) -> tuple[jax.Array, jax.Array]:
    """G and H of every layer, PDLT (8.22), (8.63), as JAX arrays (L, N, N2) in float64.

    Everything but the network's depth and activations may be traced. Of a σ without a closed form 192 terms of its
    Hermite series are summed, and nothing watches over the error, as `flow` does: it grows as |ρ| → 1 where σ varies fast
    on the scale of z.

    Args:
        network: as of `traced_flow`.
        X, X2: (N, n_0) and (N2, n_0); X2 is X unless given.

    Raises:
        DataError: JAX's 64-bit mode is off.
        ActivationError: an activation with a kink is not piecewise linear.
    """
    if not jax.config.read("jax_enable_x64"):
        raise DataError("kernels needs float64: call it with jax.enable_x64(True), or set jax_enable_x64")
    mlp = as_mlp(network)
    if not has_tiles(mlp):
        raise ActivationError("kernels: an activation with a kink must be piecewise linear; use ntkflow.flow")
    X = jnp.asarray(X, float)
    other = X if X2 is None else jnp.asarray(X2, float)
    # Without X2 the diagonal is known to be at ρ = 1.
    labels = jnp.arange(len(X)), jnp.arange(len(other)) + (0 if X2 is None else len(X))
    squares = [jnp.einsum("an,an->a", x, x) / x.shape[1] for x in (X, other)]
    variances = [mlp.layers[0].means(OfInputs(square), 0.0, 0.0)[0] for square in squares]

    def step(layer: Layer, r: float, below: _State) -> _State:
        activation = layer.activation
        assert activation is not None
        rows, cols = (
            samples(activation, differentiable(activation, variance), label, jnp.ones_like(variance))
            for variance, label in zip(below.variances, labels, strict=True)
        )
        e, _ = integrate(activation, rows, cols, below.G, shorten=False)
        diagonals = (diagonal_expectations(activation, side) for side in (rows, cols))
        variances = [layer.means(e_diagonal, 0.0, 0.0)[0] for e_diagonal in diagonals]
        return _State(*layer.means(e, below.G, below.H), variances)

    first = _State(*mlp.layers[0].means(OfInputs(X @ other.T / X.shape[1]), 0.0, 0.0), variances)
    states = list(through_layers(mlp, first, step))
    return jnp.stack([state.G for state in states]), jnp.stack([state.H for state in states])


class _State(NamedTuple):
    G: jax.Array
    H: jax.Array
    variances: list
    """G_αα of the rows' and of the columns' samples."""
