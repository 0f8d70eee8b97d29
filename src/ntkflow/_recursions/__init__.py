"""The layer-to-layer recursions in their local form: one short file per tensor family, in the order in which tensors are shown."""

from . import subleading, vertex, cross, variance  # noqa: F401, I001 each declares its tensors
from .step import Hyperparameters, first_layer, step
from .tensors import TENSORS, Tensor, Tensors, requested_moments, tensors_of_rank

__all__ = [
    "TENSORS",
    "Hyperparameters",
    "Tensor",
    "Tensors",
    "first_layer",
    "requested_moments",
    "step",
    "tensors_of_rank",
]
