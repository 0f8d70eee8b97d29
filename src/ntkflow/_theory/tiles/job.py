"""A flow to a store: what jobs by tiles and jobs by batches share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from ..._disk.store import digest
from ..._jobs.tasks import Order, done, share
from ..._recursions import declarations, moments_of
from ..._report.progress import Report
from ...network.mlp import MLP
from ..dimensions import ERROR
from ..duplicates import distinct_rows, kernel_tables
from ..error_estimates import errors_of, poor_tensor
from ..result import Flow
from ..scales import KERNELS, natural_scales
from ..statistics import LayerStatistics
from ..two_runs import Kernels
from .store import FlowStore

S = TypeVar("S", bound=FlowStore)


class FlowJob(ABC, Generic[S]):
    """One job in one process; see `tasks.Work`.

    Attributes:
        sets: how many sets of samples each task has.
    """

    STORE: ClassVar[type]
    store: Any
    sets: Sequence[int]

    def __init__(
        self, mlp: MLP, X: np.ndarray, components: Any, names: tuple[str, ...], rtol: float, memory: int, report: Report
    ):  # fmt: skip
        self.mlp, self.X, self.components = mlp, X, components
        self.rtol, self.memory, self.report = rtol, memory, report
        self.names, self.moments = names, moments_of(names)
        self.distinct, self.index = distinct_rows(X)
        self.steps_done = self.steps = 0

    @abstractmethod
    def create(self, path: Path) -> S:
        """A new store that holds the kernels, with parts that suit the memory."""

    @abstractmethod
    def open(self, store: S) -> None:
        """Take a store's parts for the tasks; FileError if it is of another job."""

    @abstractmethod
    def layers(self, number: int) -> Iterator[np.ndarray]:
        """Compute and write a part, layer by layer: the largest value and error of each tensor (tensors, 2)."""

    @property
    def path(self) -> Path:
        return self.store.path

    def is_done(self, number: int) -> bool:
        return self.store.has(number)

    def work(self, order: Order, executor: Executor | None, part: tuple[int, int] | None) -> None:
        """Have the parts computed that are not done, all or every n-th one."""
        numbers = share(len(self.sets), part)
        self.steps = self.mlp.depth * sum(self.sets[number] for number in numbers)
        todo = [number for number in numbers if not self.is_done(number)]
        self.steps_done = self.steps - self.mlp.depth * sum(self.sets[number] for number in todo)
        for number, _ in done(self, order, todo, executor):
            self.steps_done += self.mlp.depth * self.sets[number]
            self.report(self.steps_done, self.steps, self._name(number))
        self.report(self.steps, self.steps, f"all {self.STORE.PARTS}")

    def do(self, number: int) -> None:
        """Compute a part and write it."""
        self.report(self.steps_done, self.steps, self._name(number))
        largest = np.empty((self.mlp.depth, len(self.names), 2))
        for layer, top in enumerate(self.layers(number), start=1):
            largest[layer - 1] = top
            steps = self.steps_done + layer * self.sets[number]
            self.report(steps, self.steps, f"{self._name(number)}, layer {layer}")
        self.store.finish(number, largest)

    def poor(self) -> list[str]:
        """The tensors whose errors are poor, over all parts."""
        names = []
        for number, top in enumerate(self.store.array("largest")[..., 1].max(axis=0)):
            scales = natural_scales({name: self.store.array(name, number) for name in KERNELS})
            largest = {name: self.store.array(name + ERROR, number).max() for name in KERNELS}
            for name, error in (largest | dict(zip(self.names, top, strict=True))).items():
                names += poor_tensor(name, number + 1, float(error), scales[name], self.rtol)
        return names

    def _name(self, number: int) -> str:
        return f"{self.STORE.PART} {number + 1} of {len(self.sets)}"

    def header(self) -> dict:
        """What the store says of the job."""
        return Flow(self.mlp, self.X, self.components, []).attributes | {
            "X_sha256": digest(self.X), "rtol": self.rtol, "tensors": list(self.names),
            "training": int(any(declared.training for declared in declarations(self.names))),
        }  # fmt: skip

    def kernels(self, runs: Iterable[Iterable[Kernels]]) -> Iterator[LayerStatistics]:
        """What is known of each layer before any part."""
        without_steps = [(kernels._replace(step=None) for kernels in run) for run in runs]
        for fine, coarse in zip(*without_steps, strict=True):
            values, others = ({"G": kernels.G, "H": kernels.H} for kernels in (fine, coarse))
            errors = errors_of(values, others, fine.layer, fine.least_sine, None)
            yield LayerStatistics(
                self.mlp, self.X, fine.layer, None, *kernel_tables(fine, errors, self.index)
            )


def largest_of(values: dict[str, Any], errors: dict[str, Any], names: tuple[str, ...]) -> np.ndarray:
    """The largest value and error of each tensor, (tensors, 2)."""
    return np.array([[np.abs(values[name]).max(), errors[name].max()] for name in names])
