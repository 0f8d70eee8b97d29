"""Parameters of one network: drawn, checked, and the precision in which they are computed with."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks.inputs import checked_inputs
from .._machine.forks import refuse_forks
from ..errors import ComponentError, DataError, NtkflowError, ParameterError
from ..network.blocks import Block
from ..network.mlp import MLP
from ..network.network import Network
from ..network.stage_equations import StageParameters


class LayerParameters(NamedTuple):
    """One layer's weights `W` (n_ℓ, n_{ℓ-1}) and biases `b` (n_ℓ,)."""

    W: jax.Array | np.ndarray
    b: jax.Array | np.ndarray

    def __repr__(self) -> str:
        return f"LayerParameters(W {_array(self.W)}, b {_array(self.b)})"


def _array(value) -> str:
    """Shape and type of an array; what else JAX may put into its place as it is."""
    return f"{value.shape} {value.dtype}" if hasattr(value, "dtype") else repr(value)


Parameters = tuple[Any, ...]
"""Of each layer `LayerParameters`; of a block a tuple of `StageParameters`."""
_FEWEST = 2**12  # normal numbers, drawn in no time


def in_their_precision(function: Callable) -> Callable:
    """Let float64 stay float64 whatever the caller's JAX setting; within a transformation the caller's rules hold.

    Outside of a transformation NumPy arrays are returned: JAX itself, with x64 off, would silently turn what is computed
    from a float64 result into float32.
    """

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        refuse_forks()
        # Within jit even a constant is a tracer; within vmap and grad only what they act on is.
        if any(isinstance(leaf, Tracer) for leaf in (*jax.tree.leaves((args, kwargs)), jnp.zeros(()))):
            args, kwargs = jax.tree.map(_as_jax_would_have_it, (args, kwargs))
            return function(*args, **kwargs)
        with jax.enable_x64(True):
            result = function(*args, **kwargs)
            return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, result)

    return wrapped


def _as_jax_would_have_it(leaf):
    """With x64 off a float64 constant becomes float32 here, once, and not somewhere within compiled code."""
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype)) if isinstance(leaf, np.ndarray) else leaf


@in_their_precision
def init(mlp: MLP | Network, key, dtype=np.float64) -> Parameters:
    """Independent Gaussian parameters: Var b = C_b, Var W = C_W / n_{ℓ-1}, PDLT (8.5); gains of norms are 1, their biases 0.

    Args:
        mlp: an MLP or a Network.
        key: a JAX key or an integer seed 0 … 2^63 - 1. The same key gives the same network.
        dtype: of the parameters, and of all that is computed with them: a floating-point type.

    Raises:
        ParameterError: the key or dtype is none of these.

    Example:
        >>> finite.init(mlp, key=0)[0].W.shape
        (128, 10)
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ParameterError(f"dtype must be a floating-point type, not {dtype!r}")
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    keys = jax.random.split(key_of(key), 2 * mlp.depth)
    layers = []
    for ell, (layer, fan_in, width) in enumerate(zip(mlp.layers, mlp.widths, mlp.widths[1:], strict=False)):

        def normal(which: int, shape: tuple[int, ...], ell=ell):
            stage, array = divmod(which, 2)
            key = keys[2 * ell + array]
            return normals(jax.random.fold_in(key, stage) if stage else key, shape, dtype)

        drawn = jax.tree.map(lambda x: x.astype(dtype), layer.draw(fan_in, width, normal))
        layers.append(drawn if isinstance(layer, Block) else LayerParameters(*drawn))
    return tuple(layers)


def normals(key: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
    """`jax.random.normal`, compiled for few sizes: number k depends on the key and on k alone."""
    if isinstance(key, Tracer) or not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        return jax.random.normal(key, shape, dtype)
    size = math.prod(shape)
    most = max(_FEWEST, 1 << (size - 1).bit_length())
    return jax.random.normal(key, (most,), dtype)[:size].reshape(shape)


def key_of(key) -> jax.Array:
    if isinstance(key, jax.Array):
        if key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            return key
        if key.shape == (2,) and key.dtype == jnp.uint32:  # of jax.random.PRNGKey
            return jax.random.wrap_key_data(key)
    return jax.random.key(whole_number(key, "key (a JAX key or a seed)", 0, 2**63 - 1, ParameterError))


def whole_number(value, name: str, low: int, high: int, error: type[NtkflowError]) -> int:
    """`value` as an int; `error` if it is none, or outside low … high."""
    number = as_int(value)
    if number is None or not low <= number <= high:
        raise error(f"{name} must be a whole number {low} … {high}, not {value!r}")
    return number


def as_int(value) -> int | None:
    """`value` as an int, or None if it is no whole number."""
    try:
        return None if isinstance(value, bool | np.bool) else operator.index(value)
    except TypeError:
        return None


def checked(mlp: MLP | Network, params) -> Parameters:
    """`params` as a tuple of LayerParameters, and of tuples of StageParameters.

    Raises:
        ParameterError: shapes that don't fit the network, values that are not finite, or layers of different precision; the
            message names the layer.
    """
    if not isinstance(params, tuple | list) or len(params) != mlp.depth:
        raise ParameterError(
            f"parameters must be a tuple of {mlp.depth} layers, one per layer of the network"
        )
    layers: list[Any] = []
    for ell, (layer, of_layer) in enumerate(zip(mlp.layers, params, strict=True), start=1):
        shapes = layer.shapes(mlp.widths[ell - 1], mlp.widths[ell])
        first = layers[0].W.dtype if layers else None
        if isinstance(layer, Block):
            layers.append(_checked_stages(layer, of_layer, shapes, f"layer {ell}", first))
        else:
            arrays = _checked_arrays(of_layer, ("W", "b"), shapes, f"layer {ell}", first)
            layers.append(LayerParameters(*arrays))
    return tuple(layers)


def _checked_stages(
    block: Block, stages: Any, shapes: tuple, where: str, first: Any
) -> tuple[StageParameters, ...]:
    """The parameters of a block's stages."""
    if not isinstance(stages, tuple | list) or len(stages) != len(block.stages):
        raise ParameterError(
            f"{where}: parameters of a block must be a tuple of {len(block.stages)} StageParameters, one per stage"
        )
    checked_stages = []
    for number, (stage, arrays, (W, b)) in enumerate(zip(block.stages, stages, shapes, strict=True), start=1):
        with_norm = stage.norm != "none"
        names, expected = (
            (("W", "b", "g", "beta"), (W, b, W[1:], W[1:])) if with_norm else (("W", "b"), (W, b))
        )
        given = [x for x in arrays if x is not None] if isinstance(arrays, tuple | list) else arrays
        checked_stages.append(
            StageParameters(*_checked_arrays(given, names, expected, f"{where}, stage {number}", first))
        )
    return tuple(checked_stages)


def _checked_arrays(arrays: Any, names: tuple[str, ...], shapes: tuple, where: str, first: Any) -> list[Any]:
    """Arrays of these shapes, in the precision `first` of the first layer, None if they are of that."""
    try:
        # Not made JAX arrays here: outside of `in_their_precision` that could cut them to float32.
        arrays = [x if hasattr(x, "dtype") else np.asarray(x) for x in arrays]
        named = list(zip(names, arrays, shapes, strict=True))
    except (TypeError, ValueError) as error:
        of_these = "a pair" if len(names) == 2 else "a tuple"
        raise ParameterError(
            f"{where}: parameters must be {of_these} ({', '.join(names)}) of arrays"
        ) from error
    for name, array, shape in named:
        if array.shape != shape:
            raise ParameterError(f"{where}: {name} must have shape {shape}, not {array.shape}")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ParameterError(f"{where}: {name} must hold floating-point numbers")
        if not isinstance(array, Tracer) and not np.all(np.isfinite(array)):
            raise ParameterError(f"{where}: {name} is not finite")
        precision = jax.dtypes.canonicalize_dtype(named[0][1].dtype if first is None else first)
        if jax.dtypes.canonicalize_dtype(array.dtype) != precision:
            raise ParameterError(f"{where}: {name} is {array.dtype}, but the first layer is {precision}")
    return arrays


def inputs(mlp: MLP | Network, params: Parameters, X, name: str = "X") -> jax.Array:
    """X (N, n_0) in the parameters' precision; DataError as of `ntkflow._checks.inputs.checked_inputs`."""
    if not isinstance(X, Tracer):
        X = checked_inputs(mlp, X, name)
    X = jnp.asarray(X, params[0].W.dtype)
    if X.ndim != 2 or X.shape[1] != mlp.widths[0] or len(X) == 0:
        raise DataError(f"{name} must have shape (N, {mlp.widths[0]}) with N ≥ 1, not {X.shape}")
    return X


def layer_number(mlp: MLP | Network, layer: int) -> int:
    """A layer counted from 1, or from the last as -1; ComponentError if there is none."""
    number = as_int(layer)
    if number is None or not (1 <= number <= mlp.depth or -mlp.depth <= number <= -1):
        raise ComponentError(f"layers are 1 … {mlp.depth} (or negative, from the last), not {layer!r}")
    return number if number > 0 else mlp.depth + 1 + number
