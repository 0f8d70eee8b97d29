"""The infinite-width kernels as a function that JAX compiles, vectorises and differentiates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..errors import ActivationError, DataError
from ..gaussian.traced import differentiable
from ..network import as_mlp
from ..recursions import means
from .core import Expectations, Hyperparameters, first_layer, integrate, own_expectations, samples
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
    h = [
        Hyperparameters(*values) for values in zip(mlp.C_b, mlp.C_W, mlp.lambda_b, mlp.lambda_W, strict=True)
    ]
    X = jnp.asarray(X, float)
    other = X if X2 is None else jnp.asarray(X2, float)
    # Without X2 the diagonal is known to be at ρ = 1.
    labels = jnp.arange(len(X)), jnp.arange(len(other)) + (0 if X2 is None else len(X))
    squares = [jnp.einsum("an,an->a", x, x) / x.shape[1] for x in (X, other)]
    variances = [means.G(h[0], Expectations(square, square)) for square in squares]
    G, H = first_layer(h[0], X @ other.T / X.shape[1])
    found = [(G, H)]
    for activation, following in zip(mlp.activation, h[1:], strict=True):
        rows, cols = (
            samples(activation, differentiable(activation, variance), label, jnp.ones_like(variance))
            for variance, label in zip(variances, labels, strict=True)
        )
        e, _ = integrate(activation, rows, cols, G, shorten=False)
        G, H = means.G(following, e), means.H(following, e, H)
        variances = [means.G(following, own_expectations(activation, side)) for side in (rows, cols)]
        found.append((G, H))
    return jnp.stack([G for G, _ in found]), jnp.stack([H for _, H in found])
