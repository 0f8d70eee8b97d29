"""The only place that integrates: Gaussian expectations of products of σ, σ' and their derivatives."""

from .expectations import Expectations, Rule, SampleSets, expectations

__all__ = ["Expectations", "Rule", "SampleSets", "expectations"]
