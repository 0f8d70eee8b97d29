"""The only place that integrates: Gaussian expectations of products of σ, σ' and their derivatives."""

from .expectations import Expectations, Integrals, expectations, integrals, on_pairs
from .rules import COARSE, FINE, Rule
from .sample_sets import OnSets, SampleSets

__all__ = [
    "COARSE", "FINE", "Expectations", "Integrals", "OnSets", "Rule", "SampleSets", "expectations", "integrals", "on_pairs",
]  # fmt: skip
