"""Any observable of a random network, and the joint distribution of preactivations and NTK."""

from .action import QuarticAction
from .entries import NTK, ZZ, Z
from .expansion import Expanded
from .joint import JointDistribution, Validity, joint

__all__ = ["NTK", "ZZ", "Expanded", "JointDistribution", "QuarticAction", "Validity", "Z", "joint"]
