"""Which distinct integrals the slots of sample sets need."""

from __future__ import annotations

import functools
import itertools

import numpy as np


class Quadruples:
    """Four samples each, (M, 4); those of one or two distinct samples by the slots that the first one fills."""

    def __init__(self, samples: np.ndarray):
        self.samples = samples

    @functools.cached_property
    def on_two(self) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """(code, rows, first, other) for each pattern: bit i of the code says that slot i is `first`, else it is `other`."""
        rows = np.flatnonzero(~self._on_more)
        code, first, other = (
            x[rows] for x in (self._is_first @ (2 ** np.arange(4)), self._first, self._other)
        )
        found = []
        for one in np.unique(code):
            mine = np.flatnonzero(code == one)
            found.append((int(one), rows[mine], first[mine], other[mine]))
        return found

    @functools.cached_property
    def on_more(self) -> np.ndarray:
        """Rows of three or four distinct samples."""
        return np.flatnonzero(self._on_more)

    @property
    def _first(self) -> np.ndarray:
        return self.samples[:, 0]

    @property
    def _is_first(self) -> np.ndarray:
        return self.samples == self.samples[:, :1]

    @property
    def _other(self) -> np.ndarray:
        """The first sample that differs; where none does, the same again."""
        return np.take_along_axis(self.samples, np.argmin(self._is_first, axis=1)[:, None], axis=1)[:, 0]

    @property
    def _on_more(self) -> np.ndarray:
        return np.any(~self._is_first & (self.samples != self._other[:, None]), axis=1)


class SampleSets:
    """Sample sets (S, k), and for each of their k⁴ slots the distinct integral that serves it."""

    def __init__(self, sets: np.ndarray, samples: int):
        self.sets = np.asarray(sets)
        self.samples = samples
        k = self.sets.shape[1]
        slots = self.sets[:, np.array(list(itertools.product(range(k), repeat=4)))]
        halves = np.concatenate([np.sort(slots[..., :2]), np.sort(slots[..., 2:])], axis=-1)
        same, same_inverse = self._unique(np.sort(slots))
        mixed, mixed_inverse = self._unique(halves)
        self.requests = {
            "ssss": (same, same_inverse),
            "ssdd": (mixed, mixed_inverse),
            "dddd": (same, same_inverse),
        }

    def _unique(self, quadruples: np.ndarray) -> tuple[Quadruples, np.ndarray]:
        key = quadruples @ (self.samples ** np.arange(4, dtype=np.int64))
        _, first, inverse = np.unique(key.ravel(), return_index=True, return_inverse=True)
        k = self.sets.shape[1]
        return Quadruples(quadruples.reshape(-1, 4)[first]), inverse.reshape(len(self.sets), k, k, k, k)

    def pairs(self, table: np.ndarray) -> np.ndarray:
        """An (…, N, N) table restricted to each set: (S, …, k, k)."""
        return np.moveaxis(table[..., self.sets[:, :, None], self.sets[:, None, :]], -3, 0)
