"""Hyperparameters from the theory: critical initialisation, learning rates, width and depth."""

from .criticality import Criticality, critical
from .depth_powers import DepthPowers, depth_powers
from .exponents import Exponents
from .recipe import Recipe
from .single_input import SingleInput, largest_variance, single_input
from .spread import depth_for, width_for
from .sweep import Sweep, sweep
from .transfer import Transfer, learning_rate_transfer
from .tune import tune

__all__ = [
    "Criticality",
    "DepthPowers",
    "Exponents",
    "Recipe",
    "SingleInput",
    "Sweep",
    "Transfer",
    "critical",
    "depth_for",
    "depth_powers",
    "largest_variance",
    "learning_rate_transfer",
    "single_input",
    "sweep",
    "tune",
    "width_for",
]
