"""From the layers of another library's model to an MLP."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from ..activations import Activation
from ..finite.parameters import LayerParameters, Parameters, checked
from ..network.mlp import MLP
from .initialisation import Initialisation, LayerWeights, read


@dataclass(frozen=True)
class Lifted:
    """A model's layers, the activations between them, and sentences that its user should know.

    `lambda_b` and `lambda_W` are None for plain gradient descent on all parameters.
    """

    layers: tuple[LayerWeights, ...]
    activations: tuple[Activation, ...]
    remarks: tuple[str, ...] = ()
    lambda_b: tuple[float, ...] | None = None
    lambda_W: tuple[float, ...] | None = None

    @property
    def initialisation(self) -> Initialisation:
        return read(self.layers, self.activations)

    def mlp(self, **hyperparameters) -> MLP:
        """The MLP. C_b and C_W that are not given are read from the weights; λ's are the optimizer's or plain gradient descent's.

        Plain gradient descent has λ_W = n_{ℓ-1} and λ_b = 1. Warns where the model differs from the theory's networks; where its weights
        do, only if C_b or C_W is read from them.
        """
        widths = [self.layers[0].W.shape[1], *(layer.W.shape[0] for layer in self.layers)]
        rates = {
            "lambda_b": self.lambda_b or tuple(float(layer.b is not None) for layer in self.layers),
            "lambda_W": self.lambda_W or tuple(float(n) for n in widths[:-1]),
        }
        remarks = list(self.remarks)
        if not {"C_b", "C_W"} <= hyperparameters.keys():
            initialisation = self.initialisation
            remarks += initialisation.warnings()
            rates |= {"C_b": initialisation.C_b, "C_W": initialisation.C_W}
        for remark in remarks:
            warnings.warn(remark, stacklevel=_level_of_the_user())
        return MLP(widths, self.activations or "linear", **(rates | hyperparameters))

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


def _level_of_the_user() -> int:
    """`stacklevel` for a warning in the caller: the first frame that is not of this package."""
    import sys

    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "ntkflow":
        level, frame = level + 1, frame.f_back
    return level
