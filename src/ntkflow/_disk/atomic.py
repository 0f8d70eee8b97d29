"""Files and folders that take their place whole or not at all, one writer at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileError, InUseError

# Imported where it is needed, as all that takes long.
if TYPE_CHECKING:
    from filelock import FileLock

_STEM = 100  # characters: a name may be as long as the system allows, and a temporary one is longer


@contextmanager
def replaced(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """A path beside `path` for a new file or folder, which takes its place at the end.

    If `path` is a link, what it leads to is replaced.

    Raises:
        FileError: it can't be written, another writer is at it, or it exists and `overwrite` is not set.
    """
    try:
        target = path.resolve()
        with _only_writer(target):
            temporary = beside(target)
            try:
                yield temporary
                if not overwrite and os.path.lexists(target):
                    raise FileError(f"{path} exists already")
                _put(temporary, target)
            finally:
                removed(temporary)
    except OSError as error:
        raise not_written(path, error) from error


def beside(path: Path) -> Path:
    """A hidden path in the same folder, with the same suffix, that nothing else has."""
    return path.with_name(f".{path.stem[:_STEM]}.{uuid.uuid4().hex[:16]}{path.suffix}")


def removed(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return


def acquired(file: Path, path: Path, wait: float = 0.0) -> FileLock:
    """The lock of a file, held until it is released or the process ends, however it ends.

    Raises:
        InUseError: naming `path`, if another has it and doesn't let go of it for `wait` seconds, without end if they are negative.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file)
    try:
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise InUseError(f"{path} is in use by another run") from error
    except OSError as error:
        raise not_written(path, error) from error
    return lock


def not_written(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot write {path}: {error.strerror or error}")


@contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    """Hold the lock of a path. Its file is in the system's folder for temporary files: beside `target` it would stay there for ever."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir(), f"ntkflow-locks-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = acquired(folder / hashlib.sha256(os.fsencode(target)).hexdigest(), target)
    try:
        yield
    finally:
        lock.release()


def _put(temporary: Path, target: Path) -> None:
    if not (temporary.is_dir() and target.exists()):
        temporary.replace(target)
        return
    # No system call that all systems have puts a folder in the place of one that is not empty.
    old = beside(target)
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    removed(old)
