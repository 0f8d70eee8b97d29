"""The variance over networks of vᵀĤ_{ii}v for given v, to leading order in 1/n, without the N⁴ components of A and B.

It is a sum over hidden layers. The neurons of each add

    A:  Var[σᵀPσ + σ'ᵀQσ'] / n_ℓ,   P = C_W M_G + λ_W M,   Q = C_W M∘H;      B:  C_W² E[tr(S M S H S M S H)] / n_ℓ,   S = diag σ',

PDLT (8.97), (8.89). M and M_G multiply the fluctuations of Ĥ and of the metric above the layer; M is vvᵀ at the top, and both are pulled
back from layer to layer exactly. Only the expectations over one layer's preactivations are sampled. N² time a draw, layer and v.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import numpy as np

from .._gaussian import FINE, Expectations
from .._recursions import means
from ..activations import Activation
from ..errors import ComponentError
from ..network.dense import Dense
from ..network.mlp import MLP
from .duplicates import distinct_rows
from .two_runs import Kernels, kernels

_DRAWS = 4096  # at a time
_MOST = 64 * _DRAWS
ACCURACY = 0.01
"""The relative standard error at which the sampling of a standard deviation stops, by default."""


class Variances(NamedTuple):
    """Of m vectors v, (m,) each."""

    A: np.ndarray
    """A·vvvv / n: of what all neurons' vᵀĤ_{ii}v share."""
    B_by_layer: np.ndarray
    """What the neurons of each hidden layer add to B, (L-1, m)."""
    error: np.ndarray
    """The standard error of the sampling of A + 2B."""

    @property
    def B(self) -> np.ndarray:
        """B·vvvv / n: of vᵀĤ_{ij}v for two neurons."""
        return self.B_by_layer.sum(axis=0)

    @property
    def total(self) -> np.ndarray:
        """The variance of vᵀĤ_{ii}v, A + 2B."""
        return self.A + 2 * self.B


def variances(
    mlp: MLP, X: np.ndarray, layer: int, v: np.ndarray, seed: int = 0, accuracy: float = ACCURACY
) -> Variances:
    """Variances of vᵀĤv in layer `layer` over networks, and the standard errors of their sampling.

    Args:
        X: (N, n_0) finite inputs.
        v: (N, m).
        seed: of the sampling.
        accuracy: the relative standard error of √variance that sampling stops at.
    """
    distinct, index = distinct_rows(X)
    vectors = np.eye(len(distinct))[index].T @ v
    with np.errstate(all="ignore"):
        layers = list(itertools.islice(kernels(mlp, distinct, 0, (), FINE, None), layer))
    m = v.shape[1]
    sources = [_Source(mlp, below, above, m) for below, above in itertools.pairwise(layers)]
    for k, vector in enumerate(vectors.T):
        M = np.multiply.outer(vector, vector)
        M_G = np.zeros_like(M)
        for source in reversed(sources):
            M, M_G = source.set(k, M, M_G)
    A, squared_error = np.zeros((2, m))
    B_by_layer = np.zeros((len(sources), m))
    unfinished = np.arange(m)
    rng = np.random.default_rng(seed)
    while sources and len(unfinished):
        for source in sources:
            source.draw(rng, unfinished)
        A_by_layer, B_by_layer, squared_errors = map(
            np.array, zip(*(source.estimates() for source in sources), strict=True)
        )
        A, squared_error = A_by_layer.sum(axis=0), squared_errors.sum(axis=0)
        unfinished = np.flatnonzero(squared_error > (2 * accuracy * (A + 2 * B_by_layer.sum(axis=0))) ** 2)
        if sources[0].draws.max() >= _MOST:
            break
    return Variances(A, B_by_layer, np.sqrt(squared_error))


class _Source:
    """The part of one layer's neurons in the variance, for every v: sums over draws of their preactivations."""

    def __init__(self, mlp: MLP, below: Kernels, above: Kernels, m: int):
        step = above.step
        assert step is not None
        if step.e is None or not isinstance(step.layer, Dense) or step.layer.activation is None:
            raise ComponentError('eigenvalue_std of pairs needs dense layers: flow with components="all"')
        self.h: Dense = step.layer
        self.e: Expectations = step.e
        self.H = step.H
        self.activation: Activation = step.layer.activation
        self.n = mlp.widths[below.layer]
        self.root_G, self.root_H = _root(below.G), _root(self.H)
        N = len(self.H)
        self.P, self.Q, self.root_M = (np.empty((m, N, N)) for _ in range(3))
        self.draws, self.sums, self.traces = np.zeros(m), np.zeros((4, m)), np.zeros((2, m))
        self.centre = np.zeros(m)

    def set(self, k: int, M: np.ndarray, M_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Store P, Q and √M of vector k, from the M and M_G above the layer; return the M and M_G below it."""
        h, e = self.h, self.e
        P, Q = h.C_W * M_G + h.lambda_W * M, h.C_W * M * self.H
        self.P[k], self.Q[k], self.root_M[k] = P, Q, _root(M)
        by_first, by_both, by_second = P * e.J_ss + Q * e.J_dd
        # The derivative by G_αα has a term from every pair that contains α.
        on_diagonal = (by_first.sum(axis=1) + by_second.sum(axis=0)) / 2
        return M * means.carried(h, e), by_both + np.diag(on_diagonal)

    def draw(self, rng: np.random.Generator, unfinished: np.ndarray) -> None:
        """Add the sums of one batch of draws for the vectors that still need draws."""
        z = rng.normal(size=(_DRAWS, len(self.H))) @ self.root_G.T
        with jax.enable_x64(True):
            s, d = (np.asarray(x) for x in _value_and_slope(self.activation, z))
        g = rng.normal(size=z.shape)
        for k in unfinished:
            form = np.sum((s @ self.P[k]) * s + (d @ self.Q[k]) * d, axis=1)
            # tr((XᵀX)²) with X = √H S √M is the mean of |XᵀX g|².
            half = (d * (g @ self.root_M[k].T)) @ self.root_H
            trace = self.h.C_W**2 * np.sum(((d * (half @ self.root_H.T)) @ self.root_M[k]) ** 2, axis=1)
            if not self.draws[k]:
                self.centre[k] = form.mean()
            form -= self.centre[k]
            self.sums[:, k] += [np.sum(form**power) for power in (1, 2, 3, 4)]
            self.traces[:, k] += [np.sum(trace**power) for power in (1, 2)]
        self.draws[unfinished] += _DRAWS

    def estimates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A's part and B's, and the squared standard error of A + 2B."""
        m1, m2, m3, m4 = self.sums / self.draws
        variance = m2 - m1**2
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        t1, t2 = self.traces / self.draws
        of_variance, of_trace = (np.maximum(x, 0.0) / self.draws for x in (fourth - variance**2, t2 - t1**2))
        return variance / self.n, t1 / self.n, (of_variance + 4 * of_trace) / self.n**2


@functools.partial(jax.jit, static_argnums=0)
def _value_and_slope(activation: Activation, z: jax.Array) -> list[jax.Array]:
    return activation.derivatives(z, 1)


def _root(matrix: np.ndarray) -> np.ndarray:
    """R with R Rᵀ = matrix, which is positive semi-definite up to rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0.0))
