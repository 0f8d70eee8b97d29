"""PyTorch: a model's MLP with C_W, C_b and λ's read from it, Gaussian initialisation, and λ_b, λ_W / n_{ℓ-1} for `torch.optim.SGD`.

torch initialises `nn.Linear` uniformly, weights and biases alike within ±1/√n_{ℓ-1}: the variances are C_W = C_b n = 1/3,
and the fourth cumulants are not zero. They matter at order 1/n to what one neuron does alone: G1, H1 and the spread of Ĥ_ii. `gaussian_init_`
draws what all predictions are about.
"""

from __future__ import annotations

import numpy as np

from .._checks.extras import needs
from ..errors import InteropError
from ..finite.parameters import Parameters, checked
from ..network.dense import Dense
from ..network.mlp import MLP
from .initialisation import Initialisation, LayerWeights
from .lifted import Lifted, Norm, check_bias, check_fits, refuse_blocks

with needs("torch", "ntkflow.interop.torch"):
    import torch
    from torch import nn

    from .torch_graph import chain_of, is_lazy, plain_parameters
    from .torch_layers import Linear
    from .torch_layers import Norm as NormModule
    from .torch_rates import rates


def lifted(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Lifted:
    """A model's layers as NumPy arrays, those of half precision as float32, its activations, norms and skips, and λ's.

    λ's are plain gradient descent's, λ_W = n_{ℓ-1} and λ_b = λ_g = λ_β = 1: what `torch.optim.SGD(model.parameters(), η)` does. A frozen
    parameter has λ = 0, and so has the bias of a layer without one.

    Args:
        optimizer: a `torch.optim.SGD` without momentum and weight decay: each λ is then multiplied by the lr of its group over the
            largest lr of all groups, which is the theory's η.

    Raises:
        InteropError: the model is not a chain of Linear layers with norms and elementwise activations between them and skips beside them,
            is on the meta device, a norm's gain is not 1 or its bias not 0, or the optimizer is not plain SGD; the message names the module.
    """
    chain = chain_of(model)
    norms = [norm for norm in chain.norms if norm is not None]
    parameters = [
        *(linear.weight for linear in chain.linears), *(linear.bias for linear in chain.linears),
        *(norm.gain for norm in norms), *(norm.bias for norm in norms),
    ]  # fmt: skip
    found = iter(rates(parameters, optimizer))
    lambda_W = tuple(next(found) * linear.weight.shape[1] for linear in chain.linears)
    lambda_b = tuple(next(found) for _ in chain.linears)
    lambda_g = [next(found) for _ in norms]
    of_norms = iter(zip(norms, lambda_g, found, strict=True))
    layers = []
    for linear in chain.linears:
        if linear.weight.is_meta:
            raise InteropError(
                f"{linear.path}: its weights have no values on the meta device, from which to read C_W and C_b: initialise the model"
                ' after model.to_empty(device="cpu"), or describe it by an ntkflow.MLP'
            )
        bias = None if linear.bias is None else _array(linear.bias)
        epsilon = torch.finfo(linear.weight.dtype).eps
        layers.append(LayerWeights(linear.path, _array(linear.weight), bias, epsilon))
    remarks = (
        [
            f"the slopes of {', '.join(chain.slopes)} are trained too: their part of the NTK, about 1/n of it, is left out"
        ]
        if chain.slopes
        else []
    )
    read = tuple(norm and _read(*next(of_norms)) for norm in chain.norms)
    return Lifted(
        tuple(layers), chain.activations, tuple(remarks), lambda_b, lambda_W, read, chain.skips, chain.scales
    )


def _read(norm: NormModule, lambda_g: float, lambda_beta: float) -> Norm:
    gain, bias = (None if parameter is None else _array(parameter) for parameter in (norm.gain, norm.bias))
    return Norm(norm.path, norm.kind, norm.eps, gain, bias, lambda_g, lambda_beta)


def read_initialisation(model: nn.Module) -> Initialisation:
    """C_W, C_b and the scheme of initialisation, read from a model's weights; printed, a line for each layer. InteropError as of `lifted`."""
    return lifted(model).initialisation


def from_module(
    model: nn.Module, optimizer: torch.optim.Optimizer | None = None, **hyperparameters
) -> tuple[MLP, Parameters]:
    """The MLP of a model, as `ntkflow.as_mlp` has it, and the model's parameters.

    Args:
        hyperparameters: `C_b`, `C_W`, `lambda_b`, `lambda_W` instead of those that are read, as of `MLP`.

    Raises:
        InteropError: as of `lifted`.
    """
    lifted_model = lifted(model, optimizer)
    mlp = lifted_model.mlp(**hyperparameters)
    return mlp, lifted_model.parameters(mlp)


def _array(parameter: torch.Tensor) -> np.ndarray:
    values = parameter.detach().cpu()
    return (values if values.dtype in (torch.float32, torch.float64) else values.float()).numpy().copy()


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
        groups += _groups(module, eta, lambda_b, lambda_W)
        seen |= {id(p) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in seen:
            raise InteropError(f"{name}: the learning-rate tensor is defined for Linear layers only")
    return groups


def layer_groups(model: nn.Module, mlp: MLP, eta: float) -> list[dict]:
    """`parameter_groups` with the λ_b and λ_W of each of the MLP's layers.

    Raises:
        InteropError: the model has other widths or activations, a bias is missing that the MLP trains, a parameter belongs to two layers or
            to none; or as of `lifted`.
    """
    groups = []
    for linear, layer in _layers_of(model, mlp):
        if linear.bias is None and layer.lambda_b:
            raise InteropError(
                f"{linear.path}: it has no bias to train; tune the model itself, or set its lambda_b to 0"
            )
        groups += _groups(linear, eta, layer.lambda_b, layer.lambda_W)
    seen = {id(parameter) for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        if id(parameter) not in seen and parameter.requires_grad:
            raise InteropError(f"{name}: learning rates are known of Linear layers only; freeze it first")
    return groups


@torch.no_grad()
def draw_(model: nn.Module, mlp: MLP, generator: torch.Generator | None = None) -> nn.Module:
    """`gaussian_init_` with the C_b and C_W of each of the MLP's layers.

    Raises:
        InteropError: as of `layer_groups`; or a layer has no bias whose C_b is not 0.
    """
    layers = _layers_of(model, mlp)
    for linear, layer in layers:
        check_bias(linear.path, linear.bias is not None, layer.C_b)
    for linear, layer in layers:
        _draw_layer_(linear, layer.C_b, layer.C_W, generator)
    return model


def _layers_of(model: nn.Module, mlp: MLP) -> list[tuple[Linear, Dense]]:
    """The model's Linear layers in the order in which it calls them, each with the MLP's; InteropError if they don't fit."""
    chain = chain_of(model)
    refuse_blocks(chain.norms, chain.skips)
    widths = (chain.linears[0].weight.shape[1], *(linear.weight.shape[0] for linear in chain.linears))
    check_fits(mlp, widths, chain.activations)
    return list(zip(chain.linears, mlp.layers, strict=True))


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
        _draw_layer_(module, C_b, C_W, generator)
    return model


def _groups(linear: nn.Linear | Linear, eta: float, lambda_b: float, lambda_W: float) -> list[dict]:
    """The groups of one layer's weight and bias."""
    groups = [{"params": [linear.weight], "lr": eta * lambda_W / linear.weight.shape[1]}]
    if linear.bias is not None:
        groups.append({"params": [linear.bias], "lr": eta * lambda_b})
    return groups


def _draw_layer_(
    linear: nn.Linear | Linear, C_b: float, C_W: float, generator: torch.Generator | None
) -> None:
    linear.weight.normal_(0.0, (C_W / linear.weight.shape[1]) ** 0.5, generator=generator)
    if linear.bias is not None:
        linear.bias.normal_(0.0, C_b**0.5, generator=generator)


def _linears(model: nn.Module) -> list[nn.Linear]:
    """The model's Linear modules; InteropError if one does not simply own its weight and bias."""
    linears, owners = [], {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        if is_lazy(module):
            raise InteropError(f"{name}: a lazy Linear has no size before the first call of the model")
        try:
            plain_parameters(module)
        except InteropError as error:
            raise InteropError(f"{name}: {error}") from error
        for key, parameter in module.named_parameters():
            if id(parameter) in owners:
                raise InteropError(f"{name}.{key} is the same parameter as that of {owners[id(parameter)]}")
            owners[id(parameter)] = name
        linears.append(module)
    return linears


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
        "gelu_tanh": lambda: nn.GELU("tanh"),
        "mish": nn.Mish,
        "logsigmoid": nn.LogSigmoid,
        "tanhshrink": nn.Tanhshrink,
        "selu": nn.SELU,
        "softsign": nn.Softsign,
        "relu6": nn.ReLU6,
        "hardsigmoid": nn.Hardsigmoid,
        "hardswish": nn.Hardswish,
        # Above its threshold torch's softplus is z itself.
        "softplus": lambda: nn.Softplus(parameters.get("beta", 1.0), threshold=40),
        "leaky_relu": lambda: nn.LeakyReLU(parameters["slope"]),
        "elu": lambda: nn.ELU(parameters["alpha"]),
        "celu": lambda: nn.CELU(parameters["alpha"]),
        "hardtanh": lambda: nn.Hardtanh(parameters["low"], parameters["high"]),
        "softshrink": lambda: nn.Softshrink(parameters["size"]),
        "maximum": lambda: nn.Threshold(parameters["least"], parameters["least"]),
    }
    if not activation.registered or activation.name not in make:
        raise InteropError(f"activation {activation.name}: torch has no module for it")
    return make[activation.name]()
