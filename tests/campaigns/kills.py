"""Whether jobs end in the same numbers whatever dies: 100 random kills (-9) of Dask's workers and of clients, over flows by tiles and by batches, kernels and ensembles.

A job runs on two workers. At a random moment a worker or the client is killed; Dask's nanny starts another worker, and another client
goes on. At the end the store must be, bit for bit, that of one process. What a process was writing when it was killed stays beside the
chunk as a file of its own, which nothing reads: these are counted, and are no fault.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ntkflow
from ntkflow._recursions import flowing
from ntkflow._theory.tiles.plan import working_set

PARTS = 10
KILLS = 10  # of a part
_OF_CLIENTS = 0.5
_MET = 1 / 3
"""Of the kills, at least, some but not all tasks must have been done."""
_UNFINISHED = "*.partial"
_X = np.random.default_rng(0).normal(size=(2000, 4))
_MLP = ntkflow.MLP((4, 16, 16, 2), "relu", 0.1, 1.5)
_CLIENT = """
import sys, kills
from distributed import Client
name, path, address, resume = sys.argv[1:]
with Client(address) as client:
    kills.JOBS[name](path, executor=client.get_executor(), resume=resume == "resume")
"""


def flow(path, **options) -> Any:
    """35 tiles of 8 samples."""
    return ntkflow.flow(
        _MLP,
        _X[:8],
        store=path,
        memory=working_set(_MLP.depth, 8, flowing(training=False, kinked=False), 2),
        **options,
    )


def pairs(path, **options) -> Any:
    """8 batches of the pairs of 60 samples."""
    return ntkflow.flow(_MLP, _X[:60], "pairs", store=path, **options)


def kernels(path, **options) -> Any:
    """36 squares of 2000 samples."""
    return ntkflow.store_kernels(_MLP, _X, path, tile=250, **options)


def ensemble(path, **options) -> Any:
    """100 blocks of draws."""
    return ntkflow.ensemble(_MLP, _X[:4], 2000, block=20, store=path, **options)


JOBS: dict[str, Callable[..., Any]] = {"flow": flow, "pairs": pairs, "kernels": kernels, "ensemble": ensemble}
_TASKS = {
    "flow": ("largest", 35),
    "pairs": ("largest", 8),
    "kernels": ("of_tiles", 36),
    "ensemble": ("sums", 100),
}


def part(number: int, kills: int = KILLS) -> dict:
    """Some kills, each of a job that starts anew; or that goes on, where the job was done too soon."""
    from distributed import Client, LocalCluster

    rng = np.random.default_rng(number)
    found = {"kills": 0, "clients": 0, "met": 0, "unfinished_files": 0, "faults": []}
    with tempfile.TemporaryDirectory() as folder:
        wholes = {name: _chunks(_made(job, Path(folder, f"{name}.zarr"))) for name, job in JOBS.items()}
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            for kill in range(kills):
                name = tuple(JOBS)[(number + kill) % len(JOBS)]
                path = Path(folder, "job.zarr")
                _disturbed(name, path, client, client.scheduler_info()["address"], rng, found)
                found["unfinished_files"] += len(list(path.rglob(_UNFINISHED)))
                others = _differences(_chunks(path), wholes[name])
                if others:
                    found["faults"].append(
                        f"kill {kill} of part {number}, {name}: {', '.join(others)} differ"
                    )
                shutil.rmtree(path)
    return found


def total(parts: list[dict]) -> dict:
    """The parts together."""
    counts = {
        key: sum(part[key] for part in parts) for key in ("kills", "clients", "met", "unfinished_files")
    }
    return counts | {"faults": list(itertools.chain.from_iterable(part["faults"] for part in parts))}


def holds(found: dict) -> bool:
    """Whether what was found of all parts, or of some, is as it must be."""
    return not found["faults"] and found["met"] >= _MET * found["kills"]


def _disturbed(
    name: str, path: Path, client: Any, address: str, rng: np.random.Generator, found: dict
) -> None:
    """A job during which something is killed, gone on with until it is done."""
    running = _client(name, path, address, "new")
    while running.poll() is None and not _done(path, name):
        time.sleep(0.01)
    time.sleep(rng.exponential(0.3))
    of_client = rng.random() < _OF_CLIENTS
    victim = running.pid if of_client else int(rng.choice(list(client.run(os.getpid).values())))
    if running.poll() is None:
        os.kill(victim, signal.SIGKILL)
    found["kills"] += 1
    found["clients"] += of_client
    found["met"] += 0 < _done(path, name) < _TASKS[name][1]
    status = running.wait()
    for _ in range(3):
        if status == 0:
            return
        if not of_client:
            found["faults"].append(f"{name}: the client ended with {status} when a worker was killed")
        status = _client(name, path, address, "resume" if path.exists() else "new").wait()
    found["faults"].append(f"{name}: the job can't be gone on with")


def _client(name: str, path: Path, address: str, resume: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", _CLIENT, name, str(path), address, resume], env=environment
    )


def _made(job: Callable[..., Any], path: Path) -> Path:
    job(path)
    return path


def _done(path: Path, name: str) -> int:
    return len(list((path / _TASKS[name][0] / "c").glob("*")))


def _chunks(path: Path) -> dict[str, bytes]:
    """Every chunk of every array, byte by byte."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and "c" in file.relative_to(path).parts and not file.match(_UNFINISHED)
    }


def _differences(chunks: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    """The names of chunks that differ, are missing, or are too many."""
    return sorted(name for name in chunks.keys() | whole.keys() if chunks.get(name) != whole.get(name))
