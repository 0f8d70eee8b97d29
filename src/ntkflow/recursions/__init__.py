"""The layer-to-layer recursions in their local form: one short file per tensor family."""

from .step import Hyperparameters, Tensors, step

__all__ = ["Hyperparameters", "Tensors", "step"]
