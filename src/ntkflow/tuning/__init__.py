"""Hyperparameters from the theory: critical initialisation, and what it is made of, averages of one input."""

from .criticality import Criticality, critical
from .exponents import Exponents
from .single_input import SingleInput, largest_variance, single_input

__all__ = ["Criticality", "Exponents", "SingleInput", "critical", "largest_variance", "single_input"]
