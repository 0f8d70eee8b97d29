"""From the layers of another library's model to an MLP or a network of blocks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._report.describe import architecture, listed
from ..activations import Activation
from ..errors import InteropError
from ..finite.parameters import LayerParameters, Parameters, checked, init
from ..network.blocks import Block, Stage
from ..network.dense import Dense
from ..network.mlp import MLP
from ..network.network import Network
from .initialisation import Initialisation, LayerWeights, read


@dataclass(frozen=True)
class Norm:
    """A norm before an activation, "rms" or "layer" as `Stage` takes it; its gain and bias, (n,), or None, and their λ's."""

    name: str
    kind: str
    eps: float
    gain: np.ndarray | None
    bias: np.ndarray | None
    lambda_g: float = 1.0
    lambda_beta: float = 1.0

    @property
    def hyperparameters(self) -> dict[str, float]:
        """ε and λ's, 0 of what is not there."""
        lambda_g, lambda_beta = (
            0.0 if values is None else rate
            for values, rate in ((self.gain, self.lambda_g), (self.bias, self.lambda_beta))
        )
        return {"eps": self.eps, "lambda_g": lambda_g, "lambda_beta": lambda_beta}

    @property
    def is_initial(self) -> bool:
        """Whether gain and bias are 1 and 0; InteropError if they are other numbers, the same for all neurons."""
        initial = True
        for name, values, start in (("gain", self.gain, 1.0), ("bias", self.bias, 0.0)):
            if values is None or np.all(values == start):
                continue
            if np.all(values == values[0]):
                raise InteropError(
                    f"{self.name}: the {name} of its norm is {values[0]:g}, in the theory {start:g} at initialisation: set it to {start:g},"
                    " and put other scales into the weights of the layer behind it"
                )
            initial = False
        return initial


@dataclass(frozen=True)
class Lifted:
    """A model's layers, the activations between them, and sentences that its user should know.

    `lambda_b` and `lambda_W` are None for plain gradient descent on all parameters. `norms` are those before each activation, or None; `skips`
    (first, last, γ) lead past layers first, …, last - 1, counted from 0. Preactivations of each layer are multiplied by `scales`.
    """

    layers: tuple[LayerWeights, ...]
    activations: tuple[Activation, ...]
    remarks: tuple[str, ...] = ()
    lambda_b: tuple[float, ...] | None = None
    lambda_W: tuple[float, ...] | None = None
    norms: tuple[Norm | None, ...] = ()
    skips: tuple[tuple[int, int, float], ...] = ()
    scales: tuple[float, ...] | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        return self.layers[0].W.shape[1], *(layer.W.shape[0] for layer in self.layers)

    @property
    def initialisation(self) -> Initialisation:
        return read(self.layers, self.activations)

    def mlp(self, **hyperparameters) -> MLP:
        """The MLP. C_b and C_W that are not given are read from the weights; λ's are the optimizer's or plain gradient descent's.

        Plain gradient descent has λ_W = n_{ℓ-1} and λ_b = 1. Warns where the model differs from the theory's networks; where its weights
        do, only if C_b or C_W is read from them.

        Raises:
            InteropError: the model has norms or skips.
        """
        refuse_blocks(self.norms, self.skips)
        return MLP(self.widths, self.activations or "linear", **self._hyperparameters(hyperparameters))

    def network(self) -> MLP | Network:
        """The MLP; of a model with norms or skips the network of blocks. Warns as `mlp`."""
        if not self.skips and not any(self.norms):
            return self.mlp()
        rates = self._hyperparameters({})
        scales = self.scales or (1.0,) * len(self.layers)
        tables = [
            {name: values[k] * scale**2 for name, values in rates.items()} for k, scale in enumerate(scales)
        ]
        layers: list[Dense | Block] = [Dense(**tables[0])]
        widths, k = list(self.widths[:2]), 1
        skips = {first: (last, gamma) for first, last, gamma in self.skips}
        while k < len(self.layers):
            last, gamma = skips.get(k, (k + 1, 0.0))
            stages = [self._stage(i, tables[i], i < last - 1) for i in range(k, last)]
            layers.append(Block(stages, gamma))
            widths.append(self.widths[last])
            k = last
        return Network(widths, layers)

    def _stage(self, k: int, table: dict[str, Any], inner: bool) -> Stage:
        norm = self.norms[k - 1] if self.norms else None
        width = self.widths[k + 1] if inner else None
        if norm is None:
            return Stage(self.activations[k - 1], width=width, **table)
        return Stage(self.activations[k - 1], norm.kind, width, **table, **norm.hyperparameters)

    def _hyperparameters(self, given: dict) -> dict:
        """C_b, C_W and λ's of each layer; warns as `mlp`."""
        rates = {
            "lambda_b": self.lambda_b or tuple(float(layer.b is not None) for layer in self.layers),
            "lambda_W": self.lambda_W or tuple(float(n) for n in self.widths[:-1]),
        }
        remarks = list(self.remarks)
        trained = [norm.name for norm in self.norms if norm is not None and not norm.is_initial]
        if trained:
            remarks.append(
                f"the gains and biases of {', '.join(trained)} differ from neuron to neuron, and are 1 and 0 at initialisation, which the theory"
                " is about: pass the model before training"
            )
        if not {"C_b", "C_W"} <= given.keys():
            initialisation = self.initialisation
            remarks += initialisation.warnings()
            rates |= {"C_b": initialisation.C_b, "C_W": initialisation.C_W}
        for remark in remarks:
            warnings.warn(remark, stacklevel=_level_of_the_user())
        return rates | given

    def parameters(self, mlp: MLP) -> Parameters:
        """The weights and biases; the biases of a layer without any are zero. ParameterError for layers of different precision."""
        return checked(
            mlp,
            tuple(
                LayerParameters(
                    layer.W, np.zeros(layer.W.shape[0], layer.W.dtype) if layer.b is None else layer.b
                )
                for layer in self.layers
            ),
        )

    def drawn(self, mlp: MLP, key) -> Parameters:
        """`finite.init(mlp, key)` for these layers.

        Raises:
            InteropError: the MLP has other widths or activations, or a layer has no bias whose C_b is not 0.
            ParameterError: as of `finite.init`.
        """
        refuse_blocks(self.norms, self.skips)
        check_fits(mlp, self.widths, self.activations)
        for layer, C_b in zip(self.layers, mlp.C_b, strict=True):
            check_bias(layer.name, layer.b is not None, C_b)
        return init(mlp, key)


def refuse_blocks(norms: Sequence[Any], skips: Sequence[Any]) -> None:
    """InteropError if there are norms or skips: for what is known, or written, for dense layers alone."""
    if skips or any(norms):
        what = " and ".join(["skips"] * bool(skips) + ["norms"] * any(norms))
        raise InteropError(
            f"the model has {what}, and this takes networks of dense layers; of models with skips and norms ntkflow.flow computes the"
            " statistics, and ntkflow.as_network makes the network"
        )


def check_fits(mlp: MLP, widths: Sequence[int], activations: Sequence[Activation]) -> None:
    """InteropError unless a model's widths and activations are the MLP's."""
    if tuple(widths) != mlp.widths or tuple(activations) != mlp.activation:
        names = listed(list(dict.fromkeys(a.name for a in activations)))
        raise InteropError(
            f"the model has widths {'-'.join(map(str, widths))} and the activations {names or 'none'}, the recipe is for {architecture(mlp)}"
        )


def check_bias(name: str, has_bias: bool, C_b: float) -> None:
    """InteropError where biases are to be drawn and there are none."""
    if C_b and not has_bias:
        raise InteropError(f"{name}: it has no bias, and C_b = {C_b:.4g} is to be drawn: give it one")


def like(parameter: jax.Array, values) -> jax.Array:
    """Values in a parameter's precision, whatever the caller's JAX setting."""
    with jax.enable_x64(True):
        return jnp.asarray(values, parameter.dtype)


def _level_of_the_user() -> int:
    """`stacklevel` for a warning in the caller: the first frame that is not of this package."""
    import sys

    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "ntkflow":
        level, frame = level + 1, frame.f_back
    return level
