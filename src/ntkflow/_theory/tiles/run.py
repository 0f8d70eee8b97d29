"""The run: kernels and expectations on pairs first, then each tile, a task, through all layers; it is written as soon as it is known."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from ..._disk.store import digest, exists_to_resume
from ..._gaussian.requests import placements
from ..._jobs.tasks import Order, activations_of, at_work, done, share
from ..._recursions import TENSORS, TensorSets, declarations, moments_of
from ..._report.progress import Report, silent
from ...errors import DataError, WorkerError
from ...finite.parameters import whole_number
from ...network.mlp import MLP
from ..components import Layout
from ..dimensions import specification
from ..duplicates import distinct_rows, kernel_tables
from ..error_estimates import errors_of, poor_tensor
from ..near_duplicates import NearDuplicates
from ..result import Flow
from ..scales import KERNELS, natural_scales
from ..statistics import LayerStatistics
from ..two_runs import Kernels, both_runs, estimated, of_pairs, sets_at_once
from .plan import Plan, Tile, block_for, too_little, working_set
from .store import TileStore
from .triples import SharedIntegrals


def tiled_flow(
    mlp: MLP, X: np.ndarray, names: tuple[str, ...], rtol: float, store, memory: int, resume: bool, report: Report,
    executor: Executor | None, part: tuple[int, int] | None,
) -> tuple[Flow, list[str]]:  # fmt: skip
    """`flow` with a store, for checked inputs and the tensors of these names: the Flow, and the tensors whose errors are poor."""
    path, memory = Path(store), whole_number(memory, "memory", 1, 2**63 - 1, DataError)
    run = _Run(mlp, X, names, rtol, memory, report)
    exists = exists_to_resume(TileStore, path, resume or part is not None)
    with (
        np.errstate(all="ignore"),
        at_work(TileStore, path, exists, part, lambda: run.create(path)) as opened,
    ):
        run.open(opened)
        order = Order(ready, path.resolve(), (activations_of(mlp), memory))
        run.work(order, executor, part)
        opened.check_finished()
        poor = run.poor()
    callables = activations_of(mlp)
    return Flow.load(path, None if callables is None else list(callables)), poor


def ready(path: Path, activations: tuple | None, memory: int) -> _Run:
    """For a worker: the job of a store."""
    store = TileStore(path)
    names = tuple(store.header["tensors"])
    if not set(names) <= set(TENSORS):
        raise WorkerError(
            f"{path} is of the tensors {', '.join(names)}; declared in this worker are {', '.join(TENSORS)}"
        )
    mlp = specification(store.header, activations).mlp
    run = _Run(mlp, store.X, names, store.header["rtol"], memory, silent)
    run.open(store)
    return run


class _Run:
    """One job in one process; see `tasks.Work`."""

    store: TileStore
    plan: Plan

    def __init__(
        self, mlp: MLP, X: np.ndarray, names: tuple[str, ...], rtol: float, memory: int, report: Report
    ):
        self.mlp, self.X, self.rtol, self.memory, self.report = mlp, X, rtol, memory, report
        self.names, self.moments = names, moments_of(names)
        self.distinct, self.index = distinct_rows(X)
        self.steps_done = self.steps = 0

    def create(self, path: Path) -> TileStore:
        """A new store that holds the kernels, of blocks that suit the memory."""
        self._plan(block_for(self.mlp.depth, len(self.X), self.names, self.memory))
        dataset = self.kernels.to_xarray()
        return TileStore.create(path, self._job(), dataset, self.plan.block, len(self.tiles))

    def open(self, store: TileStore) -> None:
        """Take a store's tiles for the tasks; FileError if it is of another job."""
        store.check_same(self._job(), self.X)
        depth, N, block = self.mlp.depth, len(self.X), store.block
        if working_set(depth, N, self.names, block) > self.memory:
            raise too_little(depth, N, self.names, block, self.memory)
        self.store = store
        self._plan(block)

    def _job(self) -> dict:
        """What the store says of the job."""
        return Flow(self.mlp, self.X, "all", []).attributes | {
            "X_sha256": digest(self.X), "rtol": self.rtol, "tensors": list(self.names),
            "training": int(any(declared.training for declared in declarations(self.names))),
        }  # fmt: skip

    def _plan(self, block: int) -> None:
        self.plan = Plan(len(self.X), block)
        self.tiles = self.plan.tiles
        self.sets = [self.plan.count(tile) for tile in self.tiles]
        self.fill = max(self.sets) + 12 * block**3

    @property
    def path(self) -> Path:
        return self.store.path

    def is_done(self, number: int) -> bool:
        return self.store.has(number)

    @functools.cached_property
    def runs(self) -> list[list[Kernels]]:
        """Of both runs every layer's kernels, and the expectations on pairs of samples."""
        self.report(0, self.mlp.depth * sum(self.sets), "pairs of samples")
        return [list(run) for run in both_runs(self.mlp, self.distinct, 4, self.moments, self.rtol)]

    @functools.cached_property
    def near(self) -> NearDuplicates:
        return NearDuplicates(self.mlp, self.distinct, self.names, *of_pairs(self.rtol))

    @functools.cached_property
    def shared(self) -> list[list[SharedIntegrals | None]]:
        return [self._shared(run) for run in self.runs]

    @functools.cached_property
    def kernels(self) -> Flow:
        """What is known before any tile."""
        layers = []
        for fine, coarse in zip(*self.runs, strict=True):
            values, others = ({"G": kernels.G, "H": kernels.H} for kernels in (fine, coarse))
            tables = kernel_tables(
                fine, errors_of(values, others, fine.layer, fine.least_sine, None), self.index
            )
            layers.append(
                LayerStatistics(self.mlp, self.X, fine.layer, np.arange(len(self.X))[None], *tables)
            )
        return Flow(self.mlp, self.X, "all", layers)

    def _shared(self, run: list[Kernels]) -> list[SharedIntegrals | None]:
        group = 3 * self.plan.block**3 * 8 * (1 + len(placements(self.moments)))
        steps = max(1, self.mlp.depth - 1)
        room = max(4, self.memory // 4 // (2 * steps * group)) if len(self.distinct) == len(self.X) else 0
        return [
            SharedIntegrals(kernels.step.integrals, self.plan, room)
            if kernels.step and kernels.step.integrals
            else None
            for kernels in run
        ]

    def work(self, order: Order, executor: Executor | None, part: tuple[int, int] | None) -> None:
        """Have the tiles computed that are not done, all or those of a part."""
        tiles = share(len(self.tiles), part)
        self.steps = self.mlp.depth * sum(self.sets[number] for number in tiles)
        todo = [number for number in tiles if not self.is_done(number)]
        self.steps_done = self.steps - self.mlp.depth * sum(self.sets[number] for number in todo)
        for number, _ in done(self, order, todo, executor):
            self.steps_done += self.mlp.depth * self.sets[number]
            self.report(self.steps_done, self.steps, self._name(number))
        self.report(self.steps, self.steps, "all tiles")

    def do(self, number: int) -> None:
        """Compute a tile and write it."""
        self.report(self.steps_done, self.steps, self._name(number))
        largest = np.empty((self.mlp.depth, len(self.names), 2))
        for layer, top in enumerate(self._layers(self.tiles[number]), start=1):
            largest[layer - 1] = top
            steps = self.steps_done + layer * self.sets[number]
            self.report(steps, self.steps, f"{self._name(number)}, layer {layer}")
        self.store.finish(number, largest)

    def _name(self, number: int) -> str:
        return f"tile {number + 1} of {len(self.tiles)}"

    def _layers(self, tile: Tile) -> Iterator[np.ndarray]:
        """Compute and write a tile, layer by layer: the largest value and error of each tensor (tensors, 2)."""
        asked, owner = self.plan.sets(tile)
        layout = Layout(asked, self.index)
        sets = TensorSets(layout.closed, len(self.distinct), self.names)
        at_once = sets_at_once(sets.k, max(self.sets))
        runs = [self._for_tile(run, shared, tile) for run, shared in zip(self.runs, self.shared, strict=True)]
        chunks = {rank: list(self._chunks(tile, asked, owner, rank)) for rank in (2, 4)}
        for fine, values, errors in estimated((runs[0], runs[1]), sets, at_once):
            values, errors = self.near.mend(fine.layer, fine.least_sine[0], sets.sets, values, errors)
            for declared in declarations(self.names):
                name = declared.name
                for corner, shape, pieces in chunks[declared.rank]:
                    chunk = functools.partial(_assembled, shape, pieces, layout, name)
                    error = errors[name].rearranged(chunk).floats()
                    self.store.write(name, fine.layer, corner, chunk(values[name]), error)
            yield np.array([[np.abs(values[name]).max(), errors[name].max()] for name in self.names])

    def _for_tile(self, run: list[Kernels], shared: list, tile: Tile) -> Iterator[Kernels]:
        for kernels, integrals in zip(run, shared, strict=True):
            if kernels.step is None:
                yield kernels
            else:
                yield kernels._replace(
                    step=kernels.step._replace(integrals=integrals.for_tile(tile, self.fill))
                )

    def _chunks(self, tile: Tile, asked: np.ndarray, owner: list[int], rank: int):
        """The chunks of tensors of a rank that a tile writes: (first samples, shape, [(slots, place of their components)])."""
        if rank == 2 and (tile[0] != tile[1] or tile[2] != tile[3]):
            return
        samples_of = self.plan.blocks
        for blocks in sorted(set(itertools.permutations(tile if rank == 4 else (tile[0], tile[2])))):
            corner = [samples_of[block].start for block in blocks]
            columns = [[slot for slot, number in enumerate(owner) if number == block] for block in blocks]
            pieces = [
                (slots, tuple(asked[:, slot] - first for slot, first in zip(slots, corner, strict=True)))
                for slots in itertools.product(*columns)
            ]
            yield corner, tuple(len(samples_of[block]) for block in blocks), pieces

    def poor(self) -> list[str]:
        """The tensors whose errors are poor, over all tiles."""
        top = self.store.array("largest")[..., 1].max(axis=0)
        names = []
        for s, errors in zip(self.kernels, top, strict=True):
            largest = dict(zip(self.names, errors, strict=True)) | {
                name: s.errors[name].max() for name in KERNELS
            }
            for name in (*KERNELS, *self.names):
                names += poor_tensor(
                    name, s.layer, float(largest[name]), natural_scales(s.values)[name], self.rtol
                )
        return names


def _assembled(shape, pieces, layout: Layout, name: str, packed: np.ndarray) -> np.ndarray:
    """A chunk of a tensor from its packed components."""
    out = np.empty(shape, packed.dtype)
    for slots, place in pieces:
        out[place] = layout.entries(name, packed, slots)[:, 0]
    return out
