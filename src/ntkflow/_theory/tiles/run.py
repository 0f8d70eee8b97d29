"""The run: kernels and expectations on pairs first, then tile after tile through all layers, each written as soon as it is known."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..._disk.store import digest, exists_to_resume
from ..._gaussian.requests import placements
from ..._recursions import TensorSets, declarations, moments_of
from ...errors import DataError
from ...finite.parameters import whole_number
from ...network.mlp import MLP
from ..components import Layout
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
    mlp: MLP, X: np.ndarray, names: tuple[str, ...], rtol: float, store, memory: int, resume: bool,
    report: Callable[[int, int, str], None],
) -> tuple[Flow, list[str]]:  # fmt: skip
    """`flow` with a store, for checked inputs and the tensors of these names: the Flow, and the tensors whose errors are poor."""
    path, memory = Path(store), whole_number(memory, "memory", 1, 2**63 - 1, DataError)
    with ExitStack() as stack, np.errstate(all="ignore"):
        tile_store = _opened(path, resume, stack)
        job = Flow(mlp, X, "all", []).attributes | {
            "X_sha256": digest(X), "rtol": rtol, "tensors": list(names), "training": int(any(d.training for d in declarations(names)))
        }  # fmt: skip
        block = _block(mlp, X, job, tile_store, memory)
        run = _Run(mlp, X, names, rtol, Plan(len(X), block), memory, report)
        if tile_store is None:
            tile_store = run.create(path, job)
            stack.callback(tile_store.lock().release)
        run.work(tile_store)
        poor = run.poor(tile_store)
    callables = [a.name for a in mlp.activation if not a.registered]
    return Flow.load(path, list(mlp.activation) if callables else None), poor


def _opened(path: Path, resume: bool, stack: ExitStack) -> TileStore | None:
    """The store to go on with, locked."""
    if not exists_to_resume(TileStore, path, resume):
        return None
    tile_store = TileStore(path)
    stack.callback(tile_store.lock().release)
    return tile_store


def _block(mlp: MLP, X: np.ndarray, job: dict, tile_store: TileStore | None, memory: int) -> int:
    """How many samples to a block: what suits the memory, or what a store was begun with."""
    if tile_store is None:
        return block_for(mlp.depth, len(X), job["tensors"], memory)
    tile_store.check_same(job, X)
    block = tile_store.block
    if working_set(mlp.depth, len(X), job["tensors"], block) > memory:
        raise too_little(mlp.depth, len(X), job["tensors"], block, memory)
    return block


class _Run:
    """One job on this machine."""

    def __init__(
        self,
        mlp: MLP,
        X: np.ndarray,
        names: tuple[str, ...],
        rtol: float,
        plan: Plan,
        memory: int,
        report: Callable[[int, int, str], None],
    ):
        self.mlp, self.X, self.rtol, self.plan, self.report = mlp, X, rtol, plan, report
        self.names, self.moments = names, moments_of(names)
        self.distinct, self.index = distinct_rows(X)
        self.tiles = plan.tiles
        self.sets = [plan.count(tile) for tile in self.tiles]
        report(0, mlp.depth * sum(self.sets), "pairs of samples")
        self.runs = [list(run) for run in both_runs(mlp, self.distinct, 4, self.moments, rtol)]
        self.near = NearDuplicates(mlp, self.distinct, names, *of_pairs(rtol))
        self.kernels = self._kernels()
        self.shared = [self._shared(run, memory) for run in self.runs]
        self.fill = max(self.sets) + 12 * plan.block**3

    def _kernels(self) -> Flow:
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

    def _shared(self, run: list[Kernels], memory: int) -> list[SharedIntegrals | None]:
        group = 3 * self.plan.block**3 * 8 * (1 + len(placements(self.moments)))
        steps = max(1, self.mlp.depth - 1)
        room = max(4, memory // 4 // (2 * steps * group)) if len(self.distinct) == len(self.X) else 0
        return [
            SharedIntegrals(kernels.step.integrals, self.plan, room)
            if kernels.step and kernels.step.integrals
            else None
            for kernels in run
        ]

    def create(self, path: Path, job: dict) -> TileStore:
        """A new store that holds the kernels."""
        dataset = self.kernels.to_xarray()
        return TileStore.create(path, job, dataset, self.plan.block, len(self.tiles))

    def work(self, store: TileStore) -> None:
        """Compute the tiles that are not done."""
        done, total = 0, self.mlp.depth * sum(self.sets)
        for number, (tile, sets) in enumerate(zip(self.tiles, self.sets, strict=True)):
            name = f"tile {number + 1} of {len(self.tiles)}"
            if not store.has(number):
                self.report(done, total, name)
                largest = np.empty((self.mlp.depth, len(self.names), 2))
                for layer, top in enumerate(self._layers(store, tile), start=1):
                    largest[layer - 1] = top
                    self.report(done + layer * sets, total, f"{name}, layer {layer}")
                store.finish(number, largest)
            done += self.mlp.depth * sets
        self.report(total, total, "all tiles")

    def _layers(self, store: TileStore, tile: Tile) -> Iterator[np.ndarray]:
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
                    store.write(name, fine.layer, corner, chunk(values[name]), error)
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

    def poor(self, store: TileStore) -> list[str]:
        """The tensors whose errors are poor, over all tiles."""
        top = store.array("largest")[..., 1].max(axis=0)
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
