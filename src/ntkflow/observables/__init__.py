"""Any observable of a random network, and the joint distribution of preactivations and NTK."""

from .action import QuarticAction
from .entries import NTK, ZZ, Z
from .expansion import Expanded
from .first_step import FirstStep, predict_first_step
from .interlayer import Interlayer, interlayer
from .joint import JointDistribution, Validity, joint

__all__ = [
    "NTK",
    "ZZ",
    "Expanded",
    "FirstStep",
    "Interlayer",
    "JointDistribution",
    "QuarticAction",
    "Validity",
    "Z",
    "interlayer",
    "joint",
    "predict_first_step",
]
