"""Integrals of tiles: those on three samples are shared by many tiles, and kept while there is room."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from ..._gaussian import Integrals
from ..._gaussian.requests import Placements
from .plan import Plan, Tile

_AT_ONCE = 4096


class SharedIntegrals:
    """The integrals of one step of one run, of which those on three samples are kept by the three blocks that they come from.

    Each such group is computed at once: what a tile holds does not depend on the tiles before it.
    """

    def __init__(self, integrals: Integrals, plan: Plan, room: int):
        """`room`: for how many groups; 0 where samples of a block may coincide with those of others."""
        self._integrals, self._plan, self._room = integrals, plan, room
        self._group = functools.lru_cache(maxsize=max(room, 1))(self._made)

    def for_tile(self, tile: Tile, fill: int) -> TileIntegrals:
        """The integrals as a tile asks for them, filled up to `fill` of them, so that a step is compiled once."""
        return TileIntegrals(self, tile, fill)

    def on(self, tile: Tile, samples: np.ndarray, asked: Placements) -> np.ndarray:
        """⟨Π_i σ^(p_i)(z_i)⟩ on each of M ascending quadruples (M, 4) of a tile: (M, placements)."""
        triple = np.any(samples[:, 1:] == samples[:, :-1], axis=1)
        if not self._room or not triple.any():
            return self._computed(samples, asked)
        out = np.empty((len(samples), len(asked)))
        out[~triple] = self._computed(samples[~triple], asked)
        groups = [self._group(three, asked) for three in sorted(set(itertools.combinations(tile, 3)))]
        keys = np.concatenate([keys for keys, _ in groups])
        values = np.concatenate([values for _, values in groups])
        order = np.argsort(keys)
        out[triple] = values[order[np.searchsorted(keys, self._key(samples[triple]), sorter=order)]]
        return out

    def _made(self, blocks: Tile, asked: Placements) -> tuple[np.ndarray, np.ndarray]:
        sets = self._plan.sets(blocks)[0]
        if sets.shape[1] < 3:
            sets = np.empty((0, 3), int)
        samples = np.concatenate([np.insert(sets, i, sets[:, i], axis=1) for i in range(3)])
        return self._key(samples), self._computed(samples, asked)

    def _key(self, samples: np.ndarray) -> np.ndarray:
        return samples @ (self._plan.N ** np.arange(4, dtype=np.int64))

    def _computed(self, samples: np.ndarray, asked: Placements) -> np.ndarray:
        parts = [samples[i : i + _AT_ONCE] for i in range(0, len(samples), _AT_ONCE)]
        moments = (self._integrals.moments(part, asked) for part in parts)
        return np.concatenate([np.empty((0, len(asked))), *moments])


@dataclass(frozen=True)
class TileIntegrals:
    """See `SharedIntegrals.for_tile`."""

    shared: SharedIntegrals
    tile: Tile
    fill: int

    def moments(self, quadruples: np.ndarray, asked: Placements) -> np.ndarray:
        return filled(self.shared.on(self.tile, quadruples, asked), self.fill)


def filled(moments: np.ndarray, length: int) -> np.ndarray:
    """Moments (M, placements) and rows of zeros up to this length."""
    out = np.zeros((max(len(moments), length), moments.shape[1]))
    out[: len(moments)] = moments
    return out
