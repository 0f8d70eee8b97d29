"""A progress bar on the terminal, in the form that `flow` calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from ntkflow.propagate import Progress as Report


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Show a bar on stderr, if that is a terminal, while the block runs; pass what it yields as `flow`'s `progress`."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=None)

        def report(done: int, total: int, message: str) -> None:
            progress.update(task, completed=done, total=total, description=message)

        yield report
