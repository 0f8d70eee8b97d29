"""Parameters of one network: drawn, checked, and the precision in which they are computed with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..errors import ComponentError, DataError, ParameterError
from ..mlp import MLP


class LayerParameters(NamedTuple):
    """One layer's weights `W` (n_ℓ, n_{ℓ-1}) and biases `b` (n_ℓ,)."""

    W: jax.Array | np.ndarray
    b: jax.Array | np.ndarray


Parameters = tuple[LayerParameters, ...]


def in_their_precision(function: Callable) -> Callable:
    """Let float64 stay float64 whatever the caller's JAX setting; within a transformation the caller's rules hold.

    Outside of a transformation NumPy arrays are returned: JAX itself, with x64 off, would silently turn what is computed
    from a float64 result into float32.
    """

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, kwargs))):
            return function(*args, **kwargs)
        with jax.enable_x64(True):
            result = function(*args, **kwargs)
            return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, result)

    return wrapped


@in_their_precision
def init(mlp: MLP, key, dtype=np.float64) -> Parameters:
    """Independent Gaussian parameters: Var b = C_b, Var W = C_W / n_{ℓ-1}, PDLT (8.5).

    Args:
        key: a JAX key or an integer seed. The same key gives the same network.
        dtype: of the parameters, and of all that is computed with them.
    """
    keys = jax.random.split(jax.random.key(key) if isinstance(key, int | np.integer) else key, 2 * mlp.depth)
    layers = []
    for ell, (fan_in, width) in enumerate(zip(mlp.widths, mlp.widths[1:], strict=False)):
        W = np.sqrt(mlp.C_W[ell] / fan_in) * jax.random.normal(keys[2 * ell], (width, fan_in), dtype)
        b = np.sqrt(mlp.C_b[ell]) * jax.random.normal(keys[2 * ell + 1], (width,), dtype)
        layers.append(LayerParameters(W.astype(dtype), b.astype(dtype)))
    return tuple(layers)


def checked(mlp: MLP, params) -> Parameters:
    """`params` as a tuple of LayerParameters.

    Raises:
        ParameterError: shapes that don't fit the MLP, or values that are not finite; the message names the layer.
    """
    if not isinstance(params, tuple | list) or len(params) != mlp.depth:
        raise ParameterError(f"parameters must be a tuple of {mlp.depth} layers, one per layer of the MLP")
    layers = []
    for ell, layer in enumerate(params, start=1):
        try:
            W, b = layer
        except (TypeError, ValueError) as error:
            raise ParameterError(f"layer {ell}: parameters must be a pair (W, b)") from error
        for name, array, shape in (
            ("W", W, (mlp.widths[ell], mlp.widths[ell - 1])),
            ("b", b, (mlp.widths[ell],)),
        ):
            if jnp.shape(array) != shape:
                raise ParameterError(f"layer {ell}: {name} must have shape {shape}, not {jnp.shape(array)}")
            if not jnp.issubdtype(
                array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype, jnp.floating
            ):
                raise ParameterError(f"layer {ell}: {name} must hold floating-point numbers")
            if not isinstance(array, Tracer) and not np.all(np.isfinite(array)):
                raise ParameterError(f"layer {ell}: {name} is not finite")
        # Not made JAX arrays here: outside of `in_their_precision` that could cut them to float32.
        layers.append(LayerParameters(*(x if hasattr(x, "dtype") else np.asarray(x) for x in (W, b))))
    return tuple(layers)


def inputs(mlp: MLP, params: Parameters, X) -> jax.Array:
    """X (N, n_0) in the parameters' precision; DataError for another shape, or numbers that are not real and finite."""
    if not isinstance(X, Tracer):
        X = np.asarray(X)
        if X.dtype.kind not in "iuf":
            raise DataError(f"X must be an array of real numbers, not of {X.dtype}")
        if not np.all(np.isfinite(X)):
            raise DataError("X must be finite")
    X = jnp.asarray(X, params[0].W.dtype)
    if X.ndim != 2 or X.shape[1] != mlp.widths[0] or len(X) == 0:
        raise DataError(f"X must have shape (N, {mlp.widths[0]}) with N ≥ 1, not {X.shape}")
    return X


def layer_number(mlp: MLP, layer: int) -> int:
    """A layer counted from 1, or from the last as -1; ComponentError if there is none."""
    if not (1 <= layer <= mlp.depth or -mlp.depth <= layer <= -1):
        raise ComponentError(f"layers are 1 … {mlp.depth} (or negative, from the last), not {layer}")
    return layer if layer > 0 else mlp.depth + 1 + layer
