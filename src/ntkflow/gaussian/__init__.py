"""The only place that integrates: Gaussian expectations of products of σ, σ' and their derivatives."""

from .expectations import Expectations, expectations
from .rules import COARSE, FINE, Rule
from .sample_sets import OnSets, SampleSets

__all__ = ["COARSE", "FINE", "Expectations", "OnSets", "Rule", "SampleSets", "expectations"]
