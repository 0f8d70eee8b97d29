"""Requests that would not fit in memory are refused before any work is done; memory that is free goes back to the system."""

import ctypes

from .errors import MemoryRequestError

LIMIT = 8 * 2**30


def check_memory(need: float, what: str, instead: str) -> None:
    """MemoryRequestError, saying how much and what to ask instead, if `need` bytes exceed LIMIT."""
    if need > LIMIT:
        raise MemoryRequestError(
            f"{what} need about {need / 2**30:.0f} GiB, more than {LIMIT >> 30} GiB: ask for {instead}"
        )


def give_back() -> None:
    """Give what the C library keeps of freed arrays back to the system, if it has a way to do it, as glibc does.

    Arrays that stay, among larger ones that come and go, otherwise leave holes that add up from layer to layer.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
