"""Moments of σ's and σ''s on four slots, indexed by the order of the derivative on each."""

import itertools

EVERY = tuple(itertools.product((0, 1), repeat=4))
WORDS = ("dddd", "ssdd", "ssss")


def by_order(moments):
    """(…, 2, 2, 2, 2) from those of `EVERY`, (…, 16)."""
    return moments.reshape(*moments.shape[:-1], 2, 2, 2, 2)
