"""The output's NTK over many networks whose weights are never drawn: only what the samples see of them is.

With N samples, a layer's weights W enter through W σ, and going back through Wᵀ J with J of the layers above. Both are Gaussian
with covariances known beforehand, Ĝ' of PDLT (8.49) and (C_W/n) JᵀJ, so 2 N n numbers are drawn in the place of n². Going back, what
the forward pass told of W is put right by Matheron's rule: with W̃, b̃ fresh and z̃ = b̃ + W̃ σ,

    W | z  =  W̃ + (C_W/n) (z - z̃) Ĝ'⁻¹ σᵀ.

The distribution is that of real networks of that width, not a limit of it. Time N n + N² n a layer and network.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks.inputs import checked_inputs
from .._report import describe
from .._report.describe import InNotebooks
from .._report.digits import measured, number
from .._report.progress import Report, shows_progress, silent
from ..errors import DataError
from ..finite.parameters import whole_number
from ..network import as_mlp
from ..network.mlp import MLP
from .draws import draw_key

if TYPE_CHECKING:
    from rich.table import Table

# Of the diagonal, added where a metric is factorised, for dependent samples have a singular one: the networks are those whose
# preactivations have independent noise of this variance.
_JITTER = {"float64": 1e-13, "float32": 1e-6}
_AT_ONCE = 2**20  # numbers in the largest array under way
_REPORTS = 200


@dataclass(frozen=True, eq=False)
class OutputNTK(InNotebooks):
    """Ĥ_{ii;αβ} of one output neuron over `draws` networks of `seed`; arrays are (N, N)."""

    mean: np.ndarray
    mean_err: np.ndarray
    variance: np.ndarray
    variance_err: np.ndarray
    draws: int
    seed: int
    mlp: MLP
    X: np.ndarray

    def __repr__(self) -> str:
        mean, mean_err, std, std_err = (float(x.mean()) for x in self.diagonal())
        percent = f" ({number(100 * std / mean, '.3g')} %)" if mean > 0 else ""
        return (
            f"OutputNTK of {self.draws} networks, seed {self.seed}, of {self.mlp!r}\n{describe.samples(self.X)}\n"
            f"mean {measured(mean, mean_err)}, sd over seeds {measured(std, std_err)}{percent}: of one output neuron and sample, averages "
            f"over samples\nmean, variance {self.mean.shape}, each with its standard error"
        )

    def table(self) -> Table:
        """Mean and standard deviation over seeds of one neuron's NTK, for some of the samples."""
        from .._report.table import output_ntk_table

        return output_ntk_table(self)

    def diagonal(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of Ĥ_{ii;αα} the mean, its standard error, the standard deviation, its standard error: (N,)."""
        mean, mean_err, variance, variance_err = map(
            np.diag, (self.mean, self.mean_err, self.variance, self.variance_err)
        )
        std = np.sqrt(np.maximum(variance, 0.0))
        return mean, mean_err, std, np.divide(variance_err, 2 * std, out=np.zeros_like(std), where=std > 0)


@shows_progress
def output_ntk(
    network: Any, X, draws: int = 10_000, seed: int = 0, dtype: str = "float64", *, progress: Report | None = None
) -> OutputNTK:  # fmt: skip
    """Mean and variance over networks of an output neuron's NTK, with standard errors, at the rate of 10⁴ networks a second.

    Networks are not those of `ensemble`: their weights are never made. The same seed gives the same result.

    Args:
        network: as of `ensemble`.
        X: (N, n_0) finite inputs.
        draws: networks, at least 2.
        dtype: "float64" or "float32". Equal samples come out equal up to 3e-7 and 1e-3.
        progress: as of `flow`.

    Raises:
        DataError: an argument is out of range.
    """
    mlp = as_mlp(network)
    X = checked_inputs(mlp, X)
    draws = whole_number(draws, "draws", 2, 2**53, DataError)
    seed = whole_number(seed, "seed", 0, 2**63 - 1, DataError)
    if dtype not in _JITTER:
        raise DataError(f'dtype must be "float64" or "float32", not {dtype!r}')
    # Fixed by the job alone: which numbers a network gets depends on it.
    batch = max(1, min(256, _AT_ONCE // (len(X) * max(mlp.widths[1:]))))
    with jax.enable_x64(True):
        nothing = np.zeros((len(X),) * 2)
        one_batch = _moments(mlp, dtype, batch, X, nothing, seed, batch, 0, 1, [nothing] * 4)
        reference, sums = np.asarray(one_batch[0]) / batch, [nothing] * 4
        batches = -(-draws // batch)
        for done in range(0, batches, step := -(-batches // _REPORTS)):
            sums = _moments(
                mlp, dtype, batch, X, reference, seed, draws, done, min(done + step, batches), sums
            )
            drawn = min((done + step) * batch, draws)
            jax.block_until_ready(sums)
            (progress or silent)(drawn, draws, f"{drawn} of {draws} networks")
    sums = [np.asarray(s) / draws for s in sums]
    mean, second, third, fourth = sums
    variance = second - mean**2
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    return OutputNTK(
        reference + mean,
        np.sqrt(np.maximum(variance, 0.0) / (draws - 1)),
        variance * draws / (draws - 1),
        np.sqrt(np.maximum(central - variance**2, 0.0) / (draws - 1)),
        draws, seed, mlp, X,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=(1, 2))
def _moments(mlp: MLP, dtype: str, batch: int, X, reference, seed, draws, first, last, sums):
    """Sums over draws of the first four powers of Ĥ less the reference: `sums`, and what the batches from `first` to `last` add."""
    X = jnp.asarray(X, dtype)

    def add(i, sums):
        keys = jax.random.split(draw_key(seed, i), batch)
        H = jax.vmap(lambda key: _one_network(mlp, X, key))(keys).astype(jnp.float64) - reference
        counted = (i * batch + jnp.arange(batch) < draws)[:, None, None]
        return [s + jnp.sum(jnp.where(counted, H**k, 0.0), axis=0) for k, s in enumerate(sums, start=1)]

    return jax.lax.fori_loop(first, last, add, sums)


def _one_network(mlp: MLP, X: jax.Array, key: jax.Array) -> jax.Array:
    """Ĥ_{11;αβ} of the output, (N, N)."""
    keys = iter(jax.random.split(key, 4 * mlp.depth))

    def normal(*shape):
        return jax.random.normal(next(keys), shape, X.dtype)

    # Forward. The output's own preactivation is not needed.
    kernel = X @ X.T / mlp.widths[0]
    kernels, z, s, factors = [mlp.lambda_b[0] + mlp.lambda_W[0] * kernel], [], [X], []
    for ell in range(1, mlp.depth):
        factors.append(_factor(mlp.C_b[ell - 1] + mlp.C_W[ell - 1] * kernel))
        z.append(factors[-1][0] @ normal(len(X), mlp.widths[ell]))
        s.append(mlp.activation[ell - 1](z[-1]))
        kernel = s[-1] @ s[-1].T / mlp.widths[ell]
        kernels.append(mlp.lambda_b[ell] + mlp.lambda_W[ell] * kernel)
    # Backward.
    H = kernels[-1]
    if mlp.depth > 1:
        d = [layer.slope(x) for layer, x in zip(mlp.layers[1:], z, strict=True)]
        n = mlp.widths[-2]
        J = d[-1] * (mlp.C_W[-1] / n) ** 0.5 * normal(n)
        H += kernels[-2] * (J @ J.T)
        for ell in range(mlp.depth - 1, 1, -1):
            n, C_W, C_b = mlp.widths[ell - 1], mlp.C_W[ell - 1], mlp.C_b[ell - 1]
            spread, _ = _factor(J @ J.T)
            fresh = (C_W / n) ** 0.5 * spread @ normal(len(X), n)  # W̃ᵀJ
            biases = C_b**0.5 * spread @ normal(len(X))
            factor, jitter = factors[ell - 1]
            known = J @ z[ell - 1].T - fresh @ s[ell - 1].T - biases[:, None]
            known -= jitter**0.5 * spread @ normal(len(X), len(X))  # z̃ has its part of what made Ĝ' regular
            learned = jax.scipy.linalg.cho_solve((factor, True), known.T).T
            J = d[ell - 2] * (fresh + C_W / n * learned @ s[ell - 1])
            H += kernels[ell - 2] * (J @ J.T)
    return H


def _factor(metric: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A Cholesky factor of a metric (N, N) that may be singular, and what was added to its diagonal."""
    info = jnp.finfo(metric.dtype)
    added = _JITTER[metric.dtype.name] * jnp.trace(metric) / len(metric) + info.tiny
    return jnp.linalg.cholesky(metric + added * jnp.eye(len(metric), dtype=metric.dtype)), added
