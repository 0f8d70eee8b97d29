"""The largest eigenvalue of the NTK over seeds, and the learning rate up to which gradient descent is stable.

Of a loss that is a mean over N samples, gradient descent with η is stable up to η λ_max(H_out^½ Ĥ H_out^½ / N) < 2, H_out being the loss's
Hessian by the outputs: 1 for the mean squared error, diag p - ppᵀ for the cross-entropy. At z = 0 the latter has p = 1/C for each of the C
outputs that the softmax is over, and the eigenvalue 1/C, whatever the labels are: outputs that are never a label count, masked ones do not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._theory.flow import flow
from .._theory.quadratic_forms import variances
from .._theory.statistics import LayerStatistics
from ..network.mlp import MLP

_DRAWS, _LEAST_DRAWS = 1000, 8
_WORK = 2.5e8  # in all draws, in units of one operation on a number
_MOST_DRAWN = 64  # outputs: beyond, smaller matrices stand for them
_LEAST_FREEDOM = 8  # degrees of freedom of these: with fewer they would be singular in another way
_ACCURACY = 0.02


def edge(loss: str, classes: int) -> float:
    """The η up to which gradient descent is stable at initialisation, the NTK's largest eigenvalue over N being 1; classes: C above."""
    return 2.0 * (classes if loss == "cross_entropy" else 1)


class LargestEigenvalue(NamedTuple):
    """λ_max(Ĥ)/N of all outputs and samples, relative to that of the mean kernel: over seeds."""

    mean: float
    std: float
    truncation: float
    """The mean's error of cutting the expansion at 1/n."""


def largest_eigenvalue(
    mlp: MLP, X: np.ndarray, tensors: LayerStatistics, outputs: int, seed: int
) -> LargestEigenvalue:
    """The largest eigenvalue of one network's NTK, over seeds, relative to that of the mean kernel on X (N, n_0).

    With v its eigenvector, the block vᵀĤv of the outputs is, to order 1/n,

        (h + √(A·vvvv / n) ξ) 1 + √(B·vvvv / n) GOE,   h = vᵀ(H + H1/n)v.

    It is resummed: the part of a layer's parameters in the NTK comes to the outputs through all layers above, each of which multiplies it by a
    Wishart matrix, whose degrees of freedom give B its share of that layer. A is multiplied by how much the NTK's resummed variance exceeds the
    leading one. One network's top direction is not v: it turns to inputs whose gradients vary more. So B, relative to H², lies between that of
    v and that of one input; the mean of both results is taken, and half their difference is part of the error.

    Args:
        tensors: the output's statistics with H1, on some samples.
        outputs: how many of them the loss is of.
        seed: of what is integrated by sampling.
    """
    last = flow(mlp, X, "mean")[-1]
    values, vectors = np.linalg.eigh(last.H)
    v = vectors[:, -1]
    shares = np.einsum("a,lab,b->l", v, last.weight_contributions + last.bias_contributions, v) / values[-1]
    variance = variances(mlp, X, mlp.depth, v[:, None], seed, _ACCURACY)
    of_layers = variance.B_by_layer[:, 0] / values[-1] ** 2
    few = np.linalg.eigh(tensors.H)[1][:, -1]
    shift = float(few @ tensors.H1 @ few / (few @ tensors.H @ few)) / tensors.fan_in
    resummed, leading = (float(np.diag(sd).mean()) for sd in (tensors.ntk_std(), tensors.ntk_std(order=1)))
    growth = resummed / leading if leading > 0 else 1.0
    common = growth * float(np.sqrt(variance.A[0]) / values[-1])
    H = np.diag(tensors.H)
    of_one = float(np.mean(np.diag(tensors.ntk_variance("different"))[H > 0] / H[H > 0] ** 2))
    factors = (1.0, max(of_one / of_layers.sum(), 1.0)) if of_layers.any() else (1.0, 1.0)
    (least, least_std), (most, most_std) = (
        largest_of_products(outputs, shares, f * of_layers) for f in factors
    )
    mean, std = (1 + shift) * (least + most) / 2, (1 + shift) * (least_std + most_std) / 2
    error = abs(shift) / 3 + (most - least) / 2 + common**2 * mean
    return LargestEigenvalue(mean, float(np.hypot(common * mean, std)), error)


def largest_of_products(n: int, shares: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    """Mean and sd of the largest eigenvalue of Σ_ℓ p_ℓ T_ℓ T_ℓᵀ, with T_L = 1 and T_ℓ = T_{ℓ+1} R_ℓ, where R_ℓ R_ℓᵀ is a Wishart matrix of mean 1.

    Args:
        n: the matrices' size. Larger ones than 64 are replaced by such with as many degrees of freedom for each row.
        shares: p_ℓ, (L,), whose sum is the mean's diagonal.
        variances: what R_1 … R_{L-1} add to the variance of an element off the diagonal, to leading order: (p_1 + … + p_ℓ)² / degrees of freedom.
    """
    rng = np.random.default_rng(n)
    with np.errstate(divide="ignore"):
        freedoms = np.cumsum(shares)[:-1] ** 2 / variances
    size = min(n, max(_MOST_DRAWN, int(_LEAST_FREEDOM * n / freedoms.min(initial=np.inf))))
    freedoms *= size / n
    draws = int(np.clip(_WORK / size**3, _LEAST_DRAWS, _DRAWS))
    largest = []
    for _ in range(draws):
        T = np.eye(size)
        total = shares[-1] * T
        for share, freedom in zip(shares[-2::-1], freedoms[::-1], strict=True):
            T = T @ _wishart_root(rng, T.shape[1], freedom)
            total = total + share * (T @ T.T)
        largest.append(np.linalg.eigvalsh(total)[-1])
    # The width of Tracy and Widom's law falls as n^(-2/3).
    return float(np.mean(largest)), float(np.std(largest) * (size / n) ** (2 / 3))


def _wishart_root(rng: np.random.Generator, n: int, m: float) -> np.ndarray:
    """R (n, k) with R Rᵀ a Wishart matrix of m degrees of freedom and mean 1; a fraction of m comes by chance."""
    if not m < 1e12:
        return np.eye(n)
    if m >= n + 1:
        # Bartlett's decomposition.
        lower = np.tril(rng.normal(size=(n, n)), -1)
        return (lower + np.diag(np.sqrt(rng.chisquare(m - np.arange(n))))) / np.sqrt(m)
    low = max(int(m), 1)
    # 1/m is the mean of 1/low and 1/(low + 1).
    chance = np.clip((1 / m - 1 / (low + 1)) / (1 / low - 1 / (low + 1)), 0, 1)
    columns = low if rng.uniform() < chance else low + 1
    return rng.normal(size=(n, columns)) / np.sqrt(columns)
