"""Requests that would not fit in memory are refused before any work is done."""

from .errors import MemoryRequestError

LIMIT = 8 * 2**30


def check_memory(need: float, what: str, instead: str) -> None:
    """MemoryRequestError, saying how much and what to ask instead, if `need` bytes exceed LIMIT."""
    if need > LIMIT:
        raise MemoryRequestError(
            f"{what} need about {need / 2**30:.0f} GiB, more than {LIMIT >> 30} GiB: ask for {instead}"
        )
