"""One network: its parameters, preactivations and NTK, and what gradient descent does to it."""

from .definition import ntk_by_definition
from .descent import gradient_step, predicted_change, predicted_loss_change
from .learning_rates import LearningRates, plain, tensorial
from .losses import cross_entropy, mse
from .ntk_derivatives import NTKDerivatives, ntk_derivatives, ntk_derivatives_layers
from .parameters import LayerParameters, init
from .preactivations import forward
from .tangent_kernel import interlayer_ntk, jacobian, ntk, ntk_contributions, ntk_layers, ntk_trace
from .training import History, train

__all__ = [
    "History",
    "LayerParameters",
    "LearningRates",
    "NTKDerivatives",
    "cross_entropy",
    "forward",
    "gradient_step",
    "init",
    "interlayer_ntk",
    "jacobian",
    "mse",
    "ntk",
    "ntk_by_definition",
    "ntk_contributions",
    "ntk_derivatives",
    "ntk_derivatives_layers",
    "ntk_layers",
    "ntk_trace",
    "plain",
    "predicted_change",
    "predicted_loss_change",
    "tensorial",
    "train",
]
