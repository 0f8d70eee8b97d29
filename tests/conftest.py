"""Compiling takes most of the tests' time: programs are kept for all workers, subprocesses and later runs."""

import time
from pathlib import Path

from ntkflow._machine.program_cache import keep_programs, programs_folder

# Before JAX is imported, which reads the variables. Tests pass without too: JAX_ENABLE_COMPILATION_CACHE=0 make test
keep_programs("test-programs", most=-1)

import jax
import numpy as np
import pytest

_MAPS = Path("/proc/self/maps")
_MOST = 30_000  # Linux allows 65,530
_UNUSED_FOR = 14 * 24 * 3600  # seconds


def pytest_sessionstart(session):
    """Drop programs that no test has used for two weeks; one process does it for all workers."""
    if not hasattr(session.config, "workerinput"):
        for path in programs_folder("test-programs").glob("*-cache"):
            if path.stat().st_atime < time.time() - _UNUSED_FOR:
                path.unlink(missing_ok=True)


@pytest.fixture
def rng(request):
    """A test's own random generator: the same in whatever order and on whatever worker it runs."""
    return np.random.default_rng(list(request.node.nodeid.encode()))


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """A process may map only so many pieces of memory, and every compiled program takes some: old ones are let go of."""
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST:
        jax.clear_caches()
