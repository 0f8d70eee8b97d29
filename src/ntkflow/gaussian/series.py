"""Hermite series of Gaussian expectations on two and on four samples.

Two samples: E[f(z1) g(z2)] = Σ_k ρ^k f_k g_k, with f_k the normalised Hermite coefficients of f(s u), u ~ N(0, 1).

Four: group the samples in two pairs, whiten each pair, and rotate both so that the cross-covariance is diagonal (the
canonical correlations κ1, κ2). The density is then a product of two bivariate Gaussians, and with F_kl, K_kl the
two-dimensional coefficients of a function of each pair,

    E[F(z1, z2) K(z3, z4)] = Σ_kl κ1^k κ2^l F_kl K_kl.

Of the three ways to pair four samples the one with the smallest κ is taken: (aa)(bc) where a sample comes twice.
Samples that lie in a plane (parallel, zero, two-dimensional inputs) have κ = 1, and are integrated in that plane.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation
from .rules import Rule, evaluate, hermite, plane_rule, trapezoid_basis, wedges
from .shared_variables import SHARED, shared_moments

_PAIRINGS = np.array([(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)])
_BATCH = 4
_IN_CACHE = 2**14  # numbers
_BELOW_ROUNDOFF = 1e-17
_CONVERGED, _KINKED_CONVERGED = 1e-12, 2e-5
_HALF_CONVERGED = 1e-8
_FLAT = 1e-14
_PRIMES = ((0, 0), (0, 1), (1, 0), (1, 1))


def pair_tables(coefficients: np.ndarray, f: list[int], g: list[int], correlation: np.ndarray):
    """Σ_k ρ_ab^k f_ak g_bk for each f and g, and a bound on its last quarter relative to ‖f‖ ‖g‖: (T, N, N) both.

    Time O(T N² K), with K cut where what follows is below round-off; memory O(T N²).

    Args:
        coefficients: (F, N, K) of all functions. f, g: T of them each. correlation: (N, N).
    """
    share = _share_from(coefficients)
    most = share.max(axis=1)
    worst = (most[f] * most[g]).max(axis=0) * np.abs(correlation).max() ** np.arange(share.shape[-1])
    terms = max(1, np.count_nonzero(worst > _BELOW_ROUNDOFF))
    start = 3 * share.shape[-1] // 4
    tail = np.abs(correlation) ** start * (share[f, :, None, start] * share[g, None, :, start])
    tables = np.empty_like(tail)
    # Terms first: each is then one contiguous block.
    by_term = np.ascontiguousarray(np.moveaxis(coefficients[..., :terms], -1, 0))
    at_once = max(1, _IN_CACHE // correlation.size)
    for begin in range(0, len(f), at_once):
        some = slice(begin, begin + at_once)
        columns, rows = by_term[:, f[some], :, None], by_term[:, g[some], None, :]
        table = columns[-1] * rows[-1]
        term = np.empty_like(table)
        for k in range(terms - 2, -1, -1):
            table *= correlation
            table += np.multiply(columns[k], rows[k], out=term)
        tables[some] = table
    return tables, tail


def _share_from(c: np.ndarray) -> np.ndarray:
    """Which part of the norm of coefficients (T, N, K) the k-th and later ones have: (T, N, K)."""
    left = np.sqrt(np.cumsum(c[..., ::-1] ** 2, axis=-1)[..., ::-1])
    return np.divide(left, left[..., :1], out=np.zeros_like(left), where=left[..., :1] > 0)


def four_sample_moments(activation: Activation, G: np.ndarray, rule: Rule) -> np.ndarray:
    """⟨Π_i σ^(p_i)(z_i)⟩ on four samples for every p ∈ {0, 1}⁴.

    Args:
        G: (B, 4, 4) covariances, singular ones included.

    Returns:
        (B, 2, 2, 2, 2), indexed by p. With P nodes and K terms in each direction, time B (P² K + P K²).
    """
    out = np.empty((len(G), 2, 2, 2, 2))
    eigenvalues, directions = np.linalg.eigh(G)
    flat = eigenvalues[:, 1] <= _FLAT * eigenvalues[:, 3]
    # What rounding leaves of a smaller eigenvalue is not a direction.
    spread = np.sqrt(np.where(eigenvalues > _FLAT * eigenvalues[:, 3:], eigenvalues, 0.0))
    out[flat] = _plane_moments(activation, (directions * spread[:, None])[flat, :, 2:], rule)
    rotations = [_canonical(G[:, p[:, None], p]) for p in _PAIRINGS]
    best = np.argmin([kappa.max(axis=1) for _, kappa, _ in rotations], axis=0)
    for number, pairing in enumerate(_PAIRINGS):
        mine = np.flatnonzero((best == number) & ~flat)
        first, kappa, second = (x[mine] for x in rotations[number])
        back = (0, *(1 + np.argsort(pairing)))
        out[mine] = _sums(activation, first, kappa, second, rule).transpose(back)
    return out


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
    inverse = np.stack(
        [np.stack([inverse1, zero], -1), np.stack([-along * inverse1 * inverse2, inverse2], -1)], -2
    )
    return root, inverse


def _canonical(G: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Roots of both pairs in their canonical coordinates (B, 2, 2), and the correlations (B, 2) between these."""
    root12, inverse12 = _root(G[:, :2, :2])
    root34, inverse34 = _root(G[:, 2:, 2:])
    cross = inverse12 @ G[:, :2, 2:] @ np.swapaxes(inverse34, 1, 2)
    left, kappa, right = np.linalg.svd(cross)
    return root12 @ left, np.minimum(kappa, 1.0), root34 @ np.swapaxes(right, 1, 2)


def _plane_moments(activation: Activation, root: np.ndarray, rule: Rule) -> np.ndarray:
    """The moments of z = root @ u, root (B, 4, 2), u ~ N(0, 1)²."""
    out = np.empty((len(root), 2, 2, 2, 2))
    for moments, one in zip(out, root, strict=True):
        u, weights = plane_rule(activation, one[None], rule)
        z1, z2, z3, z4 = np.moveaxis(evaluate(activation, one @ u[0], 1), 1, 0)
        moments[:] = np.einsum("ap,bp,cp,dp,p->abcd", z1, z2, z3, z4, weights[0], optimize=True)
    return out


def _sums(activation: Activation, first, kappa, second, rule: Rule) -> np.ndarray:
    """Σ_kl κ1^k κ2^l F_kl K_kl for σσ, σσ', σ'σ, σ'σ' of each pair; longer series where a short one has not converged."""
    out = np.empty((len(kappa), 2, 2, 2, 2))
    todo = np.arange(len(kappa))
    tolerance = _KINKED_CONVERGED if activation.kinks else _CONVERGED
    if activation.kinks:
        levels = [
            lambda root, a=angles, r=radii, k=terms: _kinked_coefficients(
                activation, root, rule.reach, a, r, k
            )
            for angles, radii, terms in rule.kinked_series
        ]
    else:
        levels = [
            lambda root, n=nodes, k=terms: _smooth_coefficients(activation, root, rule.reach, n, k)
            for nodes, terms in rule.series
        ]
    for coefficients in levels:
        converged = np.ones(len(todo), bool)
        for start in range(0, len(todo), _BATCH):
            batch = todo[start : start + _BATCH]
            # Filled up to one size, so that σ is compiled once.
            rows = np.concatenate([batch, np.repeat(batch[:1], _BATCH - len(batch))])
            (F, fine_F), (K, fine_K) = coefficients(first[rows]), coefficients(second[rows])
            terms = F.shape[-1]
            powers = kappa[rows, :, None] ** np.arange(terms)
            F *= (powers[:, 0, :, None] * powers[:, 1, None, :])[:, None]
            whole, short = _contract(F, K), _contract(F[..., : 3 * terms // 4, : 3 * terms // 4], K)
            left = np.abs(whole - short).max(axis=(1, 2))
            out[batch] = whole[: len(batch)].reshape(-1, 2, 2, 2, 2)
            converged[start : start + _BATCH] = (
                fine_F & fine_K & (left <= tolerance * np.abs(whole).max(axis=(1, 2)))
            )[: len(batch)]
        todo = todo[~converged]
    todo = todo[kappa[todo, 0] > SHARED]
    if len(todo) and not activation.kinks:
        out[todo] = shared_moments(activation, first[todo], kappa[todo], second[todo], rule)
    return out


def _contract(F: np.ndarray, K: np.ndarray) -> np.ndarray:
    B, n, terms, _ = F.shape
    K = K[..., :terms, :terms]
    return F.reshape(B, n, -1) @ K.reshape(B, n, -1).swapaxes(1, 2)


def _smooth_coefficients(activation, root: np.ndarray, reach: float, nodes: int, terms: int):
    """Coefficients (B, 4, K, K) of σσ, σσ', σ'σ, σ'σ' of a pair z = root @ (u1, u2), and whether the nodes suffice (B,).

    The trapezoidal rule's error on an analytic function is squared where its step is halved: what every second node
    gives need not agree beyond the square root of the accuracy wanted.
    """
    u, psi = trapezoid_basis(reach, nodes, terms)
    with jax.enable_x64(True):
        coefficients, whole, half = (np.array(x) for x in _grid_coefficients(activation)(root, u, psi))
    fine = ~np.any(np.abs(half - whole) > _HALF_CONVERGED * whole, axis=1)
    return coefficients, fine


@functools.lru_cache(maxsize=64)
def _grid_coefficients(activation: Activation):
    """Coefficients (B, 4, K, K) of a pair's products, and the products' mean squares (B, 4) by all and by half the nodes."""

    def mean_square(products, weights):
        return jnp.einsum("bnij,i,j->bn", products**2, weights, weights)

    @jax.jit
    def on_grid(root, u, psi):
        weights = psi[:, 0]
        z = root[:, :, 0, None, None] * u[:, None] + root[:, :, 1, None, None] * u
        s, d = activation.derivatives(z, 1)
        factors = (s, d)
        products = jnp.stack([factors[p][:, 0] * factors[q][:, 1] for p, q in _PRIMES], axis=1)
        coefficients = psi.T @ (products.reshape(-1, u.size) @ psi).reshape(*products.shape[:3], -1)
        return (
            coefficients,
            mean_square(products, weights),
            mean_square(products[..., ::2, ::2], 2 * weights[::2]),
        )

    return on_grid


def _kinked_coefficients(activation, root: np.ndarray, reach: float, angles: int, radii: int, terms: int):
    """The same for σ with a kink at 0, by the wedge cubature, whose nodes always suffice."""
    u, weights = wedges(root, reach, angles, radii)
    values = evaluate(activation, root @ u, 1)
    h = hermite(u, terms)
    out = np.empty((len(root), 4, terms, terms))
    for i, (p, q) in enumerate(_PRIMES):
        product = weights * values[p, :, 0] * values[q, :, 1]
        out[:, i] = np.moveaxis(h[:, :, 0] * product, 0, 1) @ np.moveaxis(h[:, :, 1], 0, -1)
    return out, np.ones(len(root), bool)
