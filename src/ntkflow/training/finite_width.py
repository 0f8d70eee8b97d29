"""The trained ensemble to order 1/n, as a user meets it: `trained(…, order=1)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._report.describe import network
from .._theory.result import Flow
from .._theory.statistics import LayerStatistics
from ..errors import DataError
from .one_over_n import SOURCES, Expansion, Moments
from .prediction import OnSamples
from .trained import Trained

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

LARGE = 0.3
"""A relative size of the 1/n corrections from which on the expansion is of little use."""
_SMALL_VARIANCE = 1e-4  # of the outputs' mean square
_TIMES = 60
_SLOWEST = 100.0  # of the slowest mode's own time


@dataclass(frozen=True)
class Source:
    """What one source contributes: `mean` (N, m) and `cov` (N, m, N, m), its factor 1/n included."""

    mean: np.ndarray
    cov: np.ndarray

    def __repr__(self) -> str:
        return f"Source(mean {self.mean.shape}, cov {self.cov.shape})"


@dataclass(frozen=True, eq=False)
class FiniteWidthPrediction(OnSamples):
    """Mean and covariance over seeds of the outputs, to order 1/n.

    Attributes:
        title: what it is of, in a line.
        training: how many of the N samples are training samples; these come first.
        sources: "infinite", infinite width; "frozen", that each network has an NTK of its own, which stays; "dNTK" and "ddNTK", that it
            changes. The last two are missing for activations with kinks.
        growth: by what the next order is smaller than the first at early times, of which `truncation` follows.
        late: what the next order adds at late times, to the mean and to the covariance.
    """

    title: str
    training: int
    sources: Mapping[str, Source]
    growth: float
    late: tuple[float, float]

    ELSEWHERE = dict.fromkeys(
        ("sample_cov", "covariance"), "outputs are not independent to order 1/n, cov has all of them"
    )

    @cached_property
    def mean(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride] computed when it is asked for
        """(N, m)."""
        return np.sum([source.mean for source in self.sources.values()], axis=0)

    @cached_property
    def cov(self) -> np.ndarray:
        """(N, m, N, m)."""
        return np.sum([source.cov for source in self.sources.values()], axis=0)

    @property
    def std(self) -> np.ndarray:
        """The standard deviation over seeds of each output, (N, m)."""
        return np.sqrt(np.maximum(_variance(self.cov), 0.0))

    @property
    def correction(self) -> Source:
        """All that is of order 1/n: what the width changes of the mean and of the covariance."""
        infinite = self.sources["infinite"]
        return Source(self.mean - infinite.mean, self.cov - infinite.cov)

    @property
    def relative_size(self) -> float:
        """The larger of two: the correction of the mean relative to the outputs, and that of the variance relative to the variance; root mean squares over samples and outputs.

        A variance that is less than 1e-4 of the outputs' mean square, before and after, is compared with that.
        """
        infinite, correction = self.sources["infinite"], self.correction
        variance, change = _variance(infinite.cov), _variance(correction.cov)
        square = float(np.mean(infinite.mean**2 + variance))
        if square == 0:
            return 0.0
        of_mean = np.sqrt(np.mean(correction.mean**2) / square)
        return float(max(of_mean, _rms(change) / max(_rms(variance), _SMALL_VARIANCE * square)))

    @property
    def truncation(self) -> dict[str, np.ndarray]:
        """Estimated errors of `mean` and of `cov`, arrays of their shape, that cutting the expansion at 1/n leaves.

        The next order, as far as it was measured on trained networks: all samples and outputs have the same, a root mean square.
        """
        correction = self.correction
        return {
            name: np.full(array.shape, self.growth * _rms(array) + late)
            for name, array, late in zip(
                ("mean", "cov"), (correction.mean, correction.cov), self.late, strict=True
            )
        }

    def _on(self, rows: slice, training: int) -> FiniteWidthPrediction:
        sources = {name: Source(s.mean[rows], s.cov[rows][:, :, rows]) for name, s in self.sources.items()}
        return FiniteWidthPrediction(self.title, training, sources, self.growth, self.late)

    def loss(self, y) -> float:
        """The mean over seeds and samples of ½ Σ_i (z_i - y_i)², y (N, m) being the targets."""
        return 0.5 * float(np.mean(np.sum((self.mean - y) ** 2 + _variance(self.cov), axis=1)))

    def table(self) -> Table:
        """Mean and sd of the outputs beside those of infinite width, of some of the samples: test samples where there are any."""
        from .._report.table import finite_width_table

        return finite_width_table(self)

    def to_xarray(self) -> xr.Dataset:
        """`mean`, `std` (sample, output) and `cov`, and each source's as `mean_frozen`, `cov_frozen` and so on."""
        import xarray as xr

        dims = ("sample", "output"), ("sample", "output", "sample2", "output2")
        arrays = {"mean": (dims[0], self.mean), "std": (dims[0], self.std), "cov": (dims[1], self.cov)}
        for name, source in self.sources.items():
            arrays |= {f"mean_{name}": (dims[0], source.mean), f"cov_{name}": (dims[1], source.cov)}
        trained = np.arange(len(self.mean)) < self.training
        return xr.Dataset(arrays, {"training": ("sample", trained)}, {"description": self.title})

    def __repr__(self) -> str:
        N, m = self.mean.shape
        return (
            f"Prediction to order 1/n of {self.title}\n{self._counts(N, m)}: mean ({N}, {m}), cov ({N}, {m}, {N}, {m}), from {', '.join(self.sources)}\n"
            f"corrections of order 1/n are {100 * self.relative_size:.2g} % of the outputs or of their variance{self.caution}"
        )

    @property
    def caution(self) -> str:
        """Half a sentence where the corrections are too large for an expansion."""
        return ": too much for an expansion in 1/n" if self.relative_size > LARGE else ""


@dataclass(frozen=True, eq=False, repr=False)
class FiniteWidthTrained(Trained):
    """Gradient descent on networks of the width that they have; the result of `trained(…, order=1)`.

    Attributes:
        flow: of all samples, training ones first, with the tensors of training unless an activation has a kink.
    """

    flow: Flow

    WIDTH = "to order 1/n"

    @property
    def layer(self) -> LayerStatistics:
        """The statistics of the outputs."""
        return self.flow[-1]

    @property
    def linearised(self) -> bool:
        """Whether the NTK's change is left out, which for activations with kinks has no expansion in 1/n."""
        return not self.flow.training

    @cached_property
    def expansion(self) -> Expansion:
        """The statistics in the modes of training."""
        return Expansion(self.layer, self.modes, self.y)

    @cached_property
    def growth(self) -> float:
        """By what an order is smaller than the one before: twice the relative variance of the outputs' NTK, a mean over training samples.

        Measured on trained networks of tanh and gelu, 16 to 64 wide: what is left was 0.7 to 2 relative variances of the corrections.
        """
        kernel = np.diag(self.layer.H)[: self.training]
        variance = np.diag(self.layer.ntk_variance(order=1))[: self.training]
        relative = np.divide(variance, kernel**2, out=np.zeros_like(kernel), where=kernel > 0)
        return 2 * float(np.mean(relative))

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride] its predictions have more
        self, t: float | None = None, *, steps: int | None = None, eta: float | None = None
    ) -> FiniteWidthPrediction:
        """The outputs' mean and covariance over seeds, by source; arguments as of `Trained`.

        Cost:
            N N_A³ divided differences, and sums over N² N_A² and N N_A³ numbers for each of three pairings of neurons.
        """
        clock = self._clock(t, steps, eta)
        names = SOURCES[:2] if self.linearised else SOURCES
        moments: dict[str, Moments] = self.expansion.sources(clock, names)
        kind = "the linearised network " if self.linearised else ""
        return FiniteWidthPrediction(
            f"{kind}{network(self.mlp)} at {clock}", self.training,
            {name: Source(*pair) for name, pair in moments.items()}, self.growth, self._late(moments),
        )  # fmt: skip

    def _late(self, moments: dict[str, Moments]) -> tuple[float, float]:
        """What the next order adds where rates of modes that differ between seeds have had time to show.

        E exp(-κt) over seeds is exp(-κt) (1 + r + r²/2 + …), r = Var(κ) t²/2: of training samples the next order is the square of the correction
        over what is left to train; of the covariance likewise, over the covariance itself.
        """
        rows = slice(None, self.training)
        means, covariances = zip(*moments.values(), strict=True)
        kept = means[0][rows] - self.y, covariances[0][rows][:, :, rows]
        changes = np.sum(means[1:], axis=0)[rows], np.sum(covariances[1:], axis=0)[rows][:, :, rows]
        sizes = [(_rms(change), _rms(left)) for change, left in zip(changes, kept, strict=True)]
        of_mean, of_cov = (change**2 / left if left > 0 else 0.0 for change, left in sizes)
        return of_mean, of_cov

    def ntk_change(self, t: float) -> np.ndarray:
        """E[Ĥ(t)] - E[Ĥ(0)] of the outputs, (N, m, N, m): how far features are learnt, to order 1/n.

        Raises:
            DataError: an activation has a kink: there the change is of order n^(-1/2), with no expansion in 1/n.
        """
        if self.linearised:
            raise DataError(
                "an activation has a kink: training then changes the mean NTK at order 1/√n, of which there is no expansion in 1/n"
            )
        return self.expansion.ntk_change(self._clock(t, None, None))

    def fails_from(self, limit: float = LARGE) -> float:
        """The time of gradient flow from which the corrections exceed `limit` of the outputs; infinite if they never do."""
        rates = self.modes.rates[self.modes.rates > 0] * self.scale
        if not len(rates):
            return np.inf
        for t in np.geomspace(0.1 / rates[-1], _SLOWEST / rates[0], _TIMES):
            if self(float(t)).relative_size > limit:
                return float(t)
        return np.inf


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array**2))) if array.size else 0.0


def _variance(cov: np.ndarray) -> np.ndarray:
    """The diagonal, (N, m), of (N, m, N, m)."""
    return np.einsum("aiai->ai", cov)
