"""Flows of pairs and of other sets of samples, batch by batch: each, a task, is a flow of its own inputs through all layers."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..._machine.memory import give_back
from ..._recursions import TensorSets
from ..._report.progress import silent
from ..components import Layout, sample_sets
from ..mean_kernels import has_tiles, mean_flow
from ..near_duplicates import NearDuplicates
from ..two_runs import Kernels, both_runs, estimated, of_pairs, sets_at_once, with_integrals
from .batches import Batches, batch_memory, batches_for, too_little
from .job import FlowJob, largest_of
from .store import BatchStore
from .triples import filled


class BatchJob(FlowJob[BatchStore]):
    """See `FlowJob`."""

    STORE = BatchStore
    batches: Batches
    asked: np.ndarray
    """(S, k), the sets in the order of the batches."""

    def create(self, path: Path) -> BatchStore:
        sets = sample_sets(self.components, len(self.X))
        assert sets is not None
        pairs = self.components == "pairs"
        asked, batches = batches_for(self.mlp, sets, self.index, self.names, self.memory, pairs)
        kernels = (
            mean_flow(self.mlp, self.X, None, silent)
            if has_tiles(self.mlp)
            else self.kernels(both_runs(self.mlp, self.distinct, 0, (), self.rtol))
        )
        store = BatchStore.create(
            path, self.header() | {"batch": batches.size}, self.mlp.depth, self.X, asked, kernels, batches.size, len(batches.counts)
        )  # fmt: skip
        give_back()
        return store

    def open(self, store: BatchStore) -> None:
        store.check_same(self.header(), self.X)
        self.store, self.asked = store, store.array("sets")
        self.batches = Batches(self.index[self.asked], len(self.distinct), store.block)
        self.sets = self.batches.counts
        need = batch_memory(self.mlp, len(self.X), self.batches, self.asked.shape[1], self.names)
        if need > self.memory:
            raise too_little(self.batches, need, self.memory)

    def layers(self, number: int) -> Iterator[np.ndarray]:
        inputs = self.batches.inputs(number)
        local = np.zeros(len(self.distinct), int)
        local[inputs] = np.arange(len(inputs))
        start = number * self.batches.size
        layout = Layout(self.asked[start : start + self.batches.size], local[self.index])
        sets = TensorSets(layout.closed, len(inputs), self.names)
        wanted = np.zeros((len(inputs), len(inputs)), bool)
        wanted[sets.sets[:, None], sets.sets[None]] = True
        np.fill_diagonal(wanted, True)
        X = self.distinct[inputs]
        near = NearDuplicates(self.mlp, X, self.names, *of_pairs(self.rtol))
        fine, coarse = both_runs(self.mlp, X, sets.k, sets.moments, self.rtol, wanted)
        at_once = sets_at_once(sets.k, self.batches.size)
        # A layer is compressed and written, which takes as long, while the next one is computed.
        with ThreadPoolExecutor(1) as writer:
            written: Future | None = None
            for kernels, values, errors in estimated((_filled(fine), _filled(coarse)), sets, at_once):
                values, errors = near.mend(kernels.layer, kernels.least_sine[0], sets.sets, values, errors)
                if written is not None:
                    written.result()
                written = writer.submit(self._write, number, kernels.layer, layout, values, errors)
                yield largest_of(values, errors, self.names)
            if written is not None:
                written.result()

    def _write(self, number: int, layer: int, layout: Layout, values: dict, errors: dict) -> None:
        for name in self.names:
            on_sets = functools.partial(layout.on_sets, name)
            errors_on_sets = errors[name].rearranged(on_sets).floats()
            self.store.write_batch(name, layer, number, on_sets(values[name]), errors_on_sets)


def _filled(layers: Iterator[Kernels]) -> Iterator[Kernels]:
    """The layers, whose integrals on several samples are filled up to a power of two, so that a step is compiled once."""
    for kernels in layers:
        if kernels.step is None or kernels.step.integrals is None:
            yield kernels
        else:
            yield with_integrals(kernels, _Filled(kernels.step.integrals))


class _Filled:
    """Integrals, see `_filled`."""

    def __init__(self, integrals):
        self._integrals = integrals

    def moments(self, quadruples: np.ndarray, asked) -> np.ndarray:
        moments = self._integrals.moments(quadruples, asked)
        return filled(moments, 1 << max(len(moments) - 1, 0).bit_length() if len(moments) else 0)
