"""ntkflow: the statistics of the neural tangent kernel at the width you really use."""

from .activations import Activation
from .errors import (
    ActivationError,
    ComponentError,
    DataError,
    FileError,
    InteropError,
    MemoryRequestError,
    NonFiniteError,
    NtkflowError,
    ParameterError,
    SpecError,
)
from .mlp import MLP
from .propagate import flow
from .statistics import Flow, LayerStatistics

__version__ = "0.1.0"
__all__ = [
    "MLP",
    "Activation",
    "ActivationError",
    "ComponentError",
    "DataError",
    "FileError",
    "Flow",
    "InteropError",
    "LayerStatistics",
    "MemoryRequestError",
    "NonFiniteError",
    "NtkflowError",
    "ParameterError",
    "SpecError",
    "flow",
]
