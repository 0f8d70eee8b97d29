"""Work in batches of one size, for which a program is compiled once, and a batch on each core."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
import numpy as np

from .cores import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches(count: int, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of `count` items, at most `size` each, and `size` indices for each slice: the last index is repeated to fill up the last slice."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count)), np.minimum(np.arange(start, start + size), count - 1)


def on_all_cores(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`work` of each item, with 64-bit numbers, in the order of the items. The compiled programs are sequential: as many run at a time as there are cores."""

    def in_64_bits(item: Item) -> Result:
        # JAX's setting belongs to the thread.
        with jax.enable_x64(True):
            return work(item)

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(in_64_bits, items))
