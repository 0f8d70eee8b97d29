"""A sequence of JAX libraries' dense layers and functions as an MLP's layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation, activation
from ..errors import ActivationError, InteropError
from .initialisation import LayerWeights
from .lifted import Lifted, Norm

SUPPORTED = "supported are dense layers, elementwise functions between them, LayerNorm and RMSNorm before these, and dropout that is switched off"
SKIPS = "skips can't be followed here: write a network with skips as an ntkflow.Network of Blocks"
_NAMES: dict[Any, str] = {
    jax.nn.identity: "linear", jax.nn.relu: "relu", jax.nn.relu6: "relu6", jnp.tanh: "tanh", jax.nn.sigmoid: "sigmoid",
    jax.nn.silu: "silu", jax.nn.softplus: "softplus", jax.nn.leaky_relu: "leaky_relu", jax.nn.elu: "elu", jax.nn.celu: "celu",
    jax.nn.selu: "selu", jax.nn.mish: "mish", jax.nn.soft_sign: "softsign", jax.nn.log_sigmoid: "logsigmoid",
    jax.nn.hard_tanh: "hardtanh", jax.nn.hard_sigmoid: "hardsigmoid", jax.nn.hard_silu: "hardswish", jnp.sin: "sin",
    jnp.cos: "cos", jnp.exp: "exp", jnp.abs: "abs", jax.scipy.special.erf: "erf",
}  # fmt: skip


def known(function: Callable) -> Activation:
    """The registry's activation that a JAX function is, or the function itself as one. ActivationError if it is none."""
    partial = function if isinstance(function, functools.partial) else functools.partial(function)
    if partial.func is jax.nn.gelu and not partial.args:
        return activation("gelu_tanh" if partial.keywords.get("approximate", True) else "gelu")
    return activation(_NAMES.get(function, function))


def layer(name: str, W, b) -> LayerWeights:
    """One layer of weights (n_ℓ, n_{ℓ-1}); b is None without biases."""
    W = np.asarray(W)
    epsilon = float(jnp.finfo(W.dtype).eps)
    if W.dtype not in (np.float32, np.float64):
        W, b = W.astype(np.float32), None if b is None else np.asarray(b).astype(np.float32)
    return LayerWeights(name, W, None if b is None else np.asarray(b), epsilon)


def norm(name: str, kind: str, eps: float, gain, bias) -> Norm:
    """A norm of this gain and bias, (n,) or None. InteropError if it is over more than the neurons."""
    gain, bias = (None if values is None else np.asarray(values, np.float64) for values in (gain, bias))
    for values in (gain, bias):
        if values is not None and values.ndim != 1:
            raise InteropError(
                f"{name}: it normalises over {values.ndim} axes; in the theory a norm is over the neurons of a layer"
            )
    return Norm(name, kind, float(eps), gain, bias)


def lifted(items: Iterable[tuple[str, LayerWeights | Norm | Callable]]) -> Lifted:
    """The layers, and the norms and functions between them; `items` are named as the model names them.

    Raises:
        InteropError: a function is not elementwise, two follow each other, or one comes before the first or after the last layer; or a norm
            follows a function or another norm.
    """
    layers: list[LayerWeights] = []
    activations: list[Activation] = []
    norms: list[Norm | None] = []
    for name, item in items:
        if isinstance(item, LayerWeights):
            if layers and len(activations) < len(layers):
                activations.append(activation("linear"))
            if layers and len(norms) < len(layers):
                norms.append(None)
            layers.append(item)
        elif not layers:
            raise InteropError(
                f"{name}: it comes before the first layer; apply it to the inputs that you pass"
            )
        elif isinstance(item, Norm):
            if len(activations) == len(layers):
                raise InteropError(
                    f"{name}: it normalises what a function has made; in the theory a norm comes before the activation"
                )
            if len(norms) == len(layers):
                raise InteropError(f"{name}: two norms follow each other; leave one out")
            norms.append(item)
        elif len(activations) == len(layers):
            raise InteropError(f"{name}: two functions follow each other; write them as one")
        else:
            try:
                activations.append(known(item))
            except ActivationError as error:
                raise InteropError(f"{name}: {error}; {SUPPORTED}") from error
    if not layers:
        raise InteropError(f"the model has no dense layer; {SUPPORTED}")
    if len(layers) in (len(activations), len(norms)):
        what = "function" if len(activations) == len(layers) else "norm"
        raise InteropError(
            f"the model ends with a {what}; the output layer must be dense: leave it out, as the theory is about the logits"
        )
    return Lifted(tuple(layers), tuple(activations), norms=tuple(norms))
