"""Reading one result while the next is computed."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(results: Iterable[T]) -> Iterator[T]:
    """The same results, each yielded after the next was requested: JAX computes the next while the caller reads this one."""
    pending: list[T] = []
    for result in results:
        pending.append(result)
        if len(pending) > 1:
            yield pending.pop(0)
    yield from pending
