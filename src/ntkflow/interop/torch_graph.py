"""A torch model as a chain of Linear layers with norms and elementwise functions between them and skips beside them, read from its `torch.fx` graph.

The graph is evaluated on signals: the preactivations that a tensor is behind, and the formula that it is of them or of their norm. What is
neither a Linear layer nor elementwise, a norm or a skip is refused by its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from ..errors import InteropError
from . import torch_activations
from .expressions import Z
from .torch_layers import (
    Chain,
    Inputs,
    Linear,
    Norm,
    Point,
    Preactivations,
    Signal,
    chain_to,
    joined,
    norm_of,
    norm_of_module,
    normed,
    width,
)

SUPPORTED = (
    "supported are Linear layers, elementwise activations, LayerNorm and RMSNorm between them, skips z + f(z), Flatten, Identity, and"
    " Dropout in eval mode"
)
# Reasons why modules and functions are refused, by a part of their name; the first match counts.
_KINDS = (
    ("batchnorm", "normalisation over the batch is not covered by the theory; take LayerNorm or RMSNorm"),
    ("groupnorm", "normalisation over groups is not covered by the theory; take LayerNorm or RMSNorm"),
    ("norm", "this normalisation is not covered by the theory; take LayerNorm or RMSNorm"),
    ("mean", "it averages over neurons; write a norm as torch.nn.LayerNorm or torch.nn.RMSNorm"),
    ("conv", "convolution is not covered by the theory"),
    ("pool", "pooling is not covered by the theory"),
    ("attention", "attention is not covered by the theory"),
    ("transformer", "attention is not covered by the theory"),
    ("rnn", "recurrence is not covered by the theory"),
    ("lstm", "recurrence is not covered by the theory"),
    ("gru", "recurrence is not covered by the theory"),
    ("embedding", "embeddings are not covered by the theory; their output may be an input of the network"),
    ("softm", "softmax is not elementwise; if it comes last, leave it out: the output is the logits"),
    ("cat", "a concatenation is a skip that is not covered by the theory; add the layers, z + f(z)"),
    ("matmul", "a product with a matrix must be a torch.nn.Linear"),
    ("glu", "it multiplies one half of the neurons by the other, which is not elementwise"),
)
_SAME = frozenset(
    {"contiguous", "clone", "float", "double", "half", "bfloat16", "to", "type", "requires_grad"}
)
_SHAPES = frozenset({"size", "getattr", "getitem", "dim", "numel"})
_RESHAPES = frozenset({"view", "reshape", "flatten"})
_NORMS = {"layer_norm": "layer", "rms_norm": "rms"}
_DROPOUTS = frozenset(
    {
        "dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
        "feature_dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
    }
)


class _Shape:
    """A size or part of a shape."""


@dataclass(frozen=True)
class _Tensor:
    path: str
    value: torch.Tensor


class _Tracer(fx.Tracer):
    """Remembers the module in which tracing failed."""

    failed_in: str | None = None

    def call_module(self, m, forward, args, kwargs):
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.failed_in is None:
                self.failed_in = _named(self.path_of_module(m), m)
            raise


def chain_of(model: nn.Module) -> Chain:
    """The chain of Linear layers, norms and skips that a model is.

    Raises:
        InteropError: it is something else; the message names the module, and says what is supported.
    """
    model = unwrapped(model)
    for path, module in model.named_modules():
        if is_lazy(module):
            raise InteropError(f"{_named(path, module)}: it has no size before the first call of the model")
        if module._forward_hooks or module._forward_pre_hooks:
            raise InteropError(f"{_named(path, module)}: its forward hooks would be lost; remove them first")
    if type(model).__module__.startswith("torch.nn.") and not isinstance(model, nn.Sequential):
        model = nn.Sequential(model)  # torch.fx would look into it
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except InteropError:
        raise
    except Exception as error:
        where = tracer.failed_in or type(model).__name__
        raise InteropError(
            f"{where}: torch.fx can't follow its forward ({' '.join(str(error).split())}); it must not depend on"
            " the inputs' values: no if, loop or print on them, and x.shape[0] instead of len(x)"
        ) from error
    return _Reader(model, graph).read()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within torch.compile, DataParallel and the like; InteropError for what is no module."""
    if not isinstance(model, nn.Module):
        raise InteropError(f"expected a torch.nn.Module, not {type(model).__name__}")
    for attribute in ("_orig_mod", "module"):
        inner = getattr(model, attribute, None)
        if isinstance(inner, nn.Module) and type(model).__module__.startswith("torch."):
            return unwrapped(inner)
    return model


def is_lazy(module: nn.Module) -> bool:
    """Whether the module has no size before the first call of the model."""
    return any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters(recurse=False))


def plain_parameters(module: nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight and bias; InteropError if they are computed from others."""
    names = dict(module.named_parameters())
    if "weight" not in names or not set(names) <= {"weight", "bias"}:
        raise InteropError(f"its weight is computed from {', '.join(names)}; remove the parametrisation")
    return module.weight, module.bias


def _named(path: str, module: nn.Module) -> str:
    return f"{path} ({type(module).__name__})" if path else type(module).__name__


@dataclass
class _Reader:
    model: nn.Module
    graph: fx.Graph
    linears: list[Linear] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    readers: dict[Point, str] = field(default_factory=dict)
    """The Linear layer that reads a point."""
    slopes: list[str] = field(default_factory=list)
    values: dict[fx.Node, Any] = field(default_factory=dict)

    def read(self) -> Chain:
        values = self.values
        inputs = 0
        for node in self.graph.nodes:
            place = self.place(node)
            args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "placeholder":
                values[node] = node.args[0] if node.args else Signal(Inputs())
                inputs += not node.args
                if inputs > 1:
                    raise InteropError(f"{place}: forward takes more than one input; one is supported")
            elif node.op == "output":
                return self.finished(args[0], place)
            else:
                try:
                    values[node] = self.value(node, place, args, kwargs)
                except InteropError as error:
                    raise InteropError(f"{place}: {error}") from error.__cause__
        raise AssertionError("a graph ends with its output")

    def place(self, node: fx.Node) -> str:
        """The module that a node is, or the module and the function that it calls."""
        if node.op == "call_module":
            return _named(str(node.target), self.model.get_submodule(str(node.target)))
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack else ""
        within = _named(path, self.model.get_submodule(path))
        return f"{within}, {_name(node)}" if node.op.startswith("call") else within

    def value(self, node: fx.Node, place: str, args: tuple, kwargs: dict) -> Any:
        if self.changes_its_input(node) and self.is_read_elsewhere(node.all_input_nodes[0]):
            raise InteropError(
                "it works in place on what is read elsewhere too, which changes it there: take inplace=False, or use its result alone"
            )
        if node.op == "get_attr":
            return self.attribute(str(node.target))
        if node.op == "call_module":
            return self.module(
                str(node.target), self.model.get_submodule(str(node.target)), args, kwargs, place
            )
        return self.function(_name(node), args, kwargs, place)

    def changes_its_input(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return getattr(self.model.get_submodule(str(node.target)), "inplace", False)
        name = node.target if isinstance(node.target, str) else node.target.__name__
        return node.kwargs.get("inplace") is True or (name.endswith("_") and not name.endswith("__"))

    def is_read_elsewhere(self, node: fx.Node) -> bool:
        """Whether a tensor has more readers than one, also as the result of what passes it on, such as Identity."""
        if len(node.users) > 1 or not node.all_input_nodes:
            return len(node.users) > 1
        before = node.all_input_nodes[0]
        return self.values[node] is self.values[before] and self.is_read_elsewhere(before)

    def attribute(self, path: str) -> Any:
        owner, _, name = path.rpartition(".")
        value = getattr(self.model.get_submodule(owner), name)
        if not isinstance(value, torch.Tensor):
            return value
        if value.numel() == 1 and not value.requires_grad and not value.is_meta:
            return float(value)
        return _Tensor(path, value)

    def module(self, path: str, module: nn.Module, args: tuple, kwargs: dict, place: str) -> Any:
        if len(args) != 1 or kwargs or not isinstance(args[0], Signal):
            raise InteropError(_refusal(type(module).__name__))
        (signal,) = args
        if isinstance(module, nn.Linear):
            return self.linear(signal, Linear(path, *plain_parameters(module)))
        norm = norm_of_module(path, module, signal)
        if norm is not None:
            return self.normed(signal, norm, place)
        if isinstance(module, nn.Identity):
            return signal
        if isinstance(module, nn.Flatten):
            return self.reshaped("flatten", signal, (module.start_dim, module.end_dim), place)
        if isinstance(module, nn.modules.dropout._DropoutNd):
            return _after_dropout(signal, module.p, module.training)
        formula = torch_activations.of_module(module, signal.formula)
        if formula is None:
            raise InteropError(_refusal(type(module).__name__))
        if isinstance(module, nn.PReLU) and module.weight.requires_grad:
            self.slopes.append(path)
        return dataclasses.replace(signal, formula=formula, place=place)

    def function(self, name: str, args: tuple, kwargs: dict, place: str) -> Any:
        signals = [a for a in (*args, *kwargs.values()) if isinstance(a, Signal)]
        if name in _SHAPES and (name != "getitem" or isinstance(args[0], _Shape)):
            return _Shape()
        if any(isinstance(a, _Shape) for a in args) and all(isinstance(a, _Shape | int) for a in args):
            return _Shape()  # arithmetic of sizes
        if name == "linear":
            return self.linear_function(*args, **kwargs)
        if name in _SAME and len(signals) == 1:
            return dataclasses.replace(signals[0]) if name == "clone" else signals[0]
        if name in _RESHAPES or name == "squeeze":
            return self.reshaped(name, args[0], (*args[1:], *kwargs.values()), place)
        if name in _NORMS:
            return self.norm_function(_NORMS[name], place, *args, **kwargs)
        if name in _DROPOUTS:
            return _after_dropout(args[0], *_dropout_arguments(*args[1:], **kwargs))
        if not signals or not torch_activations.is_elementwise(name):
            raise InteropError(_refusal(name))
        for value in args:
            if isinstance(value, _Tensor) and name != "prelu":
                raise InteropError(_refusal_of_tensor(value))
            if isinstance(value, _Shape):
                raise InteropError("it computes with part of a shape; write the number in its place")
        if len({(id(signal.point), id(signal.norm)) for signal in signals}) > 1:
            if name not in ("add", "sub"):
                raise InteropError(
                    f"it joins signals of different layers, which only a sum may, z + f(z); {SUPPORTED}"
                )
            if len(args) != 2 or kwargs:
                raise InteropError("only a sum of two is supported here, z + c * f(z)")
            return Signal(joined(*args, -1.0 if name == "sub" else 1.0), place=place)
        slope = next((a for a in args if isinstance(a, _Tensor)), None)
        if slope is not None and slope.value.requires_grad:
            self.slopes.append(slope.path)
        values = tuple(_plain(a) for a in args)
        formula = torch_activations.formula_of(name, values, {k: _plain(v) for k, v in kwargs.items()})
        return dataclasses.replace(signals[0], formula=formula, place=place)

    def norm_function(self, kind, place, input=None, normalized_shape=(), weight=None, bias=None, eps=None):
        tensors = [p for p in (weight, bias) if p is not None]
        if not isinstance(input, Signal) or not all(isinstance(p, _Tensor) for p in tensors):
            raise InteropError("gain and bias of a norm must be parameters of their own")
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        if not isinstance(shape, list | tuple) or not all(isinstance(n, int) for n in shape):
            raise InteropError("normalized_shape must be a number, the width of the layer")
        path = (tensors[0].path.rpartition(".")[0] or tensors[0].path) if tensors else place
        eps = 1e-5 if eps is None and kind == "layer" else eps
        gain, bias = (None if p is None else p.value for p in (weight, bias))
        return self.normed(input, norm_of(path, kind, shape, gain, bias, eps, input), place)

    def normed(self, signal: Signal, norm: Norm, place: str) -> Signal:
        for other in self.norms:
            if any(p is q for p in norm.parameters for q in other.parameters):
                whose = (
                    "it is used twice"
                    if other.path == norm.path
                    else f"it shares parameters with {other.path}"
                )
                raise InteropError(f"{whose}; the parameters of layers must be independent")
        self.norms.append(norm)
        return normed(signal, norm, place)

    def linear_function(self, input=None, weight=None, bias=None):
        if not isinstance(input, Signal) or not isinstance(weight, _Tensor):
            raise InteropError("the weight of a linear function must be a parameter of its own")
        if bias is not None and not isinstance(bias, _Tensor):
            raise InteropError("the bias of a linear function must be a parameter of its own")
        path = weight.path.rpartition(".")[0] or weight.path
        return self.linear(input, Linear(path, weight.value, None if bias is None else bias.value))

    def linear(self, signal: Signal, layer: Linear) -> Signal:
        for other in self.linears:
            if layer.path == other.path:
                raise InteropError("it is used twice; the parameters of layers must be independent")
            if layer.weight is other.weight or (layer.bias is not None and layer.bias is other.bias):
                raise InteropError(
                    f"it shares parameters with {other.path}; the parameters of layers must be independent"
                )
        if signal.point in self.readers:
            raise InteropError(
                f"it reads what {self.readers[signal.point]} reads too; layers must follow each other, without branches, and a skip is"
                " the sum z + f(z) without a layer of its own"
            )
        if isinstance(signal.point, Inputs) and signal.formula != Z:
            raise InteropError(
                f"an activation comes before the first Linear layer ({signal.place}): leave it out and apply it to"
                " the inputs that you pass"
            )
        self.linears.append(layer)
        self.readers[signal.point] = layer.path
        return Signal(Preactivations(layer, signal))

    def reshaped(self, name: str, signal: Any, shape: tuple, place: str) -> Signal:
        """Rows of inputs may be flattened; behind a Linear layer the shape is (N, n) and must stay so."""
        shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        n = (
            width(signal.point)
            if isinstance(signal, Signal) and not isinstance(signal.point, Inputs)
            else None
        )
        keeps_rows = {
            "flatten": lambda: shape in ((1,), (1, -1)),
            "squeeze": lambda: n == 1 and shape in ((1,), (-1,)),
        }.get(name, lambda: len(shape) == 2 and (isinstance(shape[0], _Shape) or shape[0] == -1))
        if not isinstance(signal, Signal) or not keeps_rows():
            raise InteropError("only (N, …) to (N, n) is supported, as flatten(1) does")
        return signal

    def finished(self, output: Any, place: str) -> Chain:
        if not isinstance(output, Signal):
            raise InteropError(f"{place}: forward returns more than one tensor; one is supported")
        if not self.linears:
            raise InteropError(f"{place} has no Linear layer; {SUPPORTED}")
        return chain_to(output, self.linears, self.slopes, place)


def _name(node: fx.Node) -> str:
    target: str | Callable = node.target
    return torch_activations.canonical(target if isinstance(target, str) else target.__name__)


def _plain(value: Any) -> Any:
    if isinstance(value, Signal):
        return value.formula
    return value.value if isinstance(value, _Tensor) else value


def _dropout_arguments(p=0.5, training=True, inplace=False) -> tuple[float, bool]:
    del inplace
    return p, training


def _after_dropout(signal: Signal, p: float, training: bool) -> Signal:
    if training and p > 0:
        raise InteropError(f"dropout (p = {p:g}) is on in train mode; call model.eval() first")
    return signal


def _refusal(name: str) -> str:
    name = name.lower().replace("_", "")
    kind = next((words for part, words in _KINDS if part in name), "it is not supported")
    return f"{kind}; {SUPPORTED}"


def _refusal_of_tensor(tensor: _Tensor) -> str:
    start = f"{tensor.path} is no parameter of a Linear layer or a norm"
    if not tensor.value.requires_grad:
        return f"{start}; supported here are numbers"
    advice = (
        "freeze it by requires_grad_(False)" if tensor.value.numel() == 1 else "take one number in its place"
    )
    return f"{start}; learnt scales (LayerScale) are not covered by the theory, numbers are: {advice}"
