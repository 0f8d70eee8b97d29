"""Progress on stderr, where someone looks: on a terminal or in a notebook, and only for what takes longer than two seconds."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[int, int, str], None]
P = ParamSpec("P")
R = TypeVar("R")

_PATIENCE = 2.0  # seconds
_shown = threading.local()


def silent(done: int, total: int, message: str) -> None:
    """The report that says nothing."""


def shows_progress(function: Callable[P, R]) -> Callable[P, R]:
    """A function with an argument `progress`, which is called as progress(done, total, message): without it a bar is shown."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def shown(*args: P.args, **kwargs: P.kwargs) -> R:
        if getattr(_shown, "active", False):
            return function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        with progress_bar() if bound.arguments.get("progress") is None else _alone() as report:
            if report is not None:
                bound.arguments["progress"] = report
            return function(*bound.args, **bound.kwargs)

    return shown


def shows_bar(doing: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: while the function runs, which reports nothing, a bar tells what it is doing."""

    def with_bar(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def shown(*args: P.args, **kwargs: P.kwargs) -> R:
            with progress_bar(doing):
                return function(*args, **kwargs)

        return shown

    return with_bar


@contextmanager
def progress_bar(doing: str = "compiling") -> Iterator[Report]:
    """While the block runs show what is reported, if stderr is a terminal or a notebook; no second bar within the block.

    Until the first report the bar says what `doing` says.
    """
    if getattr(_shown, "active", False):
        yield silent
        return
    from rich.console import Console

    console = Console(stderr=True)
    with _alone():
        if console.is_terminal or console.is_jupyter:
            with _late_bar(console, doing) as report:
                yield report
        else:
            yield silent


@contextmanager
def _alone() -> Iterator[None]:
    """Within the block no bar is shown for what the block calls."""
    _shown.active, was_active = True, getattr(_shown, "active", False)
    try:
        yield
    finally:
        _shown.active = was_active


@contextmanager
def _late_bar(console: Console, doing: str) -> Iterator[Report]:
    """A bar that appears after a while, also during a compilation, which reports nothing."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip
    task = bar.add_task(doing, total=None)
    timer = threading.Timer(_PATIENCE, bar.start)
    timer.daemon = True
    timer.start()

    def report(done: int, total: int, message: str) -> None:
        bar.update(task, completed=done, total=total, description=message)

    try:
        yield report
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
