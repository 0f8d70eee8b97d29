"""A file that is replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """The path of a file of its own beside `path`, in whose place it is put at the end; FileError if one of them can't be written."""
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or 'the disk may be full'}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
