"""Flows to a store: the job is made, or taken up again, and its tasks are done here or by workers."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from ..._disk.kinds import kind_of
from ..._disk.store import exists_to_resume
from ..._jobs.tasks import Order, activations_of, at_work
from ..._recursions import TENSORS
from ..._report.progress import Report, silent
from ...errors import DataError, WorkerError
from ...finite.parameters import whole_number
from ...network.mlp import MLP
from ..dimensions import specification
from ..result import Flow
from .batch_job import BatchJob
from .job import FlowJob
from .store import BatchStore
from .tile_job import TileJob


def stored_flow(
    mlp: MLP, X: np.ndarray, components: Any, names: tuple[str, ...], rtol: float, store, memory: int, resume: bool, report: Report,
    executor: Executor | None, part: tuple[int, int] | None,
) -> tuple[Flow, list[str]]:  # fmt: skip
    """`flow` with a store, for checked inputs and the tensors of these names: the Flow, and the tensors whose errors are poor."""
    path, memory = Path(store), whole_number(memory, "memory", 1, 2**63 - 1, DataError)
    job = _job(components)(mlp, X, components, names, rtol, memory, report)
    exists = exists_to_resume(job.STORE, path, resume or part is not None)
    with (
        np.errstate(all="ignore"),
        at_work(job.STORE, path, exists, part, lambda: job.create(path)) as opened,
    ):
        job.open(opened)
        order = Order(ready, path.resolve(), (activations_of(mlp), memory))
        job.work(order, executor, part)
        opened.check_finished()
        poor = job.poor()
    callables = activations_of(mlp)
    return Flow.load(path, None if callables is None else list(callables)), poor


def ready(path: Path, activations: tuple | None, memory: int) -> FlowJob:
    """For a worker: the job of a store."""
    kind = BatchJob if kind_of(path) == BatchStore.KEY else TileJob
    store = kind.STORE(path)
    names = tuple(store.header["tensors"])
    if not set(names) <= set(TENSORS):
        raise WorkerError(
            f"{path} is of the tensors {', '.join(names)}; declared in this worker are {', '.join(TENSORS)}"
        )
    of = specification(store.header, activations)
    job = kind(of.mlp, store.X, of.components, names, store.header["rtol"], memory, silent)
    job.open(store)
    return job


def _job(components: Any) -> type[FlowJob]:
    return TileJob if isinstance(components, str) and components == "all" else BatchJob
