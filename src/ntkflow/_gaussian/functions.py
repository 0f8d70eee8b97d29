"""Gaussian expectations of any function of a few variables, to a declared accuracy.

The variables are whitened, z = root u with independent unit Gaussians u, so that a singular metric means fewer variables. A function's
derivatives are never taken: by Stein's identity ⟨∂…∂f⟩ is ⟨f He(u)⟩, and that exists for kinks and jumps too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ObservableError, warn
from .nested import Nested
from .rules import wedges

TOLERANCE = 1e-8
_SINGULAR = 1e-12
_REACH = 9.5  # standard deviations; exp(-u²/2) is 3e-20 there
_RADIUS = 8.5  # of the ball in three or more dimensions: what is outside is below 1e-10
_LEVELS = 7
_GAIN = 30.0  # of a level, and its powers of two and three levels; less is no geometric convergence
_ALMOST_PARALLEL = 0.98  # the cosine of an angle between kinks that is no more than the lattice's spacing
_MOST_IN_BALL = 2**22
_MOST_POINTS = 2**26
_MOST_AT_ONCE = 2**18
_SCRAMBLINGS, _SOBOL_POINTS = 16, 2**16
_SOBOL_HELPS = 1e-5
_ROUNDOFF = 1e-15
_AT_ONCE = 2**13
_POOR = 1e-3


class Estimate(NamedTuple):
    """Expectations and their absolute errors, of one shape."""

    value: np.ndarray
    error: np.ndarray


class Integration(NamedTuple):
    """How to integrate.

    Attributes:
        tolerance: relative to √⟨h²⟩ of each component.
        kinks: each κ where functions may have kinks or jumps, z_k = κ of any k.
    """

    tolerance: float = TOLERANCE
    kinks: tuple[float, ...] = (0.0,)


@dataclass(frozen=True, eq=False)
class Variables:
    """Gaussian variables z = root u.

    Attributes:
        root: (d, r); r is the rank of the metric.
        inverse: (r, d), with inverse root = 1: a derivative by u is contracted with `root`, one by z with `inverse`.
        blocks: of each independent block its rows of z and its columns of u.
    """

    root: np.ndarray
    inverse: np.ndarray
    blocks: tuple[tuple[np.ndarray, slice], ...]

    def whitened(self, tensor: np.ndarray) -> np.ndarray:
        """A tensor with upper indices of ∂/∂z, all axes of length d, in coordinates u."""
        for _ in range(tensor.ndim):
            tensor = np.tensordot(tensor, self.inverse, axes=(0, 1))
        return tensor


def whiten(G: np.ndarray, labels: np.ndarray) -> Variables:
    """`Variables` of covariance G (d, d), zero between different labels (d,)."""
    d = len(G)
    roots, inverses, blocks, start = [np.zeros((d, 0))], [np.zeros((0, d))], [], 0
    for label in dict.fromkeys(labels.tolist()):
        rows = np.flatnonzero(labels == label)
        block = G[np.ix_(rows, rows)]
        scale = np.sqrt(np.maximum(np.diag(block), 0.0))
        safe = np.where(scale > 0, scale, 1.0)
        values, vectors = np.linalg.eigh(block / np.outer(safe, safe))
        kept = values > _SINGULAR * len(rows)
        values, vectors = np.sqrt(values[kept]), vectors[:, kept]
        root, inverse = np.zeros((d, len(values))), np.zeros((len(values), d))
        root[rows], inverse[:, rows] = scale[:, None] * vectors * values, (vectors / values).T / safe
        roots.append(root)
        inverses.append(inverse)
        blocks.append((rows, slice(start, start := start + len(values))))
    return Variables(np.concatenate(roots, axis=1), np.concatenate(inverses), tuple(blocks))


def expectation(function: Callable, variables: Variables, how: Integration) -> Estimate:
    """⟨h(z, u)⟩ for a JAX function of z (d,) and u (r,) with values of shape (c,).

    Lines and planes are cut at z_k = κ; in three dimensions and more the trapezoidal rule is tried first. Rules are refined until two in a
    row agree: their difference is the error. Where that does not get far, as for kinks elsewhere and for more than four dimensions,
    scrambled Sobol points are tried, with three standard errors. The best of what was tried is returned.

    Raises:
        ObservableError: h is not finite somewhere.
    """
    run, r = _compiled(function, variables), len(variables.inverse)
    tried: list[tuple[Estimate, np.ndarray]] = []
    ladders = [functools.partial(_panels, variables, how.kinks)]
    if r > 2 and not _narrow(variables.root):
        # For smooth functions it takes the fewest points; for others it does not converge, and is given up soon.
        ladders.insert(0, functools.partial(_ball, r))
    for ladder in ladders:
        refined = _refined(run, ladder, how.tolerance, patient=ladder is ladders[-1])
        if refined is not None:
            tried.append(refined)
            if _worst(*refined) <= how.tolerance:
                return refined[0]
    if r > 2 and min((_worst(*trial) for trial in tried), default=np.inf) > _SOBOL_HELPS:
        tried.append(_by_sobol(run, r))
    best, scale = min(tried, key=lambda trial: _worst(*trial))
    if _worst(best, scale) > _POOR:
        warn(
            "errors above 0.1 % are estimated for a function's expectation: it varies fast, or has kinks or jumps away from 0"
        )
    return best


def _worst(estimate: Estimate, scale: np.ndarray) -> float:
    """The largest error relative to √⟨h²⟩."""
    return float(np.max(estimate.error / np.where(scale > 0, scale, 1.0), initial=0.0))


def _narrow(root: np.ndarray) -> bool:
    """Whether kinks of two z's may lie so near to each other that a lattice misses what is between them."""
    unit = root / np.maximum(np.linalg.norm(root, axis=1, keepdims=True), 1e-300)
    cosines = np.abs(np.triu(unit @ unit.T, 1))
    return bool(np.any((cosines > _ALMOST_PARALLEL) & (cosines < 1 - _SINGULAR)))


def _refined(
    run, ladder: Callable[[int], _Points | None], tolerance: float, patient: bool
) -> tuple[Estimate, np.ndarray] | None:
    """The estimate, with √⟨h²⟩, of the first rule of a ladder that agrees with the one before, or of the last rule; None if there is only one.

    Where a difference is not much smaller than those before, as for kinks that are not cut, all are erratic: the error is then three times
    the larger one of the last two, and without `patient` no finer rule is tried.
    """
    refined, before, changes = None, None, [np.inf] * 3
    for level in range(_LEVELS):
        points = ladder(level)
        if points is None:
            break
        now, square = run(points)
        scale = np.sqrt(square)
        if before is not None:
            change = np.abs(now - before)
            slow = np.any([_GAIN**m * change > changes[-m] for m in (1, 2, 3)], axis=0)
            error = np.where(slow, 3 * np.maximum(change, changes[-1]), change) + _ROUNDOFF * scale
            changes.append(change)
            refined = Estimate(now, error), scale
            if _worst(*refined) <= tolerance or not patient and np.any(slow & (error > tolerance * scale)):
                break
        before = now
    return refined


class _Points(NamedTuple):
    """u (P, r) and weights (P,), in pieces: the product of some blocks' rules may be large."""

    pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]


def _compiled(function: Callable, variables: Variables):
    """From `_Points` to (⟨h⟩, ⟨h²⟩)."""

    @jax.jit
    def sums(root, u, weights):
        z = u @ root.T
        h = jax.vmap(function)(z, u)
        bad = ~jnp.all(jnp.isfinite(h), axis=1) & (weights != 0)
        h = jnp.where(weights[:, None] != 0, h, 0.0)
        return weights @ h, weights @ h**2, jnp.any(bad), z[jnp.argmax(bad)]

    def run(rule: _Points) -> tuple[np.ndarray, np.ndarray]:
        first, second = 0.0, 0.0
        with jax.enable_x64(True):
            for u, weights in rule.pieces():
                short = -len(u) % _AT_ONCE
                u, weights = np.pad(u, ((0, short), (0, 0))), np.pad(weights, (0, short))
                for start in range(0, len(u), _AT_ONCE):
                    rows = slice(start, start + _AT_ONCE)
                    value, square, bad, where = sums(variables.root, u[rows], weights[rows])
                    if bad:
                        at = ", ".join(f"{x:.6g}" for x in np.asarray(where))
                        raise ObservableError(f"the function is not finite at z = ({at})")
                    first, second = first + np.asarray(value), second + np.asarray(square)
        return np.asarray(first), np.asarray(second)

    return run


def _panels(variables: Variables, kinks: tuple[float, ...], level: int) -> _Points | None:
    """The product of the blocks' rules; None where it has too many points."""
    # Each level doubles the nodes, in more than two dimensions every second one.
    finer = 2.0 ** (level if len(variables.inverse) < 3 else level / 2)
    rules = [_block_rule(variables.root[rows, columns], kinks, finer) for rows, columns in variables.blocks]
    if np.prod([rule.size for rule in rules]) > _MOST_POINTS:
        return None
    if len(rules) == 1:
        return _Points(rules[0].pieces)
    tables = [tuple(map(np.concatenate, zip(*rule.pieces(), strict=True))) for rule in rules]
    tables = tables or [(np.zeros((1, 0)), np.ones(1))]
    sizes = [len(weights) for _, weights in tables]
    total = math.prod(sizes)

    def pieces():
        for start in range(0, total, _MOST_AT_ONCE):
            chosen = np.unravel_index(np.arange(start, min(start + _MOST_AT_ONCE, total)), sizes)
            pairs = [(u[k], w[k]) for (u, w), k in zip(tables, chosen, strict=True)]
            yield np.concatenate([u for u, _ in pairs], axis=1), np.prod([w for _, w in pairs], axis=0)

    return _Points(pieces)


class _Rule(NamedTuple):
    """At most `size` points u (P, r) and weights (P,), in pieces."""

    size: float
    pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]


def _block_rule(root: np.ndarray, kinks: tuple[float, ...], finer: float) -> _Rule:
    """The rule of one block with its `root` (d, r): wedges in a plane that is cut through its centre alone, otherwise line by line."""
    if root.shape[1] != 2 or kinks != (0.0,):
        nested, nodes = Nested(root, kinks, _REACH), math.ceil((12 if root.shape[1] == 1 else 8) * finer)
        return _Rule(nested.size(nodes), functools.partial(nested.pieces, nodes))
    kept = root[np.any(root != 0, axis=1)]
    angles, radii = math.ceil(6 * finer), math.ceil(12 * finer)

    def pieces():
        u, w = wedges(kept[None], _REACH, angles, radii)
        yield u[0].T, w[0]

    return _Rule(2.0 * len(kept) * angles * radii, pieces)


@functools.lru_cache(maxsize=4)
def _ball(r: int, level: int) -> _Points | None:
    """The trapezoidal rule within |u| < radius; None where it has too many points.

    The lattice is turned, and without a centre of symmetry: a kink is then never in such a place that it does not show.
    """
    step = 0.8 * 2 ** (-level / 2)
    side = (np.arange(-int(_RADIUS / step) - 1, int(_RADIUS / step) + 1) + (0.4 + 0.618 * level) % 1) * step
    if len(side) ** (r - 1) > 4 * _MOST_IN_BALL:
        return None
    weight = step / np.sqrt(2 * np.pi) * np.exp(-(side**2) / 2)
    u, w = side[:, None], weight
    for _ in range(r - 1):
        square = np.add.outer(np.sum(u**2, axis=1), side**2)
        first, last = np.nonzero(square < _RADIUS**2)
        if len(first) > _MOST_IN_BALL:
            return None
        u, w = np.concatenate([u[first], side[last, None]], axis=1), w[first] * weight[last]
    turned = u @ np.linalg.qr(np.random.default_rng(0).normal(size=(r, r)))[0]
    return _Points(lambda: iter([(turned, w)]))


def _by_sobol(run, r: int) -> tuple[Estimate, np.ndarray]:
    """Scrambled Sobol points, and √⟨h²⟩."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    values, squares = [], []
    for seed in range(_SCRAMBLINGS):
        # Points at 0 or 1 would be at infinity.
        points = np.clip(qmc.Sobol(r, rng=seed).random(_SOBOL_POINTS), 2.0**-40, 1 - 2.0**-40)
        u, weights = ndtri(points), np.full(_SOBOL_POINTS, 1 / _SOBOL_POINTS)
        value, square = run(_Points(lambda u=u, weights=weights: iter([(u, weights)])))
        values.append(value)
        squares.append(square)
    error = 3 * np.std(values, axis=0, ddof=1) / np.sqrt(_SCRAMBLINGS)
    return Estimate(np.mean(values, axis=0), error), np.sqrt(np.mean(squares, axis=0))
