"""Optax: the learning-rate tensor as a gradient transformation on any pytree of weights and biases."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._checks.extras import needs
from ..errors import InteropError

with needs("optax", "ntkflow.interop.optax"):
    import optax


def scale_by_learning_rate_tensor(
    lambda_b: float = 1.0, lambda_W: float = 1.0, fan_in_axis: int = 1
) -> optax.GradientTransformation:
    """Multiply gradients of biases (one axis) by λ_b and of weights (two) by λ_W / n_{ℓ-1}, PDLT (8.5).

    Chain it with the global step: `optax.chain(scale_by_learning_rate_tensor(…), optax.sgd(eta))`.

    Args:
        fan_in_axis: the weights' axis of inputs: 1 for (n_ℓ, n_{ℓ-1}), as of ntkflow, Equinox and torch; 0 for Flax.

    Raises:
        InteropError: `fan_in_axis` is neither 0 nor 1; or, on `init`, a parameter has neither one nor two axes.
    """
    if fan_in_axis not in (0, 1):
        raise InteropError(f"fan_in_axis must be 0 or 1, not {fan_in_axis!r}")

    def init(params):
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if jnp.ndim(leaf) not in (1, 2):
                name = jax.tree_util.keystr(path)
                raise InteropError(f"{name}: expected a bias or a weight matrix, not {jnp.ndim(leaf)} axes")
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        return jax.tree.map(
            lambda g: g * (lambda_b if g.ndim == 1 else lambda_W / g.shape[fan_in_axis]), updates
        ), state

    return optax.GradientTransformation(init, update)
