"""Arrays of two bytes a number, for error estimates: as many as the tensors have components, and two digits of each are enough."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
from ml_dtypes import bfloat16

_LEAST = 2.0**-126  # smaller ones have fewer than 8 bits
_LARGEST_EXPONENT = sys.float_info.max_exp - 1  # of a power of two that float64 holds


class TwoByteArray:
    """Numbers ≥ 0 as shares of a unit, rounded up; an index gives them as float64.

    Alone, the two bytes reach from 1e-38 to 3e38, and tensors go farther. The unit is a power of two, so that it adds no rounding.
    """

    def __init__(self, shares: np.ndarray, unit: float):
        self._shares, self._unit = shares, unit

    @classmethod
    def empty(cls, shape: tuple[int, ...], size: float) -> TwoByteArray:
        """An array of this shape, for numbers between about 1e-38 and 1e38 times `size`."""
        exponent = min(math.frexp(size)[1], _LARGEST_EXPONENT)
        return cls(np.empty(shape, bfloat16), 2.0**exponent if 0 < size < math.inf else 1.0)

    @property
    def size(self) -> int:
        return self._shares.size

    def floats(self) -> np.ndarray:
        """All numbers as float64."""
        return self[...]

    def __getitem__(self, index) -> np.ndarray:
        return self._shares[index].astype(float) * self._unit

    def __setitem__(self, index, values: np.ndarray) -> None:
        # Rounding to 8 bits may take off a share of 2^-8: more than that is added first.
        shares = values / self._unit * (1 + 2**-7)
        self._shares[index] = np.where(shares > 0, np.maximum(shares, _LEAST), shares)

    def copy(self) -> TwoByteArray:
        return TwoByteArray(self._shares.copy(), self._unit)

    def rearranged(self, rearrange: Callable[[np.ndarray], np.ndarray]) -> TwoByteArray:
        """The array that `rearrange` makes, which may only move and repeat numbers."""
        return TwoByteArray(rearrange(self._shares), self._unit)

    def max(self) -> float:
        return float(self._shares.max()) * self._unit
