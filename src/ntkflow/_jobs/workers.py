"""Executors with workers that suit: processes of this machine, which share its cores, and those of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager

from .._machine.cores import THREADS, cores
from ..errors import DataError
from ..finite.parameters import whole_number

_OF_LIBRARIES: tuple[str, ...] = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_MOST = 2**10
_PATIENCE = 30  # seconds until a scheduler must have answered


@contextmanager
def workers(number: int, threads: int | None = None) -> Iterator[Executor]:
    """Processes of this machine for `flow`, `store_kernels` and `ensemble` with a store.

    They share compiled programs with this process if it keeps any, and end with it, however it ends.

    Args:
        number: of processes, at least 1.
        threads: of each; by default they share this machine's cores.

    Raises:
        DataError: an argument is no such number.

    Example:
        >>> with ntkflow.workers(4) as executor:
        ...     flow = ntkflow.flow(mlp, X, store="flow.zarr", executor=executor)
    """
    number = whole_number(number, "number", 1, _MOST, DataError)
    threads = (
        max(1, cores() // number)
        if threads is None
        else whole_number(threads, "threads", 1, _MOST, DataError)
    )
    # Not forked: JAX has threads.
    pool = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _end_with_the_client)
    with pool, ExitStack() as stack:
        stack.enter_context(_environment(threads))
        for _ in range(number):  # each starts a process
            pool.submit(os.getpid)
        stack.close()
        yield pool


@contextmanager
def of_dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler, such as tcp://host:8786; DataError if it can't be reached."""
    try:
        from distributed import Client
    except ImportError as error:
        raise DataError("Dask is not installed: pip install 'ntkflow[dask]'") from error
    try:
        # Not the default of this process: where it could not be reached, it would stay so.
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"there is no Dask scheduler at {address}: {error}") from error
    with client:
        yield client.get_executor()


@contextmanager
def chosen(number: int | None, address: str | None) -> Iterator[Executor | None]:
    """The executor that a command was asked for; None for this process."""
    with ExitStack() as stack:
        if number is not None and address is not None:
            raise DataError("--workers and --dask exclude each other: a scheduler has workers of its own")
        if number is not None:
            yield stack.enter_context(workers(number))
        elif address is not None:
            yield stack.enter_context(of_dask(address))
        else:
            yield None


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """While the block runs processes are started that have so many threads, in JAX and in NumPy's libraries."""
    changed: dict[str, str] = dict.fromkeys((THREADS, *_OF_LIBRARIES), str(threads))
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _end_with_the_client() -> None:
    """Otherwise a worker waits for ever for tasks of a client that was killed."""
    client = multiprocessing.parent_process()
    assert client is not None

    def wait() -> None:
        client.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
