"""Flows of all components, tile by tile: kernels and expectations on pairs first, then each tile, a task, through all layers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..._gaussian.requests import placements
from ..._recursions import TensorSets, declarations
from ..components import Layout
from ..near_duplicates import NearDuplicates
from ..two_runs import Kernels, both_runs, estimated, of_pairs, sets_at_once, with_integrals
from .job import FlowJob, largest_of
from .plan import Plan, Tile, block_for, too_little, working_set
from .store import TileStore
from .triples import SharedIntegrals


class TileJob(FlowJob[TileStore]):
    """See `FlowJob`."""

    STORE = TileStore
    plan: Plan

    def create(self, path: Path) -> TileStore:
        self._plan(block_for(self.mlp.depth, len(self.X), self.names, self.memory))
        samples = np.arange(len(self.X))[None]
        return TileStore.create(
            path, self.header(), self.mlp.depth, self.X, samples, self.kernels(self.runs), self.plan.block, len(self.sets)
        )  # fmt: skip

    def open(self, store: TileStore) -> None:
        store.check_same(self.header(), self.X)
        depth, N, block = self.mlp.depth, len(self.X), store.block
        if working_set(depth, N, self.names, block) > self.memory:
            raise too_little(depth, N, self.names, block, self.memory)
        self.store = store
        self._plan(block)

    def _plan(self, block: int) -> None:
        self.plan = Plan(len(self.X), block)
        self.tiles = self.plan.tiles
        self.sets = [self.plan.count(tile) for tile in self.tiles]
        self.fill = max(self.sets) + 12 * block**3

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

    def layers(self, number: int) -> Iterator[np.ndarray]:
        tile = self.tiles[number]
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
                    self.store.write_at(name, fine.layer, corner, chunk(values[name]), error)
            yield largest_of(values, errors, self.names)

    def _for_tile(self, run: list[Kernels], shared: list, tile: Tile) -> Iterator[Kernels]:
        for kernels, integrals in zip(run, shared, strict=True):
            if integrals is None:
                yield kernels
            else:
                yield with_integrals(kernels, integrals.for_tile(tile, self.fill))

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


def _assembled(shape, pieces, layout: Layout, name: str, packed: np.ndarray) -> np.ndarray:
    """A chunk of a tensor from its packed components."""
    out = np.empty(shape, packed.dtype)
    for slots, place in pieces:
        out[place] = layout.entries(name, packed, slots)[:, 0]
    return out
