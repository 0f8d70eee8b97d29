"""The NTK by its definition (8.4), with autodiff: slow, for any learning-rate tensor that does not mix layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.core import Tracer

from .._machine.memory import check_memory
from ..errors import ParameterError
from ..network.mlp import MLP
from .learning_rates import LearningRates, checked_rates
from .parameters import Parameters, checked, in_their_precision, inputs, layer_number
from .preactivations import preactivations

LayerTensor = jax.Array | Callable[[jax.Array], jax.Array]


@in_their_precision
def ntk_by_definition(
    mlp: MLP, params: Parameters, X, X2=None, *, layer: int = -1,
    tensor: LearningRates | Sequence[LayerTensor] | None = None,
) -> jax.Array:  # fmt: skip
    """Σ λ_μν (dz_{i1;α1}/dθ_μ)(dz_{i2;α2}/dθ_ν), PDLT (8.4): (n_ℓ, n_ℓ, N, N2).

    Args:
        tensor: LearningRates, by default those of `mlp`; or for each layer 1 … L a symmetric positive matrix (P, P) over
            its P parameters, weights row by row and then biases, or a function v → λ v of such a vector (P,).

    Raises:
        ParameterError: the tensor doesn't fit the parameters, or a matrix is not symmetric.
        MemoryRequestError: the parameters' Jacobian, N n_ℓ P, would not fit in memory.
    """
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    X2 = X if X2 is None else inputs(mlp, params, X2, "X2")
    top = layer_number(mlp, layer)
    count = sum(W.size + b.size for W, b in params[:top])
    check_memory(
        X.dtype.itemsize * (len(X) + len(X2)) * mlp.widths[top] * 2 * count,
        "the parameters' Jacobians",
        "`ntk`",
    )
    apply = [_as_function(part, p) for part, p in zip(_per_layer(mlp, tensor), params, strict=True)]

    terms = [
        jnp.einsum("aip,bjp->ijab", J, jnp.apply_along_axis(function, 2, J2))
        for J, J2, function in zip(*(_rows(mlp, top, params[:top], x) for x in (X, X2)), apply, strict=False)
    ]
    return jnp.sum(jnp.stack(terms), axis=0)


@functools.partial(jax.jit, static_argnums=1)
def _rows(mlp: MLP, top: int, params: Parameters, X) -> list:
    """dz/dθ of layer `top`, (N, n_ℓ, P) by each layer's parameters."""
    derivatives = jax.jacrev(lambda p: preactivations(mlp, p, X)[top - 1])(params)
    return [jnp.concatenate([d.W.reshape(*d.W.shape[:2], -1), d.b], axis=2) for d in derivatives]


def _per_layer(mlp: MLP, tensor) -> list:
    if tensor is None or isinstance(tensor, LearningRates):
        rates = checked_rates(mlp, tensor)
        return list(zip(rates.weight, rates.bias, strict=True))
    if not isinstance(tensor, tuple | list) or len(tensor) != mlp.depth:
        raise ParameterError(f"tensor must list one matrix or function for each of {mlp.depth} layers")
    return list(tensor)


def _as_function(tensor: Any, layer) -> Callable[[jax.Array], jax.Array]:
    count = layer.W.size + layer.b.size
    if callable(tensor):
        return cast("Callable[[jax.Array], jax.Array]", tensor)
    if isinstance(tensor, tuple):
        diagonal = jnp.concatenate([jnp.full(layer.W.size, tensor[0]), jnp.full(layer.b.size, tensor[1])])
        return lambda v: diagonal.astype(v.dtype) * v
    matrix = jnp.asarray(tensor, layer.W.dtype)
    if matrix.shape != (count, count):
        raise ParameterError(
            f"a layer's learning-rate tensor must have shape {(count, count)}, not {matrix.shape}"
        )
    if not isinstance(matrix, Tracer) and not jnp.allclose(matrix, matrix.T):
        raise ParameterError("a layer's learning-rate tensor must be symmetric")
    return lambda v: matrix @ v
