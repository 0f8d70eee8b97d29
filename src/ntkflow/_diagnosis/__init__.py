"""Whether a network will train on given inputs, and why not: measured from the theory, said in words."""

from .diagnose import Diagnosis, diagnose
from .measurements import Measurements

__all__ = ["Diagnosis", "Measurements", "diagnose"]
