"""What is printed of a table or another result."""

import io

from rich.console import Console


def text(table, width: int = 80) -> str:
    """As a terminal of `width` columns shows it."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()
