"""The layer-to-layer recursions in their local form: one short file per tensor family, in the order in which tensors are shown."""

from . import subleading, vertex, cross, variance, streams, training  # noqa: F401, I001 each declares its tensors
from .step import Hyperparameters, step
from .tensor_sets import TensorSets, declarations, first_layer, moments_of
from .tensors import TENSORS, Tensor, Tensors, flowing

__all__ = [
    "TENSORS",
    "Hyperparameters",
    "Tensor",
    "TensorSets",
    "Tensors",
    "declarations",
    "first_layer",
    "flowing",
    "moments_of",
    "step",
]
