"""Losses: functions loss(z, y) of the outputs z (N, n_L) and targets y, averaged over samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..errors import DataError
from .parameters import in_their_precision


@in_their_precision
def mse(z: jax.Array, y: jax.Array) -> jax.Array:
    """½ Σ_i (z_i - y_i)², averaged over samples; y (N, n_L). DataError for another shape: it would be broadcast."""
    if jnp.shape(y) != jnp.shape(z):
        raise DataError(about_mse_targets(y, jnp.shape(z)))
    return 0.5 * jnp.mean(jnp.sum((z - y) ** 2, axis=1))


def about_mse_targets(y, shape: tuple[int, ...]) -> str:
    """Why targets that haven't the outputs' shape (N, n_L) are refused, and what was probably meant."""
    text = f"mse: the targets y must have the outputs' shape {shape}, not {jnp.shape(y)}"
    if jnp.shape(y) != shape[:1]:
        return text
    if shape[1] == 1:
        return f"{text}; write y[:, None]"
    if jnp.issubdtype(jnp.result_type(y), jnp.integer):
        return f"{text}; of class numbers take numpy.eye({shape[1]})[y], or the loss cross_entropy"
    return text


@in_their_precision
def cross_entropy(z: jax.Array, y: jax.Array) -> jax.Array:
    """Softmax cross-entropy, averaged over samples; y (N,) holds class numbers. DataError for anything else."""
    classes = y if isinstance(y, Tracer) else np.asarray(y)
    if classes.shape != jnp.shape(z)[:1] or not jnp.issubdtype(classes.dtype, jnp.integer):
        raise DataError(
            f"cross_entropy: y must hold {len(z)} whole class numbers, not {classes.dtype} of shape {classes.shape}"
            + ("; of one-hot rows take y.argmax(axis=1)" if classes.shape == jnp.shape(z) else "")
            + ("; write y.astype(int)" if classes.shape == jnp.shape(z)[:1] else "")
        )
    if isinstance(classes, np.ndarray) and (
        classes.size == 0 or classes.min() < 0 or classes.max() >= jnp.shape(z)[1]
    ):
        raise DataError(f"cross_entropy: class numbers must lie in 0 … {jnp.shape(z)[1] - 1}")
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), jnp.asarray(classes)[:, None], axis=1))
