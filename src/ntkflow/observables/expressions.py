"""Functions of z[a] written as text: a whitelist of syntax, never evaluated as Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..errors import ObservableError

FUNCTIONS: dict[str, Callable] = {
    **{
        name: getattr(jnp, name)
        for name in ("abs", "cos", "cosh", "exp", "log", "log1p", "maximum", "minimum")
    },
    **{name: getattr(jnp, name) for name in ("sign", "sin", "sinh", "sqrt", "tan", "tanh", "arctan")},
    **{name: getattr(jax.nn, name) for name in ("relu", "sigmoid", "softplus")},
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "erf": jax.scipy.special.erf,
    "step": lambda x: jnp.where(x > 0, 1.0, 0.0),
}
_TWO = ("maximum", "minimum")
_BINARY: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type, Callable] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_LONGEST, _DEEPEST = 1000, 60


class Expression(NamedTuple):
    """`function(z)` of the preactivations on `samples`, z[k] being sample `samples[k]`."""

    function: Callable
    samples: tuple[int, ...]


def parse(text: str) -> Expression:
    """A function from text such as ``tanh(z[0])**2 * z[3]``, z[a] being the preactivation of sample a.

    Allowed are numbers, z[a], + - * / **, parentheses and the functions of `FUNCTIONS`.

    Raises:
        ObservableError: the text is anything else; the message shows what is not allowed.
    """
    if len(text) > _LONGEST:
        raise ObservableError(f"an expression has at most {_LONGEST} characters, not {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ObservableError(f"{text!r} is not an expression: {error}") from error
    samples: list[int] = []
    evaluate = _build(tree, samples, 0)
    return Expression(lambda z: jnp.asarray(evaluate(z)), tuple(samples))


def _build(node: ast.AST, samples: list[int], depth: int) -> Callable:
    """A function of z from a syntax tree; the samples it reads are added to `samples`."""
    if depth > _DEEPEST:
        raise ObservableError(f"an expression may be nested {_DEEPEST} deep")
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            number = _number(value)
            return lambda z: number
        case ast.Subscript(value=ast.Name(id="z"), slice=ast.Constant(value=int() as sample)) if (
            not isinstance(sample, bool)
        ):
            if sample not in samples:
                samples.append(sample)
            place = samples.index(sample)
            return lambda z: z[place]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            operands = [_build(side, samples, depth + 1) for side in (left, right)]
            apply = _BINARY[type(op)]
            return lambda z: apply(jnp.asarray(operands[0](z)), operands[1](z))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            inner, apply = _build(operand, samples, depth + 1), _UNARY[type(op)]
            return lambda z: apply(inner(z))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            if len(args) != (2 if name in _TWO else 1):
                raise ObservableError(f"{name} takes {2 if name in _TWO else 1} argument(s), not {len(args)}")
            arguments = [_build(arg, samples, depth + 1) for arg in args]
            return lambda z: FUNCTIONS[name](*(argument(z) for argument in arguments))
    raise ObservableError(
        f"{_source(node)[:60]!r} is not allowed in an expression; allowed are numbers, z[a], + - * / ** and {', '.join(sorted(FUNCTIONS))}"
    )


def _source(node: ast.AST) -> str:
    """A part of an expression as text, or what it is."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return type(node).__name__


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ObservableError("a number in the expression is too large") from error
