"""The infinite-width mean alone: G and H of every layer, at any number of samples."""

from .flow import block_of, has_tiles, mean_flow

__all__ = ["block_of", "has_tiles", "mean_flow"]
