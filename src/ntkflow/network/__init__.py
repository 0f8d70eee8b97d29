"""Networks: what they are made of, and any library's model as one."""

from .blocks import Block, Stage
from .dense import Dense
from .lift import as_mlp, as_network, is_network, read_initialisation
from .mlp import MLP
from .network import Network

__all__ = [
    "MLP",
    "Block",
    "Dense",
    "Network",
    "Stage",
    "as_mlp",
    "as_network",
    "is_network",
    "read_initialisation",
]
