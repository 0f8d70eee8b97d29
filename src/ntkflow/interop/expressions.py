"""Elementwise formulas in one variable z, as nested tuples: `("mul", Z, ("sigmoid", …))`. They become activations.

Equal formulas give one and the same Activation, so that what is compiled for it is compiled once.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from ..activations import Activation, activation, kinked
from ..errors import ActivationError

Z = ("z",)
_OPERATIONS = {
    "add": (operator.add, "({} + {})"),
    "sub": (operator.sub, "({} - {})"),
    "mul": (operator.mul, "({} * {})"),
    "truediv": (operator.truediv, "({} / {})"),
    "pow": (lambda z, p: z ** (int(p) if isinstance(p, float) and p.is_integer() else p), "({} ** {})"),
    "neg": (operator.neg, "(-{})"),
    "square": (jnp.square, "({} ** 2)"),
    "sqrt": (jnp.sqrt, "sqrt({})"),
    "rsqrt": (jax.lax.rsqrt, "rsqrt({})"),
    "reciprocal": (lambda z: 1 / z, "(1 / {})"),
    "expm1": (jnp.expm1, "expm1({})"),
    "log1p": (jnp.log1p, "log1p({})"),
    "log": (jnp.log, "log({})"),
    "atan": (jnp.arctan, "atan({})"),
    "asinh": (jnp.arcsinh, "asinh({})"),
    "sinh": (jnp.sinh, "sinh({})"),
    "cosh": (jnp.cosh, "cosh({})"),
}
OPERATIONS = frozenset(_OPERATIONS)
# Kinks are looked for here: preactivations further out are rare, and a kink that is missed shows in the error estimates.
_GRID = np.linspace(-64.0, 64.0, 2**13 + 1)


def apply(spec: str | dict, argument: tuple) -> tuple:
    """The formula of a registered activation of a formula."""
    parameters = {"name": spec} if isinstance(spec, str) else spec
    return ("activation", tuple(parameters.items()), argument)


@functools.lru_cache(maxsize=256)
def as_activation(formula: tuple) -> Activation:
    """The activation of a formula, from the registry if it is there.

    Raises:
        ActivationError: the formula is not finite, jumps, or can't be differentiated.
    """
    if formula == Z:
        return activation("linear")
    if formula[0] == "activation" and formula[2] == Z:
        return activation(dict(formula[1]))

    def function(z):
        return _value(formula, z)

    function.__qualname__ = text(formula)
    kinks = sorted({float(root) for inner, kink in _kinks(formula) for root in _roots(inner, kink)})
    return kinked(function, kinks) if kinks else activation(function)


def text(formula: tuple | float) -> str:
    """The formula as a person writes it."""
    written = _text(formula)
    return written[1:-1] if written.startswith("(") else written


def _text(formula: tuple | float) -> str:
    if not isinstance(formula, tuple):
        return f"{formula:g}"
    if formula == Z:
        return "z"
    if formula[0] == "activation":
        (_, name), *parameters = formula[1]
        return f"{name}({', '.join([text(formula[2]), *(f'{key}={value:g}' for key, value in parameters)])})"
    return _OPERATIONS[formula[0]][1].format(*map(_text, formula[1:]))


def _value(formula, z):
    if not isinstance(formula, tuple):
        return formula
    if formula == Z:
        return z
    if formula[0] == "activation":
        return activation(dict(formula[1])).function(_value(formula[2], z))
    return _OPERATIONS[formula[0]][0](*(_value(part, z) for part in formula[1:]))


def _kinks(formula) -> Iterator[tuple[tuple, float]]:
    """Each activation's kinks, with the formula that it is an activation of."""
    if not isinstance(formula, tuple) or formula == Z:
        return
    if formula[0] == "activation":
        for kink in activation(dict(formula[1])).kinks:
            yield formula[2], kink
        yield from _kinks(formula[2])
    else:
        for part in formula[1:]:
            yield from _kinks(part)


def _roots(formula: tuple, kink: float) -> list[float]:
    """Where the formula passes through `kink`."""

    def shifted(z):
        with jax.enable_x64(True):
            return np.asarray(_value(formula, jnp.asarray(z, float))) - kink

    signs = np.sign(shifted(_GRID))
    if not np.all(np.isfinite(signs)):
        raise ActivationError(f"activation {text(formula)} is not finite")
    if not np.any(signs):
        return []
    changes = np.flatnonzero(signs[1:] * signs[:-1] < 0)
    # A plateau at the kink's height has its own kinks at its ends, which come from the formula within.
    touched = np.flatnonzero((signs[1:-1] == 0) & (signs[:-2] != 0) & (signs[2:] != 0)) + 1
    crossed = [
        float(
            scipy.optimize.root_scalar(shifted, bracket=(_GRID[k], _GRID[k + 1]), xtol=1e-15, rtol=1e-14).root
        )
        for k in changes
    ]
    return [*_GRID[touched].tolist(), *crossed]
