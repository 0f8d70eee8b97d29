"""Exact moments of z^m (p + q sgn z) on up to four samples: truncated Gaussian moments, THEORY section 8.

Powers of z are lowered by Stein's identity, E[z_i f] = Σ_j G_ij E[∂_j f]; differentiating p + q sgn z_j gives
2 q δ(z_j), which conditions on z_j = 0 and loses that variable. What remains are E[s_i s_j], an arcsine, and
`four_signs`. Derivatives with respect to the correlations are Price's, E[∂_i ∂_j f], made of the same pieces: exact
where those of the single terms diverge.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp

from .four_signs import four_signs

Orders = tuple[int, ...]
"""The power of z on each sample."""

_EDGE = math.sqrt(2 / math.pi)  # 2 δ(z) on average, at unit variance
LEAST_VARIANCE = 2e-15


def pairs(samples: int) -> list[tuple[int, int]]:
    """The order in which correlations are listed."""
    return list(itertools.combinations(range(samples), 2))


def factor(correlations, least=LEAST_VARIANCE) -> list[list]:
    """Rows of a square L with L Lᵀ the correlations of three or four samples, listed as by `pairs`.

    All that follows is computed from L, as from the positions of points: angles between planes must fit together even
    where the points nearly lie in a plane, and they do if these are some points', however rounded. So no point lies in
    the space of those before it. First come those that are far from it: rounding moves the points by no more than eps.
    A variance given other samples that is below LEAST_VARIANCE is taken to be `least`: rounding of determinants is divided by its
    root. Correlations change by no more than that, moments by that over the sine between two samples.
    """
    samples = next(n for n in (3, 4) if len(pairs(n)) == len(correlations))
    r = dict(zip(pairs(samples), correlations, strict=True))
    unit = jnp.ones_like(r[0, 1])
    R = jnp.stack(
        [
            jnp.stack([unit if i == j else r[min(i, j), max(i, j)] for j in range(samples)])
            for i in range(samples)
        ]
    )
    variances, L = jnp.ones_like(R[0]), jnp.zeros_like(R)
    for column in range(samples):
        pivot = jax.nn.one_hot(jnp.argmax(variances, axis=0), samples, axis=0)
        variance = jnp.sum(pivot * variances, axis=0)
        deviation = jnp.sqrt(jnp.where(variance > LEAST_VARIANCE, variance, least))
        projections = (
            jnp.sum(pivot * R, axis=1) - jnp.einsum("ik...,jk...,j...->i...", L, L, pivot)
        ) / deviation
        # Samples that were a pivot already lie in the space of the columns before.
        entries = jnp.where(pivot > 0, deviation, jnp.where(variances < 0, 0.0, projections))
        L = L.at[:, column].set(entries)
        variances = jnp.where(
            pivot > 0, -1.0, jnp.where(variances < 0, variances, jnp.maximum(variances - entries**2, 0.0))
        )
    # All are equally far from nothing: sample 0 comes first.
    return [[unit], *(list(row) for row in L[1:])]


class _Moments:
    """Moments of unit normals z = L w, given that some of them are 0, each computed once.

    `given` and other tuples of samples are in ascending order; determinants are those of correlations.
    """

    def __init__(self, nodes, L, p, q):
        self.L, self.p, self.q, self.nodes = L, p, q, nodes
        self.minors = functools.cache(self._minors)
        self.bound = functools.cache(self._bound)
        self.root = functools.cache(self._root)
        self.moment = functools.cache(self._moment)

    def _minors(self, rows: tuple[int, ...]) -> dict:
        """Of those rows of L, in their order, by their columns."""
        if not rows:
            return {(): 1.0}
        minors: dict = {}
        for columns, minor in self.minors(rows[:-1]).items():
            for c, entry in enumerate(self.L[rows[-1]]):
                if c not in columns:
                    sign = (-1) ** sum(c < other for other in columns)
                    key = tuple(sorted((*columns, c)))
                    minors[key] = minors.get(key, 0.0) + sign * minor * entry
        return minors

    def _bound(self, given: tuple[int, ...], i: int, j: int):
        """|R_given| times the covariance of z_i and z_j."""
        if i == j:
            return self.determinant(_with(given, i))
        a, b = self.minors((*given, min(i, j))), self.minors((*given, max(i, j)))
        return sum(a[c] * b[c] for c in a if c in b)

    def determinant(self, samples: tuple[int, ...]):
        return self.root(samples) ** 2

    def _root(self, samples: tuple[int, ...]):
        """√|R| of these samples."""
        unit = jnp.ones_like(self.L[0][0])
        if len(samples) <= 1:
            return unit
        minors = list(self.minors(samples).values())
        # √x² has no derivative at 0.
        return jnp.abs(minors[0]) if len(minors) == 1 else jnp.sqrt(sum(minor**2 for minor in minors))

    def edge(self, given: tuple[int, ...], k: int):
        """⟨2δ(z_k)⟩ q_k, the derivative of p_k + q_k sgn z_k; 0 where z_k has no variance left."""
        root = self.root(_with(given, k))
        return (
            _EDGE
            * self.q[k]
            * self.root(given)
            * jnp.where(root > 0, 1 / jnp.where(root > 0, root, 1.0), 0.0)
        )

    def _moment(self, given: tuple[int, ...], orders: tuple[tuple[int, int], ...]):
        """⟨Π z_i^m (p_i + q_i sgn z_i)⟩ over the (i, m) of `orders`."""
        raised = next((i for i, m in orders if m), None)
        if raised is None:
            return self._signs(given, [i for i, _ in orders])
        lowered = _lowered(orders, raised)
        total = 0.0
        for k, m in lowered:
            if m:
                share = m * self.bound(given, raised, k) / self.determinant(given)
                total = total + share * self.moment(given, _lowered(lowered, k))
            else:
                # cov(i, k) / std(k); at i = k, std(k).
                if k == raised:
                    share = self.root(_with(given, k)) / self.root(given)
                else:
                    share = self.bound(given, raised, k) / (self.root(given) * self.root(_with(given, k)))
                total = total + _EDGE * self.q[k] * share * self.moment(_with(given, k), _without(lowered, k))
        return total

    def _signs(self, given: tuple[int, ...], samples: list[int]):
        """⟨Π (p_i + q_i sgn z_i)⟩: odd numbers of signs vanish."""
        total = math.prod(self.p[i] for i in samples) * jnp.ones_like(self.L[0][0])
        for i, j in itertools.combinations(samples, 2):
            angle = jnp.arctan2(
                self.bound(given, i, j), self.root(_with(_with(given, i), j)) * self.root(given)
            )
            others = math.prod(self.p[k] for k in samples if k not in (i, j))
            total = total + others * self.q[i] * self.q[j] * 2 / math.pi * angle
        if len(samples) == 4:
            signs = four_signs(self.determinant, self.bound, self.nodes)
            total = total + math.prod(self.q[i] for i in samples) * signs
        return total

    def derivative(self, orders: Orders, samples: tuple[int, int], lower):
        """⟨Π ∂_i Π z^m (p + q sgn z)⟩; `lower` takes the orders where no δ has come in."""
        weight, given, remaining = 1.0, (), tuple(enumerate(orders))
        for i in samples:
            m = dict(remaining)[i]
            if m:
                weight, remaining = weight * m, _lowered(remaining, i)
            else:
                weight, given, remaining = (
                    weight * self.edge(given, i),
                    _with(given, i),
                    _without(remaining, i),
                )
        return weight * (self.moment(given, remaining) if given else lower[tuple(m for _, m in remaining)])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def sign_moments(orders: tuple[Orders, ...], nodes, correlations, L, p, q):
    """⟨Π_i z_i^(m_i) (p_i + q_i sgn z_i)⟩ on unit normals for each m of `orders`: (orders, *batch).

    Exact up to round-off over the smallest √(1 - ρ²) of two samples. Differentiable in the correlations; p and q are
    taken as constants.

    Args:
        nodes: of `four_signs`; None on fewer samples.
        correlations: (pairs, *batch), as by `pairs`. Only derivatives read them.
        L: rows of a factor of them: `factor(correlations)`, or [[1], [ρ, √(1-ρ²)]], where ρ = ±1 is allowed.
        p, q: (samples, *batch).
    """
    moments = _Moments(nodes, L, p, q)
    return jnp.stack([moments.moment((), tuple(enumerate(m))) for m in orders])


@sign_moments.defjvp
def _price(orders, primals, tangents):
    nodes, _, L, p, q = primals
    both = pairs(len(L))
    lower = sorted({_minus(m, i, j) for m in orders for i, j in both if m[i] and m[j]})
    known = dict(zip(lower, sign_moments(tuple(lower), *primals), strict=True)) if lower else {}
    moments = _Moments(nodes, L, p, q)
    change = [
        sum(moments.derivative(m, pair, known) * tangents[1][k] for k, pair in enumerate(both))
        for m in orders
    ]
    return sign_moments(orders, *primals), jnp.stack(change)


def delta_moment(orders: Orders, sample: int, L, p, q):
    """⟨2 q_a δ(z_a) Π_{i≠a} z_i^(m_i) (p_i + q_i sgn z_i)⟩, a being `sample`; arguments otherwise as of `sign_moments`, shape (*batch)."""
    moments = _Moments(None, L, p, q)
    return moments.edge((), sample) * moments.moment((sample,), _without(enumerate(orders), sample))


def _minus(m: Orders, i: int, j: int) -> Orders:
    return tuple(n - (k in (i, j)) for k, n in enumerate(m))


def _lowered(orders, i: int):
    return tuple((k, m - (k == i)) for k, m in orders)


def _without(orders, i: int):
    return tuple((k, m) for k, m in orders if k != i)


def _with(given: tuple[int, ...], i: int) -> tuple[int, ...]:
    return tuple(sorted((*given, i)))
