"""The infinite-width mean alone: G and H of every layer, at any number of samples."""

from .files import open_kernels
from .flow import block_of, has_tiles, mean_flow
from .store import store_kernels as write_kernels
from .traced import kernels

__all__ = ["block_of", "has_tiles", "kernels", "mean_flow", "open_kernels", "write_kernels"]
