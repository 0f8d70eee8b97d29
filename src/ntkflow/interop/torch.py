"""PyTorch: `torch.nn.Sequential` in and out, Gaussian initialisation, and λ_b, λ_W / n_{ℓ-1} for `torch.optim.SGD`.

torch initialises `nn.Linear` uniformly, weights and biases alike within ±1/√n_{ℓ-1}: the variances are C_W = C_b n = 1/3,
and the fourth cumulants are not zero. They are Gaussian in nothing but the mean at infinite width: at order 1/n, the order of
everything that ntkflow predicts, the predictions do not hold. `gaussian_init_` draws what they are about.
"""

from __future__ import annotations

import numpy as np

from ..errors import InteropError
from ..extras import needs
from ..finite.parameters import LayerParameters, Parameters, checked
from ..mlp import MLP

with needs("torch", "ntkflow.interop.torch"):
    import torch
    from torch import nn


def from_sequential(
    model: nn.Sequential, C_b=0.0, C_W=1.0, lambda_b=1.0, lambda_W=1.0
) -> tuple[MLP, Parameters]:
    """The MLP and the parameters of a Sequential of Linear layers with an activation between each two.

    Args:
        model: Linear, activation, Linear, …, Linear. A Linear without bias has b = 0.
        C_b, C_W, lambda_b, lambda_W: as of `MLP`; a Sequential does not say how it was initialised.

    Raises:
        InteropError: a module is not supported; the message names it.
    """
    linears, activations = [], []
    if type(model) is not nn.Sequential:
        raise InteropError(f"expected a torch.nn.Sequential, not {type(model).__name__}")
    for position, module in enumerate(model):
        if type(module) is nn.Linear and len(linears) == len(activations):
            linears.append(module)
        elif len(linears) == len(activations) + 1 and not isinstance(module, nn.Linear):
            activations.append(_activation(position, module))
        else:
            raise InteropError(f"module {position}, {module}: Linear layers and activations must alternate")
    for module in model:
        if module._forward_hooks or module._forward_pre_hooks:
            raise InteropError(f"{module}: its forward hooks would be lost")
    for module in linears:
        if module.weight.dtype not in (torch.float32, torch.float64):
            raise InteropError(
                f"{module}: {module.weight.dtype} is not supported; convert the model to float32 or float64"
            )
    if not linears or len(activations) == len(linears):
        raise InteropError("the Sequential must begin and end with a Linear layer")
    widths = [linears[0].in_features, *(module.out_features for module in linears)]
    params = tuple(
        LayerParameters(
            module.weight.detach().cpu().numpy().copy(),
            np.zeros(module.out_features, module.weight.detach().cpu().numpy().dtype)
            if module.bias is None
            else module.bias.detach().cpu().numpy().copy(),
        )
        for module in linears
    )
    mlp = MLP(widths, activations or "linear", C_b, C_W, lambda_b, lambda_W)
    return mlp, checked(mlp, params)


def to_sequential(mlp: MLP, params: Parameters) -> nn.Sequential:
    """The Sequential that computes the same function; InteropError for an activation that torch has no module for."""
    modules: list[nn.Module] = []
    for ell, (W, b) in enumerate(checked(mlp, params)):
        linear = nn.Linear(W.shape[1], W.shape[0], dtype=torch.from_numpy(np.array(W)).dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.array(W)))
            linear.bias.copy_(torch.from_numpy(np.array(b)))
        modules.append(linear)
        if ell < mlp.depth - 1:
            modules.append(_module(mlp.activation[ell]))
    return nn.Sequential(*modules)


def parameter_groups(
    model: nn.Module, eta: float, lambda_b: float = 1.0, lambda_W: float = 1.0
) -> list[dict]:
    """Groups for `torch.optim.SGD` with learning rates η λ_b for biases and η λ_W / n_{ℓ-1} for weights, PDLT (8.5).

    Raises:
        InteropError: a parameter belongs to another module than Linear; or as `gaussian_init_`.
    """
    groups, seen = [], set()
    for module in _linears(model):
        groups.append({"params": [module.weight], "lr": eta * lambda_W / module.in_features})
        if module.bias is not None:
            groups.append({"params": [module.bias], "lr": eta * lambda_b})
        seen |= {id(p) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in seen:
            raise InteropError(f"{name}: the learning-rate tensor is defined for Linear layers only")
    return groups


@torch.no_grad()
def gaussian_init_(
    model: nn.Module, C_b: float = 0.0, C_W: float = 1.0, generator: torch.Generator | None = None
) -> nn.Module:
    """Draw every Linear anew, in place: Var b = C_b, Var W = C_W / n_{ℓ-1}, PDLT (8.5). Returns the model.

    Raises:
        InteropError: a Linear is lazy and has no size yet, its weight is computed from other parameters (weight_norm and
            the like), or two Linears share a parameter: its entries would not be independent.
    """
    for module in _linears(model):
        module.weight.normal_(0.0, (C_W / module.in_features) ** 0.5, generator=generator)
        if module.bias is not None:
            module.bias.normal_(0.0, C_b**0.5, generator=generator)
    return model


def _linears(model: nn.Module) -> list[nn.Linear]:
    """The model's Linear modules; InteropError if one does not simply own its weight and bias."""
    found, owners = [], {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        own = dict(module.named_parameters())
        if "weight" not in own or not set(own) <= {"weight", "bias"}:
            raise InteropError(
                f"{name}: its weight is computed from {', '.join(own)}; remove the parametrisation"
            )
        for key, parameter in own.items():
            if isinstance(parameter, nn.parameter.UninitializedParameter):
                raise InteropError(f"{name}: a lazy Linear has no size before the first call of the model")
            if id(parameter) in owners:
                raise InteropError(f"{name}.{key} is the same parameter as that of {owners[id(parameter)]}")
            owners[id(parameter)] = name
        found.append(module)
    return found


def _activation(position: int, module: nn.Module):
    simple = {nn.Identity: "linear", nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu"}
    if type(module) in simple:
        return simple[type(module)]
    if type(module) is nn.LeakyReLU:
        return {"name": "leaky_relu", "slope": module.negative_slope}
    if type(module) is nn.ELU:
        return {"name": "elu", "alpha": module.alpha}
    if type(module) is nn.GELU and module.approximate == "none":
        return "gelu"
    if type(module) is nn.Softplus and module.beta == 1 and module.threshold >= 20:
        return "softplus"
    raise InteropError(f"module {position}, {module}: not supported")


def _module(activation) -> nn.Module:
    parameters = dict(activation.parameters)
    make = {
        "linear": nn.Identity,
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "silu": nn.SiLU,
        "swish": nn.SiLU,
        "gelu": nn.GELU,
        # Above its threshold torch's softplus is z itself.
        "softplus": lambda: nn.Softplus(threshold=40),
        "leaky_relu": lambda: nn.LeakyReLU(parameters["slope"]),
        "elu": lambda: nn.ELU(parameters["alpha"]),
    }
    if not activation.registered or activation.name not in make:
        raise InteropError(f"activation {activation.name}: torch has no module for it")
    return make[activation.name]()
