"""Gaussian expectations of any function of a few variables, to a declared accuracy.

The variables are whitened, z = root u with independent unit Gaussians u, so that a singular metric means fewer variables. A function's
derivatives are never taken: by Stein's identity ⟨∂…∂f⟩ is ⟨f He(u)⟩, and that exists for kinks and jumps too.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from ..errors import ObservableError
from .rules import legendre, wedges

TOLERANCE = 1e-8
_SINGULAR = 1e-12
_REACH = 9.0  # standard deviations; exp(-u²/2) is 3e-18 there
_RADIUS = 8.5  # of the ball in three or more dimensions: what is outside is below 1e-10
_LEVELS = 7
_MOST_POINTS = 2**22
_MOST_IN_PRODUCT = 2**23
_SCRAMBLINGS, _SOBOL_POINTS = 16, 2**16
_SOBOL_HELPS = 1e-5
_ROUNDOFF = 1e-15
_AT_ONCE = 2**13
_POOR = 1e-3


class Estimate(NamedTuple):
    """Expectations and their absolute errors, of one shape."""

    value: np.ndarray
    error: np.ndarray


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
        own = G[np.ix_(rows, rows)]
        scale = np.sqrt(np.maximum(np.diag(own), 0.0))
        safe = np.where(scale > 0, scale, 1.0)
        values, vectors = np.linalg.eigh(own / np.outer(safe, safe))
        kept = values > _SINGULAR * len(rows)
        values, vectors = np.sqrt(values[kept]), vectors[:, kept]
        root, inverse = np.zeros((d, len(values))), np.zeros((len(values), d))
        root[rows], inverse[:, rows] = scale[:, None] * vectors * values, (vectors / values).T / safe
        roots.append(root)
        inverses.append(inverse)
        blocks.append((rows, slice(start, start := start + len(values))))
    return Variables(np.concatenate(roots, axis=1), np.concatenate(inverses), tuple(blocks))


def expectation(function: Callable, variables: Variables, tolerance: float = TOLERANCE) -> Estimate:
    """⟨h(z, u)⟩ for a JAX function of z (d,) and u (r,) with values of shape (c,).

    In one or two dimensions, panels cut at z_k = 0, where kinks are at home. In more, the trapezoidal rule; where that does not get
    to the tolerance, products of the blocks' panels, and scrambled Sobol points. Rules are refined until two in a row agree: their
    difference is the error; of Sobol points it is three standard errors. The best of what was tried is returned.

    Args:
        tolerance: relative to √⟨h²⟩ of each component.

    Raises:
        ObservableError: h is not finite somewhere.
    """
    run, r = _compiled(function, variables), len(variables.inverse)
    tried: list[tuple[Estimate, np.ndarray]] = []
    ladders = [functools.partial(_panels, variables)] if r < 3 else [functools.partial(_ball, r)]
    if r > 2 and all(columns.stop - columns.start < 3 for _, columns in variables.blocks):
        ladders.append(functools.partial(_panels, variables))
    for ladder in ladders:
        found = _refined(run, [ladder] * _LEVELS, tolerance)
        if found is not None:
            tried.append(found)
            if _worst(*found) <= tolerance:
                return found[0]
    if r > 2 and min((_worst(*found) for found in tried), default=np.inf) > _SOBOL_HELPS:
        tried.append(_by_sobol(run, r))
    best, scale = min(tried, key=lambda found: _worst(*found))
    if _worst(best, scale) > _POOR:
        warnings.warn(
            "errors above 0.1 % are estimated for a function's expectation: it varies fast, or has kinks or jumps away from 0",
            stacklevel=3,
        )
    return best


def _worst(found: Estimate, scale: np.ndarray) -> float:
    """The largest error relative to √⟨h²⟩."""
    return float(np.max(found.error / np.where(scale > 0, scale, 1.0), initial=0.0))


def _refined(run, ladder: list[Callable], tolerance: float) -> tuple[Estimate, np.ndarray] | None:
    """The first of a ladder's rules that agrees with the one before, or its last one, with √⟨h²⟩; None if it has but one."""
    found, before = None, None
    for level, rule in enumerate(ladder):
        points = rule(level)
        if points is None:
            break
        now, square = run(points)
        scale = np.sqrt(square)
        if before is not None:
            found = Estimate(now, np.abs(now - before) + _ROUNDOFF * scale), scale
            if _worst(*found) <= tolerance:
                break
        before = now
    return found


class _Points(NamedTuple):
    """u (P, r) and weights (P,), in pieces: the product of some blocks' rules may be large."""

    pieces: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]


def _compiled(function: Callable, variables: Variables):
    """From `_Points` to (⟨h⟩, ⟨h²⟩)."""
    root = variables.root

    @jax.jit
    def sums(u, weights):
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
                    some = slice(start, start + _AT_ONCE)
                    value, square, bad, where = sums(u[some], weights[some])
                    if bad:
                        at = ", ".join(f"{x:.6g}" for x in np.asarray(where))
                        raise ObservableError(f"the function is not finite at z = ({at})")
                    first, second = first + np.asarray(value), second + np.asarray(square)
        return np.asarray(first), np.asarray(second)

    return run


def _panels(variables: Variables, level: int) -> _Points | None:
    """The product of the panels of blocks of at most two variables u; None where it has too many points."""
    rules = [_block_panels(variables.root[rows, columns], level) for rows, columns in variables.blocks]
    if np.prod([float(len(weights)) for _, weights in rules]) > _MOST_IN_PRODUCT:
        return None

    def pieces():
        # The last blocks as one table, the first ones' points one after the other until that table is large.
        split = max(len(rules) - 1, 0)
        while split and np.prod([len(w) for _, w in rules[split - 1 :]]) <= 2**18:
            split -= 1
        tail_u, tail_w = np.zeros((1, 0)), np.ones(1)
        for u, w in rules[split:]:
            tail_u = np.concatenate([np.repeat(tail_u, len(u), axis=0), np.tile(u, (len(tail_u), 1))], axis=1)
            tail_w = np.outer(tail_w, w).ravel()
        for chosen in itertools.product(*(range(len(w)) for _, w in rules[:split])):
            head = [rule[0][k] for rule, k in zip(rules, chosen, strict=False)]
            weight = np.prod([rule[1][k] for rule, k in zip(rules, chosen, strict=False)])
            u = np.broadcast_to(np.concatenate([*head, np.zeros(0)]), (len(tail_w), sum(map(len, head))))
            yield np.concatenate([u, tail_u], axis=1), weight * tail_w

    return _Points(pieces)


def _block_panels(root: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, r) and weights (P,) for one block with its `root` (d, r)."""
    r = root.shape[1]
    if r == 0:
        return np.zeros((1, 0)), np.ones(1)
    if r == 1:
        x, w = legendre(12 * 2**level, _REACH)
        w = w * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
        return np.concatenate([-x[::-1], x])[:, None], np.concatenate([w[::-1], w])
    kept = root[np.any(root != 0, axis=1)]
    u, w = wedges(kept[None], _REACH, 6 * 2**level, 12 * 2**level)
    return u[0].T, w[0]


@functools.lru_cache(maxsize=4)
def _ball(r: int, level: int) -> _Points | None:
    """The trapezoidal rule within |u| < radius; None where it has too many points."""
    step = 0.8 * 2 ** (-level / 2)
    side = (np.arange(-int(_RADIUS / step) - 1, int(_RADIUS / step) + 1) + 0.5) * step
    if len(side) ** (r - 1) > 4 * _MOST_POINTS:
        return None
    weight = step / np.sqrt(2 * np.pi) * np.exp(-(side**2) / 2)
    u, w = side[:, None], weight
    for _ in range(r - 1):
        square = np.add.outer(np.sum(u**2, axis=1), side**2)
        first, last = np.nonzero(square < _RADIUS**2)
        if len(first) > _MOST_POINTS:
            return None
        u, w = np.concatenate([u[first], side[last, None]], axis=1), w[first] * weight[last]
    return _Points(lambda: iter([(u, w)]))


def _by_sobol(run, r: int) -> tuple[Estimate, np.ndarray]:
    """Scrambled Sobol points, and √⟨h²⟩."""
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
