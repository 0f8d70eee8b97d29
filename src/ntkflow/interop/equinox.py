"""Equinox: `equinox.nn.MLP` in and out; `equinox.nn.Sequential` with what it says of its initialisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from .._checks.extras import needs
from ..errors import InteropError
from ..finite.parameters import LayerParameters, Parameters, checked
from ..network.mlp import MLP
from .initialisation import LayerWeights
from .jax_sequence import SKIPS, SUPPORTED, known, layer, norm
from .jax_sequence import lifted as sequence
from .lifted import Lifted, Norm, like

with needs("equinox", "ntkflow.interop.equinox"):
    import equinox as eqx


def from_mlp(model: eqx.nn.MLP, C_b=0.0, C_W=1.0, lambda_b=1.0, lambda_W=1.0) -> tuple[MLP, Parameters]:
    """The MLP and parameters of an `equinox.nn.MLP`, which draws them uniformly, as torch does.

    Raises:
        InteropError: the model has a final activation or scalar inputs or outputs.
    """
    model = _checked(model)
    layers = [
        LayerParameters(
            np.asarray(layer.weight),
            np.zeros(layer.weight.shape[0], layer.weight.dtype)
            if layer.bias is None
            else np.asarray(layer.bias),
        )
        for layer in model.layers
    ]
    widths = [layers[0].W.shape[1], *(layer.W.shape[0] for layer in layers)]
    mlp = MLP(widths, known(model.activation) if len(layers) > 1 else "linear", C_b, C_W, lambda_b, lambda_W)
    return mlp, checked(mlp, tuple(layers))


def lifted(model: eqx.Module) -> Lifted:
    """The layers of an `equinox.nn.MLP`, or of an `equinox.nn.Sequential` of Linear layers, norms and functions.

    Raises:
        InteropError: as of `from_mlp`; or the Sequential holds something else, which the message names.
    """
    if isinstance(model, eqx.nn.Sequential):
        return sequence(_items(model, "layers"))
    model = _checked(model)
    items: list = []
    for k, module in enumerate(model.layers):
        if k:
            items.append(("activation", model.activation))
        items.append((f"layers[{k}]", layer(f"layers[{k}]", module.weight, module.bias)))
    return sequence(items)


def _items(model: eqx.nn.Sequential, path: str) -> Iterator[tuple[str, LayerWeights | Norm | Callable]]:
    for k, module in enumerate(model.layers):
        item: Any = module
        name = f"{path}[{k}]"
        if isinstance(item, eqx.nn.Sequential):
            yield from _items(item, f"{name}.layers")
        elif isinstance(item, eqx.nn.Linear):
            if "scalar" in (item.in_features, item.out_features):
                raise InteropError(f'{name} (Linear): "scalar" sizes are not supported; use 1')
            yield name, layer(name, item.weight, item.bias)
        elif isinstance(item, eqx.nn.LayerNorm | eqx.nn.RMSNorm):
            kind = "layer" if isinstance(item, eqx.nn.LayerNorm) else "rms"
            if len(item.shape) != 1:
                raise InteropError(
                    f"{name}: it normalises over {len(item.shape)} axes; in the theory a norm is over the neurons of a layer"
                )
            yield name, norm(name, kind, item.eps, item.weight, item.bias)
        elif isinstance(item, eqx.nn.Lambda):
            yield name, item.fn
        elif isinstance(item, eqx.nn.Dropout):
            if item.p and not item.inference:
                raise InteropError(f"{name} (Dropout): it is on; take equinox.nn.inference_mode(model)")
        elif not isinstance(item, eqx.nn.Identity):
            raise InteropError(
                f"{name} ({type(item).__name__}): it is not covered by the theory; {SUPPORTED}; {SKIPS}"
            )


def drawn(model: eqx.Module, mlp: MLP, key) -> eqx.Module:
    """The model with weights and biases of `finite.init(mlp, key)`, in its own precision.

    Raises:
        InteropError, ParameterError: as of `lifted` and `Lifted.drawn`.
    """
    layers = zip(_linears(model), lifted(model).drawn(mlp, key), strict=True)
    pairs = [pair for layer, (W, b) in layers for pair in ((layer.weight, W), (layer.bias, b))]
    return eqx.tree_at(_parameters, model, [like(leaf, values) for leaf, values in pairs if leaf is not None])


def _linears(model: Any) -> list[eqx.nn.Linear]:
    linears = []
    for module in model.layers:
        if isinstance(module, eqx.nn.Sequential):
            linears += _linears(module)
        elif isinstance(module, eqx.nn.Linear):
            linears.append(module)
    return linears


def _parameters(model: Any) -> list:
    leaves = (leaf for layer in _linears(model) for leaf in (layer.weight, layer.bias))
    return [leaf for leaf in leaves if leaf is not None]


def to_mlp(mlp: MLP, params: Parameters) -> eqx.nn.MLP:
    """The `equinox.nn.MLP` of the same function; InteropError unless hidden widths and activations are all the same."""
    params = checked(mlp, params)
    hidden = set(mlp.widths[1:-1])
    if len(hidden) > 1 or len(set(mlp.activation)) > 1:
        raise InteropError("equinox.nn.MLP has one hidden width and one activation")
    with jax.enable_x64(True):
        model = eqx.nn.MLP(
            mlp.widths[0], mlp.widths[-1], hidden.pop() if hidden else mlp.widths[-1], mlp.depth - 1,
            activation=mlp.activation[0].function if mlp.activation else (lambda z: z), key=jax.random.key(0),
        )  # fmt: skip
        leaves = [leaf for layer in params for leaf in layer]
        return eqx.tree_at(_parameters, model, leaves)


def _checked(model: object) -> eqx.nn.MLP:
    if not isinstance(model, eqx.nn.MLP):
        raise InteropError(
            f"expected an equinox.nn.MLP or an equinox.nn.Sequential, not {type(model).__name__}; {SKIPS}"
        )
    default = eqx.nn.MLP(1, 1, 1, 0, key=jax.random.key(0)).final_activation
    if model.final_activation not in (default, jax.nn.identity):
        raise InteropError(
            "equinox.nn.MLP: a final activation is not supported; leave it out, as the theory is about the logits"
        )
    if "scalar" in (model.in_size, model.out_size):
        raise InteropError('equinox.nn.MLP: "scalar" sizes are not supported; use 1')
    return model
