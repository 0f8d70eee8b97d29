"""Which tiles there are, and how large they may be.

Samples are cut into blocks of b. A tile is an ascending choice of four blocks I ≤ J ≤ K ≤ L; it holds the closed sets with one
sample from each, and so every component whose samples lie in these blocks in any order: whole chunks b⁴ of the tensors, which no
other tile touches.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..._gaussian.quadruples import series_memory
from ..._gaussian.requests import placements
from ..._recursions import declarations, moments_of
from ...errors import MemoryRequestError

Tile = tuple[int, ...]
AT_LEAST = 192 * 2**20  # of compiled steps and of integrals, some at a time
_SERIES_COUNTED = 2**27  # of them
_BLOCKS = 3  # so that there are some tiles to resume between


@dataclass(frozen=True)
class Plan:
    """The tiles of N samples in blocks of `block`."""

    N: int
    block: int

    @property
    def blocks(self) -> list[range]:
        return [range(i, min(i + self.block, self.N)) for i in range(0, self.N, self.block)]

    @property
    def tiles(self) -> list[Tile]:
        return list(itertools.combinations_with_replacement(range(len(self.blocks)), 4))

    def sets(self, blocks: Tile) -> tuple[np.ndarray, list[int]]:
        """Every set of samples with one from each of `blocks`, (S, k), and the block of each of the k.

        A block that comes m times gives m distinct samples, or all that it has: k may be less than the number of blocks.
        """
        samples_of = self.blocks
        times = [(block, min(m, len(samples_of[block]))) for block, m in sorted(Counter(blocks).items())]
        choices = [list(itertools.combinations(samples_of[block], m)) for block, m in times]
        rows = [list(itertools.chain.from_iterable(row)) for row in itertools.product(*choices)]
        return np.array(rows), [block for block, m in times for _ in range(m)]

    def count(self, blocks: Tile) -> int:
        """How many sets `sets` gives."""
        samples_of = self.blocks
        return math.prod(
            math.comb(len(samples_of[block]), min(m, len(samples_of[block])))
            for block, m in Counter(blocks).items()
        )

    @property
    def largest(self) -> int:
        """The most sets in a tile."""
        return max(map(self.count, self.tiles))


def working_set(depth: int, N: int, names: Sequence[str], block: int) -> int:
    """Bytes for tiles of these tensors made of blocks of `block` samples, and for kernels and expectations on pairs, of all layers and both runs."""
    asked = placements(moments_of(names))
    kernels = 2 * (depth - 1) * (64 * 8 * N**2 + 2**14 * N)
    sets, triples = block**4, 3 * block**3
    integral = 8 * len(asked)
    integrals = integral * (sets + 4 * triples) + 4 * triples * 2 * (depth - 1) * (integral + 8)
    packed = sum(tensor.orbits(4)[1].shape[1] for tensor in declarations(names))
    # Both runs' tensors, the next layer's; indices, temporaries; errors.
    per_set = 8 * (3 * packed + 300) + 10 * packed
    series = max(0, series_memory(min(4 * block, N), asked) - _SERIES_COUNTED)
    return AT_LEAST + kernels + per_set * sets + integrals + series


def block_for(depth: int, N: int, names: Sequence[str], memory: int) -> int:
    """The largest block of samples with which a flow needs at most `memory` bytes; MemoryRequestError if there is none."""
    for block in range(min(N, max(4, -(-N // _BLOCKS))), 0, -1):
        if working_set(depth, N, names, block) <= memory:
            return -(-N // -(-N // block))  # blocks of about one size
    raise too_little(depth, N, names, 1, memory)


def too_little(depth: int, N: int, names: Sequence[str], block: int, memory: int) -> MemoryRequestError:
    need = working_set(depth, N, names, block)
    return MemoryRequestError(
        f"tiles of blocks of {block} of {N} samples need {need / 2**20:.0f} MiB, more than the {memory / 2**20:.0f} MiB allowed"
    )
