"""Four samples and a σ with kinks: one canonical coordinate by the series, the other integrated with all kinks respected.

With the canonical correlations κ1 ≥ κ2 of two pairs (`four_samples`),

    E[F(x1, x2) K(y1, y2)] = Σ_l κ2^l E[f_l(x1) k_l(y1)],   f_l(x1) = E[F(x1, x2) he_l(x2) / √l!],

where x1 and y1 have the correlation κ1. The integral over x2 is cut at its kinks, which move with x1. f_l is smooth but where two
kinks cross, and varies fast where one sample hardly depends on x2: there x1 is cut and graded. On each part f_l and k_l are
polynomials of the graded coordinate, and the integral over y1 given x1 is one of polynomials times a Gaussian, for any κ1 up to 1.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation
from .four_samples import Canonical, row_by_row
from .graded import Parts, graded_parts, graded_rule
from .requests import Placements, halves, highest, multiplied
from .rules import legendre

_REACH, _SPREAD = 12.0, 8.5
_SMALL = 1e-12  # a slope that is none
_JUMP, _FINEST = 1e-7, 1e-5  # widths that are none, and to which others are resolved
_NODES_A_UNIT = 4.0  # of T, to resolve a width
_MORE_NODES = 16
_AT_ONCE = 8


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5, 6))
def kinked_batch(
    activation: Activation, where: Canonical, count, asked: Placements, nodes: int, inner: int, terms: int
):
    """⟨Π_i σ^(p_i)(z_i)⟩ for each placement p on the first `count` of B quadruples, z_i in the order of their pairing.

    Args:
        nodes, inner: on each part of x1 and of x2. terms: l < terms.

    Returns:
        (B, placements), and what the last quarter of the terms adds, relative to the largest moment, infinite if the nodes
        are too few, (B,). With P parts of x1 and Q of x2, n and m nodes and K terms time B P n Q m K.
    """

    if any(activation.kinks):
        nodes //= 2  # on each of several parts

    def of_quadruple(where):
        products, left, right = halves(asked)
        by_term, resolved = _by_term(activation, where, products, nodes, inner, terms)
        by_term = by_term[left, right]
        whole = by_term.sum(axis=-1)
        size = jnp.abs(whole).max()
        last = jnp.abs(by_term[:, 3 * terms // 4 :].sum(axis=-1)).max()
        return whole, jnp.where(resolved, last / jnp.where(size > 0, size, 1.0), jnp.inf)

    return row_by_row(of_quadruple, where, count)


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def kinked_plane(activation: Activation, root, count, asked: Placements, nodes: int, inner: int):
    """The same on quadruples z = root @ u that lie in a plane, root (B, 4, 2): (B, placements)."""
    kinks, (products, left, right) = activation.kinks, halves(asked)

    def of_quadruple(root):
        x, weights = graded_rule(*_breaks(root, kinks), _REACH, nodes)
        (z1, z2, z3, z4), _, across = _across(activation, root, x, highest(asked), inner)
        first, second = (multiplied(products, *pair) for pair in ((z1, z2), (z3, z4)))
        return jnp.einsum("pin,qin,in->pq", first, second, across * weights)[left, right]

    return row_by_row(of_quadruple, root, count)


def _by_term(
    activation: Activation, where: Canonical, products: Placements, nodes: int, inner: int, terms: int
):  # fmt: skip
    """The terms of the series, (products, products, terms), and whether the nodes resolve what varies fast."""
    kinks, (kappa1, kappa2) = activation.kinks, where.kappa
    narrow = jnp.maximum(jnp.sqrt((1 - kappa1) * (1 + kappa1)), 0.1 * _JUMP)
    first, second = (_breaks(root, kinks) for root in (where.first, where.second))
    together = _together(first, second, kappa1, narrow, kinks)
    x, weights = graded_rule(*together, _REACH, nodes)
    f = _coefficients(activation, products, where.first, x, inner, terms)
    parts = graded_parts(*second, _REACH)
    t, _ = legendre(nodes, 1.0)
    points = parts.at(jnp.asarray(t)[:, None])[0].ravel()
    k = _coefficients(activation, products, where.second, points, inner, terms)
    k = jnp.einsum("nj,npfl->pjfl", _to_polynomials(nodes), k.reshape(nodes, -1, *k.shape[1:]))
    given_x = _in_blocks(lambda x: _polynomials_given(x, kappa1, narrow, parts, nodes), x)
    k = jnp.tensordot(given_x, k, 2)
    by_term = jnp.einsum("nfl,ngl,n->fgl", f, k, weights) * kappa2 ** jnp.arange(terms)
    deepest = jnp.maximum(parts.T.max(), graded_parts(*together, _REACH).T.max())
    return by_term, nodes >= _NODES_A_UNIT * deepest


def _breaks(root, kinks: tuple[float, ...]) -> tuple[Any, Any]:
    """Where functions of x1 are cut, (m,), and on what scales they vary there, (m,); root (samples, 2).

    Kinks of one sample, if it hardly depends on x2, and crossings of the kinks of two.
    """
    width = _resolved(jnp.abs(root[:, 1]) / jnp.maximum(jnp.abs(root[:, 0]), _SMALL))
    if not any(kinks):
        return jnp.zeros(1), width.min()[None]
    kink = np.array(kinks)
    at = [kink[:, None] / _slope(root[:, 0])]
    widths = [jnp.broadcast_to(width, at[0].shape)]
    for i, j in itertools.combinations(range(len(root)), 2):
        (a, b), (c, d) = root[i], root[j]
        crossing = (kink[:, None] * d - kink * b) / _slope(a * d - c * b)
        at.append(crossing)
        widths.append(jnp.ones_like(crossing))
    return jnp.concatenate([jnp.ravel(x) for x in at]), jnp.concatenate([jnp.ravel(x) for x in widths])


def _together(first, second, kappa1, narrow, kinks: tuple[float, ...]) -> tuple[Any, Any]:
    """`_breaks` in x1 of the first pair's functions, and of the second pair's averaged over y1 given x1, which `narrow` smooths."""
    slope = jnp.maximum(kappa1, 0.05)
    finest = _resolved(narrow / slope)
    at, width = jnp.concatenate([first[0], second[0] / slope]), jnp.concatenate([first[1], second[1] / slope])
    width = jnp.minimum(width, finest)
    return (at[:1], width.min()[None]) if not any(kinks) else (at, width)


def _resolved(width):
    return jnp.where(width > _JUMP, jnp.clip(width, _FINEST, 1.0), 1.0)


def _slope(a):
    return jnp.where(jnp.abs(a) > _SMALL, a, _SMALL)


def _across(activation: Activation, root, x, order: int, inner: int):
    """σ's derivatives up to `order` at each sample, (samples, order + 1, nodes, points), and nodes and weights (nodes, points) of x2, for each point x1."""
    kink = np.array(activation.kinks)[:, None, None]
    at = (kink - root[:, :1] * x) / _slope(root[:, 1:])
    # Polynomials take many nodes where all kinks are far away.
    at = jnp.concatenate([at.reshape(-1, len(x)), jnp.zeros((1, len(x)))])
    width = jnp.full_like(at, 1 / jnp.maximum(1.0, jnp.abs(root[:, 1]).max()))
    u, weights = graded_rule(at, width, _REACH, inner)
    z = root[:, 0, None, None] * x + root[:, 1, None, None] * u
    return jnp.swapaxes(jnp.stack(activation.derivatives(z, order)), 0, 1), u, weights


def _coefficients(activation: Activation, products: Placements, root, x, inner: int, terms: int):
    """f_l(x1) of a pair's products: (points, products, terms)."""
    order = highest(products)

    def at(x):
        values, u, weights = _across(activation, root, x[None], order, inner)

        def following(last, k):
            current, previous = last
            return ((u * current - jnp.sqrt(k - 1) * previous) / jnp.sqrt(k), current), current

        start = jnp.ones_like(u), jnp.zeros_like(u)
        hermite = jax.lax.scan(following, start, jnp.arange(1.0, terms + 1))[1]
        return (multiplied(products, *values) * weights)[..., 0] @ hermite[..., 0].T

    return _in_blocks(at, x)


def _in_blocks(function, x):
    """`function` of each x (points,): (points, …), in blocks whose polynomials stay in the cache.

    `lax.map` with a batch size would compile `function` a second time, for the last and shorter batch.
    """
    spare = -len(x) % _AT_ONCE
    blocks = jnp.pad(x, (0, spare), mode="edge").reshape(-1, _AT_ONCE)
    values = jax.lax.map(jax.vmap(function), blocks)
    return values.reshape(-1, *values.shape[2:])[: len(x)]


def _polynomials_given(x, kappa1, narrow, parts: Parts, count: int):
    """⟨P_j(2t - 1)⟩ over y1 given x1 = x on each part, t being its coordinate: (parts, count)."""
    away = parts.sign * (kappa1 * x - parts.centre)
    T = jnp.maximum(parts.T, 1e-300)
    ends = (jnp.clip(away + side * _SPREAD * narrow, 0.0, parts.length) for side in (-1, 1))
    low, high = (jnp.arcsinh(end / parts.width) / T for end in ends)
    s, w = (values[:, None] for values in legendre(count + _MORE_NODES, 1.0))
    t = low + (high - low) * s
    deviation = (parts.width * jnp.sinh(T * t) - away) / narrow
    density = jnp.exp(-(deviation**2) / 2) / (narrow * np.sqrt(2 * np.pi))
    weights = w * (high - low) * T * parts.width * jnp.cosh(T * t) * density
    return jnp.einsum("vp,vpj->pj", weights, _legendre_polynomials(2 * t - 1, count))


def _legendre_polynomials(x, count: int):
    """P_j(x), j < count: (*x.shape, count)."""

    def following(last, j):
        current, previous = last
        return (((2 * j + 1) * x * current - j * previous) / (j + 1), current), current

    start = jnp.ones_like(x), jnp.zeros_like(x)
    return jnp.moveaxis(jax.lax.scan(following, start, jnp.arange(float(count)))[1], 0, -1)


def _to_polynomials(count: int):
    """From values at Legendre's nodes to coefficients of P_j(2t - 1): (nodes, count)."""
    t, w = legendre(count, 1.0)
    return w[:, None] * _legendre_polynomials(2 * jnp.asarray(t) - 1, count) * (2 * np.arange(count) + 1)
