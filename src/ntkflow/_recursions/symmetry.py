"""Which components of a tensor are equal, THEORY section 3: of each orbit one is kept, "packed" as (orbits, S).

Generators are permutations of axes whose exchange leaves the tensor as it is.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

Generators = tuple[tuple[int, ...], ...]


@functools.cache
def orbits(generators: Generators, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(orbit of each component, an array of `k`s; one component of each orbit, (axes, orbits))."""
    number = np.full((k,) * len(generators[0]), -1)
    members = []
    for component in itertools.product(range(k), repeat=number.ndim):
        if number[component] >= 0:
            continue
        waiting = [component]
        while waiting:
            member = waiting.pop()
            number[member] = len(members)
            images = (tuple(member[axis] for axis in generator) for generator in generators)
            waiting += [image for image in images if number[image] < 0]
        members.append(component)
    return number, np.array(members).T


def largest_on_same_samples(generators: Generators, packed: np.ndarray, k: int) -> np.ndarray:
    """For each packed component the largest absolute value among those on the same samples or fewer: (orbits, S).

    The recursion takes no others into it.
    """
    absolute, out = np.abs(packed), np.empty_like(packed)
    for on_all, within in orbits_by_samples(generators, k).values():
        out[on_all] = absolute[within].max(axis=0)
    return out


@functools.cache
def orbits_by_samples(generators: Generators, k: int) -> dict[frozenset[int], tuple[np.ndarray, np.ndarray]]:
    """For each set of slots that a component may stand on: masks of the orbits on all of these, and of those on these alone."""
    samples = [frozenset(component) for component in orbits(generators, k)[1].T.tolist()]
    return {
        slots: (np.array([s == slots for s in samples]), np.array([s <= slots for s in samples]))
        for slots in sorted(set(samples), key=sorted)
    }
