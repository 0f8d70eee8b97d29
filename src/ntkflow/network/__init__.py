"""Networks: what they are made of, and any library's model as one."""

from .lift import as_mlp, read_initialisation
from .mlp import MLP

__all__ = ["MLP", "as_mlp", "read_initialisation"]
