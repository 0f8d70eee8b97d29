"""A process may map only so many pieces of memory, and every compiled program takes some: old ones are let go of."""

from pathlib import Path

import jax
import pytest

_MAPS = Path("/proc/self/maps")
_MOST = 30_000  # Linux allows 65,530


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST:
        jax.clear_caches()
