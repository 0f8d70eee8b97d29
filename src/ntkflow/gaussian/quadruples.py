"""⟨Π_i σ^(p_i)(z_i)⟩ on three and four samples: which method serves which metric.

Samples that lie in a plane (parallel, zero, two-dimensional inputs) are integrated in that plane; others by the series in canonical
correlations, with more nodes and terms until it has converged: in both of them for a smooth σ, in one where it has kinks. Where a smooth σ
has correlations next to 1, by a variable that the pairs share.
"""

from __future__ import annotations

import jax
import numpy as np

from ..activations import Activation
from .four_samples import Canonical, Grid, as_asked, batch, canonical
from .kinked_samples import kinked_batch, kinked_plane
from .rules import Rule, evaluate, wedges
from .shared_variables import SHARED, shared_moments

_AT_ONCE, _KINKED_AT_ONCE = 256, 64
_HALF_CONVERGED = 1e-8
_FLAT = 1e-14

_canonical = jax.jit(canonical, static_argnums=1)
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
    with jax.enable_x64(True):
        out[flat] = _plane_moments(activation, (directions * spread[:, None])[flat, :, 2:], rule)
        out[~flat] = (_kinked_moments if activation.kinks else _smooth_moments)(activation, G[~flat], rule)
    return out


def _plane_moments(activation: Activation, root: np.ndarray, rule: Rule) -> np.ndarray:
    """The moments of z = root @ u, root (B, 4, 2), u ~ N(0, 1)²."""
    out = np.empty((len(root), 2, 2, 2, 2))
    if activation.kinks:
        for mine, filled in _batches(np.arange(len(root)), _KINKED_AT_ONCE):
            found = np.asarray(kinked_plane(activation, root[filled], *rule.kinked_plane))
            out[mine] = found[: mine.stop - mine.start]
        return out
    for moments, one in zip(out, root, strict=True):
        u, weights = wedges(one[None], rule.reach, *rule.wedge)
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
    where = Canonical(*(np.asarray(x) for x in _canonical(G[todo])))
    shared = where.kappa[:, 0] > SHARED
    if np.any(shared):
        mine = Canonical(*(x[shared] for x in where))
        moments = shared_moments(activation, mine.first, mine.kappa, mine.second, rule)
        out[todo[shared]] = _as_asked(moments, mine.pairing)
    return out


def _kinked_moments(activation: Activation, G: np.ndarray, rule: Rule) -> np.ndarray:
    """By `kinked_samples`, whose series converges as a power of the terms where samples nearly lie in a plane."""
    out = np.empty((len(G), 2, 2, 2, 2))
    todo = np.arange(len(G))
    where = Canonical(*(np.asarray(x) for x in _canonical(G, 1)))
    for nodes, inner, terms in rule.kinked_series:
        converged = np.empty(len(todo), bool)
        for mine, filled in _batches(todo, _KINKED_AT_ONCE):
            some = Canonical(*(x[filled] for x in where))
            moments, left = (np.asarray(x) for x in kinked_batch(activation, some, nodes, inner, terms))
            count = mine.stop - mine.start
            out[todo[mine]] = moments[:count]
            converged[mine] = (left <= rule.kinked_converged)[:count]
        todo = todo[~converged]
    return np.asarray(_as_asked(out, where.pairing))


def _batches(rows: np.ndarray, most: int):
    """Slices of rows, and the rows in them with the last one repeated to fill up to one size, for which σ is compiled."""
    size = min(most, max(4, 1 << max(len(rows) - 1, 0).bit_length()))
    for start in range(0, len(rows), size):
        yield (
            slice(start, min(start + size, len(rows))),
            rows[np.minimum(np.arange(start, start + size), len(rows) - 1)],
        )
