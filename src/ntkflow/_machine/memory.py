"""Requests that would not fit in memory are refused before any work is done; memory that is free goes back to the system."""

import ctypes
import math

import numpy as np

from ..errors import MemoryRequestError

LIMIT = 8 * 2**30
_ALIGNED = 64  # bytes, as XLA wants them


def check_memory(need: float, what: str, instead: str) -> None:
    """MemoryRequestError, saying how much and what to ask instead, if `need` bytes exceed LIMIT."""
    if need > LIMIT:
        raise MemoryRequestError(
            f"{what} need about {need / 2**30:.0f} GiB, more than {LIMIT >> 30} GiB: ask for {instead}"
        )


def give_back() -> None:
    """Return the memory of freed arrays from the C library to the system, where the C library can, as glibc does.

    Otherwise small arrays that stay, between large ones that are freed, leave holes that add up from layer to layer.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)


def aligned_empty(shape: tuple[int, ...]) -> np.ndarray:
    """Like `np.empty(shape)`, and aligned so that `jax.device_put` takes it on a CPU without a copy."""
    size = 8 * math.prod(shape)
    buffer = np.empty(size + _ALIGNED, np.uint8)
    start = -buffer.ctypes.data % _ALIGNED
    return buffer[start : start + size].view(np.float64).reshape(shape)
