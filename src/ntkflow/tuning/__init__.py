"""Hyperparameters from the theory: critical initialisation, learning rates, width and depth."""

from .criticality import Criticality, critical
from .exponents import Exponents
from .recipe import Recipe
from .single_input import SingleInput, largest_variance, single_input
from .spread import depth_for, width_for
from .transfer import Transfer, learning_rate_transfer
from .tune import tune

__all__ = [
    "Criticality",
    "Exponents",
    "Recipe",
    "SingleInput",
    "Transfer",
    "critical",
    "depth_for",
    "largest_variance",
    "learning_rate_transfer",
    "single_input",
    "tune",
    "width_for",
]
