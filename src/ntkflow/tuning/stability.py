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
_MOST_DRAWN = 100  # outputs: beyond, the law of large matrices
_ACCURACY = 0.02


def edge(loss: str, classes: int, largest: float = 1.0) -> float:
    """The η up to which gradient descent is stable at initialisation, the NTK's largest eigenvalue over N being `largest`."""
    return 2 * (classes if loss == "cross_entropy" else 1) / largest


class LargestEigenvalue(NamedTuple):
    """λ_max(Ĥ)/N of all outputs and samples, relative to that of the mean kernel: over seeds."""

    mean: float
    std: float
    truncation: float
    """The error of both of cutting the expansion at 1/n."""


def largest_eigenvalue(
    mlp: MLP, X: np.ndarray, H: np.ndarray, tensors: LayerStatistics, seed: int
) -> LargestEigenvalue:
    """The largest eigenvalue of one network's NTK, over seeds, relative to that of the mean kernel H (N, N).

    With v its eigenvector the block vᵀĤv of the n_L outputs is, to order 1/n,

        (h + √(A·vvvv / n) ξ) 1 + √(B·vvvv / n) GOE,   h = vᵀ(H + H1/n)v.

    A and B are multiplied by how much the resummed variance of the NTK exceeds the leading one.

    Args:
        tensors: the output's statistics with H1, on some samples.
        seed: of what is integrated by sampling.
    """
    values, vectors = np.linalg.eigh(H)
    top = values[-1]
    variance = variances(mlp, X, mlp.depth, vectors[:, -1:], seed, _ACCURACY)
    vector = np.linalg.eigh(tensors.H)[1][:, -1]
    shift = float(vector @ tensors.H1 @ vector / (vector @ tensors.H @ vector)) / tensors.fan_in
    resummed, leading = np.diag(tensors.ntk_std()), np.diag(tensors.ntk_std(order=1))
    growth = float(np.mean(resummed) / np.mean(leading)) if np.mean(leading) > 0 else 1.0
    error = float(np.mean(np.diag(tensors.truncation("ntk_std"))) / max(np.mean(resummed), 1e-300))
    of_all, of_blocks = (growth * np.sqrt(part[0]) / top for part in (variance.A, variance.B))
    mean, std = goe_largest(mlp.widths[-1])
    spread = float(np.hypot(of_all, std * of_blocks))
    return LargestEigenvalue(
        float(1 + shift + mean * of_blocks), spread, float(abs(shift) / 3 + error * mean * of_blocks)
    )


@functools.cache
def goe_largest(n: int) -> tuple[float, float]:
    """Mean and sd of the largest eigenvalue of an (n, n) symmetric Gaussian matrix with variances 1, and 2 on its diagonal."""
    if n > _MOST_DRAWN:
        # Tracy and Widom's law, with Johnstone and Ma's centre.
        return float(np.sqrt(2 * (2 * n - 1)) - 1.2065 / n ** (1 / 6)), float(1.2680 / n ** (1 / 6))
    rng = np.random.default_rng(n)
    matrices = rng.normal(size=(_DRAWS, n, n)) / np.sqrt(2)
    largest = np.linalg.eigvalsh(matrices + np.swapaxes(matrices, 1, 2))[:, -1]
    # The mean of the trace's part is 0: what it adds to the sample's mean is taken away.
    largest = largest - np.einsum("sii->s", matrices) * 2 / n
    return float(largest.mean()), float(np.sqrt(largest.var() + 2 / n))
