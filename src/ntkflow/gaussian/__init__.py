"""The only place that integrates: Gaussian expectations of products of σ, σ' and their derivatives."""

from .expectations import Expectations, SampleSets, expectations
from .rules import COARSE, FINE, Rule

__all__ = ["COARSE", "FINE", "Expectations", "Rule", "SampleSets", "expectations"]
