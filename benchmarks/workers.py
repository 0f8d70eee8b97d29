"""Flows by tiles, kernels and ensembles by workers: one and two of one thread each, against one process that has both cores.

    python benchmarks/workers.py [ROUNDS]

Every executor does each job once before, so that its processes have compiled; the client makes the store, which is part of the time. The
shortest of some rounds, turn by turn. Seconds of processor, of workers and client, tell what a second worker costs also where other programs
take some of the cores: twice their ratio is how many times faster two workers are on two cores of their own, at most. Results are kept in
`results`, with the load of the machine.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import records

import ntkflow
from ntkflow._recursions import flowing
from ntkflow._theory.tiles.plan import working_set

ROUNDS = 3
INPUTS = np.random.default_rng(0).normal(size=(3000, 64))
DEEP = ntkflow.MLP((64, 128, 128, 128, 10), "relu", C_W=2.0)


def flow(path: Path, executor: Executor | None) -> Any:
    """15 tiles of 12 samples."""
    return ntkflow.flow(
        DEEP,
        INPUTS[:12],
        store=path,
        memory=working_set(DEEP.depth, 12, flowing(training=False, kinked=False), 4),
        executor=executor,
    )


def kernels(path: Path, executor: Executor | None) -> Any:
    """21 squares of 3000 samples, the last layer."""
    return ntkflow.store_kernels(DEEP, INPUTS, path, tile=512, layers="last", executor=executor)


def ensemble(path: Path, executor: Executor | None) -> Any:
    """40 blocks of 10 networks."""
    return ntkflow.ensemble(DEEP, INPUTS[:6], 400, block=10, store=path, executor=executor)


JOBS: dict[str, Callable[[Path, Executor | None], Any]] = {
    job.__name__: job for job in (flow, kernels, ensemble)
}


def _processor(_: int) -> tuple[int, float]:
    time.sleep(0.02)  # so that each worker takes some of these
    return os.getpid(), time.process_time()


def processor(executor: Executor | None) -> float:
    """Seconds of processor that workers and client have used."""
    of_workers = {} if executor is None else dict(executor.map(_processor, range(16)))
    return time.process_time() + sum(of_workers.values())


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    times: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in JOBS}
    with ExitStack() as stack:
        executors: dict[str, Executor | None] = {
            "one worker of one thread": stack.enter_context(ntkflow.workers(1, threads=1)),
            "two workers of one thread": stack.enter_context(ntkflow.workers(2, threads=1)),
            "one process": None,
        }
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number in range(1 + rounds):  # the first compiles
            for name, job in JOBS.items():
                for label, executor in executors.items():
                    used, start = processor(executor), time.perf_counter()
                    job(folder / "job.zarr", executor)
                    wall = time.perf_counter() - start
                    times[name].setdefault(label, []).append((wall, processor(executor) - used))
                    shutil.rmtree(folder / "job.zarr")
            print(f"round {number} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
    cases = {}
    for name, of_executors in times.items():
        walls, cpus = (
            {label: min(row[which] for row in rows[1:]) for label, rows in of_executors.items()}
            for which in (0, 1)
        )
        (one, two, process), (cpu_one, cpu_two, _) = walls.values(), cpus.values()
        cases[name] = {
            "seconds": walls, "processor_seconds": cpus, "two_by_one": one / two, "two_by_process": process / two,
            "two_by_one_on_cores_of_their_own": 2 * cpu_one / cpu_two, "load": os.getloadavg()[1],
        }  # fmt: skip
        print(
            f"{name:10}{one:8.2f} s{two:8.2f} s{process:8.2f} s   two workers {one / two:.2f} x one, {process / two:.2f} x the process; "
            f"by their processors' time {2 * cpu_one / cpu_two:.2f} x one"
        )
    records.save("workers", cases)


if __name__ == "__main__":
    main()
