"""⟨Π_i σ^(p_i)(z_i)⟩ on three and four samples: which method serves which metric.

Samples that lie in a plane (parallel, zero, two-dimensional inputs) are integrated in that plane; others by the series in canonical
correlations, with more nodes and terms until it has converged; where these correlations are next to 1 by a variable that the pairs share.
"""

from __future__ import annotations

import jax
import numpy as np

from ..activations import Activation
from .four_samples import Canonical, Grid, as_asked, batch, canonical
from .rules import Rule, evaluate, hermite, plane_rule, wedges
from .shared_variables import SHARED, shared_moments

_AT_ONCE, _KINKED_AT_ONCE = 256, 4
_HALF_CONVERGED = 1e-8
_FLAT = 1e-14
_PRIMES = ((0, 0), (0, 1), (1, 0), (1, 1))

_canonical = jax.jit(canonical)
_as_asked = jax.jit(as_asked)


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
    with jax.enable_x64(True):
        out[~flat] = (_kinked_moments if activation.kinks else _smooth_moments)(activation, G[~flat], rule)
    return out


def _plane_moments(activation: Activation, root: np.ndarray, rule: Rule) -> np.ndarray:
    """The moments of z = root @ u, root (B, 4, 2), u ~ N(0, 1)²."""
    out = np.empty((len(root), 2, 2, 2, 2))
    for moments, one in zip(out, root, strict=True):
        u, weights = plane_rule(activation, one[None], rule)
        z1, z2, z3, z4 = np.moveaxis(evaluate(activation, one @ u[0], 1), 1, 0)
        moments[:] = np.einsum("ap,bp,cp,dp,p->abcd", z1, z2, z3, z4, weights[0], optimize=True)
    return out


def _smooth_moments(activation: Activation, G: np.ndarray, rule: Rule) -> np.ndarray:
    out = np.empty((len(G), 2, 2, 2, 2))
    todo = np.arange(len(G))
    for nodes, terms in rule.series:
        grid = Grid(rule.reach, nodes, terms)
        converged = np.empty(len(todo), bool)
        for mine, filled in _batches(todo, _AT_ONCE):
            moments, left, halved = (np.asarray(x) for x in batch(activation, G[filled], 1, grid))
            out[todo[mine]] = moments[: mine.stop - mine.start]
            converged[mine] = ((left <= rule.converged) & (halved <= _HALF_CONVERGED))[
                : mine.stop - mine.start
            ]
        todo = todo[~converged]
    where = _of_pairs(G[todo])
    shared = where.kappa[:, 0] > SHARED
    if np.any(shared):
        mine = Canonical(*(x[shared] for x in where))
        moments = shared_moments(activation, mine.first, mine.kappa, mine.second, rule)
        out[todo[shared]] = _as_asked(moments, mine.pairing)
    return out


def _kinked_moments(activation: Activation, G: np.ndarray, rule: Rule) -> np.ndarray:
    """The same series with coefficients by the wedge cubature, which may converge as a power of the terms."""
    out = np.empty((len(G), 2, 2, 2, 2))
    todo = np.arange(len(G))
    where = _of_pairs(G)
    for angles, radii, terms in rule.kinked_series:
        converged = np.empty(len(todo), bool)
        for mine, filled in _batches(todo, _KINKED_AT_ONCE):
            F, K = (
                _kinked_coefficients(activation, root[filled], rule.reach, angles, radii, terms)
                for root in (where.first, where.second)
            )
            powers = where.kappa[filled, :, None] ** np.arange(terms)
            F *= (powers[:, 0, :, None] * powers[:, 1, None, :])[:, None]
            whole, short = _contract(F, K), _contract(F[..., : 3 * terms // 4, : 3 * terms // 4], K)
            count = mine.stop - mine.start
            out[todo[mine]] = whole[:count].reshape(-1, 2, 2, 2, 2)
            left = np.abs(whole - short).max(axis=(1, 2))
            converged[mine] = (left <= rule.kinked_converged * np.abs(whole).max(axis=(1, 2)))[:count]
        todo = todo[~converged]
    return np.asarray(_as_asked(out, where.pairing))


def _of_pairs(G: np.ndarray) -> Canonical:
    return Canonical(*(np.asarray(x) for x in _canonical(G)))


def _batches(rows: np.ndarray, most: int):
    """Slices of rows, and the rows in them with the last one repeated to fill up to one size, for which σ is compiled."""
    size = min(most, max(4, 1 << max(len(rows) - 1, 0).bit_length()))
    for start in range(0, len(rows), size):
        yield (
            slice(start, min(start + size, len(rows))),
            rows[np.minimum(np.arange(start, start + size), len(rows) - 1)],
        )


def _contract(F: np.ndarray, K: np.ndarray) -> np.ndarray:
    B, n, terms, _ = F.shape
    K = K[..., :terms, :terms]
    return F.reshape(B, n, -1) @ K.reshape(B, n, -1).swapaxes(1, 2)


def _kinked_coefficients(activation, root: np.ndarray, reach: float, angles: int, radii: int, terms: int):
    """Coefficients (B, 4, K, K) of σσ, σσ', σ'σ, σ'σ' of a pair z = root @ (u1, u2), σ with a kink at 0."""
    u, weights = wedges(root, reach, angles, radii)
    values = evaluate(activation, root @ u, 1)
    h = hermite(u, terms)
    out = np.empty((len(root), 4, terms, terms))
    for i, (p, q) in enumerate(_PRIMES):
        product = weights * values[p, :, 0] * values[q, :, 1]
        out[:, i] = np.moveaxis(h[:, :, 0] * product, 0, 1) @ np.moveaxis(h[:, :, 1], 0, -1)
    return out
