"""What a torch model's tensors are: preactivations of Linear layers, sums of skips and branches, norms and formulas of them; and the chain of
layers that leads to the output.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from ..activations import Activation
from ..errors import ActivationError, InteropError
from .expressions import Z, as_activation, text

_NESTED = "a skip passes over another skip (nested skips), which is not covered by the theory; begin each where the last one ended"


@dataclass(frozen=True)
class Linear:
    """One Linear layer: where it is, and its parameters, (n_ℓ, n_{ℓ-1}) and (n_ℓ,)."""

    path: str
    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True)
class Norm:
    """A LayerNorm ("layer") or an RMSNorm ("rms"): where it is, and gain and bias, (n,), where it has them."""

    path: str
    kind: str
    shape: tuple[int, ...]
    eps: float
    gain: torch.Tensor | None
    bias: torch.Tensor | None

    @property
    def parameters(self) -> tuple[torch.Tensor, ...]:
        """Those that are trained."""
        return tuple(p for p in (self.gain, self.bias) if p is not None and p.requires_grad)


class Skip(NamedTuple):
    """z' = gamma z + u beside the Linear layers `first`, …, `last - 1` of a chain."""

    first: int
    last: int
    gamma: float


@dataclass(frozen=True)
class Chain:
    """A model's Linear layers; between each two a norm, or None, and an activation behind it; and skips beside them."""

    linears: tuple[Linear, ...]
    scales: tuple[float, ...]
    """What each Linear layer's preactivations are multiplied by."""
    activations: tuple[Activation, ...]
    norms: tuple[Norm | None, ...]
    skips: tuple[Skip, ...]
    slopes: tuple[str, ...]
    """Paths of slopes that are trained, of PReLU."""


class Inputs:
    """The model's inputs."""


@dataclass(frozen=True, eq=False)
class Preactivations:
    """What a Linear layer makes of the signal that it reads."""

    linear: Linear
    read: Signal


@dataclass(frozen=True, eq=False)
class Sum:
    """gamma z + scale u: a skip from z, and a branch that leads from z to u by Linear layers."""

    gamma: float
    scale: float
    z: Preactivations | Sum
    u: Preactivations


Point = Inputs | Preactivations | Sum


@dataclass(frozen=True)
class Signal:
    """`formula` of a point, or of the norm of `factor` times a point; `place` is where it was last changed."""

    point: Point
    norm: Norm | None = None
    formula: tuple = Z
    place: str = ""
    factor: float = 1.0


def width(point: Preactivations | Sum) -> int:
    last = point.u if isinstance(point, Sum) else point
    return last.linear.weight.shape[0]


def normed(signal: Signal, norm: Norm, place: str) -> Signal:
    """The norm of a signal; InteropError where it does not stand between preactivations and their activation."""
    if isinstance(signal.point, Inputs):
        raise InteropError(
            "a norm comes before the first Linear layer: leave it out and apply it to the inputs that you pass"
        )
    n = width(signal.point)
    if norm.shape != (n,):
        raise InteropError(
            f"it normalises over axes of {' × '.join(map(str, norm.shape))}; in the theory a norm is over the {n} neurons of a layer"
        )
    if signal.norm is not None:
        raise InteropError(
            f"it reads what {signal.norm.path} has normalised already; leave one of the two out"
        )
    factor = _factor(signal.formula)
    if factor is None or factor < 0:
        raise InteropError(
            f"it normalises what an activation, {text(signal.formula)}, has made ({signal.place}); in the theory a norm comes before the"
            " activation: put it directly behind a Linear layer or a sum"
        )
    return Signal(signal.point, norm, place=place, factor=factor)


def joined(first: Signal, second: Signal, sign: float) -> Sum:
    """first + sign second, of which one is a skip and the other its branch. InteropError for other sums."""
    if first.point is second.point:
        raise InteropError(
            "it adds a layer and what a norm or an activation makes of it; let a branch end with a Linear layer, as in z + f(z)"
        )
    ways = ((first, second, 1.0, sign), (second, first, sign, 1.0))
    for skip, branch, of_skip, of_branch in ways:
        sums = _sums_between(branch.point, skip.point)
        if sums is None:
            continue
        z = skip.point
        if isinstance(z, Inputs):
            raise InteropError(
                "the skip begins at the inputs; put a Linear layer before it, which embeds them"
            )
        gamma, u, scale = _of_skip(skip), *_of_branch(branch, sums)
        if width(z) != width(u):
            raise InteropError(
                f"the skip has {width(z)} neurons and its branch {width(u)}; give them one width"
            )
        return Sum(gamma * of_skip, scale * of_branch, z, u)
    raise InteropError(
        "it adds two layers of which neither is computed from the other; covered is z + f(z), a skip from where its branch begins"
    )


def _of_skip(skip: Signal) -> float:
    """What a skip multiplies the stream by."""
    if skip.norm is not None:
        raise InteropError(
            f"the skip goes on from a norm of the stream, {skip.norm.path} (post-norm), which is not covered by the theory; put the norm"
            " at the beginning of the branch (pre-norm), z + f(norm(z))"
        )
    factor = _factor(skip.formula)
    if factor is None:
        raise InteropError(
            f"the skip goes on from an activation of the stream, {text(skip.formula)} ({skip.place}), which is not covered by the theory; put"
            " the activation at the beginning of the branch, z + f(activation(z))"
        )
    return factor


def _of_branch(branch: Signal, sums: int) -> tuple[Preactivations, float]:
    """The last layer of a branch, and what it is multiplied by."""
    factor = _factor(branch.formula)
    if branch.norm is not None:
        raise InteropError(
            f"the branch ends with a norm, {branch.norm.path}; let it end with a Linear layer, and put the norm at its beginning"
        )
    if factor is None:
        raise InteropError(
            f"the branch ends with an activation, {text(branch.formula)} ({branch.place}); let it end with a Linear layer"
        )
    if sums or not isinstance(branch.point, Preactivations):
        raise InteropError(_NESTED)
    return branch.point, factor


def _sums_between(above: Point, below: Point) -> int | None:
    """How many sums there are on the way from a point down to another one, by the skips; None where it does not pass there."""
    sums, point = 0, above
    while point is not below:
        if isinstance(point, Inputs):
            return None
        sums += isinstance(point, Sum)
        point = point.z if isinstance(point, Sum) else point.read.point
    return sums


def chain_to(output: Signal, linears: list[Linear], slopes: list[str], place: str) -> Chain:
    """The chain of layers that leads to an output; InteropError if it does not pass all Linear layers, or an activation has no kernel."""
    layers, sums = _layers_to(output.point)
    passed = tuple(layer.linear for layer in layers)
    aside = next((linear for linear in reversed(linears) if not any(linear is p for p in passed)), None)
    if aside is not None:
        raise InteropError(f"{place}: {aside.path} is not on the way to the output")
    _check_end(output)
    reads = [layer.read for layer in layers[1:]]
    if not sums and not any(read.norm for read in reads):
        scales, skips = (1.0,) * len(passed), ()
    else:
        reads, scales, skips = _rescaled(reads, sums)
    activations = []
    for read in reads:
        try:
            activations.append(as_activation(read.formula))
        except ActivationError as error:
            raise InteropError(f"{read.place}: {error}") from error
    return Chain(passed, scales, tuple(activations), tuple(r.norm for r in reads), skips, tuple(slopes))


def _layers_to(point: Point) -> tuple[list[Preactivations], list[tuple[int, int, Sum]]]:
    """The layers on the way to a point, from the inputs, and the sums with the first layer of their branch and the one behind it."""
    layers: list[Preactivations] = []
    ends: list[tuple[int, int, Sum]] = []
    while not isinstance(point, Inputs):
        last = point.u if isinstance(point, Sum) else point
        below = point.z if isinstance(point, Sum) else last.read.point
        above = len(layers)
        layers.append(last)
        while last.read.point is not below:
            last = last.read.point
            assert isinstance(last, Preactivations)  # between a sum and its z there are no sums
            layers.append(last)
        if isinstance(point, Sum):
            ends.append((above, len(layers), point))
        point = below
    n = len(layers)
    return layers[::-1], [(n - last, n - first, total) for first, last, total in reversed(ends)]


def _rescaled(
    reads: list[Signal], sums: list[tuple[int, int, Sum]]
) -> tuple[list[Signal], tuple[float, ...], tuple[Skip, ...]]:
    """What layers 1, 2, … read, what the preactivations of each layer are multiplied by, and the skips.

    Where c z is all that is read of z, as behind c (x + f(x)), the factor is made part of z: formulas stay those that are known, and the
    stream is the one that the model has.
    """
    scales = [1.0] * (len(reads) + 1)
    begin = {first: total.gamma for first, _, total in sums}
    for _, last, total in sums:
        scales[last - 1] = total.scale
    factors = [1.0] * (len(reads) + 1)  # of what layer k reads
    rescaled = []
    for k, read in enumerate(reads, start=1):
        factor = read.factor if read.norm is not None else _multiple(read.formula)
        if factor != 1 and begin.get(k, factor) == factor:
            factors[k] = factor
            scales[k - 1] *= factor
            if read.norm is None:
                read = dataclasses.replace(read, formula=_divided(read.formula, factor))
        elif read.norm is not None:
            # The norm of c z is that of z with ε / c².
            read = dataclasses.replace(
                read, norm=dataclasses.replace(read.norm, eps=read.norm.eps / factor**2)
            )
        rescaled.append(read)
    factors.append(1.0)  # of the output
    skips = (Skip(first, last, total.gamma / factors[first] * factors[last]) for first, last, total in sums)
    return rescaled, tuple(scales), tuple(skips)


def _check_end(output: Signal) -> None:
    if output.norm is None and output.formula == Z:
        return
    norm = output.norm is not None and output.formula == Z
    what = "a norm" if norm else "an activation"
    advice = "leave it out" if norm else f"leave {text(output.formula)} out (put it into the loss)"
    raise InteropError(
        f"{output.place}: the model ends with {what}; the output layer must be Linear: {advice}, as the theory is about the logits"
    )


def norm_of_module(path: str, module: nn.Module, signal: Signal) -> Norm | None:
    """The norm that a module is; None for another module."""
    if not isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return None
    names = set(dict(module.named_parameters()))
    if not names <= {"weight", "bias"}:
        raise InteropError(
            f"its gain is computed from {', '.join(sorted(names))}; remove the parametrisation"
        )
    kind = "layer" if isinstance(module, nn.LayerNorm) else "rms"
    shape: Any = module.normalized_shape
    return norm_of(path, kind, shape, module.weight, getattr(module, "bias", None), module.eps, signal)


def norm_of(
    path: str, kind: str, shape: Sequence[int], gain: Any, bias: Any, eps: float | None, signal: Signal
) -> Norm:
    """A norm of a signal; RMSNorm's ε is by default that of the signal's precision."""
    if eps is None:
        last = signal.point.u if isinstance(signal.point, Sum) else signal.point
        eps = 0.0 if isinstance(last, Inputs) else torch.finfo(last.linear.weight.dtype).eps
    return Norm(path, kind, tuple(shape), float(eps), gain, bias)


def _factor(formula: Any) -> float | None:
    """c where the formula is c z with a number c other than 0; None for another formula."""
    if formula == Z:
        return 1.0
    if not isinstance(formula, tuple) or formula[0] not in ("neg", "mul", "truediv"):
        return None
    operation, *arguments = formula
    if operation == "neg":
        factor = _factor(arguments[0])
        return None if factor is None else -factor
    first, second = arguments
    if operation == "mul" and not isinstance(first, tuple):
        first, second = second, first
    factor = _factor(first)
    if factor is None or isinstance(second, tuple) or not second:
        return None
    factor = factor / second if operation == "truediv" else factor * second
    return factor if factor and math.isfinite(factor) else None


def _multiple(formula: Any) -> float:
    """c where z is found in a formula as c z alone; else 1."""
    found = set(_multiples(formula))
    return found.pop() if len(found) == 1 else 1.0


def _multiples(formula: Any) -> Iterator[float]:
    factor = _factor(formula)
    if factor is not None:
        yield factor
    elif isinstance(formula, tuple):
        for part in formula[2:] if formula[0] == "activation" else formula[1:]:
            yield from _multiples(part)


def _divided(formula: Any, factor: float) -> Any:
    """The formula with z in the place of factor z."""
    if _factor(formula) == factor:
        return Z
    if not isinstance(formula, tuple):
        return formula
    kept = 2 if formula[0] == "activation" else 1
    return (*formula[:kept], *(_divided(part, factor) for part in formula[kept:]))
