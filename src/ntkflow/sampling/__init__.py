"""Many networks: the same statistics measured, with standard errors."""

from .draws import draw_key
from .ensemble import Ensemble, LayerEstimates
from .runner import ensemble

__all__ = ["Ensemble", "LayerEstimates", "draw_key", "ensemble"]
