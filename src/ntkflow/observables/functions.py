"""Checks of a caller's functions, once before anything is integrated."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ObservableError


def checked_function(function: Callable, *sizes: int, name: str = "the function") -> Callable:
    """`function` of vectors of these sizes, with a float64 scalar as its value.

    Raises:
        ObservableError: it is no function, can't be traced by JAX, reads past the end of a vector, or is not a real scalar.
    """
    if not callable(function):
        raise ObservableError(f"{name} must be a function, not {function!r}")
    with jax.enable_x64(True):
        try:
            shape = jax.eval_shape(function, *(jax.ShapeDtypeStruct((d,), jnp.float64) for d in sizes))
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ObservableError(
                f"{name} can't be traced by JAX (write it with jax.numpy): {first}"
            ) from error
        _check_bounds(function, sizes, name)
    if not isinstance(shape, jax.ShapeDtypeStruct) or shape.shape != ():
        returned = getattr(shape, "shape", type(shape).__name__)
        raise ObservableError(f"{name} must return a scalar, not {returned}")
    if not (
        jnp.issubdtype(shape.dtype, jnp.floating)
        or jnp.issubdtype(shape.dtype, jnp.integer)
        or shape.dtype == bool
    ):
        raise ObservableError(f"{name} must return a real number, not {shape.dtype}")
    return lambda *vectors: jnp.asarray(function(*vectors), jnp.float64)


def _check_bounds(function: Callable, sizes: tuple[int, ...], name: str) -> None:
    """JAX would silently take the last element for one past the end; NumPy does not."""
    try:
        function(*(np.full(d, 0.5) for d in sizes))
    except IndexError as error:
        raise ObservableError(f"{name} reads a preactivation that `at` does not list: {error}") from error
    except Exception:  # noqa: BLE001 - what works on JAX's arrays alone was traced above
        return
