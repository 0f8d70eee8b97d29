"""Hermite functions, and the Mehler series for smooth σ on two and on four samples.

Two samples: E[f(z1) g(z2)] = Σ_k ρ^k f_k g_k, with f_k the normalised Hermite coefficients of f(s u), u ~ N(0, 1).

Four: group the samples as (12)(34), whiten each pair, and rotate both so that the cross-covariance is diagonal
(the canonical correlations κ1, κ2). The density is then a product of two bivariate Gaussians, and with F_kl, K_kl
the two-dimensional coefficients of a function of each pair,

    E[F(z1, z2) K(z3, z4)] = Σ_kl κ1^k κ2^l F_kl K_kl.

A singular metric (duplicate, parallel or dependent samples, κ = 1) is no special case.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation

# In standard deviations; exp(-u²/4) is 4e-19 at 13, and exp(-u²/2) is 3e-20 at 9.5.
_PAIR_REACH, _QUAD_REACH = 13.0, 9.5


@functools.lru_cache(maxsize=16)
def pair_basis(nodes: int, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes u (2 nodes,) and matrix (2 nodes, terms): `f(u) @ matrix` are f's Hermite coefficients.

    Gauss-Legendre on each side of 0, where its nodes crowd: steep sigmoids have their poles next to u = 0.
    """
    x, w = np.polynomial.legendre.leggauss(nodes)
    half = _PAIR_REACH / 2
    return _with_hermite(np.concatenate([half * (x - 1), half * (x + 1)]), half * np.concatenate([w, w]), terms)


@functools.lru_cache(maxsize=16)
def quad_basis(nodes: int, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with the trapezoidal rule, which has no preferred place: in a pair's plane poles lie along slanted lines."""
    u, step = np.linspace(-_QUAD_REACH, _QUAD_REACH, 2 * nodes, retstep=True)
    return _with_hermite(u, np.full_like(u, step), terms)


def _with_hermite(u: np.ndarray, weights: np.ndarray, terms: int) -> tuple[np.ndarray, np.ndarray]:
    h = np.zeros((terms, u.size))
    h[0] = 1.0
    h[1] = u
    for k in range(2, terms):
        h[k] = (u * h[k - 1] - np.sqrt(k - 1) * h[k - 2]) / np.sqrt(k)
    return u, (weights * np.exp(-u * u / 2) / np.sqrt(2 * np.pi) * h).T


@functools.lru_cache(maxsize=64)
def _compiled(activation: Activation, order: int):
    return jax.jit(lambda z: jnp.stack(activation.derivatives(z, order)))


def evaluate(activation: Activation, z: np.ndarray, order: int) -> np.ndarray:
    """σ and its derivatives up to `order` on z, as (order + 1, *z.shape) in float64."""
    with jax.enable_x64(True):
        return np.asarray(_compiled(activation, order)(jnp.asarray(z, jnp.float64)))


def series_table(f: np.ndarray, g: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Σ_k ρ_ab^k f_ak g_bk for coefficients (N, K): an (N, N) table, in O(N² K) time and O(N²) memory."""
    table = np.multiply.outer(f[:, -1], g[:, -1])
    for k in range(f.shape[1] - 2, -1, -1):
        table *= correlation
        table += np.multiply.outer(f[:, k], g[:, k])
    return table


def _root(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower-triangular roots (B, 2, 2) of 2×2 covariances, and their pseudo-inverses."""
    a, b, c = block[:, 0, 0], block[:, 0, 1], block[:, 1, 1]
    s1 = np.sqrt(a)
    inverse1 = np.divide(1.0, s1, out=np.zeros_like(s1), where=s1 > 0)
    along = b * inverse1
    left = c - along**2
    # What rounding leaves of a parallel pair is not a second direction.
    across = np.sqrt(np.where(left > 4e-16 * c, left, 0.0))
    inverse2 = np.divide(1.0, across, out=np.zeros_like(across), where=across > 0)
    zero = np.zeros_like(s1)
    root = np.stack([np.stack([s1, zero], -1), np.stack([along, across], -1)], -2)
    inverse = np.stack([np.stack([inverse1, zero], -1), np.stack([-along * inverse1 * inverse2, inverse2], -1)], -2)
    return root, inverse


def four_sample_moments(activation: Activation, G: np.ndarray, nodes: int, terms: int) -> np.ndarray:
    """⟨Π_i σ^(p_i)(z_i)⟩ on four samples for every p ∈ {0, 1}⁴.

    Args:
        G: (B, 4, 4) covariances, singular ones included.
        nodes, terms: the one-dimensional rule and the number of Hermite terms in each direction.

    Returns:
        (B, 2, 2, 2, 2), indexed by p. Time B (P² K + P K²), P = 2 nodes, K = terms.
    """
    u, psi = quad_basis(nodes, terms)
    root12, inverse12 = _root(G[:, :2, :2])
    root34, inverse34 = _root(G[:, 2:, 2:])
    cross = inverse12 @ G[:, :2, 2:] @ np.swapaxes(inverse34, 1, 2)
    left, kappa, right = np.linalg.svd(cross)
    kappa = np.minimum(kappa, 1.0)
    first = _pair_coefficients(activation, root12 @ left, u, psi)
    second = _pair_coefficients(activation, root34 @ np.swapaxes(right, 1, 2), u, psi)
    powers = kappa[:, :, None] ** np.arange(terms)
    first *= (powers[:, 0, :, None] * powers[:, 1, None, :])[:, None]
    B = len(G)
    return (first.reshape(B, 4, -1) @ second.reshape(B, 4, -1).swapaxes(1, 2)).reshape(B, 2, 2, 2, 2)


def _pair_coefficients(activation: Activation, root: np.ndarray, u: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Coefficients (B, 4, K, K) of σσ, σσ', σ'σ, σ'σ' of a pair z = root @ (u1, u2)."""
    z = root[:, :, 0, None, None] * u[:, None] + root[:, :, 1, None, None] * u
    values = evaluate(activation, z, 1)
    products = np.stack([values[p, :, 0] * values[q, :, 1] for p in (0, 1) for q in (0, 1)], axis=1)
    return psi.T @ products @ psi
