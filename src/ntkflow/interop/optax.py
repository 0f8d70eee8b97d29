"""Optax: the learning-rate tensor as a gradient transformation on any pytree of weights and biases."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks.extras import needs
from ..errors import InteropError

with needs("optax", "ntkflow.interop.optax"):
    import optax


def scale_by_learning_rate_tensor(
    lambda_b: float | Sequence[float] = 1.0,
    lambda_W: float | Sequence[float] = 1.0,
    fan_in_axis: int = 1,
    widths: Sequence[int] | None = None,
) -> optax.GradientTransformation:
    """Multiply gradients of biases (one axis) by λ_b and of weights (two) by λ_W / n_{ℓ-1}, PDLT (8.5).

    Chain it with the global step: `optax.chain(scale_by_learning_rate_tensor(…), optax.sgd(eta))`.

    Args:
        lambda_b, lambda_W: one for all layers, or one for each. The layers of the tree of parameters are then its weights in their
            natural order, `Dense_2` before `Dense_10`, and its biases; there may be biases in those layers alone whose λ_b is not 0.
        fan_in_axis: the weights' axis of inputs: 1 for (n_ℓ, n_{ℓ-1}), as of ntkflow, Equinox and torch; 0 for Flax.
        widths: (n_0, …, n_L), which the weights must have, if given.

    Raises:
        InteropError: `fan_in_axis` is neither 0 nor 1; or, on `init`, a parameter has neither one nor two axes, or the tree has another
            number of layers or other widths.
    """
    if fan_in_axis not in (0, 1):
        raise InteropError(f"fan_in_axis must be 0 or 1, not {fan_in_axis!r}")

    def init(params):
        _rates(params, lambda_b, lambda_W)
        if widths is not None:
            _check_widths(params, widths, fan_in_axis)
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        rates = _rates(updates, lambda_b, lambda_W)
        return jax.tree.map(
            lambda g, rate: g * (rate if g.ndim == 1 else rate / g.shape[fan_in_axis]), updates, rates
        ), state

    return optax.GradientTransformation(init, update)


def _rates(params: Any, lambda_b: float | Sequence[float], lambda_W: float | Sequence[float]) -> Any:
    """The λ of each leaf, in the tree's form."""
    leaves = _named_leaves(params)
    for name, leaf in leaves.items():
        if jnp.ndim(leaf) not in (1, 2):
            raise InteropError(f"{name}: expected a bias or a weight matrix, not {jnp.ndim(leaf)} axes")
    rates = {}
    for axes, what, given in ((1, "biases", lambda_b), (2, "weights", lambda_W)):
        names = _in_order(leaves, axes)
        values: list[Any] = np.array(given).tolist() if np.ndim(given) else [given] * len(names)
        if axes == 1 and len(names) != len(values):
            values = [value for value in values if value != 0]
        if len(names) != len(values):
            raise InteropError(
                f"there are {len(names)} {what} in the tree, and learning rates for {len(values)} layers"
            )
        rates |= zip(names, values, strict=True)
    return jax.tree.unflatten(jax.tree.structure(params), [rates[name] for name in leaves])


def _check_widths(params: Any, widths: Sequence[int], fan_in_axis: int) -> None:
    """InteropError if a weight has another shape than its layer."""
    leaves = _named_leaves(params)
    for name, layer in zip(_in_order(leaves, 2), itertools.pairwise(widths), strict=True):
        shape = layer if fan_in_axis == 0 else layer[::-1]
        if leaves[name].shape != shape:
            hint = f"; give fan_in_axis={1 - fan_in_axis}" if leaves[name].shape == shape[::-1] else ""
            raise InteropError(
                f"{name} has shape {leaves[name].shape}, its layer {shape}{hint}; layers are taken in their names' order"
            )


def _named_leaves(params: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _in_order(leaves: dict[str, Any], axes: int) -> list[str]:
    """The names of all leaves with so many axes, numbers in them sorted by value."""

    def parts(name: str) -> list:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    return sorted((name for name in leaves if jnp.ndim(leaves[name]) == axes), key=parts)
