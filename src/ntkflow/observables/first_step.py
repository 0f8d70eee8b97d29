"""Changes of the loss and the outputs in the first step of gradient descent, over seeds, PDLT (8.3), (8.13).

To first order in η, with the error factor ε = ∂L/∂z of the training samples,

    ΔL = -η Σ ε_{i1;1} ε_{i2;2} Ĥ_{i1i2;12},      Δz_{i;δ} = -η Σ Ĥ_{ij;δα} ε_{j;α},

averaged over p(z, Ĥ | D) to order 1/n. Means and variances have all terms of order 1 and 1/n: the 1/n corrections G1 and H1,
V, D, F, A and B. Terms of order 1/n² or η² are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from .._checks.inputs import as_array
from .._report import describe
from .._report.describe import InNotebooks
from .._report.digits import measured
from .._report.progress import Report, shows_progress, silent
from .._theory.result import Flow
from ..errors import DataError, MemoryRequestError, ObservableError
from ..finite.descent import checked_eta
from ..finite.losses import about_mse_targets, mse
from ..finite.parameters import key_of, whole_number
from .joint import JointDistribution, joint, warn_of_width
from .mse_step import mse_moments
from .sampler import draw, metric_spread

if TYPE_CHECKING:
    from rich.table import Table

    from .._theory.statistics import LayerStatistics

_AT_ONCE = 2**23  # numbers of Ĥ under way


@dataclass(frozen=True, eq=False)
class FirstStep(InNotebooks):
    """Mean and standard deviation over seeds of the changes in the first step.

    Attributes:
        loss_mean, loss_std: of ΔL.
        output_mean, output_std: (N, n_L), of Δz of every output on every sample.
        loss_mean_err, …: Monte-Carlo standard errors of these; 0 where the result is analytic.
        draws: how many were drawn; 0 where the result is analytic.
        layer: the output's statistics. train: the training samples. loss, eta: the loss's name and the learning rate.
    """

    loss_mean: float
    loss_std: float
    output_mean: np.ndarray
    output_std: np.ndarray
    loss_mean_err: float
    loss_std_err: float
    output_mean_err: np.ndarray
    output_std_err: np.ndarray
    draws: int
    layer: LayerStatistics
    train: np.ndarray
    loss: str
    eta: float

    def __repr__(self) -> str:
        N, m = self.output_mean.shape
        trained = f"{len(self.train)} of them" if len(self.train) < N else "all"
        changes = f"{self.output_mean.min():.3g} … {self.output_mean.max():.3g}"
        return (
            f"FirstStep of {self.layer.mlp!r}\n{describe.samples(self.layer.X)}, {trained} trained on with "
            f"{self.loss}, eta = {self.eta:g}; {self.how}\n"
            f"loss: mean change {self.text(self.loss_mean, self.loss_mean_err)}, sd over seeds {self.text(self.loss_std, self.loss_std_err)}\n"
            f"{describe.counted(m, 'output')} on {describe.counted(N, 'sample')}: mean changes {changes}, sd over seeds up to {self.output_std.max():.3g}"
        )

    @property
    def how(self) -> str:
        """How the averages were taken."""
        return f"{self.draws} draws of z and Ĥ" if self.draws else "analytic"

    def text(self, value: float, error: float) -> str:
        """A number with its Monte-Carlo error in brackets, if it was drawn."""
        return measured(value, error) if self.draws else f"{value + 0.0:.6g}"

    def table(self) -> Table:
        """Mean and standard deviation over seeds of the loss's and of each output's change; of many outputs and samples, root mean squares."""
        from .report import first_step_table

        return first_step_table(self)


@shows_progress
def predict_first_step(
    flow: Flow,
    loss: Callable,
    y,
    eta: float,
    *,
    train: Sequence[int] | None = None,
    draws: int = 10_000,
    key=0,
    progress: Report | None = None,
) -> FirstStep:
    """The first step of tensorial gradient descent on all training samples at once, at the network's real width.

    For `ntkflow.mse` the averages are analytic; for any other loss they are taken over `draws` of `JointDistribution.sample`.

    Args:
        flow: of training samples, and of others whose outputs are to be predicted; with components="all", or sets that hold them.
        loss: loss(z, y), a scalar JAX function of the outputs z (N_train, n_L), such as `ntkflow.cross_entropy`.
        y: the training samples' targets, in the form that `loss` takes.
        eta: the global learning rate η.
        train: which samples of the flow are trained on, by default all.
        key: of the draws, a JAX key or an integer seed.
        progress: as of `flow`.

    Raises:
        ComponentError: `train` is out of range, or the flow does not hold the tensors on these samples.
        DataError, ParameterError, ObservableError: y, eta, draws or the loss are not of this form.
    """
    progress = progress or silent
    last = joint(flow)
    checked_eta(eta)
    draws = whole_number(draws, "draws", 2, 2**53, DataError)
    train_samples = last.samples(train)
    y = as_array(y, "y")
    if y.ndim == 0 or len(y) != len(train_samples):
        raise DataError(
            f"y must have {len(train_samples)} rows, one for each training sample, not shape {y.shape}"
        )
    if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise DataError("y must be finite")
    if loss is mse:
        progress(0, 1, "sums over outputs and samples")
        warn_of_width(last.layer, metric_spread(last.layer, train_samples))
        return _analytic(last, y, float(eta), train_samples)
    if not callable(loss):
        raise ObservableError(f"loss must be a function, not {loss!r}")
    progress(0, draws, "setting up the draws")
    sampler = last.sampler()
    warn_of_width(last.layer, sampler.spread, sampler.missing)
    progress(0, draws, "compiling")
    return _sampled(last, loss, y, float(eta), train_samples, draws, key, progress)


def _analytic(last: JointDistribution, y: np.ndarray, eta: float, train: np.ndarray) -> FirstStep:
    layer = last.layer
    if y.shape != (len(train), layer.width):
        raise DataError(about_mse_targets(y, (len(train), layer.width)))
    moments = mse_moments(layer, y.astype(float), train)
    scale = eta / len(train)
    zeros = np.zeros_like(moments.output_mean)
    return FirstStep(
        -scale / len(train) * moments.loss_mean, abs(scale) / len(train) * np.sqrt(max(moments.loss_variance, 0.0)),
        -scale * moments.output_mean, abs(scale) * np.sqrt(np.maximum(moments.output_variance, 0.0)),
        0.0, 0.0, zeros, zeros, 0, layer, train, "mse", eta,
    )  # fmt: skip


def _sampled(
    last: JointDistribution, loss: Callable, y: np.ndarray, eta: float, train: np.ndarray, draws: int, key, progress: Report
) -> FirstStep:  # fmt: skip
    m, N = last.layer.width, len(last.layer.G)
    numbers_per_draw = (m * N) ** 2
    if numbers_per_draw > _AT_ONCE * 16:
        raise MemoryRequestError(
            f"one draw of the NTK of {m} outputs and {N} samples has {numbers_per_draw} numbers: take fewer samples"
        )
    batch = max(1, min(draws, _AT_ONCE // numbers_per_draw))
    with jax.enable_x64(True):
        keys = jax.random.split(key_of(key), -(-draws // batch))
        arrays = last.sampler().arrays()

        @jax.jit
        def changes(key):
            z, H = draw(arrays, key, m, batch)
            outputs = z[:, :, train].swapaxes(1, 2)
            value, error = jax.vmap(jax.value_and_grad(lambda output: loss(output, y)))(outputs)
            velocity = jnp.einsum("nijda,naj->ndi", H[..., train], error)
            loss_change = -eta * jnp.einsum("nai,nai->n", velocity[:, train], error)
            return jnp.where(jnp.isfinite(value), loss_change, jnp.nan), -eta * velocity

        batches = []
        try:
            for batch_key in keys:
                batches.append(tuple(map(np.asarray, changes(batch_key))))
                drawn = min(len(batches) * batch, draws)
                progress(drawn, draws, f"{drawn} of {draws} draws")
        except (TypeError, jax.errors.JAXTypeError) as error:
            raise ObservableError(
                f"loss can't be differentiated by JAX: {str(error).splitlines()[0]}"
            ) from error
    loss_change, output_change = (np.concatenate(x)[:draws] for x in zip(*batches, strict=True))
    if not (np.all(np.isfinite(loss_change)) and np.all(np.isfinite(output_change))):
        raise ObservableError("the loss or its gradient is not finite on some draws")
    (a, da, b, db), (c, dc, d, dd) = (_mean_and_std(x) for x in (loss_change, output_change))
    name = getattr(loss, "__name__", type(loss).__name__)
    return FirstStep(
        float(a), float(b), c, d, float(da), float(db), dc, dd, draws, last.layer, train, name, eta
    )


def _mean_and_std(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, its standard error, standard deviation, its standard error; over the first axis."""
    mean, variance = x.mean(axis=0), x.var(axis=0, ddof=1)
    fourth = np.mean((x - mean) ** 4, axis=0)
    sd = np.sqrt(variance)
    spread = np.sqrt(np.maximum(fourth - variance**2, 0.0) / len(x))
    return mean, sd / np.sqrt(len(x)), sd, np.divide(spread, 2 * sd, out=np.zeros_like(sd), where=sd > 0)
