"""Which components were asked for, the closed sets of at most four samples that give them, and how to read them back.

A component on samples {α…} flows on those samples alone (THEORY section 4), so the unit of work is a set of at most four distinct
samples. A request for sets of more samples is one for all their subsets of four.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._checks.spelling import did_you_mean
from .._recursions import TENSORS, flowing
from ..errors import ActivationError, ComponentError
from ..network.network import corrects_means, has_blocks
from .deferred import Deferred
from .two_byte import TwoByteArray


def sample_sets(components: str | Sequence[Sequence[int]], N: int) -> np.ndarray | None:
    """The sets (S, k) of sample indices that `components` asks for; None for the means alone; or ComponentError."""
    if isinstance(components, str):
        if components == "mean":
            return None
        if components == "all":
            return np.arange(N)[None]
        if components == "pairs":
            return np.stack(np.triu_indices(N, 1), axis=1) if N > 1 else np.zeros((1, 1), int)
        raise ComponentError(
            f'components must be "all", "pairs", "mean" or a list of sample sets, not {components!r}'
            + did_you_mean(components, ("all", "pairs", "mean"))
        )
    try:
        rows = [list(s) for s in components]
    except TypeError as error:
        raise ComponentError(f"components must be a list of sample sets, not {components!r}") from error
    if not rows or not all(rows):
        raise ComponentError("components: a list of sample sets needs at least one set, and no empty one")
    for sample in itertools.chain.from_iterable(rows):
        if isinstance(sample, bool) or not isinstance(sample, int | np.integer) or not 0 <= sample < N:
            raise ComponentError(f"components: {sample!r} is not a sample index; allowed are 0 … {N - 1}")
    size = max(map(len, rows))
    # A smaller set is filled up with its first sample: coinciding slots are exact.
    return np.array([row + row[:1] * (size - len(row)) for row in rows])


def places_of_pairs(pairs: np.ndarray) -> np.ndarray:
    """Where each of "pairs", in the order of `sample_sets`, stands in `pairs` (S, 2): (S,)."""
    return np.lexsort((pairs[:, -1], pairs[:, 0]))


_OF_BLOCKS = ("G1", "H1", "V", "D", "F", "A", "B", "K", "L", "M")


def tensors_of(network: Any, training: bool) -> tuple[str, ...]:
    """The names of the tensors that flow through a network.

    Raises:
        ActivationError: those of training can't be integrated.
        ComponentError: they are asked for in a network of blocks.
    """
    if has_blocks(network):
        if training:
            raise ComponentError(
                "the tensors of training are those of dense layers: behind a skip one layer's tensors do not determine the next one's, and "
                "behind norms their equations are not known"
            )
        return (
            _OF_BLOCKS
            if corrects_means(network)
            else tuple(name for name in _OF_BLOCKS if TENSORS[name].rank > 2)
        )
    for a in network.activation:
        if training and a.kinked and not a.slopes:
            raise ActivationError(
                f"activation {a.name} has a kink: the tensors of training are computed for smooth and for piecewise-linear activations"
            )
    return flowing(training, any(a.kinked for a in network.activation))


class Layout:
    """Between the sets (S, k) that were asked for, over inputs that may be equal, and the closed sets that are computed.

    Attributes:
        asked: (S, k), indices of inputs.
        closed: (n, C), ascending indices of distinct inputs, n ≤ 4; each set once.
    """

    def __init__(self, asked: np.ndarray, index: np.ndarray, whole: bool = False):
        """`index` (N,): for each input the distinct one that it equals. `whole`: whether tensors of the one set have no axis of sets."""
        self.asked, self._index, self._whole = asked, index, whole
        size = asked.shape[1]
        self._choices = np.array(list(itertools.combinations(range(size), min(size, 4))))
        samples = np.sort(index[asked[:, self._choices]].reshape(-1, self._choices.shape[1]))
        samples = _distinct(samples, index.max() + 1)
        key = samples @ ((index.max() + 1) ** np.arange(samples.shape[1], dtype=np.int64))
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        self.closed = np.ascontiguousarray(samples[first].T)
        self._rows = inverse.reshape(len(asked), len(self._choices))
        self._sources: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def expanded_size(self, name: str) -> int:
        """How many numbers `expand` makes."""
        rank = TENSORS[name].rank
        return len(self._index) ** 2 if rank == 2 else len(self.asked) * self.asked.shape[1] ** rank

    def expand(self, name: str, packed: np.ndarray) -> np.ndarray:
        """A packed tensor (orbits, C) as (S, k, …, k), or (k, …, k) if `whole`; G1, H1 as (N, N), NaN where not held."""
        if TENSORS[name].rank == 2:
            N = len(self._index)
            out = np.full((N, N), np.nan, packed.dtype)
            for slots in itertools.product(range(self._choices.shape[1]), repeat=2):
                samples = (self.asked[:, self._choices[:, slot]] for slot in slots)
                out[tuple(samples)] = self.entries(name, packed, slots)
            return out
        out = self.on_sets(name, packed)
        return out[0] if self._whole else out

    def on_sets(self, name: str, packed: np.ndarray) -> np.ndarray:
        """A packed tensor (orbits, C) as (S, k, …, k), G1 and H1 too."""
        slots, row = self._source(TENSORS[name].rank)
        number = TENSORS[name].orbits(len(self.closed))[0]
        return packed[number.ravel()[slots], row]

    def at(self, name: str, packed: np.ndarray | TwoByteArray, index: tuple) -> np.ndarray:
        """`expand(name, packed)[index]` of a tensor of more than two samples; no other entries are made."""
        slots, row = (source[0] if self._whole else source for source in self._source(TENSORS[name].rank))
        number = TENSORS[name].orbits(len(self.closed))[0]
        return packed[number.ravel()[slots[index]], row[index]]

    def expanded_rank(self, name: str) -> int:
        """How many axes `expand` makes."""
        rank = TENSORS[name].rank
        return rank if rank == 2 or self._whole else rank + 1

    def entries(self, name: str, packed: np.ndarray, slots: tuple[int, ...]) -> np.ndarray:
        """The components of a packed tensor on these slots of each choice of samples: (S, choices)."""
        number = TENSORS[name].orbits(len(self.closed))[0]
        return packed[number[tuple(self._positions[slot] for slot in slots)], self._rows]

    def _source(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Where components on so many slots are found, (S, k, …, k): a component of a closed set, as one number, and which set."""
        if rank in self._sources:
            return self._sources[rank]
        S, k = self.asked.shape
        component, row = np.empty((S,) + (k,) * rank, np.uint8), np.empty((S,) + (k,) * rank, np.int32)
        for slots in itertools.product(range(self._choices.shape[1]), repeat=rank):
            place = (slice(None), *(self._choices[:, slot] for slot in slots))
            code: int | np.ndarray = 0
            for slot in slots:
                code = code * len(self.closed) + self._positions[slot]
            component[place], row[place] = code, self._rows
        self._sources[rank] = component, row
        return component, row

    @functools.cached_property
    def _positions(self) -> list:
        """Where in its closed set the sample of each slot of a choice stands: (S, choices), or one number if it is everywhere the same."""
        positions = []
        for slot in range(self._choices.shape[1]):
            samples = self._index[self.asked[:, self._choices[:, slot]]]
            position = np.argmax(self.closed[:, self._rows] == samples, axis=0)
            first = position.flat[0]
            positions.append(int(first) if np.all(position == first) else position)
        return positions


class PackedTensor(Deferred):
    """A tensor, (orbits, C), that is expanded when it is called; entries of it are made for more than two samples alone."""

    def __init__(self, layout: Layout, name: str, packed: np.ndarray | TwoByteArray):
        self._layout, self._name, self._packed = layout, name, packed

    def __call__(self) -> np.ndarray:
        if isinstance(self._packed, TwoByteArray):
            return self.rearranged().floats()
        return self._layout.expand(self._name, self._packed)

    def rearranged(self) -> TwoByteArray:
        """It expanded, in two bytes a number, if it is packed so."""
        assert isinstance(self._packed, TwoByteArray)
        return self._packed.rearranged(functools.partial(self._layout.expand, self._name))

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self._layout.at(self._name, self._packed, index)

    def of_all_sets(self, index: tuple) -> np.ndarray:
        return self[(slice(None), *index)]

    @property
    def rank(self) -> int:
        return self._layout.expanded_rank(self._name)


def _distinct(samples: np.ndarray, count: int) -> np.ndarray:
    """Rows of distinct samples, ascending, from ascending rows: other samples take the place of repeated ones.

    `count`: samples are 0 … count - 1.
    """
    width = samples.shape[1]
    distinct = np.ones(samples.shape, bool)
    distinct[:, 1:] = samples[:, 1:] != samples[:, :-1]
    if distinct.all():
        return samples
    size = distinct.sum(axis=1).max()
    others = np.broadcast_to(np.arange(min(count, 2 * width)), (len(samples), min(count, 2 * width)))
    free = ~np.any(others[:, :, None] == samples[:, None, :], axis=2)
    free &= np.cumsum(free, axis=1) <= size - distinct.sum(axis=1, keepdims=True)
    filled = np.concatenate([np.where(distinct, samples, count), np.where(free, others, count)], axis=1)
    return np.sort(filled)[:, :size]
