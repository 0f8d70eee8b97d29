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
from ..network.network import Network
from .learning_rates import LearningRates, checked_rates
from .parameters import Parameters, checked, in_their_precision, inputs, layer_number
from .preactivations import preactivations

LayerTensor = jax.Array | Callable[[jax.Array], jax.Array]


@in_their_precision
def ntk_by_definition(
    mlp: MLP | Network, params: Parameters, X, X2=None, *, layer: int = -1,
    tensor: LearningRates | Sequence[LayerTensor] | None = None,
) -> jax.Array:  # fmt: skip
    """Σ λ_μν (dz_{i1;α1}/dθ_μ)(dz_{i2;α2}/dθ_ν), PDLT (8.4): (n_ℓ, n_ℓ, N, N2).

    Args:
        tensor: LearningRates, by default those of `mlp`; or for each layer 1 … L a symmetric positive matrix (P, P) over
            its P parameters, weights row by row and then biases, of a block stage by stage with its norm's, or a function v → λ v of such a vector (P,).

    Raises:
        ParameterError: the tensor doesn't fit the parameters, or a matrix is not symmetric.
        MemoryRequestError: the parameters' Jacobian, N n_ℓ P, would not fit in memory.
    """
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    X2 = X if X2 is None else inputs(mlp, params, X2, "X2")
    top = layer_number(mlp, layer)
    count = sum(array.size for array in jax.tree.leaves(params[:top]))
    check_memory(
        X.dtype.itemsize * (len(X) + len(X2)) * mlp.widths[top] * 2 * count,
        "the parameters' Jacobians",
        "`ntk`",
    )
    apply = [_as_function(part, p) for part, p in zip(_per_layer(mlp, tensor, params), params, strict=True)]

    terms = [
        jnp.einsum("aip,bjp->ijab", J, jnp.apply_along_axis(function, 2, J2))
        for J, J2, function in zip(*(_rows(mlp, top, params[:top], x) for x in (X, X2)), apply, strict=False)
    ]
    return jnp.sum(jnp.stack(terms), axis=0)


@functools.partial(jax.jit, static_argnums=1)
def _rows(mlp: MLP | Network, top: int, params: Parameters, X) -> list:
    """dz/dθ of layer `top`, (N, n_ℓ, P) by each layer's parameters."""
    derivatives = jax.jacrev(lambda p: preactivations(mlp, p, X)[top - 1])(params)
    return [
        jnp.concatenate([d.reshape(*d.shape[:2], -1) for d in jax.tree.leaves(of_layer)], axis=2)
        for of_layer in derivatives
    ]


def _per_layer(mlp: MLP | Network, tensor, params: Parameters) -> list:
    if tensor is None or isinstance(tensor, LearningRates):
        rates = checked_rates(mlp, tensor)
        return [rates.of_parameters(index, of_layer) for index, of_layer in enumerate(params)]
    if not isinstance(tensor, tuple | list) or len(tensor) != mlp.depth:
        raise ParameterError(f"tensor must list one matrix or function for each of {mlp.depth} layers")
    return list(tensor)


def _as_function(tensor: Any, layer) -> Callable[[jax.Array], jax.Array]:
    arrays = jax.tree.leaves(layer)
    count = sum(array.size for array in arrays)
    if callable(tensor):
        return cast("Callable[[jax.Array], jax.Array]", tensor)
    if isinstance(tensor, tuple):
        diagonal = jnp.concatenate(
            [jnp.full(array.size, rate) for array, rate in zip(arrays, tensor, strict=True)]
        )
        return lambda v: diagonal.astype(v.dtype) * v
    matrix = jnp.asarray(tensor, layer.W.dtype)
    if matrix.shape != (count, count):
        raise ParameterError(
            f"a layer's learning-rate tensor must have shape {(count, count)}, not {matrix.shape}"
        )
    if not isinstance(matrix, Tracer) and not jnp.allclose(matrix, matrix.T):
        raise ParameterError("a layer's learning-rate tensor must be symmetric")
    return lambda v: matrix @ v
