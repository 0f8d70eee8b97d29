"""Losses: functions loss(z, y) of the outputs z (N, n_L) and targets y, averaged over samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .parameters import in_their_precision


@in_their_precision
def mse(z: jax.Array, y: jax.Array) -> jax.Array:
    """½ Σ_i (z_i - y_i)², averaged over samples; y (N, n_L)."""
    return 0.5 * jnp.mean(jnp.sum((z - y) ** 2, axis=1))


@in_their_precision
def cross_entropy(z: jax.Array, y: jax.Array) -> jax.Array:
    """Softmax cross-entropy, averaged over samples; y (N,) holds class numbers."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1))
