"""Many processes of one run, on one host or many: their numbers, and how they keep in step without exchanging results."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from ..errors import DataError, FileError


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Become one of many processes; before anything else is asked of JAX.

    Args:
        coordinator: "host:port" of process 0; by default all three arguments come from the scheduler, SLURM for one.

    Raises:
        DataError: the processes don't find each other, or no scheduler is known.
    """
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        raise DataError(f"the processes of this run don't find each other: {error}") from error


def first_process() -> bool:
    """Whether this is process 0, the one that prints."""
    return jax.process_index() == 0


def agreed(action: Callable[[], tuple]) -> tuple:
    """Let process 0 act first, then the others. If one fails, all do: otherwise they would wait for it for ever."""
    if jax.process_count() == 1:
        return action()
    result, error = (), None
    for turn in (True, False):
        if first_process() is turn and error is None:
            try:
                result = action()
            except Exception as reason:  # noqa: BLE001 it is raised below, on every process
                error = reason
        failed = multihost_utils.process_allgather(np.array(error is not None)).any()
        if failed:
            raise error or FileError("another process of this run could not open the store")
    return result


def wait_for_all() -> None:
    """Wait until every process has called this."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("ntkflow")
