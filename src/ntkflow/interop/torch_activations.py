"""torch's elementwise functions in ntkflow's names: what `relu`, `nn.Hardtanh(-2, 2)` or `F.gelu(x, approximate="tanh")` mean."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import nn

from ..errors import InteropError
from .expressions import OPERATIONS, apply

_ALIASES = {
    "log_sigmoid": "logsigmoid", "expit": "sigmoid", "special_expit": "sigmoid", "special_erf": "erf", "absolute": "abs",
    "clip": "clamp", "arctan": "atan", "arcsinh": "asinh", "negative": "neg", "multiply": "mul", "divide": "truediv",
    "div": "truediv", "true_divide": "truediv", "subtract": "sub", "special_expm1": "expm1", "special_log1p": "log1p",
}  # fmt: skip
_MODULES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.ReLU: ("relu",), nn.ReLU6: ("relu6",), nn.LeakyReLU: ("leaky_relu", "negative_slope"),
    nn.PReLU: ("prelu", "weight"), nn.RReLU: ("rrelu", "lower", "upper", "training"),
    nn.ELU: ("elu", "alpha"), nn.CELU: ("celu", "alpha"), nn.SELU: ("selu",), nn.GELU: ("gelu", "approximate"),
    nn.SiLU: ("silu",), nn.Mish: ("mish",), nn.Sigmoid: ("sigmoid",), nn.Tanh: ("tanh",),
    nn.Hardtanh: ("hardtanh", "min_val", "max_val"), nn.Hardsigmoid: ("hardsigmoid",), nn.Hardswish: ("hardswish",),
    nn.Hardshrink: ("hardshrink", "lambd"), nn.Softshrink: ("softshrink", "lambd"), nn.Tanhshrink: ("tanhshrink",),
    nn.Softsign: ("softsign",), nn.Softplus: ("softplus", "beta", "threshold"), nn.LogSigmoid: ("logsigmoid",),
    nn.Threshold: ("threshold", "threshold", "value"),
}  # fmt: skip
_LEAST_THRESHOLD = 20  # of softplus, in units of 1/beta: above, its jump is below 3e-9 / beta


def canonical(name: str) -> str:
    """torch's name of a function without the in-place mark: `relu_` is `relu`."""
    name = name.strip("_")
    return _ALIASES.get(name, name)


def is_elementwise(name: str) -> bool:
    """Whether `formula_of` knows the function of this canonical name."""
    return name in _FUNCTIONS or name in OPERATIONS


def of_module(module: nn.Module, argument: tuple) -> tuple | None:
    """The formula of an activation module of torch.nn; None for another module. InteropError as of `formula_of`."""
    if type(module) not in _MODULES:
        return None
    name, *attributes = _MODULES[type(module)]
    return formula_of(name, (argument, *(getattr(module, attribute) for attribute in attributes)), {})


def formula_of(name: str, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """The formula of a call of one of torch's elementwise functions, on formulas and numbers.

    Raises:
        InteropError: the function jumps, or isn't called in a way that is known.
    """
    if name in OPERATIONS:
        # alpha of torch.add and torch.sub.
        if kwargs:
            raise InteropError(f"{name}({', '.join(kwargs)}=…) is not supported")
        return (name, *args)
    function = _FUNCTIONS[name]
    try:
        bound = inspect.signature(function).bind(*args, **{k: v for k, v in kwargs.items() if k != "inplace"})
    except TypeError as error:
        raise InteropError(f"this call of {name} is not supported ({error})") from error
    return function(*bound.args, **bound.kwargs)


def _leaky_relu(z, negative_slope=0.01):
    return apply({"name": "leaky_relu", "slope": float(negative_slope)}, z)


def _prelu(z, weight):
    if isinstance(weight, torch.Tensor):
        if weight.is_meta:
            raise InteropError("its slope has no value on the meta device")
        slopes = weight.detach().cpu().double().unique().tolist()
        if len(slopes) != 1:
            raise InteropError(
                f"its {weight.numel()} channels have different slopes; one slope for all of a layer's neurons is supported"
            )
        weight = slopes[0]
    return _leaky_relu(z, weight)


def _rrelu(z, lower=1 / 8, upper=1 / 3, training=False):
    if training:
        raise InteropError("it draws slopes at random in train mode; call model.eval() first")
    return _leaky_relu(z, (lower + upper) / 2)


def _gelu(z, approximate="none"):
    return apply("gelu" if approximate == "none" else "gelu_tanh", z)


def _hardtanh(z, min_val=-1.0, max_val=1.0):
    return apply({"name": "hardtanh", "low": float(min_val), "high": float(max_val)}, z)


def _clamp(z, min=None, max=None):
    if min is not None and max is not None:
        return _hardtanh(z, min, max)
    if min is not None:
        return _at_least(z, min)
    return ("neg", _at_least(("neg", z), -float(_number(max))))


def _at_least(z, least):
    least = float(_number(least))
    return apply("relu" if least == 0 else {"name": "maximum", "least": least}, z)


def _number(value) -> float:
    if isinstance(value, tuple) or not isinstance(value, int | float):
        raise InteropError("a bound must be a number")
    return value


def _threshold(z, threshold, value):
    if threshold != value:
        raise InteropError(
            f"it jumps from {value:g} to {threshold:g} at z = {threshold:g}; with value = threshold it is continuous"
        )
    return _at_least(z, threshold)


def _hardshrink(z, lambd=0.5):
    del z
    raise InteropError(f"it jumps at z = ±{lambd:g}; Softshrink is continuous")


def _softshrink(z, lambd=0.5):
    return apply({"name": "softshrink", "size": float(lambd)}, z) if lambd > 0 else z


def _softplus(z, beta=1.0, threshold=20.0):
    # Above its threshold torch's softplus is z itself.
    if threshold < _LEAST_THRESHOLD:
        jump = math.log1p(math.exp(-threshold)) / beta
        raise InteropError(
            f"it jumps by {jump:.1g} at z = {threshold / beta:g}; with threshold = 20 it does not"
        )
    return apply("softplus" if beta == 1 else {"name": "softplus", "beta": float(beta)}, z)


def _elu(z, alpha=1.0):
    return apply({"name": "elu", "alpha": float(alpha)}, z)


def _celu(z, alpha=1.0):
    return apply({"name": "celu", "alpha": float(alpha)}, z)


def _named(name: str):
    return lambda z: apply(name, z)


_FUNCTIONS = {
    name: _named(name)
    for name in (
        "relu", "relu6", "selu", "silu", "mish", "sigmoid", "tanh", "hardsigmoid", "hardswish", "tanhshrink", "softsign",
        "logsigmoid", "sin", "cos", "erf", "exp", "abs",
    )
} | {
    "leaky_relu": _leaky_relu, "prelu": _prelu, "rrelu": _rrelu, "gelu": _gelu, "hardtanh": _hardtanh, "clamp": _clamp,
    "clamp_min": _at_least, "threshold": _threshold, "hardshrink": _hardshrink, "softshrink": _softshrink,
    "softplus": _softplus, "elu": _elu, "celu": _celu,
}  # fmt: skip
