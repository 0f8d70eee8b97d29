"""Draws of (z, Ĥ) of a few neurons whose moments are the theory's to order 1/n.

Given what is below, neurons are independent, and so are they drawn. Ĝ = root M Mᵀ rootᵀ and Ω̂ fluctuate together: M is exp(X/2) to second
order, X and ΔΩ are Gaussian with the covariances V, D and A over n, and the mean of X makes up for M's second order. Then

    z_i = root M ξ_i,  M = 1 + X/2 + X²/8,    Ĥ_{ij;34} = δ_ij (H + H1/n + ΔΩ)_34 + (1/n) K_34·(ξ_i ξ_j - δ_ij) + Q_{ij;34},

with ξ unit Gaussians, K = F with its legs of z whitened, and Q a Gaussian matrix of covariance B/n less what K makes of it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .._gaussian.functions import whiten
from .._theory.statistics import LayerStatistics
from .entries import components


@dataclass(frozen=True, eq=False)
class Sampler:
    """Factors of the covariances, made once.

    Attributes:
        shared: of the covariance of X and ΔΩ, which all neurons share.
        per_pair: of the covariance of Q, which every pair of neurons draws for itself.
        spread: the largest relative standard deviation of Ĝ in any direction of the samples' space; the expansion needs it small.
        missing: the largest part of a covariance, relative to its trace, that is negative and was left out.
    """

    root: np.ndarray
    H: np.ndarray
    K: np.ndarray
    mean: np.ndarray
    shared: np.ndarray
    per_pair: np.ndarray
    spread: float
    missing: float

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that `draw` takes."""
        return self.root, self.H, self.K, self.mean, self.shared, self.per_pair


def sampler(layer: LayerStatistics, samples: np.ndarray) -> Sampler:
    """The sampler on some samples; ComponentError if the flow does not hold their tensors."""
    n, k = layer.fan_in, len(samples)
    pair, quartet = np.ix_(*[samples] * 2), np.ix_(*[samples] * 4)
    G, G1, H, H1 = (components(layer, name, True, *pair) for name in ("G", "G1", "H", "H1"))
    V, D, F, A, B = (components(layer, name, True, *quartet) for name in "VDFAB")
    v = whiten(G, np.zeros(k))
    inverse = v.inverse
    V = v.whitened(V)
    D = np.einsum("abcd,ea,fb->efcd", D, inverse, inverse, optimize=True)
    K = np.einsum("acbd,ea,fb->cdef", F, inverse, inverse, optimize=True)
    r = len(inverse)
    (a, b), (c, d) = np.triu_indices(r), np.triu_indices(k)
    joint = np.block(
        [
            [V[a[:, None], b[:, None], a, b], D[a[:, None], b[:, None], c, d]],
            [D[a[:, None], b[:, None], c, d].T, A[c[:, None], d[:, None], c, d]],
        ]
    )
    shared, shared_negative = _factor(joint / n)
    flat = K.reshape(k * k, r * r)
    per_pair, pair_negative = _factor(
        B.transpose(0, 2, 1, 3).reshape(k * k, k * k) / n - flat @ flat.T / n**2
    )
    square = _square(V, n)
    mean = np.concatenate([(v.whitened(G1) / n - square / 2)[a, b], H1[c, d] / n])
    return Sampler(
        v.root, H, K / n, mean, shared, per_pair, _largest(square), max(shared_negative, pair_negative)
    )


def metric_spread(layer: LayerStatistics, samples: np.ndarray) -> float:
    """`Sampler.spread` alone."""
    v = whiten(components(layer, "G", True, *np.ix_(samples, samples)), np.zeros(len(samples)))
    return _largest(_square(v.whitened(components(layer, "V", True, *np.ix_(*[samples] * 4))), layer.fan_in))


def _square(V: np.ndarray, n: int) -> np.ndarray:
    """E[X²] of whitened V, (r, r)."""
    return np.einsum("accb->ab", V) / n


def _largest(square: np.ndarray) -> float:
    return float(np.sqrt(np.linalg.eigvalsh(square).max(initial=0.0)))


def _factor(covariance: np.ndarray) -> tuple[np.ndarray, float]:
    """A factor of the positive part, and the negative part's share."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    total = np.abs(values).sum()
    kept = values > 1e-14 * max(values.max(initial=0.0), 0.0)
    factor = vectors[:, kept] * np.sqrt(values[kept])
    return factor, float(np.abs(values[values < 0]).sum() / total) if total > 0 else 0.0


@functools.partial(jax.jit, static_argnums=(2, 3))
def draw(arrays: tuple, key: jax.Array, neurons: int, draws: int) -> tuple[jax.Array, jax.Array]:
    """z (draws, m, k) and Ĥ (draws, m, m, k, k); `arrays` as of `Sampler`."""
    root, H, K, mean, shared, per_pair = arrays
    (k, r), m = root.shape, neurons
    keys = jax.random.split(key, 3)
    common = mean + jax.random.normal(keys[0], (draws, shared.shape[1])) @ shared.T
    p = r * (r + 1) // 2
    half, Omega = _symmetric(common[:, :p], r) / 2, _symmetric(common[:, p:], k)
    xi = jax.random.normal(keys[1], (draws, m, r))
    first = jnp.einsum("drs,dis->dir", half, xi)
    z = (xi + first + jnp.einsum("drs,dis->dir", half, first) / 2) @ root.T
    i, j = np.triu_indices(m)
    same = (i == j)[:, None, None]
    products = xi[:, i, :, None] * xi[:, j, None] - same * jnp.eye(r)
    Q = (jax.random.normal(keys[2], (draws, len(i), per_pair.shape[1])) @ per_pair.T).reshape(draws, -1, k, k)
    Q = jnp.where(same, (Q + Q.swapaxes(2, 3)) / jnp.sqrt(2.0), Q)
    pairs = Q + (products.reshape(draws, len(i), r * r) @ K.reshape(k * k, r * r).T).reshape(Q.shape)
    pairs += same * (H + Omega)[:, None]
    # The pairs below the diagonal are those above it with their samples exchanged.
    turned = jnp.where(
        np.tril(np.ones((m, m), bool), -1).reshape(-1, 1, 1),
        *(x[:, _places(m).ravel()] for x in (pairs.swapaxes(2, 3), pairs)),
    )
    return z, turned.reshape(draws, m, m, k, k)


def _places(size: int) -> np.ndarray:
    """The place of each element of a symmetric matrix in its upper triangle."""
    places = np.zeros((size, size), int)
    a, b = np.triu_indices(size)
    places[a, b] = places[b, a] = np.arange(len(a))
    return places


def _symmetric(upper: jax.Array, size: int) -> jax.Array:
    """(draws, size, size) from its upper triangles."""
    return upper[:, _places(size)]
