"""Many networks: the same statistics measured, with standard errors."""

from .conditioned import OutputNTK, output_ntk
from .draws import draw_key
from .ensemble import Ensemble, LayerEstimates
from .runner import ensemble

__all__ = ["Ensemble", "LayerEstimates", "OutputNTK", "draw_key", "ensemble", "output_ntk"]
