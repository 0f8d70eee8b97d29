"""`trained_from_store`: trained ensembles at infinite width on kernels that stay on disk, which no decomposition of memory's size could hold.

With D = (1 - exp(-H_AA t)) H_AA⁻¹ the mean is H_·A D y; the covariance of chosen samples needs one vector of each, D H_Ab of a test sample b and
D e_a of a training sample a. These are functions of H_AA on vectors: `krylov`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._checks.inputs import as_array
from .._report.describe import InNotebooks, counted, network
from .._report.progress import Report, shows_progress, silent
from .._theory.mean_kernels.files import KernelStore, finished_kernels
from ..errors import DataError, MemoryRequestError, SpecError, warn
from ..network.mlp import MLP
from .clock import Clock
from .krylov import Krylov
from .modes import ROUNDING
from .prediction import Prediction
from .trained import LOSSES, checked_targets

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

_MOST = 2000
"""Iterations at most."""
_LIKELY = 200
"""Iterations for which memory is set aside."""


def trained_from_store(
    path, y, activation=None, *, loss: str = "sum", rtol: float = 1e-8, memory: int = 2**30, progress: Report | None = None,
) -> StoredTrained:  # fmt: skip
    """`trained` at infinite width on kernels that stay on disk: for tens of thousands of samples.

    Args:
        path: a store that `store_kernels` made of all inputs, training ones first.
        y: (N_A, m) targets, or (N_A,), of the first N_A of them; the others are test inputs.
        activation: of a network with activations of your own, as of `Flow.load`.
        loss: as of `trained`.
        rtol: at which iterations end, of the vectors that they compute: D y of the mean H_·A D y, and those of chosen covariances.
        memory: bytes, one half for the parts of the kernels that are kept, one for 200 vectors of each sample whose covariance is asked for.
            The mean's vectors come on top: 8 N_A m bytes for each iteration.
        progress: called as progress(iterations, iterations at most, what); without it a bar is shown.

    Returns:
        A StoredTrained: call it with `t`, or `steps` and `eta`, for a Prediction whose `mean` is that of all samples. Its covariance is
        computed for samples that you choose, `prediction.covariance([5, 7])`.

    Raises:
        FileError: there is no such store, or it is damaged; also later, where it is read.
        DataError: targets that don't fit, or kernels between two sets of inputs.

    Cost:
        An iteration multiplies H_AA by m vectors, or by those of the chosen samples, and reads what memory doesn't hold of one half of it.
        There are tens to hundreds, the more the later the time, most at infinite time.

    Example:
        >>> ntkflow.store_kernels(mlp, np.concatenate([X, X_test]), "kernels.zarr", layers="last")
        >>> predict = ntkflow.trained_from_store("kernels.zarr", y)
        >>> test = predict(t=100.0).test
        >>> test.mean, np.sqrt(np.diag(test.covariance(np.arange(10))))
    """
    if loss not in LOSSES:
        raise SpecError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}")
    if not 0 < rtol < 1:
        raise DataError(f"rtol must be a relative error between 0 and 1, not {rtol!r}")
    store = finished_kernels(Path(path))
    if not store.symmetric:
        raise DataError(
            f"{path} holds kernels between two sets of inputs: make them of all inputs, training ones first"
        )
    mlp, values = store.network(activation), as_array(y, "y")
    samples = store.shape("X")[0]
    if values.ndim == 0 or not 0 < len(values) <= samples:
        raise DataError(f"y must have one row for each training sample, of which there are at most {samples}")
    targets = checked_targets(mlp, values, len(values))
    scale = 1.0 if loss == "sum" else 1 / len(targets)
    H, G = (_StoredKernel(store, name, len(targets), memory // 4) for name in "HG")
    return StoredTrained(mlp, targets, H, G, scale, rtol, memory // 2, progress)


class _StoredKernel:
    """G or H of all samples, of which the first are training samples, A; squares of A are kept in memory up to a limit."""

    def __init__(self, store: KernelStore, name: str, training: int, memory: int):
        self._store, self._name, self.training, self.samples = store, name, training, store.shape("X")[0]
        self._strips = [slice(s.start, min(s.stop, training)) for s in store.strips if s.start < training]
        self._squares = [
            (rows, cols) for rows in self._strips for cols in self._strips if cols.start >= rows.start
        ]
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._room = memory

    def times(self, V: np.ndarray) -> np.ndarray:
        """K_AA V, (N_A, C)."""
        out = np.zeros_like(V)
        for rows, cols in self._squares:
            square = self._square(rows, cols)
            out[rows] += square @ V[cols]
            if rows != cols:
                out[cols] += square.T @ V[rows]
        return out

    def below(self, V: np.ndarray) -> np.ndarray:
        """K_BA V, (N_B, C), B being the test samples."""
        out = np.zeros((self.samples - self.training, V.shape[1]))
        for rows in self._store.strips:
            tests = slice(max(rows.start, self.training), rows.stop)
            if tests.start < tests.stop:
                for cols in self._strips:
                    part = self._store.of_last_layer(self._name, tests, cols)
                    out[tests.start - self.training : tests.stop - self.training] += part @ V[cols]
        return out

    @cached_property
    def uncertainty(self) -> float:
        """What rounding and the errors of K_AA do to its eigenvalues, relative to the largest: at most what `Modes` takes for 0."""
        error = float(self._store.array(f"{self._name}_relative_error")[-1])
        return (ROUNDING + 2 * error) * float(np.sqrt(self.training))

    def columns(self, samples: np.ndarray) -> np.ndarray:
        """K_A,samples, (N_A, M)."""
        return self._store.of_last_layer(self._name, slice(0, self.training), samples)

    def between(self, samples: np.ndarray) -> np.ndarray:
        """K of these samples, (M, M)."""
        return self._store.of_last_layer(self._name, samples, samples)

    def _square(self, rows: slice, cols: slice) -> np.ndarray:
        key = rows.start, cols.start
        if key in self._kept:
            return self._kept[key]
        square = self._store.of_last_layer(self._name, rows, cols)
        if square.nbytes <= self._room:
            self._kept[key] = square
            self._room -= square.nbytes
        return square


class ChosenPrediction(Prediction):
    """A Prediction whose covariance is computed for chosen samples alone."""

    @cached_property
    def sample_cov(self) -> np.ndarray:
        """MemoryRequestError: see `covariance`."""
        raise MemoryRequestError(
            "the covariance of all samples is not computed from kernels on disk: choose samples, prediction.covariance([0, 1])"
        )

    def table(self) -> Table:
        """Mean over seeds of the outputs, of some of the samples: test samples where there are any."""
        from .._report.table import prediction_table

        return prediction_table(self, with_sd=False)

    def to_xarray(self) -> xr.Dataset:
        """`mean` (sample, output), and whether a sample is a training one."""
        return self._means()

    def __repr__(self) -> str:
        return f"Prediction of {self.title}\n{self._counts(*self.mean.shape)}: mean {self.mean.shape}, covariance of chosen samples"


@dataclass(frozen=True, eq=False, repr=False)
class StoredTrained(InNotebooks):
    """Gradient descent on an infinitely wide network, by iteration on kernels on disk; the result of `trained_from_store`.

    Attributes:
        mlp: the network.
        y: (N_A, m).
        H, G: the kernels.
        scale: by which times and learning rates are multiplied: 1, or 1 / N_A for a mean over samples.
        rtol, memory, report: see `trained_from_store`; memory is that of the vectors of chosen samples.
    """

    mlp: MLP
    y: np.ndarray
    H: _StoredKernel
    G: _StoredKernel
    scale: float
    rtol: float
    memory: int
    report: Report | None

    @property
    def training(self) -> int:
        """N_A, the number of training samples."""
        return len(self.y)

    @property
    def iterations(self) -> int:
        """How many iterations the mean has taken so far."""
        return self._targets.iterations

    @cached_property
    def _targets(self) -> Krylov:
        return Krylov(self.H.times, self.y)

    def __call__(
        self, t: float | None = None, *, steps: int | None = None, eta: float | None = None
    ) -> Prediction:
        """The outputs' mean, and their covariance on chosen samples; arguments and errors as of `Trained`.

        Warns where the vectors are not known to `rtol`: 2000 iterations are not enough, or late times need modes so slow that rounding and
        the kernel's own errors count.
        """
        clock = Clock(t, steps, eta).scaled(self.scale)
        progress = self._function(self._targets, clock, "the mean")
        mean = np.concatenate([self.H.times(progress), self.H.below(progress)])

        def covariance(samples: np.ndarray) -> np.ndarray:
            return self._covariance(clock, samples)

        return ChosenPrediction(f"{network(self.mlp)} at {clock}", mean, self.training, covariance)

    def _covariance(self, clock: Clock, samples: np.ndarray) -> np.ndarray:
        """(M, M); U, (N_A, M), is how these samples' outputs answer to z_A(0)."""
        most = max(1, self.memory // Krylov.memory(self.training, _LIKELY))
        if len(samples) > most:
            raise MemoryRequestError(
                f"the covariance of {len(samples)} samples needs {len(samples)} times some {_LIKELY} vectors of {self.training} numbers: choose at "
                f"most {most} by prediction.covariance([…]), or give more memory"
            )
        tests = samples >= self.training
        starts = np.zeros((self.training, len(samples)))
        starts[:, tests] = self.H.columns(samples[tests])
        starts[samples[~tests], np.flatnonzero(~tests)] = 1.0
        D = self._function(Krylov(self.H.times, starts), clock, "the covariance")
        # exp(-H t) = 1 - H D. Where it has all but vanished only D tells what is left.
        U = -D
        if not tests.all():
            U[:, ~tests] = starts[:, ~tests] - self.H.times(D[:, ~tests])
        cov = U.T @ self.G.times(U)
        across = U.T @ self.G.columns(samples[tests])
        cov[:, tests] += across
        cov[tests] += across.T
        cov[np.ix_(tests, tests)] += self.G.between(samples[tests])
        return cov

    @shows_progress
    def _iterated(
        self, space: Krylov, clock: Clock, what: str, progress: Report | None
    ) -> tuple[np.ndarray, np.ndarray]:
        uncertainty = self.H.uncertainty

        def checked(rates: np.ndarray) -> np.ndarray:
            largest = float(rates.max())
            if clock.eta is not None and clock.eta * largest >= 2 * (1 + 1e-9):
                edge = 2 / (largest * self.scale)
                raise DataError(
                    f"eta = {clock.eta / self.scale:.6g} is above the edge of stability, which is at most {edge:.6g}"
                )
            return clock.progress(np.where(rates > uncertainty * largest, rates, 0.0))

        report = progress or silent
        report(space.iterations, _MOST, what)
        return space.apply(checked, self.rtol, _MOST, uncertainty, lambda count: report(count, _MOST, what))

    def _function(self, space: Krylov, clock: Clock, what: str) -> np.ndarray:
        """D of the vectors that span a space."""
        result, errors = self._iterated(space, clock, what, self.report)
        worst = float(errors.max(initial=0.0))
        if worst > self.rtol:
            warn(
                f"{what} at {clock}: after {space.iterations} iterations what it is made of is known to {worst:.1g} of its size, and not to {self.rtol:.1g}"
            )
        return result

    def __repr__(self) -> str:
        return (
            f"Trained ensemble of {network(self.mlp)}, at infinite width, on kernels on disk\n{counted(self.training, 'training sample')}, "
            f"{counted(self.H.samples - self.training, 'test sample')}, {counted(self.y.shape[1], 'output')}"
        )
