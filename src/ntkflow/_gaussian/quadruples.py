"""⟨Π_i σ^(p_i)(z_i)⟩ on three and four samples: which method serves which metric.

Of many quadruples with a smooth σ most come out of coefficients of their pairs, each pair's computed once. Of the others, samples that lie in a plane (parallel, zero, two-dimensional inputs) are integrated in that plane; others by the series in canonical
correlations, with more nodes and terms until it has converged: in both of them for a smooth σ, in one where it has kinks. Where a smooth σ
has correlations next to 1, by a variable that the pairs share.
"""

from __future__ import annotations

import math

import jax
import numpy as np

from .._machine.batches import batches, on_all_cores
from ..activations import Activation
from .four_samples import Canonical, Grid, batch, canonical, in_sample_order
from .kinked_samples import kinked_batch, kinked_plane
from .pairs_of_pairs import PairSeries
from .requests import Placements, halves, highest, multiplied
from .rules import COARSE, FINE, Rule, evaluate, wedges
from .shared_variables import SHARED, shared_moments

_AT_ONCE, _BY_PAIRS_AT_ONCE, _KINKED_AT_ONCE = 256, 128, 32
_PROBE = 32
_MEMORY = 2**29  # bytes: groups of quadruples that share too few pairs compute these again and again
_QUARTER = 0.85  # what the last quarter of a series may add, as a power of what may be left out
_FLAT = 5e-15  # an eigenvalue of correlations that rounding may have made

_canonical = jax.jit(canonical, static_argnums=1)
_in_sample_order = jax.jit(in_sample_order, static_argnums=2)


def moments_on_samples(
    activation: Activation, G: np.ndarray, samples: np.ndarray, asked: Placements, rule: Rule
) -> np.ndarray:
    """`four_sample_moments` on quadruples of samples (M, 4), ascending, with metric G (N, N): what pairs share is computed once."""
    out = np.empty((len(samples), len(asked)))
    if not out.size:
        return out
    todo = np.arange(len(samples))
    if not activation.kinks:
        for nodes, degrees in rule.pair_series:
            unconverged = []
            size = _group(len(np.unique(samples[todo])), degrees, len(halves(asked).products))
            for start in range(0, len(todo), size):
                mine = todo[start : start + size]
                with jax.enable_x64(True):
                    series = PairSeries(activation, G, samples[mine], asked, Grid(rule.reach, nodes, degrees))

                def by_pairs(rows: np.ndarray, count: int, series=series, mine=mine):
                    moments, last, halved = series.moments(np.searchsorted(mine, rows), count)
                    converged = last <= rule.converged**_QUARTER
                    return moments, converged & (halved <= math.sqrt(rule.converged))

                unconverged.append(_filled(out, mine, _BY_PAIRS_AT_ONCE, by_pairs))
            todo = np.concatenate([*unconverged, todo[:0]])
    slots = samples[todo]
    out[todo] = four_sample_moments(activation, G[slots[:, :, None], slots[:, None, :]], asked, rule)
    return out


def series_memory(distinct: int, asked: Placements) -> int:
    """Bytes that the coefficients of the pairs of so many samples take at most."""
    degrees = max(degrees for rule in (FINE, COARSE) for _, degrees in rule.pair_series)
    return min(_MEMORY, _of_pair(degrees, len(halves(asked).products)) * _pairs(distinct))


def _of_pair(degrees: int, products: int) -> int:
    """Bytes of a pair's coefficients at most, filled up to a power of two."""
    return 16 * products * degrees**2


def _pairs(distinct: int) -> int:
    return distinct * (distinct + 1) // 2


def _group(distinct: int, degrees: int, products: int) -> int:
    """How many quadruples of these distinct samples to do together, so that the coefficients of their pairs don't take more than _MEMORY."""
    most, pairs = _MEMORY // _of_pair(degrees, products), _pairs(distinct)
    return max(64 * pairs if pairs <= most else most // 2, 1)


def four_sample_moments(activation: Activation, G: np.ndarray, asked: Placements, rule: Rule) -> np.ndarray:
    """⟨Π_i σ^(p_i)(z_i)⟩ on four samples for each placement p.

    Args:
        G: (B, 4, 4) covariances, singular ones included.

    Returns:
        (B, placements). With m products of pairs, P nodes and K terms in each direction, time B m (P² K + P K²).
    """
    out = np.empty((len(G), len(asked)))
    s = np.sqrt(np.diagonal(G, axis1=1, axis2=2))
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    eigenvalues, directions = np.linalg.eigh(G * inverse[:, :, None] * inverse[:, None, :])
    flat = eigenvalues[:, 1] <= _FLAT
    # What rounding leaves of a smaller eigenvalue is not a direction.
    spread = np.sqrt(np.where(eigenvalues > _FLAT, eigenvalues, 0.0))
    root = s[:, :, None] * directions * spread[:, None]
    with jax.enable_x64(True):
        out[flat] = _plane_moments(activation, root[flat, :, 2:], asked, rule)
        by_series = _kinked_moments if activation.kinks else _smooth_moments
        out[~flat] = by_series(activation, G[~flat], asked, rule)
    return out


def _plane_moments(activation: Activation, root: np.ndarray, asked: Placements, rule: Rule) -> np.ndarray:
    """The moments of z = root @ u, root (B, 4, 2), u ~ N(0, 1)²."""
    out = np.empty((len(root), len(asked)))
    if activation.kinks:

        def in_plane(rows: np.ndarray, count: int):
            moments = kinked_plane(activation, root[rows], count, asked, *rule.kinked_plane)
            return moments, np.ones(len(rows), bool)

        _filled(out, np.arange(len(root)), _KINKED_AT_ONCE, in_plane)
        return out
    products, left, right = halves(asked)
    for moments, quadruple in zip(out, root, strict=True):
        u, weights = wedges(quadruple[None], rule.reach, *rule.wedge)
        values = evaluate(activation, quadruple @ u[0], highest(asked))  # (orders, samples, points)
        first, second = (multiplied(products, values[:, i], values[:, i + 1]) for i in (0, 2))
        moments[:] = (first * weights[0] @ second.T)[left, right]
    return out


def _smooth_moments(activation: Activation, G: np.ndarray, asked: Placements, rule: Rule) -> np.ndarray:
    out = np.empty((len(G), len(asked)))
    todo = np.arange(len(G))
    where = _canonical_of(G, 0)
    for nodes, terms in rule.series:
        grid = Grid(rule.reach, nodes, terms)

        def by_series(rows: np.ndarray, count: int, grid: Grid = grid):
            moments, last, halved = batch(activation, _rows(where, rows), count, asked, grid)
            return moments, (last <= rule.converged) & (halved <= math.sqrt(rule.converged))

        # Where hardly any has converged it is not worth while.
        probe = todo[:: max(1, len(todo) // _PROBE)][:_PROBE]
        if (
            grid.terms < rule.series[-1][1]
            and len(todo) > _PROBE
            and len(_filled(out, probe, _AT_ONCE, by_series)) > _PROBE // 2
        ):
            continue
        todo = _filled(out, todo, _AT_ONCE, by_series)
    shared = todo[where.kappa[todo, 0] > SHARED]
    if len(shared):
        mine = _rows(where, shared)
        moments = shared_moments(activation, mine.first, mine.kappa, mine.second, asked, rule)
        out[shared] = _in_sample_order(moments, mine.pairing, asked)
    return out


def _kinked_moments(activation: Activation, G: np.ndarray, asked: Placements, rule: Rule) -> np.ndarray:
    """By `kinked_samples`, whose series converges as a power of the terms where samples nearly lie in a plane."""
    out = np.empty((len(G), len(asked)))
    todo = np.arange(len(G))
    where = _canonical_of(G, 1)
    for level in rule.kinked_series:

        def by_series(rows: np.ndarray, count: int, level=level):
            moments, last = kinked_batch(activation, _rows(where, rows), count, asked, *level)
            return moments, last <= rule.kinked_converged

        todo = _filled(out, todo, _KINKED_AT_ONCE, by_series)
    return np.asarray(_in_sample_order(out, where.pairing, asked))


def _canonical_of(G: np.ndarray, smallest: int) -> Canonical:
    return Canonical(*(np.asarray(x) for x in _canonical(G, smallest)))


def _rows(where: Canonical, rows: np.ndarray) -> Canonical:
    return Canonical(*(x[rows] for x in where))


def _filled(out: np.ndarray, todo: np.ndarray, size: int, method) -> np.ndarray:
    """Put the moments of the rows `todo` into `out`, `size` of them at a time. Returns the rows that have not converged.

    `method(rows, count)` returns moments and whether they have converged; the first `count` of them are used.
    """

    def batch(where: tuple[slice, np.ndarray]) -> np.ndarray:
        rows, filled = todo[where[0]], todo[where[1]]
        moments, converged = method(filled, len(rows))
        out[rows] = np.asarray(moments)[: len(rows)]
        return rows[~np.asarray(converged)[: len(rows)]]

    if not len(todo):
        return todo
    return np.concatenate(on_all_cores(batch, batches(len(todo), size)))
