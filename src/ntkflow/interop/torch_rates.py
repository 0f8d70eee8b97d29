"""Learning rates of `torch.optim.SGD`, parameter by parameter, of which the theory's λ's are made."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import InteropError

_WITHOUT = "Leave the optimizer out to be told what does not depend on it: G, G1 and V, with the λ's of plain gradient descent beside them"
_MUST_VANISH = ("momentum", "weight_decay", "dampening", "nesterov", "maximize")


def rates(parameters: Sequence[torch.Tensor | None], optimizer: torch.optim.Optimizer | None) -> list[float]:
    """The learning rate of each parameter: 1, or lr by the largest lr of all groups; 0 for what is not trained, or None.

    Raises:
        InteropError: the optimizer is not `torch.optim.SGD` without momentum and weight decay, or trains nothing.
    """
    relative = None if optimizer is None else _relative_rates(optimizer)

    def rate(parameter: torch.Tensor | None) -> float:
        if parameter is None or not parameter.requires_grad:
            return 0.0
        return 1.0 if relative is None else relative.get(id(parameter), 0.0)

    found = [rate(parameter) for parameter in parameters]
    if relative is not None and not any(found):
        raise InteropError(
            "the optimizer trains none of the model's parameters; make it from model.parameters()"
        )
    return found


def kind(optimizer: torch.optim.Optimizer) -> str:
    """ "sgd" for plain gradient descent; otherwise what it is."""
    if type(optimizer) is not torch.optim.SGD:
        return type(optimizer).__name__
    for group in optimizer.param_groups:
        for option in _MUST_VANISH:
            if group[option]:
                return f"SGD with {option}={group[option]}"
    return "sgd"


def _relative_rates(optimizer: torch.optim.Optimizer) -> dict[int, float]:
    name = type(optimizer).__name__
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InteropError(f"optimizer must be a torch.optim.SGD, not {name}")
    if type(optimizer) is not torch.optim.SGD:
        raise InteropError(
            f"optimizer: {name} does not follow the gradient with fixed learning rates, so that no NTK describes it; plain"
            f" torch.optim.SGD is supported. {_WITHOUT}"
        )
    if kind(optimizer) != "sgd":
        raise InteropError(
            f"optimizer: {kind(optimizer)} does not follow the gradient of the loss alone; the NTK describes SGD without it. {_WITHOUT}"
        )
    largest = max(float(group["lr"]) for group in optimizer.param_groups)
    if not largest > 0:
        raise InteropError(f"optimizer: its learning rates must be positive, not {largest:g}")
    return {id(p): float(group["lr"]) / largest for group in optimizer.param_groups for p in group["params"]}
