"""Who works on a store: one run alone, or any number of runs that each do a part of it; and which worker does which task.

A lock is held until it is released or its process ends, however it ends. The files are in the store's folder, so that it holds wherever
the file system shares locks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from .atomic import acquired

if TYPE_CHECKING:
    from filelock import FileLock

OF_RECORDS = "records"
_MOMENT = 20.0  # seconds, in which parts let go of what they hold for a moment only


def of_run(path: Path) -> FileLock:
    """The lock of a run that does all that is not done; FileError if another one, or a part of one, is at work."""
    lock = _run_lock(path)
    try:
        for file in sorted((path / OF_RECORDS).glob(".part-*.lock")):
            acquired(file, path).release()
    except BaseException:
        lock.release()
        raise
    return lock


@contextmanager
def of_part(path: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold one of a store's parts; FileError if that part, or a run that does all, is at work.

    Each of the two takes its own lock before it looks at the other's, so that one at least is refused.
    """
    file = path / OF_RECORDS / ".part-{}-of-{}.lock".format(*part)
    lock = acquired(file, path)
    try:
        with for_a_moment(path):
            pass
        yield
    finally:
        lock.release()
        with suppress(OSError):
            file.unlink(missing_ok=True)


@contextmanager
def for_a_moment(path: Path) -> Iterator[None]:
    """What a run that does all holds, to change what all parts share."""
    lock = _run_lock(path, _MOMENT)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def of_task(path: Path, number: int) -> Iterator[None]:
    """Hold a task, after whoever is at it: a worker that is taken for lost may be, for a task that is given to another one."""
    file = path / OF_RECORDS / f".task-{number}.lock"
    lock = acquired(file, path, -1)
    try:
        yield
    except BaseException:
        lock.release()
        raise
    lock.release()
    with suppress(OSError):  # who waited for it finds the task done, whichever file of that name is held
        file.unlink(missing_ok=True)


def checked_part(part: tuple[int, int] | None) -> tuple[int, int] | None:
    """(k, n), part k = 1 … n of n; DataError for anything else."""
    if part is None:
        return None
    try:
        number, of = part
        if isinstance(number, int) and isinstance(of, int) and 1 <= number <= of:
            return number, of
    except (TypeError, ValueError):
        pass
    raise DataError(f"part must be (k, n), the k-th of n parts, k = 1 … n, not {part!r}")


def _run_lock(path: Path, wait: float = 0.0) -> FileLock:
    return acquired(path / OF_RECORDS / ".lock", path, wait)
