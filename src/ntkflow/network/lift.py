"""Any library's model as an MLP or a network of blocks: what every entry point makes of its first argument."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from .._machine.forks import refuse_forks
from ..errors import InteropError, SpecError
from .mlp import MLP
from .network import Network, refuse_blocks

if TYPE_CHECKING:
    from ..interop.lifted import Lifted

_ACCEPTED = "an ntkflow.MLP, a torch.nn.Module, an equinox.nn.MLP or Sequential, a flax.nnx.Sequential or (linen.Sequential, variables)"


def as_mlp(network: Any, optimizer: Any = None) -> MLP:
    """The MLP that a network is; an MLP is returned as it is.

    C_W and C_b are read from the model's weights: exactly where they agree with one known scheme of initialisation, else as measured;
    `ntkflow.network.read_initialisation` shows them with their errors. λ's are plain gradient descent's on the model's own parameters, λ_W =
    n_{ℓ-1} and λ_b = 1, with which the NTK is Σ_θ (dz/dθ)(dz/dθ); 0 for what is frozen, or for biases that are not there. A warning says so
    if the weights are not Gaussian, or if the model does not look like at initialisation.

    Args:
        network: an MLP; a `torch.nn.Module`, an `equinox.nn.MLP` or `equinox.nn.Sequential`, a `flax.nnx.Sequential` or a pair
            (`linen.Sequential`, its variables) of dense layers with elementwise activations between them. Models with skips and norms are
            for `as_network`.
        optimizer: of a torch model, a `torch.optim.SGD` without momentum and weight decay: each λ is then multiplied by the lr of its
            group over the largest lr of all groups, which is the theory's η.

    Raises:
        InteropError: the model holds something else, which the message names, has skips or norms, or the optimizer is another one.
        SpecError: the network is none of these.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        >>> ntkflow.as_mlp(model).C_W
        (0.3333333333333333, 0.3333333333333333)
    """
    refuse_forks()
    refuse_blocks(network)
    if isinstance(network, MLP):
        if optimizer is not None:
            raise SpecError("optimizer goes with a torch model; an MLP has lambda_b and lambda_W of its own")
        return network
    return _lifted(network, optimizer).mlp()


def is_network(network: Any) -> bool:
    """Whether it is an MLP or another library's model, rather than an activation, which may be a torch module too."""
    if _is(network, "torch.nn", "Module"):
        linear = sys.modules["torch.nn"].Linear
        return any(isinstance(module, linear) for module in network.modules())
    models = (("equinox.nn", "MLP"), ("equinox.nn", "Sequential"), ("flax.nnx", "Sequential"))
    return isinstance(network, MLP | tuple) or any(_is(network, *model) for model in models)


def as_network(network: Any, optimizer: Any = None) -> MLP | Network:
    """The network that a model is: an MLP, or of a model with skips and norms the `Network` of its blocks.

    Of torch are read residual layers x + f(x), c x + a f(x) and c (x + f(x)) with numbers c and a, f a chain of stages, norm, activation and
    Linear, of which the first two may be missing; of all libraries LayerNorm and RMSNorm, with or without gains and biases, before any activation and before the read-out. C_W, C_b and
    λ's are read as `as_mlp` reads them, λ_g = λ_β = 1 of gains and biases that are trained; a factor a of a branch multiplies C_W, C_b, λ_W
    and λ_b of its last stage by a². The first Linear layer is the embedding.

    Args:
        network: an MLP or a `Network`, which are returned as they are; or a model as of `as_mlp`, with norms, and of torch with skips.
        optimizer: as of `as_mlp`.

    Raises:
        InteropError: the model holds something else, such as a norm of the stream itself (post-norm), of activations or of the batch, nested
            skips, learnt scales, attention; the message names it. A gain is not 1 or a bias of a norm not 0. Or the optimizer is another one.
        SpecError: the network is none of these.

    Example:
        >>> class Residual(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.f = nn.Sequential(nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64))
        ...     def forward(self, x):
        ...         return x + self.f(x)
        >>> network = ntkflow.as_network(nn.Sequential(nn.Linear(10, 64), Residual(), nn.ReLU(), nn.Linear(64, 1)))
        >>> network.blocks[0].gamma, network.blocks[0].stages[0].norm
        (1.0, 'layer')
    """
    refuse_forks()
    if isinstance(network, MLP | Network):
        if optimizer is not None:
            raise SpecError(
                "optimizer goes with a torch model; an MLP or a Network has lambda_b and lambda_W of its own"
            )
        return network
    return _lifted(network, optimizer).network()


def without_blocks(network: Any) -> MLP:
    """`as_mlp`, but for a `Network`, which is returned as it is: what takes any layers but blocks.

    Raises:
        InteropError, SpecError: as of `as_mlp`; or there are blocks.
    """
    refuse_blocks(network)
    return cast(MLP, network) if isinstance(network, Network) else as_mlp(network)


def read_initialisation(network: Any):
    """What a model's weights say of how they were drawn, layer by layer: an `ntkflow.interop.initialisation.Initialisation`.

    Of a model with skips C_W and C_b are those before the factors of its branches.

    Raises:
        InteropError, SpecError: as of `as_network`; or the network is an MLP, which has no weights.
    """
    if isinstance(network, MLP):
        raise SpecError("an MLP has no weights to read C_W and C_b from: it says them itself")
    return _lifted(network, None).initialisation


def drawn(network: Any, mlp: MLP, key: Any) -> Any:
    """A JAX library's model with weights and biases of `finite.init(mlp, key)`; of a pair (`linen.Sequential`, variables) the variables.

    Raises:
        InteropError: as of `as_mlp`; or the MLP has other widths or activations, or a layer has no bias whose C_b is not 0.
        SpecError: the network is no library's model.
        ParameterError: the key is none.
    """
    if isinstance(network, MLP):
        raise SpecError("an MLP has no weights: finite.init(recipe.mlp, key) draws some")
    library = _library(network)
    if library == "torch":
        raise InteropError("a torch model is drawn in place: recipe.apply_(model)")
    if library == "equinox":
        from ..interop import equinox

        return equinox.drawn(network, mlp, key)
    from ..interop import flax

    if library == "nnx":
        return flax.drawn_nnx(network, mlp, key)
    module, variables = network
    return flax.drawn_linen(module, variables, mlp, key)


def _lifted(network: Any, optimizer: Any) -> Lifted:
    library = _library(network)
    if library == "torch":
        from ..interop import torch

        return torch.lifted(network, optimizer)
    if optimizer is not None:
        raise InteropError("optimizer goes with a torch model only")
    if library == "equinox":
        from ..interop import equinox

        return equinox.lifted(network)
    from ..interop import flax

    return flax.lifted_nnx(network) if library == "nnx" else flax.lifted_linen(*network)


def _library(network: Any) -> Literal["torch", "equinox", "nnx", "linen"]:
    """The library that a model is of. InteropError for a linen module without variables, SpecError for what is no library's model."""
    if _is(network, "torch.nn", "Module"):
        return "torch"
    if _is(network, "equinox", "Module"):
        return "equinox"
    if _is(network, "flax.nnx", "Module"):
        return "nnx"
    if _is(network, "flax.linen", "Module"):
        raise InteropError("a linen module has no weights of its own: pass (module, variables)")
    if isinstance(network, tuple) and len(network) == 2 and _is(network[0], "flax.linen", "Module"):
        return "linen"
    hint = "; MLP.from_spec reads a table" if isinstance(network, Mapping) else ""
    hint = (
        "; of other layers flow, traced_flow, finite, ensemble, compare, verify and diagnose alone take networks"
        if isinstance(network, Network)
        else hint
    )
    hint = "; MLP.from_toml reads a file" if isinstance(network, str) else hint
    raise SpecError(f"the network must be {_ACCEPTED}, not {type(network).__name__}{hint}")


def _is(network: Any, module: str, name: str) -> bool:
    """Whether it is an instance of that class. The library need not be installed: one that was not imported has made no model."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(network, kind)
