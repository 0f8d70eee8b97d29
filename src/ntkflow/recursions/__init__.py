"""The layer-to-layer recursions in their local form: one short file per tensor family."""

from .step import Hyperparameters, Tensors, first_layer, packed_step, step

__all__ = ["Hyperparameters", "Tensors", "first_layer", "packed_step", "step"]
