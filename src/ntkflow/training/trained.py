"""`trained`: mean and covariance over seeds of the outputs of networks that gradient descent has trained, at infinite width.

With H the mean NTK, G the variance of the outputs at initialisation, A the training and B the test samples, and the loss ½ Σ (z - y)²,

    z_A(t) = y + exp(-H_AA t) (z_A(0) - y),    z_B(t) = z_B(0) - H_BA H_AA⁻¹ (1 - exp(-H_AA t)) (z_A(0) - y),

of which mean and covariance follow, z(0) being Gaussian with mean 0 and covariance G.
"""

from __future__ import annotations

import warnings
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import numpy as np

from .._checks.inputs import as_array, checked_inputs
from .._report.describe import counted, network
from .._report.progress import Report, shows_progress, silent
from .._theory.flow import flow
from .._theory.result import Flow
from ..errors import DataError, MemoryRequestError, SpecError
from ..network.lift import without_blocks
from ..network.mlp import MLP
from .clock import Clock
from .modes import InitialCovariance, Modes
from .prediction import Hinted, Prediction

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr

    from .finite_width import FiniteWidthTrained

LOSSES = ("sum", "mse")
_DRAWS = 2
_CAUTION = 3.0  # from an sd over random errors to an estimate that holds


@overload
def trained(
    network: Any, X, y, X_test=None, *, loss: str = "sum", order: Literal[0] = 0, rtol: float | None = None, store=None,
    executor: Executor | None = None, progress: Report | None = None,
) -> Trained: ...  # fmt: skip
@overload
def trained(
    network: Any, X, y, X_test=None, *, loss: str = "sum", order: Literal[1], rtol: float | None = None, store=None,
    executor: Executor | None = None, progress: Report | None = None,
) -> FiniteWidthTrained: ...  # fmt: skip
@overload
def trained(
    network: Any, X, y, X_test=None, *, loss: str = "sum", order: int, rtol: float | None = None, store=None,
    executor: Executor | None = None, progress: Report | None = None,
) -> Trained: ...  # fmt: skip
@shows_progress
def trained(
    network: Any,
    X,
    y,
    X_test=None,
    *,
    loss: str = "sum",
    order: int = 0,
    rtol: float | None = None,
    store=None,
    executor: Executor | None = None,
    progress: Report | None = None,
) -> Trained:
    """Predict an ensemble of networks that full-batch gradient descent trains on X and y.

    Args:
        network: as of `flow`; its λ's are the learning rates that η multiplies.
        X: (N_A, n_0) training inputs. y: (N_A, m) targets, or (N_A,) for one output; of class numbers take one-hot rows,
            `np.eye(C)[y]`. The prediction is of the network with m outputs, whatever its own number.
        X_test: (N_B, n_0) inputs to predict as well.
        loss: to which times and learning rates belong: "sum", ½ Σ_a Σ_i (z_{i;a} - y_{i;a})², or "mse", a mean over samples, as `ntkflow.mse`.
        order: 0 for infinite width; 1 for the width that the network has, to order 1/n: a `FiniteWidthTrained`. Its tensors grow as
            (N_A + N_B)⁴: tens of samples.
        rtol: of the integration, as of `flow`.
        store: with order=1, a path ending in `.zarr` for tensors that don't fit in memory, as of `flow`.
        executor: with a store, what computes its tiles, as of `flow`.
        progress: as of `flow`.

    Returns:
        A Trained: call it with `t`, or `steps` and `eta`, for a Prediction.

    Raises:
        DataError: targets that don't fit; and as of `flow`.
        MemoryRequestError: with order=1, more samples than memory holds tensors for.

    Cost:
        The kernels of N_A + N_B inputs, one decomposition of order N_A³; then per time N_A (N_A + N_B) m for the mean and N_A² (N_A + N_B) for the
        covariance, which is computed when it is asked for.

    Example:
        >>> predict = ntkflow.trained(ntkflow.MLP((64, 512, 512, 1), "relu", C_W=2.0), X, y, X_test)
        >>> at_the_end = predict(t=np.inf)
        >>> at_the_end.test.mean, at_the_end.test.std
    """
    mlp = without_blocks(network)
    X = checked_inputs(mlp, X)
    inputs = X if X_test is None else np.concatenate([X, checked_inputs(mlp, X_test, "X_test")])
    if loss not in LOSSES:
        raise SpecError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}")
    targets = checked_targets(mlp, y, len(X))
    if order not in (0, 1):
        raise SpecError(
            f"order must be 0, for infinite width, or 1, for the first order in 1/n, not {order!r}"
        )
    if store is not None and order == 0:
        raise SpecError("a store holds the tensors of order=1; for kernels on disk see trained_from_store")
    if executor is not None and store is None:
        raise SpecError("an executor computes the tiles of a store")
    settings: dict[str, Any] = {} if rtol is None else {"rtol": rtol}
    scale = 1.0 if loss == "sum" else 1 / len(X)
    if order == 1:
        from .finite_width import FiniteWidthTrained

        tensors = _with_tensors(
            mlp,
            inputs,
            len(X),
            settings | {"store": store, "executor": executor, "progress": progress or silent},
        )
        last = tensors[-1]
        kernels = last.G, last.H, last.error("G"), last.error("H")
        return FiniteWidthTrained(mlp, len(X), targets, *kernels, scale, tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of narrow networks: this is infinite width
        last = flow(mlp, inputs, "mean", progress=progress or silent, **settings)[-1]
    return Trained(mlp, len(X), targets, last.G, last.H, last.error("G"), last.error("H"), scale)


def _with_tensors(mlp: Any, inputs: np.ndarray, training: int, settings: dict[str, Any]) -> Flow:
    kinked = any(a.kinked for a in mlp.activation)
    try:
        return flow(mlp, inputs, training=not kinked, **settings)
    except MemoryRequestError as error:
        raise MemoryRequestError(
            f"the tensors of order=1 on {training} training and {len(inputs) - training} test samples don't fit in memory: take fewer, or a store"
        ) from error


@dataclass(frozen=True, eq=False, repr=False)
class Trained(Hinted):
    """Gradient descent on an infinitely wide network; the result of `trained`.

    Attributes:
        mlp: the network.
        training: N_A, the number of training samples.
        y: (N_A, m).
        G, H: of all samples, training ones first, (N, N), with their errors G_err, H_err.
        scale: by which times and learning rates are multiplied: 1, or 1 / N_A for a mean over samples.
    """

    mlp: MLP
    training: int
    y: np.ndarray
    G: np.ndarray
    H: np.ndarray
    G_err: np.ndarray
    H_err: np.ndarray
    scale: float

    WIDTH: ClassVar = "at infinite width"
    ELSEWHERE = dict.fromkeys(
        ("ntk_change", "fails_from", "flow", "linearised"), "trained(…, order=1) has it"
    )

    @cached_property
    def modes(self) -> Modes:
        """The eigenvalues and eigenvectors of the training samples' mean NTK."""
        n = self.training
        return Modes.of(self.H[:n, :n], self.H[n:, :n], self.H_err[:n, :n])

    @cached_property
    def initial(self) -> InitialCovariance:
        """G, in these modes."""
        return InitialCovariance.of(self.G, self.modes)

    @property
    def largest_eta(self) -> float:
        """The learning rate from which on gradient descent diverges, 2 / κ_max."""
        return 2 / (self.scale * self.modes.rates[-1]) if self.modes.rates[-1] > 0 else np.inf

    @property
    def condition(self) -> float:
        """κ_max / κ_min; infinite where a mode never trains."""
        rates = self.modes.rates
        return float(rates[-1] / rates[0]) if rates[0] > 0 else np.inf

    def __call__(
        self, t: float | None = None, *, steps: int | None = None, eta: float | None = None
    ) -> Prediction:
        """The outputs' mean and covariance over seeds.

        Args:
            t: a time of gradient flow, from 0 to `np.inf`.
            steps, eta: instead, steps of gradient descent and their learning rate.

        Raises:
            DataError: neither or both are given, or η is above `largest_eta`.
        """
        return self._prediction(self._clock(t, steps, eta), self.modes, self.initial)

    def error(
        self, t: float | None = None, *, steps: int | None = None, eta: float | None = None
    ) -> Prediction:
        """Estimated errors of `mean` and `sample_cov` at a time, as a Prediction that holds them: of integration and of rounding.

        They are seen on kernels that are changed at random by their errors; it takes three times as long as the prediction itself.
        """
        clock = self._clock(t, steps, eta)
        exact = self._prediction(clock, self.modes, self.initial)
        changed = [self._changed(clock, seed) for seed in range(_DRAWS)]
        mean = _CAUTION * np.sqrt(np.mean([(c.mean - exact.mean) ** 2 for c in changed], axis=0))
        # A difference may vanish by chance: samples lend one another theirs.
        mean = np.maximum(mean, np.sqrt(np.mean(mean**2, axis=0)))

        def covariance(samples: np.ndarray) -> np.ndarray:
            errors = [(c.covariance(samples) - exact.covariance(samples)) ** 2 for c in changed]
            error = _CAUTION * np.sqrt(np.mean(errors, axis=0))
            return np.maximum(error, np.sqrt(np.mean(error**2)))

        return Prediction(f"the errors at {clock}", mean, self.training, covariance)

    def posterior(self, noise: float = 0.0) -> Prediction:
        """The Bayesian posterior of the same network (NNGP): of the outputs, given targets with noise of this variance.

        Its mean is G_BA (G_AA + noise)⁻¹ y. Nothing is trained: λ's do not enter.
        """
        n = self.training
        if not 0 <= noise < np.inf:
            raise DataError(f"noise must be a variance of at least 0, not {noise!r}")
        noisy = self.G[:n, :n] + noise * np.eye(n)
        modes = Modes.of(noisy, self.G[n:, :n], self.G_err[:n, :n])
        inverse = Clock(t=np.inf).progress(modes.rates)
        shares = np.concatenate([self.G[:n, :n] @ modes.vectors, modes.across]) * np.sqrt(inverse)
        mean = (shares * np.sqrt(inverse)) @ (modes.vectors.T @ self.y)

        def covariance(samples: np.ndarray) -> np.ndarray:
            return self.G[np.ix_(samples, samples)] - shares[samples] @ shares[samples].T

        return Prediction(f"the posterior of {network(self.mlp)}", mean, n, covariance)

    def losses(self, times=None, *, steps=None, eta: float | None = None, y_test=None) -> xr.Dataset:
        """The mean over seeds of ½ Σ_i (z_i - y_i)², a mean over samples, as training goes on.

        Args:
            times: of gradient flow; or `steps`, numbers of steps, with `eta`.
            y_test: (N_B, m) targets, for the test loss.

        Returns:
            `train` and `test`, and the parts `train_bias`, `train_variance`, … of squared bias and variance, by `time` or `steps`.
        """
        import xarray as xr

        axis = "time" if times is not None else "steps"
        values = np.atleast_1d(np.asarray(times if times is not None else steps))
        parts = {"train": (slice(None, self.training), self.y)}
        if y_test is not None:
            parts["test"] = (
                slice(self.training, None),
                targets_of(y_test, len(self.H) - self.training, "y_test"),
            )
        columns: dict[str, list[float]] = {
            f"{part}_{kind}": [] for part in parts for kind in ("bias", "variance")
        }
        for value in values:
            clock: dict[str, Any] = (
                {"t": float(value)} if times is not None else {"steps": int(value), "eta": eta}
            )
            prediction = self(**clock)
            for part, (rows, y) in parts.items():
                columns[f"{part}_bias"].append(
                    0.5 * float(np.mean(np.sum((prediction.mean[rows] - y) ** 2, axis=1)))
                )
                columns[f"{part}_variance"].append(
                    0.5 * float(np.mean(np.sum(prediction.std[rows] ** 2, axis=1)))
                )
        table = xr.Dataset({name: (axis, column) for name, column in columns.items()}, {axis: values})
        return table.assign({part: table[f"{part}_bias"] + table[f"{part}_variance"] for part in parts})

    def report(self, path: str | PathLike, *, inputs: bool = True) -> None:
        """Write one HTML file that needs no network: losses and outputs as gradient flow goes on, rates of the modes, and how to do it again.

        Args:
            path: ending in .html; what is there is replaced.
            inputs: whether the file carries the inputs where the result holds them, which with order=1 it does.

        Raises:
            FileError: the file can't be written.
            MissingExtraError: jinja2 is not installed.

        Example:
            >>> ntkflow.trained(mlp, X, y, X_test).report("trained.html")
        """
        from .._report.html import trained_ensembles

        trained_ensembles.report(self, path, inputs)

    def _clock(self, t: float | None, steps: int | None, eta: float | None) -> Clock:
        clock = Clock(t, steps, eta)
        clock.check(self.scale * self.modes.rates)
        return clock.scaled(self.scale)

    def _prediction(self, clock: Clock, modes: Modes, initial: InitialCovariance) -> Prediction:
        def covariance(samples: np.ndarray) -> np.ndarray:
            return initial.after(modes.answers(clock), samples)

        return Prediction(
            f"{network(self.mlp)} at {clock}", modes.mean(clock, self.y), self.training, covariance
        )

    def _changed(self, clock: Clock, seed: int) -> Prediction:
        """The prediction from kernels that are changed by their errors and by what rounding does to a matrix of their size."""
        rng = np.random.default_rng(seed)
        n, rounding = self.training, np.finfo(float).eps * self.modes.rates[-1] / np.sqrt(self.training)

        def changed(kernel: np.ndarray, error: np.ndarray) -> np.ndarray:
            noise = np.triu(rng.choice([-1.0, 1.0], kernel.shape)) * np.hypot(error, rounding)
            return kernel + noise + np.triu(noise, 1).T

        G, H = changed(self.G, self.G_err), changed(self.H, self.H_err)
        modes = Modes.of(H[:n, :n], H[n:, :n], self.H_err[:n, :n])
        return self._prediction(clock, modes, InitialCovariance.of(G, modes))

    def __repr__(self) -> str:
        rates = self.modes.rates
        still = int(np.sum(rates == 0))
        condition = (
            f"condition {self.condition:.3g}"
            if not still
            else f"{counted(still, 'mode')} that never {'trains' if still == 1 else 'train'}"
        )
        return (
            f"Trained ensemble of {network(self.mlp)}, {self.WIDTH}\n{counted(self.training, 'training sample')}, "
            f"{counted(len(self.H) - self.training, 'test sample')}, {counted(self.y.shape[1], 'output')}; {condition}; largest eta {self.largest_eta:.4g}"
        )


def checked_targets(mlp: Any, y, N: int) -> np.ndarray:
    """(N, m) targets of a network; DataError for another shape, what is not finite, and class numbers of several outputs."""
    targets, outputs = targets_of(y, N), mlp.widths[-1]
    if outputs > 1 and np.ndim(y) == 1 and as_array(y, "y").dtype.kind in "iu":
        raise DataError(
            f"y holds whole numbers, one for each sample: of class numbers take one-hot rows, np.eye({outputs})[y]"
        )
    return targets


def targets_of(y, N: int, name: str = "y") -> np.ndarray:
    """(N, m) targets; DataError for another shape, or for what is not finite."""
    values = as_array(y, name)
    if values.dtype.kind not in "iuf" or values.ndim not in (1, 2) or len(values) != N or values.size == 0:
        raise DataError(
            f"{name} must be numbers of shape ({N}, m), one row for each sample, not {values.dtype} of shape {values.shape}"
        )
    if not np.all(np.isfinite(values)):
        raise DataError(f"{name} must be finite")
    return values.astype(float).reshape(N, -1)
