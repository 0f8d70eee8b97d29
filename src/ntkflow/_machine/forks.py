"""JAX works with threads, which a fork leaves behind: what waits for them in the child waits for ever."""

from __future__ import annotations

import os

from ..errors import ForkError

_used_in: int | None = None  # the process in which JAX was first used


def refuse_forks() -> None:
    """ForkError in a process that was forked from one in which ntkflow was at work; to be called before JAX is."""
    global _used_in
    if _used_in is None:
        _used_in = os.getpid()
    elif _used_in != os.getpid():
        raise ForkError(
            "this process was forked from one that has used ntkflow, and JAX, whose threads a fork doesn't copy, would wait in it for ever: "
            'start workers by "spawn", as in DataLoader(…, multiprocessing_context="spawn") or multiprocessing.get_context("spawn")'
        )
