"""Writes what programs make into pages: what stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->).*?(<!-- end of figures -->)", re.DOTALL)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown, from an empty line to an empty line."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(page: Path, makers: Mapping[str, Callable[[], str]]) -> None:
    """Write the page's blocks by the makers of their names; with --check, exit status 1 if they are others."""
    text = page.read_text(encoding="utf-8")
    written = _BLOCK.sub(lambda block: block[1] + makers[block[2]]() + block[3], text)
    if sys.argv[1:] == ["--check"]:
        sys.exit(written != text)
    page.write_text(written, encoding="utf-8")
