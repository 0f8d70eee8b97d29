"""What a report is made of: sections of sentences, tables and pictures. All text is plain; the template escapes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from .pictures import Picture


@dataclass(frozen=True)
class Verdict:
    """A judgement at the head of a section; `mood` is "good", "bad" or "" for neither."""

    heading: str
    sentences: Sequence[str] = ()
    mood: str = ""


@dataclass(frozen=True)
class Table:
    """A table of text, (rows, headings); `folded` ones are shown when they are asked for, and in print."""

    title: str
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """One result, or a part of one, under a heading."""

    title: str
    verdict: Verdict | None = None
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = field(default_factory=tuple)
    tables: Sequence[Table] = field(default_factory=tuple)


def of_terminal(table: RichTable, title: str) -> Table:
    """A table made for the terminal, under another title."""
    from rich.text import Text

    def plain(cell: object) -> str:
        return Text.from_markup(str(cell)).plain

    columns = [[plain(cell) for cell in column.cells] for column in table.columns]
    headings = [plain(column.header) for column in table.columns]
    return Table(title, plain(table.caption or ""), headings, list(zip(*columns, strict=True)))
