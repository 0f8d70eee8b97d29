"""The largest eigenvalue of the NTK over seeds, and the learning rate up to which gradient descent is stable.

Of a loss that is a mean over N samples, gradient descent with η is stable up to η λ_max(H_out^½ Ĥ H_out^½ / N) < 2, H_out being the loss's
Hessian by the outputs: 1 for the mean squared error, diag p - ppᵀ for the cross-entropy, about 1/C of C classes at initialisation.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from .._theory.quadratic_forms import variances
from .._theory.statistics import LayerStatistics
from ..network.mlp import MLP

_DRAWS = 4000
_MOST_DRAWN = 32  # outputs: beyond, the law of large matrices
_GAUSSIAN = 1e6  # degrees of freedom, with which a Wishart matrix is a Gaussian one
_ACCURACY = 0.02


def edge(loss: str, classes: int, largest: float = 1.0) -> float:
    """The η up to which gradient descent is stable at initialisation, the NTK's largest eigenvalue over N being `largest`."""
    return 2 * (classes if loss == "cross_entropy" else 1) / largest


class LargestEigenvalue(NamedTuple):
    """λ_max(Ĥ)/N of all outputs and samples, relative to that of the mean kernel: over seeds."""

    mean: float
    std: float
    truncation: float
    """The mean's error of cutting the expansion at 1/n."""


def largest_eigenvalue(
    mlp: MLP, X: np.ndarray, H: np.ndarray, tensors: LayerStatistics, seed: int
) -> LargestEigenvalue:
    """The largest eigenvalue of one network's NTK, over seeds, relative to that of the mean kernel H (N, N).

    With v its eigenvector, the block vᵀĤv of the n_L outputs is, to order 1/n,

        (h + √(A·vvvv / n) ξ) 1 + √(B·vvvv / n) GOE,   h = vᵀ(H + H1/n)v.

    It is resummed: what comes from below the last layer is a sum of outer products, so that a Wishart matrix of the same mean and
    variance takes the place of the Gaussian one; and A and B are multiplied by how much the resummed variance of the NTK exceeds the leading one.

    Args:
        tensors: the output's statistics with H1, on some samples.
        seed: of what is integrated by sampling.
    """
    values, vectors = np.linalg.eigh(H)
    variance = variances(mlp, X, mlp.depth, vectors[:, -1:], seed, _ACCURACY)
    v = np.linalg.eigh(tensors.H)[1][:, -1]
    h = v @ tensors.H @ v
    shift = float(v @ tensors.H1 @ v / h) / tensors.fan_in
    last = float(v @ (tensors.weight_contributions[-1] + tensors.bias_contributions[-1]) @ v / h)
    resummed, leading = (float(np.diag(sd).mean()) for sd in (tensors.ntk_std(), tensors.ntk_std(order=1)))
    growth = resummed / leading if leading > 0 else 1.0
    of_all, of_block = (growth * float(np.sqrt(part[0]) / values[-1]) for part in (variance.A, variance.B))
    below = max(1 + shift - last, 0.0)
    gaussian = 1 + shift + goe_largest(mlp.widths[-1]) * of_block / growth
    if not (below > 0 and of_block > 0):
        return LargestEigenvalue(1 + shift, of_all, abs(shift) / 3)
    mean, std = wishart_largest(mlp.widths[-1], (below / of_block) ** 2)
    total = last + below * mean
    return LargestEigenvalue(
        total,
        float(np.hypot(of_all * total / (1 + shift), below * std)),
        abs(shift) / 3 + (total - gaussian) / 2,
    )


def goe_largest(n: int) -> float:
    """The mean largest eigenvalue of an (n, n) symmetric Gaussian matrix with variances 1, and 2 on its diagonal."""
    mean, _ = wishart_largest(n, _GAUSSIAN)
    return (mean - 1) * _GAUSSIAN**0.5


@functools.lru_cache(maxsize=64)
def wishart_largest(n: int, m: float) -> tuple[float, float]:
    """Mean and sd of the largest eigenvalue of an (n, n) Wishart matrix of m degrees of freedom and mean 1.

    Its elements have variances 1/m, and 2/m on the diagonal; many degrees of freedom make it Gaussian.
    """
    if m < n:
        # G Gᵀ has the eigenvalues of GᵀG, for a whole number of degrees of freedom: in between they are interpolated.
        low = max(int(m), 1)
        few, more = (np.array(wishart_largest(k, float(n))) * n / k for k in (low, low + 1))
        mean, std = few + (more - few) * max(m - low, 0.0)
        return float(mean), float(std)
    if n > _MOST_DRAWN:
        # Tracy and Widom's law, with Johnstone and Ma's centre and scale.
        edges = np.sqrt(m - 0.5), np.sqrt(n - 0.5)
        scale = sum(edges) * (1 / edges[0] + 1 / edges[1]) ** (1 / 3)
        return float(sum(edges) ** 2 - 1.2065 * scale) / m, float(1.2680 * scale) / m
    # Bartlett's decomposition. The same draws for all m: the result is a smooth function of it.
    import scipy.stats

    rng = np.random.default_rng(n)
    lower = np.tril(rng.normal(size=(_DRAWS, n, n)), -1)
    i = np.arange(n)
    lower[:, i, i] = np.sqrt(scipy.stats.chi2.ppf(rng.uniform(size=(_DRAWS, n)), m - i))
    matrices = lower @ np.swapaxes(lower, 1, 2) / m
    # The mean of the trace is n: what it adds to the sample's mean is taken away.
    trace = np.einsum("sii->s", matrices) / n
    largest = np.linalg.eigvalsh(matrices)[:, -1] / trace
    return float(largest.mean()), float(np.hypot(largest.std(), largest.mean() * np.sqrt(2 / (n * m))))
