"""Libraries that only some users need: what to install where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MissingExtraError


@contextmanager
def needs(extra: str, purpose: str) -> Iterator[None]:
    """Imports within the block are those of an extra of ours; MissingExtraError says how to install it."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the extra {extra!r}: pip install 'ntkflow[{extra}]' ({error})"
        ) from error
