"""Which moments are asked for: "ssdd" is ⟨σ1 σ2 σ'3 σ'4⟩, with s, d, e, f for σ and its first three derivatives.

Words have two letters, one a sample, or four. Samples may coincide.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

LETTERS = "sdef"

Factors = tuple[int, ...]
"""A product of derivatives of σ on one sample: (0, 0, 1) is σ σ σ'."""

Placement = tuple[int, ...]
"""The order of σ's derivative in each of four slots: (0, 0, 1, 1) is σ1 σ2 σ'3 σ'4."""
Placements = tuple[Placement, ...]
"""With each placement all its permutations, as `placements` gives them."""


def orders_of(word: str) -> Factors:
    """(0, 0, 1, 1) for "ssdd"; ValueError if it is no such word."""
    if len(word) not in (2, 4) or not set(word) <= set(LETTERS):
        raise ValueError(f"a moment has two or four letters out of {LETTERS}, not {word!r}")
    return tuple(LETTERS.index(letter) for letter in word)


@functools.cache
def placements(words: tuple[str, ...]) -> Placements:
    """All ways to put the letters of the words of four on four slots: the columns of moments (M, placements)."""
    orders = (orders_of(word) for word in words if len(word) == 4)
    return tuple(sorted({placement for factors in orders for placement in itertools.permutations(factors)}))


class Halves(NamedTuple):
    """Placements as products of two pairs: placement m is that of the products `first[m]` and `second[m]` out of `products`."""

    products: tuple[Placement, ...]
    first: np.ndarray
    second: np.ndarray


@functools.cache
def halves(asked: Placements) -> Halves:
    """The products of σ's derivatives on the first two slots, or on the last two."""
    products = sorted({placement[side] for placement in asked for side in (slice(2), slice(2, 4))})
    first, second = (
        np.array([products.index(placement[side]) for placement in asked]) for side in (slice(2), slice(2, 4))
    )
    return Halves(tuple(products), first, second)


def multiplied(products: tuple[Placement, ...], first, second):
    """σ^(p)(z1) σ^(q)(z2) for each (p, q), from all derivatives of σ at z1 and at z2, orders first."""
    p, q = np.array(products).T
    return first[p] * second[q]


@functools.cache
def reordered(asked: Placements, order: tuple[int, ...]) -> np.ndarray:
    """Where each placement stands among those of the slots taken in another order: (placements,)."""
    return np.array([asked.index(tuple(placement[slot] for slot in order)) for placement in asked])


def highest(asked: Placements) -> int:
    """The highest order of a derivative."""
    return max(itertools.chain.from_iterable(asked), default=0)
