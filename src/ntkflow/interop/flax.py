"""Flax: the variables of a linen MLP of Dense layers, in and out; a linen or nnx Sequential with what it says of its initialisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen, nnx

from ..errors import InteropError
from ..finite.parameters import LayerParameters, Parameters, checked
from ..network.mlp import MLP
from .jax_sequence import SKIPS, SUPPORTED, layer, norm
from .jax_sequence import lifted as sequence
from .lifted import Lifted, like


def from_variables(
    variables: Mapping, activation, C_b=0.0, C_W=1.0, lambda_b=1.0, lambda_W=1.0
) -> tuple[MLP, Parameters]:
    """The MLP and parameters of `{"params": {"Dense_0": {"kernel", "bias"}, "Dense_1": …}}`.

    Layers are taken in the order of their numbers, in which Flax created them: write the module line by line, for in
    `Dense(3)(tanh(Dense(3)(x)))` the last layer is created first.

    Args:
        activation: of the module, which its variables do not name; in a form that `MLP` takes.

    Raises:
        InteropError: an entry is not a Dense layer, or their shapes don't chain.
    """
    if not isinstance(variables, Mapping):
        raise InteropError(f"expected flax variables, a dictionary, not {type(variables).__name__}")
    layers = variables.get("params", variables)
    expected = [f"Dense_{k}" for k in range(len(layers))]
    if not layers or set(layers) != set(expected):
        raise InteropError(
            f"flax variables must hold Dense_0, Dense_1, … alone, not {', '.join(map(str, layers))}"
        )
    params = []
    for name in expected:
        if not isinstance(layers[name], Mapping) or "kernel" not in layers[name]:
            raise InteropError(f"{name}: a Dense layer must hold a kernel")
        kernel = np.asarray(layers[name]["kernel"])
        if kernel.ndim != 2 or (params and params[-1].W.shape[0] != kernel.shape[0]):
            raise InteropError(f"{name}: a kernel of shape {kernel.shape} does not follow the layer below")
        bias = layers[name].get("bias")
        bias = np.zeros(kernel.shape[1], kernel.dtype) if bias is None else np.asarray(bias)
        params.append(LayerParameters(kernel.T, bias))
    widths = [params[0].W.shape[1], *(layer.W.shape[0] for layer in params)]
    mlp = MLP(widths, activation if len(params) > 1 else "linear", C_b, C_W, lambda_b, lambda_W)
    return mlp, checked(mlp, tuple(params))


def lifted_linen(module: linen.Module, variables: Mapping) -> Lifted:
    """The layers of a `linen.Sequential` of Dense layers, norms and functions, with the variables that its `init` returned.

    Raises:
        InteropError: the module is no Sequential, or holds something else; the message names it.
    """
    if type(module) is not linen.Sequential:
        raise InteropError(
            f"{type(module).__name__}: of linen modules a linen.Sequential is read; of another one of Dense layers alone take"
            f" ntkflow.interop.flax.from_variables(variables, activation); {SKIPS}"
        )
    if not isinstance(variables, Mapping):
        raise InteropError(f"expected flax variables, a dictionary, not {type(variables).__name__}")
    params = variables.get("params", variables)
    items = []
    for k, item in enumerate(module.layers):
        name = f"layers_{k}"
        if isinstance(item, linen.Dense):
            entry = params.get(name, {})
            if "kernel" not in entry:
                raise InteropError(f"{name} (Dense): the variables hold no kernel of it")
            items.append((name, layer(name, np.asarray(entry["kernel"]).T, entry.get("bias"))))
        elif isinstance(item, linen.LayerNorm | linen.RMSNorm):
            kind = _kind(name, item, isinstance(item, linen.LayerNorm))
            entry = params.get(name, {})
            items.append((name, norm(name, kind, item.epsilon, entry.get("scale"), entry.get("bias"))))
        elif isinstance(item, linen.Dropout):
            _check_dropout(name, item.rate, item.deterministic)
        else:
            items.append((name, _function(name, item, linen.Module)))
    return sequence(items)


def lifted_nnx(module: nnx.Module) -> Lifted:
    """The layers of an `nnx.Sequential` of Linear layers, norms and functions. InteropError as of `lifted_linen`."""
    if type(module) is not nnx.Sequential:
        raise InteropError(
            f"{type(module).__name__}: of nnx modules an nnx.Sequential is read; write the model as one; {SKIPS}"
        )
    items = []
    for k, item in enumerate(module.layers):
        name = f"layers[{k}]"
        if isinstance(item, nnx.Linear):
            bias = None if item.bias is None else np.asarray(item.bias[...])
            items.append((name, layer(name, np.asarray(item.kernel[...]).T, bias)))
        elif isinstance(item, nnx.LayerNorm | nnx.RMSNorm):
            kind = _kind(name, item, isinstance(item, nnx.LayerNorm))
            gain, bias = (None if p is None else p[...] for p in (item.scale, getattr(item, "bias", None)))
            items.append((name, norm(name, kind, item.epsilon, gain, bias)))
        elif isinstance(item, nnx.Dropout):
            _check_dropout(name, item.rate, item.deterministic)
        else:
            items.append((name, _function(name, item, nnx.Module)))
    return sequence(items)


def drawn_linen(module: linen.Module, variables: Mapping, mlp: MLP, key) -> Mapping:
    """The variables of a `linen.Sequential` with kernels and biases of `finite.init(mlp, key)`, in their own precision.

    Raises:
        InteropError, ParameterError: as of `lifted_linen` and `Lifted.drawn`.
    """
    layers = lifted_linen(module, variables)
    prefix = ("params",) if "params" in variables else ()
    values = {
        (*prefix, layer.name, name): value
        for layer, (W, b) in zip(layers.layers, layers.drawn(mlp, key), strict=True)
        for name, value in (("kernel", W.T), ("bias", b))
    }

    def drawn(path, leaf):
        name = tuple(part.key for part in path)
        return like(leaf, values[name]) if name in values else leaf

    return jax.tree_util.tree_map_with_path(drawn, variables)


def drawn_nnx(module: nnx.Module, mlp: MLP, key) -> nnx.Module:
    """A copy of an `nnx.Sequential` with kernels and biases of `finite.init(mlp, key)`, in their own precision.

    Raises:
        InteropError: a layer is called twice: its entries would not be independent; or as of `lifted_nnx` and `Lifted.drawn`.
        ParameterError: as of `Lifted.drawn`.
    """
    layers = lifted_nnx(module).drawn(mlp, key)
    copy: Any = nnx.clone(module)
    linears = [item for item in copy.layers if isinstance(item, nnx.Linear)]
    if len(set(map(id, linears))) < len(linears):
        raise InteropError("a Linear is called twice: two layers can't be drawn independently")
    for linear, (W, b) in zip(linears, layers, strict=True):
        linear.kernel[...] = like(linear.kernel[...], W.T)
        if linear.bias is not None:
            linear.bias[...] = like(linear.bias[...], b)
    return copy


def _kind(name: str, item: Any, is_layer_norm: bool) -> str:
    """ "layer" or "rms"; InteropError if it is not over the neurons alone."""
    if (
        item.reduction_axes not in (-1, (-1,))
        or item.feature_axes not in (-1, (-1,))
        or item.axis_name is not None
    ):
        raise InteropError(
            f"{name}: it normalises over other axes than the last; in the theory a norm is over the neurons of a layer"
        )
    return "layer" if is_layer_norm else "rms"


def _check_dropout(name: str, rate: float, deterministic: bool | None) -> None:
    if rate and not deterministic:
        raise InteropError(f"{name} (Dropout): it is on; set deterministic=True")


def _function(name: str, item, module: type) -> Callable:
    if isinstance(item, module) or not callable(item):
        raise InteropError(
            f"{name} ({type(item).__name__}): it is not covered by the theory; {SUPPORTED}; {SKIPS}"
        )
    return item


def to_variables(mlp: MLP, params: Parameters) -> dict:
    """The variables of a linen module that calls `nn.Dense` once per layer, in order."""
    layers = checked(mlp, params)
    return {
        "params": {f"Dense_{k}": {"kernel": layer.W.T, "bias": layer.b} for k, layer in enumerate(layers)}
    }
