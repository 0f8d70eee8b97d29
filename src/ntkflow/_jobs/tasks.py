"""Tasks, each of which leaves one record in a store: done here, or by the workers of any executor.

A worker needs a job's store and a task's number: it opens the store, makes itself ready for the job once, computes, and writes what it
has computed. So little is sent, workers and client share a folder, and a task's record is the same whoever does it.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from .._disk import locks
from .._disk.store import Store
from .._machine.cores import THREADS, cores
from .._machine.forks import refuse_forks
from ..errors import DataError, FileError, InUseError, NtkflowError, WorkerError
from ..version import __version__

if TYPE_CHECKING:
    from ..network.mlp import MLP

_PATIENCE = 60.0  # seconds, that a folder which machines share may take to show what another one wrote
_LOOK = 5.0  # seconds between two looks at whether there are workers
_LOST = (
    "the workers died, or were killed, perhaps because memory was full: what is done is kept in {path}; "
    "go on with it by --resume, in Python resume=True ({cause})"
)
_MANY = 2**14  # tasks that are sent at once
_alone = threading.Lock()
S = TypeVar("S", bound=Store)


class Work(Protocol):
    """A job, made ready in one process; its tasks are numbered from 0."""

    @property
    def path(self) -> Path:
        """The store's."""
        ...

    def is_done(self, number: int, /) -> bool: ...

    def do(self, number: int, /) -> Any:
        """Compute a task and write its record."""
        ...


@dataclass(frozen=True)
class Order:
    """What a worker is sent besides a number: `ready(path, *settings)` is its Work. One order is one run of a job."""

    ready: Callable[..., Work] = field(compare=False)
    path: Path = field(compare=False)
    settings: tuple = field(compare=False, default=())
    threads: int | None = field(compare=False, default=None)
    client: tuple[str, int] = field(compare=False, default_factory=lambda: _this_process())
    version: str = field(compare=False, default=__version__)
    run: str = field(default_factory=lambda: uuid.uuid4().hex)


def done(
    work: Work, order: Order, numbers: Iterable[int], executor: Executor | None, in_order: bool = False
) -> Generator[tuple[int, Any]]:
    """Do tasks, and yield each one's number as soon as it is done, with what `work.do` returned if this process did it.

    Args:
        work: the job, ready in this process.
        order: the same for workers.
        numbers: the tasks, begun in this order. Where the iteration is stopped, no more of them are begun.
        executor: whose workers do them; None for this process.
        in_order: whether they are looked at in order, and perhaps only the first ones: workers then take no task that is more than twice
            their number behind the first one that is not done.

    Raises:
        WorkerError: the workers died; what is done is kept. And whatever a task raises.
    """
    if executor is None:
        for number in numbers:
            yield number, _do(work, number)
        return
    order = _with_threads(order, executor)
    at_once = _workers(executor) if in_order else _MANY
    ended: SimpleQueue[Future] = SimpleQueue()
    watch = _Watch(executor)
    under_way: dict[Future, tuple[int, int]] = {}
    rest, sent = iter(numbers), 0
    try:
        while True:
            room = at_once - len(under_way)
            if in_order and under_way:
                first, _ = min(under_way.values())
                room = min(room, first + 2 * at_once - sent)
            for number in itertools.islice(rest, max(0, room)):
                with _failures(order):
                    future = executor.submit(_task, order, number)
                under_way[future] = sent, number
                sent += 1
                future.add_done_callback(ended.put)
            if not under_way:
                return
            future = watch.next_of(ended, order)
            _, number = under_way.pop(future)
            with _failures(order):
                future.result()
            _wait_until_seen(work, number)
            yield number, None
    finally:
        for future in under_way:
            future.cancel()


def share(tasks: int, part: tuple[int, int] | None) -> range:
    """The tasks of part (k, n), the k-th of n: every n-th one; all without a part."""
    return range(tasks) if part is None else range(part[0] - 1, tasks, part[1])


@contextmanager
def at_work(
    kind: type[S], path: Path, exists: bool, part: tuple[int, int] | None, make: Callable[[], S]
) -> Iterator[S]:
    """A job's store, the one that exists or a new one, held by this run; or by this part of a run, of which the first one makes it."""
    with ExitStack() as stack:
        if part is None:
            store = kind(path) if exists else make()
            stack.callback(store.lock().release)
        else:
            store = _of_the_first(kind, path, make)
            stack.enter_context(locks.of_part(path, part))
        yield store


def checked_executor(executor: Executor | None, part: tuple[int, int] | None, store: Any) -> None:
    """DataError unless they go together."""
    if executor is not None and not isinstance(executor, Executor):
        raise DataError(
            f"executor must be a concurrent.futures.Executor, such as distributed.Client(…).get_executor(), not {executor!r}"
        )
    locks.checked_part(part)
    if store is None and (executor is not None or part is not None):
        raise DataError(
            "an executor, or a part, needs a store: that is where its tasks leave what they compute"
        )


def activations_of(mlp: MLP) -> tuple | None:
    """What a worker can't read from a store: the activations, if one of them is a callable."""
    return None if all(a.registered for a in mlp.activation) else mlp.activation


def _of_the_first(kind: type[S], path: Path, make: Callable[[], S]) -> S:
    """The store at a path, whichever of several processes makes it."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return kind(path) if path.exists() else make()
        except FileError as error:
            # Another one on this machine is at it, or one on another machine was first.
            if not (isinstance(error, InUseError) or path.exists()) or time.monotonic() > until:
                raise
            if path.exists():
                return kind(path)
            time.sleep(0.1)


def _do(work: Work, number: int) -> Any:
    with locks.of_task(work.path, number), np.errstate(all="ignore"):
        return None if work.is_done(number) else work.do(number)


def _task(order: Order, number: int) -> None:
    """A task as a worker does it, one at a time in each process: that one takes all the threads that the process has."""
    if order.client != _this_process():
        _prepare(order)
    with _alone:
        _do(_ready(order), number)


def _prepare(order: Order) -> None:
    refuse_forks()
    if order.version != __version__:
        raise WorkerError(
            f"the worker on {socket.gethostname()} has ntkflow {__version__}, and not {order.version} as the client"
        )
    threads = _of_dask() or order.threads
    if threads is not None:
        os.environ.setdefault(THREADS, str(threads))  # before JAX is first used


@functools.lru_cache(maxsize=2)
def _ready(order: Order) -> Work:
    if not order.path.exists():
        raise WorkerError(
            f"{order.path} is not there for the worker on {socket.gethostname()}: workers and client must share its folder"
        )
    return order.ready(order.path, *order.settings)


def _of_dask() -> int | None:
    """The threads that this worker of Dask has; None if it is none."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker  # pyright: ignore[reportMissingImports]

    try:
        return get_worker().state.nthreads
    except ValueError:
        return None


def _with_threads(order: Order, executor: Executor) -> Order:
    """An order that shares this machine's cores among the processes of a pool."""
    if not isinstance(executor, ProcessPoolExecutor):
        return order
    _check_sendable(order)
    return replace(order, threads=max(1, cores() // _workers(executor)))


def _check_sendable(order: Order) -> None:
    try:
        pickle.dumps(order)
    except Exception as error:
        raise DataError(
            f"the network's activations can't be sent to other processes ({error}): use functions of a module, or Dask's executor"
        ) from error


def _workers(executor: Executor) -> int:
    """How many workers an executor has now; 1 if it doesn't say."""
    number = getattr(executor, "_max_workers", None)
    return number if isinstance(number, int) else _threads_in_dask(executor) or 1


def _threads_in_dask(executor: Executor) -> int | None:
    """How many threads the workers of Dask have now; None for another executor."""
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)
    return None if threads is None else sum(threads().values())


class _Watch:
    """Whether there still are workers: Dask waits for others for ever when all have left.

    A cluster that has had none yet, as one whose jobs still queue, is waited for.
    """

    def __init__(self, executor: Executor):
        self._executor = executor
        self._last_seen: float | None = None

    def next_of(self, ended: SimpleQueue[Future], order: Order) -> Future:
        """The next future that ends; WorkerError where all workers have left, and none has come for a while."""
        while True:
            try:
                future = ended.get(timeout=_LOOK)
            except Empty:
                if self._sees_workers():
                    self._last_seen = time.monotonic()
                elif self._last_seen is not None and time.monotonic() - self._last_seen > _PATIENCE:
                    raise WorkerError(_LOST.format(path=order.path, cause="none is left")) from None
            else:
                self._last_seen = time.monotonic()  # a worker did it, or left it just now
                return future

    def _sees_workers(self) -> bool:
        try:
            return _threads_in_dask(self._executor) != 0
        except (OSError, AttributeError):  # the scheduler is gone: its futures are cancelled
            return False


@contextmanager
def _failures(order: Order) -> Iterator[None]:
    """WorkerError in the place of what executors raise when their workers are gone."""
    try:
        yield
    except NtkflowError:
        raise
    except Exception as error:
        lost = isinstance(error, BrokenExecutor | CancelledError) or type(error).__name__ == "KilledWorker"
        if lost:
            raise WorkerError(_LOST.format(path=order.path, cause=type(error).__name__)) from error
        if isinstance(error, ImportError | AttributeError):
            raise WorkerError(f"a worker can't do what it is sent: {error}") from error
        raise


def _wait_until_seen(work: Work, number: int) -> None:
    """Where machines share a folder, one may see what another one wrote some seconds later."""
    until = time.monotonic() + _PATIENCE
    while not work.is_done(number):
        if time.monotonic() > until:
            raise FileError(f"{work.path}: a worker did task {number}, and what it wrote can't be seen here")
        time.sleep(0.1)


def _this_process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()
