"""The round-off that cancellation between nearly parallel samples leaves in a tensor, where σ has a kink.

There J's, Q's and K's diverge as powers of the inverse of the sine between two samples, and in sums over them what diverges cancels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .._gaussian.kinks import ROUNDOFF

LOSS = 8
"""In units of which the functions below count, over the sine: an upper bound of what was seen."""
_OF_MOMENTS = 1 / 2048  # of eps / sine², an upper bound of what was seen
_OF_SECOND = 1 / 64  # likewise
_MERGED = 0.25 / math.sqrt(ROUNDOFF)


class Nearness(NamedTuple):
    """Of the samples of packed components, (orbits, S).

    Attributes:
        largest: the largest inverse sine between two of them, in this layer or one below.
        contracted: the same in those layers where tensors do not vanish.
        several: whether there are more than two samples, (orbits, 1).
        first_pair, second_pair: `contracted` of the samples of the first two axes, and of the last two.
    """

    largest: np.ndarray
    contracted: np.ndarray
    several: np.ndarray
    first_pair: np.ndarray
    second_pair: np.ndarray


def once(near: Nearness) -> np.ndarray:
    """One inverse sine."""
    return near.largest


def cubed(near: Nearness) -> np.ndarray:
    """A tensor contracted with third powers of it."""
    return np.maximum(near.largest, near.contracted**3)


def where_merged(near: Nearness) -> np.ndarray:
    """Nothing cancels, but by rounding two samples may be one in this layer that are two in the layer below.

    Moments on more than two samples are exact but for round-off over the sine.
    """
    merged = np.where(near.contracted >= _MERGED, near.contracted, 0.0)
    return np.maximum(merged, np.where(near.several, near.largest / LOSS, 0.0))


def of_moments(near: Nearness) -> np.ndarray:
    """What V lacks for moments on several samples, contracted with J's, which are as large as the sine's inverse."""
    return np.maximum(near.largest, np.where(near.several, _OF_MOMENTS * near.largest * near.contracted, 0.0))


def of_second_derivatives(near: Nearness) -> np.ndarray:
    """Moments with σ'' on more than two samples: near a kink the signs of two of them depend on their small difference."""
    return np.maximum(near.largest, np.where(near.several, _OF_SECOND * near.largest**2, 0.0))


def of_moments_twice(near: Nearness) -> np.ndarray:
    """The same, and V contracted with the J's of two pairs."""
    return np.maximum(of_moments(near), near.first_pair * near.second_pair)
