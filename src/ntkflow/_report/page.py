"""What reports of one page share: their lines, their table, the inputs that they are of, and how they are shown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

_WIDTH = 96


class Page:
    """A result whose `repr` is its report, in notebooks too."""

    def report(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.report()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.report())}</pre>"


def wrapped(paragraph: str) -> list[str]:
    """A paragraph's lines."""
    return textwrap.wrap(paragraph, _WIDTH, subsequent_indent="  ")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines, columns flush right."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)) for row in rows]


def inputs(count: int, samples: int) -> str:
    """How many inputs there were, and how many of them were looked at."""
    if samples < count:
        return f"a random {samples} of {count} inputs"
    return "one input" if count == 1 else f"{count} inputs"
