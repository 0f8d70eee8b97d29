"""Compiled programs, kept on disk between processes by JAX's own cache: compiling takes most of a first call's time."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_cache_path

_MOST = 2**29  # bytes; JAX then drops what was not used for longest


def keep_programs(prefix: str = "programs", most: int = _MOST) -> None:
    """Make this process, and the processes that it starts, keep compiled programs in the user's cache folder.

    Call it before JAX is imported. JAX's own environment variables take precedence. Nothing is kept if the folder can't be written.

    Args:
        prefix: what the folder's name begins with.
        most: bytes; -1 for any number, which saves JAX looking through the folder whenever it adds a program.
    """
    folder = programs_folder(prefix)
    try:
        # Programs are trusted: no other user may write them.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_COMPILATION_CACHE_MAX_SIZE": most,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
    }.items():
        os.environ.setdefault(name, str(value))


def programs_folder(prefix: str = "programs") -> Path:
    """For programs of this JAX on this kind of processor: a home may be shared by machines, and programs are not."""
    kind = hashlib.sha256("\n".join([platform.machine(), *_processor()]).encode()).hexdigest()[:12]
    return user_cache_path("ntkflow") / f"{prefix}-jax{version('jaxlib')}-{kind}"


def _processor() -> list[str]:
    """Lines that differ between kinds of processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return [platform.processor()]
    return sorted(
        {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    )
