"""What is predicted of an ensemble at one time: mean and covariance over seeds of its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from .._report.describe import InNotebooks, counted
from ..errors import DataError

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike
    from rich.table import Table


class Hinted(InNotebooks):
    """Says of a name that it lacks where it is, as another order in 1/n has it."""

    ELSEWHERE: ClassVar[dict[str, str]] = {}

    if not TYPE_CHECKING:  # type checkers would take any name

        def __getattr__(self, name: str):
            hint = f": {self.ELSEWHERE[name]}" if name in self.ELSEWHERE else ""
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}{hint}", name=name, obj=self
            )


class OnSamples(Hinted):
    """What is predicted of N samples, of which the first `training` are training samples."""

    mean: np.ndarray
    training: int

    @property
    def train(self) -> Self:
        """The prediction on the training samples."""
        return self._on(slice(None, self.training), self.training)

    @property
    def test(self) -> Self:
        """The prediction on the test samples; DataError if there are none."""
        if self.training == len(self.mean):
            raise DataError("there are no test samples: give trained an X_test")
        return self._on(slice(self.training, None), 0)

    def _on(self, rows: slice, training: int) -> Self:
        """The prediction on these samples, of which so many are training samples."""
        raise NotImplementedError

    def _counts(self, N: int, m: int) -> str:
        """How many samples and outputs there are, in words."""
        return f"{counted(self.training, 'training sample')}, {counted(N - self.training, 'test sample')}, {counted(m, 'output')}"


@dataclass(frozen=True, eq=False)
class Prediction(OnSamples):
    """Mean and covariance over seeds of the outputs, at infinite width: outputs are independent, and vary alike.

    Attributes:
        title: what it is of, in a line.
        mean: (N, m), of N samples, training ones first, and m outputs.
        training: how many of the samples are training samples.
        of_samples: computes the covariance of samples of these numbers when it is asked for.
    """

    title: str
    mean: np.ndarray
    training: int
    of_samples: Callable[[np.ndarray], np.ndarray]

    ELSEWHERE = dict.fromkeys(
        ("sources", "correction", "relative_size", "truncation", "caution"),
        "predictions of trained(…, order=1) have it",
    )

    def covariance(self, samples: ArrayLike) -> np.ndarray:
        """The covariance of one output on chosen samples, (M, M), `samples` being their numbers; DataError if there is none of a number."""
        numbers = np.atleast_1d(np.asarray(samples))
        if (
            numbers.dtype.kind not in "iu"
            or numbers.ndim > 1
            or not np.all((numbers >= 0) & (numbers < len(self.mean)))
        ):
            raise DataError(f"samples must be numbers from 0 to {len(self.mean) - 1}, not {samples!r}")
        return self.of_samples(numbers)

    @cached_property
    def sample_cov(self) -> np.ndarray:
        """The covariance of one output on two samples, (N, N)."""
        return self.covariance(np.arange(len(self.mean)))

    @property
    def cov(self) -> np.ndarray:
        """The covariance of all outputs, (N, m, N, m): `sample_cov` where the outputs are the same, else 0."""
        m = self.mean.shape[1]
        return np.einsum("ab,ij->aibj", self.sample_cov, np.eye(m))

    @property
    def std(self) -> np.ndarray:
        """The standard deviation over seeds of each output, (N, m): all outputs of a sample have the same."""
        of_samples = np.sqrt(np.maximum(np.diag(self.sample_cov), 0.0))
        return np.repeat(of_samples[:, None], self.mean.shape[1], axis=1)

    def _on(self, rows: slice, training: int) -> Prediction:
        numbers = np.arange(len(self.mean))[rows]
        return type(self)(
            self.title, self.mean[rows], training, lambda samples: self.of_samples(numbers[samples])
        )

    def loss(self, y) -> float:
        """The mean over seeds and samples of ½ Σ_i (z_i - y_i)², y (N, m) being the targets: ½ Σ_i of squared bias and variance."""
        return 0.5 * float(np.mean(np.sum((self.mean - y) ** 2 + self.std**2, axis=1)))

    def table(self) -> Table:
        """Mean and sd over seeds of the outputs, of some of the samples: test samples where there are any."""
        from .._report.table import prediction_table

        return prediction_table(self)

    def to_xarray(self) -> xr.Dataset:
        """`mean` (sample, output), `std` (sample, output) and `sample_cov` (sample, sample2), and whether a sample is a training one."""
        covariance = ("sample", "sample2"), self.sample_cov
        return self._means().assign(std=(("sample", "output"), self.std), sample_cov=covariance)

    def _means(self) -> xr.Dataset:
        import xarray as xr

        trained = np.arange(len(self.mean)) < self.training
        means = {"mean": (("sample", "output"), self.mean)}
        return xr.Dataset(means, {"training": ("sample", trained)}, {"description": self.title})

    def __repr__(self) -> str:
        N, m = self.mean.shape
        return (
            f"Prediction of {self.title}\n{self._counts(N, m)}: mean {self.mean.shape}, sample_cov ({N}, {N})"
        )
