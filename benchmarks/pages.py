"""Writes what programs make into pages: what stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->).*?(<!-- end of figures -->)", re.DOTALL)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown, from an empty line to an empty line."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(pages: Sequence[Path], makers: Mapping[str, Callable[[], str]]) -> None:
    """Write the pages' blocks by the makers of their names; with --check, exit status 1 if a block is another, or a maker has none."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    written = {
        page: _BLOCK.sub(lambda block: block[1] + makers[block[2]]() + block[3], text)
        for page, text in texts.items()
    }
    if sys.argv[1:] == ["--check"]:
        names = {block[2] for text in texts.values() for block in _BLOCK.finditer(text)}
        sys.exit(written != texts or names != makers.keys())
    for page, text in written.items():
        page.write_text(text, encoding="utf-8")
