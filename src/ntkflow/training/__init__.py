"""The trained ensemble: mean and covariance over seeds of the outputs of networks that gradient descent has trained."""

from .clock import Clock
from .finite_width import FiniteWidthPrediction, FiniteWidthTrained, Source
from .prediction import Prediction
from .stored import StoredTrained, trained_from_store
from .trained import Trained, trained

__all__ = [
    "Clock",
    "FiniteWidthPrediction",
    "FiniteWidthTrained",
    "Prediction",
    "Source",
    "StoredTrained",
    "Trained",
    "trained",
    "trained_from_store",
]
