"""Reading one result while the next is computed."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(results: Iterable[T]) -> Iterator[T]:
    """The same, each after the one that follows it was asked for: JAX computes that one while the caller reads this one."""
    waiting: list[T] = []
    for result in results:
        waiting.append(result)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting
