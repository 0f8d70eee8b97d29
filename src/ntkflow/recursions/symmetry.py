"""Which components of a tensor are equal, THEORY section 3: of each orbit one is kept, "packed" as (orbits, S)."""

from __future__ import annotations

import functools
import itertools

import numpy as np

SYMMETRIES = {
    "G1": ((1, 0),),
    "H1": ((1, 0),),
    "V": ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)),
    "D": ((1, 0, 2, 3), (0, 1, 3, 2)),
    "F": ((2, 3, 0, 1),),
    "A": ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)),
    "B": ((1, 0, 3, 2), (2, 3, 0, 1)),
}
"""Generators: the axes whose exchange leaves the tensor as it is."""


@functools.cache
def orbits(name: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(orbit of each component, an array of `k`s; one component of each orbit, (axes, orbits))."""
    generators = SYMMETRIES[name]
    number = np.full((k,) * len(generators[0]), -1)
    members = []
    for component in itertools.product(range(k), repeat=number.ndim):
        if number[component] >= 0:
            continue
        todo = [component]
        while todo:
            one = todo.pop()
            number[one] = len(members)
            todo += [m for g in generators if number[m := tuple(one[axis] for axis in g)] < 0]
        members.append(component)
    return number, np.array(members).T


def pack(name: str, tensor):
    """(orbits, S) from (k, …, k, S)."""
    return tensor[tuple(orbits(name, len(tensor))[1])]


def unpack(name: str, packed, k: int):
    """(k, …, k, S) from (orbits, S)."""
    return packed[orbits(name, k)[0]]


def largest_on_own_samples(name: str, packed: np.ndarray, k: int) -> np.ndarray:
    """For each packed component the largest absolute value among those on the same samples or fewer: (orbits, S).

    These are all that flow into it.
    """
    absolute, out = np.abs(packed), np.empty_like(packed)
    for own, within in orbits_by_samples(name, k).values():
        out[own] = absolute[within].max(axis=0)
    return out


@functools.cache
def orbits_by_samples(name: str, k: int) -> dict[frozenset[int], tuple[np.ndarray, np.ndarray]]:
    """For each set of slots that a component may stand on: masks of the orbits on all of these, and of those on these alone."""
    samples = [frozenset(component) for component in orbits(name, k)[1].T.tolist()]
    return {
        held: (np.array([s == held for s in samples]), np.array([s <= held for s in samples]))
        for held in sorted(set(samples), key=sorted)
    }
