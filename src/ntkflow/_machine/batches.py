"""Work in batches of one size, for which a program is compiled once."""

from collections.abc import Iterator

import numpy as np


def batches(count: int, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of `count` items, at most `size` each, and `size` indices for each slice: the last index is repeated to fill up the last slice."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count)), np.minimum(np.arange(start, start + size), count - 1)
