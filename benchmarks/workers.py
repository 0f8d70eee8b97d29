"""Flows by tiles, kernels and ensembles by workers: one and two of one thread each, against one process that has both cores.

    python benchmarks/workers.py [ROUNDS]

Every executor does each job once before, so that its processes have compiled; the client makes the store, which is part of the time. The
shortest of some rounds, turn by turn. Results are kept in `results`, with the load of the machine's other work.
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
from ntkflow._theory.tiles.plan import working_set

ROUNDS = 3
INPUTS = np.random.default_rng(0).normal(size=(3000, 64))
DEEP = ntkflow.MLP((64, 128, 128, 128, 10), "relu", C_W=2.0)


def flow(path: Path, executor: Executor | None) -> Any:
    """35 tiles of 16 samples."""
    return ntkflow.flow(
        DEEP, INPUTS[:16], store=path, memory=working_set(DEEP.depth, 16, 4), executor=executor
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


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    times: dict[str, dict[str, list[float]]] = {name: {} for name in JOBS}
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
                    start = time.perf_counter()
                    job(folder / "job.zarr", executor)
                    times[name].setdefault(label, []).append(time.perf_counter() - start)
                    shutil.rmtree(folder / "job.zarr")
            print(f"round {number} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
    cases = {}
    for name, of_executors in times.items():
        seconds = {label: min(rounds[1:]) for label, rounds in of_executors.items()}
        one, two, process = seconds.values()
        cases[name] = {"seconds": seconds, "two_by_one": one / two, "two_by_process": process / two}
        print(
            f"{name:10}{one:8.2f} s{two:8.2f} s{process:8.2f} s   two workers {one / two:.2f} x one, {process / two:.2f} x the process"
        )
    load = {"load": os.getloadavg()[1]}
    records.save("workers", {name: case | load for name, case in cases.items()})


if __name__ == "__main__":
    main()
