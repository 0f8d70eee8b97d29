"""Which batches of sample sets there are, and how large they may be.

A component on a set of samples flows on those alone, so a batch needs nothing but its own samples: it is a flow of few inputs. Pairs come
block by block of samples, so that those of a batch are on few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..._gaussian.requests import placements
from ..._gaussian.sample_sets import pair_requests, quadruple_patterns
from ..._recursions import declarations, moments_of
from ...errors import MemoryRequestError
from ...network.mlp import MLP
from ..mean_kernels import has_tiles
from .plan import AT_LEAST

MOST_SETS = 2**13
_LEAST_SETS = 32
_BATCHES = 8  # so that there are some to resume between
_TABLES = 20  # (N, N), of `Expectations`


class Batches:
    """The batches of S sets, `size` of them in each but the last.

    Args:
        sets: (S, k), samples of distinct inputs.
        distinct: how many distinct inputs there are.

    Attributes:
        samples: how many distinct inputs a batch is computed on.
    """

    def __init__(self, sets: np.ndarray, distinct: int, size: int):
        self.size, self._sets, self._distinct = size, sets, distinct
        self.counts = [len(self.rows(number)) for number in range(-(-len(sets) // size))]
        self.samples = max(len(np.unique(self.rows(number))) for number in range(len(self.counts)))

    def rows(self, number: int) -> np.ndarray:
        """The sets of a batch."""
        return self._sets[number * self.size : (number + 1) * self.size]

    def inputs(self, number: int) -> np.ndarray:
        """The distinct inputs that a batch is computed on, ascending: as many in each batch, so that its steps are compiled once."""
        own = np.unique(self.rows(number))
        others = np.setdiff1d(np.arange(self._distinct), own)[: self.samples - len(own)]
        return np.sort(np.concatenate([own, others]))


def by_blocks(sets: np.ndarray, size: int) -> np.ndarray:
    """Pairs (S, 2) in the order of blocks of samples, such that `size` successive ones are on few."""
    block = max(1, math.isqrt(size))
    i, j = sets[:, 0], sets[:, -1]
    return sets[np.lexsort((j, i, j // block, i // block))]


def batches_for(
    mlp: MLP, sets: np.ndarray, index: np.ndarray, names: Sequence[str], memory: int, pairs: bool
) -> tuple[np.ndarray, Batches]:
    """The sets in the order in which batches take them, and the largest batches with which a flow needs at most `memory` bytes.

    Args:
        sets: (S, k), samples. index: for each the distinct input that it equals. pairs: whether `sets` may be put in another order.

    Raises:
        MemoryRequestError: there are none.
    """
    size = min(MOST_SETS, max(_LEAST_SETS, -(-len(sets) // _BATCHES)))
    while True:
        ordered = by_blocks(sets, size) if pairs else sets
        batches = Batches(index[ordered], index.max() + 1, size)
        need = batch_memory(mlp, len(index), batches, sets.shape[1], names)
        if need <= memory:
            return ordered, batches
        if size <= _LEAST_SETS:
            raise too_little(batches, need, memory)
        size = max(_LEAST_SETS, size // 2)


def batch_memory(mlp: MLP, N: int, batches: Batches, k: int, names: Sequence[str]) -> int:
    """Bytes for a batch of sets of k of N samples, and for the kernels of all samples, which come first."""
    closed, sets = min(k, 4), batches.size * math.comb(k, min(k, 4))
    moments = moments_of(names)
    kernels = 8 * N**2 * (8 * mlp.depth + (16 if has_tiles(mlp) else 128))
    tables = 2 * 8 * batches.samples**2 * (_TABLES + 2 * len(pair_requests(closed, moments)))
    packed = sum(tensor.orbits(closed)[1].shape[1] for tensor in declarations(names))
    # Both runs' tensors, the next layer's; indices, temporaries; errors.
    of_sets = sets * (
        8 * (3 * packed + 300) + 10 * packed + 8 * len(quadruple_patterns(closed)) * len(placements(moments))
    )
    chunk = 24 * batches.size * k**4
    return AT_LEAST + max(kernels, tables + of_sets + chunk)


def too_little(batches: Batches, need: int, memory: int) -> MemoryRequestError:
    return MemoryRequestError(
        f"batches of {batches.size} sets, on {batches.samples} samples, need {need / 2**20:.0f} MiB, more than the {memory / 2**20:.0f} MiB allowed"
    )
