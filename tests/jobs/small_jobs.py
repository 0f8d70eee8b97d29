"""One small job of each kind, of several tasks each, and what is on disk after it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ntkflow
from ntkflow._recursions import flowing
from ntkflow._theory.tiles.plan import working_set

X = np.random.default_rng(8).normal(size=(520, 4))
MLP = ntkflow.MLP((4, 8, 6, 2), "relu", 0.1, 1.5)


def flow(path, **options):
    """Fifteen tiles of six samples."""
    return ntkflow.flow(
        MLP,
        X[:6],
        store=path,
        memory=working_set(MLP.depth, 6, flowing(training=False, kinked=True), 2),
        **options,
    )


def pairs(path, **options):
    """Three batches of pairs of 12 samples."""
    return ntkflow.flow(MLP, X[:12], "pairs", store=path, **options)


def kernels(path, **options):
    """Six squares of 520 samples."""
    return ntkflow.store_kernels(MLP, X, path, tile=174, **options)


def ensemble(path, **options):
    """Seven blocks of draws, the last one shorter."""
    return ntkflow.ensemble(MLP, X[:3], 65, seed=3, block=10, store=path, **options)


JOBS: dict[str, Callable[..., Any]] = {"flow": flow, "pairs": pairs, "kernels": kernels, "ensemble": ensemble}
TASKS = {"flow": 15, "pairs": 3, "kernels": 6, "ensemble": 7}
RECORDS = {"flow": "largest", "pairs": "largest", "kernels": "of_tiles", "ensemble": "sums"}


def chunks(path: Path) -> dict[str, bytes]:
    """Every chunk of every array, byte by byte."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and "c" in file.relative_to(path).parts
    }


def done(path: Path, name: str) -> dict[int, int]:
    """The tasks that are done, and when each was."""
    rows = (path / RECORDS[name] / "c").glob("*")
    return {
        int(row.name): next(file for file in row.rglob("*") if file.is_file()).stat().st_mtime_ns
        for row in rows
    }


def undone(path: Path, name: str, tasks) -> None:
    """Make a finished store one that was stopped before these tasks were done."""
    for task in tasks:
        shutil.rmtree(path / RECORDS[name] / "c" / str(task))
