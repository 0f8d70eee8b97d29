"""The network of a file, also where its activation was a callable, which a file can't hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..activations import Activation, is_registered
from ..errors import ActivationError, FileError, SpecError
from ..network.mlp import MLP, ActivationSpec
from ..network.network import Network


@dataclass(frozen=True)
class _MissingCallable:
    """In the place of a callable that was not passed again."""

    name: str

    def __call__(self, z) -> NoReturn:
        del z
        raise ActivationError(
            f"the activation {self.name} was a callable, which the file doesn't hold; pass it again: load(path, activation=…)"
        )


def network_of(
    spec: Mapping,
    callables: Sequence[str],
    activation: ActivationSpec | Sequence[ActivationSpec] | None = None,
) -> MLP:
    """The MLP of a specification in a file.

    Args:
        spec: as of `MLP.to_spec`.
        callables: the names of activations that were callables.
        activation: those again; without it the network can be looked at, and its activation can't be evaluated.
    """
    if "layers" in spec:
        raise FileError(
            "the file is of a Network with layers of the user's own, which are not read from files; an MLP or a network of blocks is"
        )
    if "blocks" in spec:
        return _network_of_blocks(spec, callables, activation)
    if activation is None:
        activation = [_or_placeholder(name, callables) for name in spec["activation"]]
    return MLP.from_spec({**spec, "activation": activation})


def _network_of_blocks(spec: Mapping, callables: Sequence[str], activation: Any) -> Any:
    """The same of a network of blocks, whose activations are passed again as one or as a list, stage by stage."""
    count = sum(len(block["stages"]) for block in spec["blocks"])
    if isinstance(activation, list | tuple) and len(activation) != count:
        raise SpecError(f"activation: a list needs one entry per stage, {count}, not {len(activation)}")
    again = iter(activation if isinstance(activation, list | tuple) else [activation] * count)
    blocks = [
        {
            **block,
            "stages": [
                {**stage, "activation": _passed_again(next(again), stage["activation"], callables)}
                for stage in block["stages"]
            ],
        }
        for block in spec["blocks"]
    ]
    return Network.from_spec({**spec, "blocks": blocks})


def _passed_again(activation: Any, spec: ActivationSpec, callables: Sequence[str]) -> ActivationSpec:
    return _or_placeholder(spec, callables) if activation is None else activation


def _or_placeholder(spec: ActivationSpec, callables: Sequence[str]) -> ActivationSpec:
    if isinstance(spec, str) and (spec in callables or not is_registered(spec)):
        function: Callable = _MissingCallable(spec)
        return Activation(spec, function, registered=False)
    return spec
