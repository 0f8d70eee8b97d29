"""Four samples and a smooth σ: a Hermite series in the canonical correlations of two pairs, for JAX to compile and differentiate.

Group the samples in two pairs, whiten each pair, and rotate both so that the cross-covariance is diagonal (the canonical
correlations κ1, κ2). The density is then a product of two bivariate Gaussians, and with F_kl, K_kl the two-dimensional
Hermite coefficients of a function of each pair,

    E[F(z1, z2) K(z3, z4)] = Σ_kl κ1^k κ2^l F_kl K_kl.

Of the three ways to pair four samples the one with the smallest κ is taken: (aa)(bc) where a sample comes twice.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation
from .requests import Placement, Placements, halves, highest, multiplied, reordered
from .rules import folded, trapezoid_basis

PAIRINGS = np.array([(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)])
_ROUNDED = 1e-15  # relatively, of a variance
_AT_ONCE = 4  # quadruples whose grids are in the cache together


class Grid(NamedTuple):
    """How finely to integrate: the trapezoidal rule in each direction, cut at `reach` standard deviations, and Hermite terms, an even number."""

    reach: float
    nodes: int
    terms: int


class Canonical(NamedTuple):
    """Two pairs in coordinates that are unit Gaussians with correlations κ: z = root @ u for each pair."""

    first: Any
    """(…, 2, 2), root of the first pair."""
    kappa: Any
    """(…, 2)."""
    second: Any
    """(…, 2, 2)."""
    pairing: Any
    """(…,): which of the three pairings it is."""


def _quotient(a, b):
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)


def root_of_pair(block):
    """A lower-triangular root (…, 2, 2) of a 2×2 covariance, and its pseudo-inverse."""
    a, b, c = block[..., 0, 0], block[..., 0, 1], block[..., 1, 1]
    s1 = jnp.sqrt(a)
    inverse1 = _quotient(1.0, s1)
    along = b * inverse1
    conditional = c - along**2
    # What rounding leaves of a parallel pair is not a second direction.
    across = jnp.sqrt(jnp.where(conditional > 4e-16 * c, conditional, 0.0))
    inverse2 = _quotient(1.0, across)
    zero = jnp.zeros_like(s1)
    root = jnp.stack([jnp.stack([s1, zero], -1), jnp.stack([along, across], -1)], -2)
    inverse = jnp.stack(
        [jnp.stack([inverse1, zero], -1), jnp.stack([-along * inverse1 * inverse2, inverse2], -1)], -2
    )
    return root, inverse


def _opened(root, cross):
    """A pair's root, and its correlations with another pair, with a sine so large that none of them exceeds 1.

    Rounding leaves little of the square of a small one: it is enlarged by no more than that.
    """
    r0, r1 = cross[..., 0, :], cross[..., 1, :]
    free = jnp.maximum(1 - jnp.sum(r0 * r0, axis=-1), 0.0)
    # The largest correlation is 1 once r1 is multiplied by the root of free / taken.
    taken = free * jnp.sum(r1 * r1, axis=-1) + jnp.sum(r0 * r1, axis=-1) ** 2
    along, across = root[..., 1, 0], root[..., 1, 1]
    least = _quotient(across**2, across**2 + _ROUNDED * (along**2 + across**2))
    needed = (across > 0) & (taken > free)
    shrunk = jnp.where(needed, jnp.sqrt(jnp.maximum(_quotient(free, taken), least)), 1.0)
    return root.at[..., 1, 1].divide(shrunk), cross.at[..., 1, :].multiply(shrunk[..., None])


def canonical(G, smallest: int = 0) -> Canonical:
    """Of covariances G (…, 4, 4), singular ones included, in the pairing whose larger κ is smallest; or its smaller one, with 1."""
    pairings = []
    for pairing in PAIRINGS:
        block = G[..., pairing[:, None], pairing]
        root12, inverse12 = root_of_pair(block[..., :2, :2])
        root34, inverse34 = root_of_pair(block[..., 2:, 2:])
        cross = inverse12 @ block[..., :2, 2:] @ jnp.swapaxes(inverse34, -1, -2)
        root12, cross = _opened(root12, cross)
        root34, transposed = _opened(root34, jnp.swapaxes(cross, -1, -2))
        cross = jnp.swapaxes(transposed, -1, -2)
        left, kappa, right = jnp.linalg.svd(cross)
        pairings.append((root12 @ left, jnp.minimum(kappa, 1.0), root34 @ jnp.swapaxes(right, -1, -2)))
    first, kappa, second = (jnp.stack(x) for x in zip(*pairings, strict=True))
    best = jnp.argmin(kappa[..., smallest], axis=0)

    def of_best(x):
        return jnp.take_along_axis(x, best.reshape(1, *best.shape, *[1] * (x.ndim - 1 - best.ndim)), axis=0)[
            0
        ]

    return Canonical(of_best(first), of_best(kappa), of_best(second), best)


def in_sample_order(moments, pairing, asked: Placements):
    """Moments (…, placements) as the samples stand, from those with samples in the order of their pairing."""
    place = np.stack([reordered(asked, tuple(order.tolist())) for order in PAIRINGS])
    return jnp.take_along_axis(moments, jnp.asarray(place)[pairing], axis=-1)


def pair_products(activation: Activation, products: Placements, z1, z2):
    """σ^(p)(z1) σ^(q)(z2) for each (p, q), stacked."""
    derivatives = jnp.stack(activation.derivatives(jnp.stack([z1, z2]), highest(products)))
    return multiplied(products, derivatives[:, 0], derivatives[:, 1])


def pair_coefficients(activation: Activation, products: Placements, root, grid: Grid):
    """Hermite coefficients (n, K, K) of n products σ^(p)(z1) σ^(q)(z2), z = root @ u, root (2, 2).

    With them the mean squares of these products, by all nodes and by every second one: (n,) both.
    """
    u, psi = trapezoid_basis(grid.reach, grid.nodes, grid.terms)
    z = root[:, 0, None, None] * u[:, None] + root[:, 1, None, None] * u
    values = pair_products(activation, products, *z)
    half = folded(*trapezoid_basis(grid.reach, grid.nodes, grid.terms))
    coefficients = jnp.swapaxes(_project(jnp.swapaxes(_project(values, half), 1, 2), half), 1, 2)

    def mean_square(values, weights):
        return (values**2 @ weights) @ weights

    weights = psi[:, 0]
    return (
        coefficients,
        mean_square(values, weights),
        mean_square(values[:, ::2, ::2], 2 * weights[::2]),
    )


def _project(values, basis):
    """Hermite coefficients along the last axis, of values on symmetric nodes, with `basis` as of `folded`: half the work of a product."""
    _, even, odd = basis
    middle = values.shape[-1] // 2
    above, below = values[..., middle:], values[..., middle::-1]
    by_parity = (above + below) @ even, (above - below) @ odd
    return jnp.stack(by_parity, axis=-1).reshape(*values.shape[:-1], -1)


def series(activation: Activation, where: Canonical, asked: Placements, grid: Grid):
    """⟨Π_i σ^(p_i)(z_i)⟩ for each placement p on one quadruple: (placements,).

    Returns:
        The moments; how much their last quarter of terms adds, relative to the largest of them; how much the mean squares
        of either pair's products change, relatively, with half the nodes. The trapezoidal rule's error on an analytic
        function is squared where its step is halved.
    """
    products, first, second = halves(asked)
    F, *squares_F = pair_coefficients(activation, products, where.first, grid)
    K, *squares_K = pair_coefficients(activation, products, where.second, grid)
    powers = where.kappa[:, None] ** jnp.arange(grid.terms)
    F = F * (powers[0][:, None] * powers[1])
    short = 3 * grid.terms // 4

    def contracted(F, K):
        return (F.reshape(len(F), -1) @ K.reshape(len(K), -1).T)[first, second]

    whole = contracted(F, K)
    last = whole - contracted(F[:, :short, :short], K[:, :short, :short])
    size = jnp.abs(whole).max()
    halved = jnp.stack(
        [
            jnp.max(jnp.abs(half - all_) / jnp.where(all_ > 0, all_, 1.0))
            for all_, half in (squares_F, squares_K)
        ]
    )
    return (
        in_sample_order(whole, where.pairing, asked),
        jnp.abs(last).max() / jnp.where(size > 0, size, 1.0),
        halved.max(),
    )


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def batch(activation: Activation, where: Canonical, count, asked: Placements, grid: Grid):
    """`series` on the first `count` of B quadruples, zeros for the others. With n products, P nodes and K terms in each direction, time n (P² K + P K²) each."""
    return on_first(
        jax.vmap(lambda quadruple: series(activation, quadruple, asked, grid)), where, count, _AT_ONCE
    )


def on_first(compute, arrays, count, size: int):
    """`compute` of arrays of B rows, `size` rows at a time. The first `count` rows are computed; others may be zero."""
    B = len(jax.tree.leaves(arrays)[0])
    size = min(size, B)

    def rows(start):
        return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), arrays)

    def put_rows(number, out):
        start = jnp.minimum(number * size, B - size)
        return jax.tree.map(
            lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, start, 0), out, compute(rows(start))
        )

    shapes = jax.eval_shape(lambda: compute(rows(0)))
    out = jax.tree.map(lambda x: jnp.zeros((B, *x.shape[1:]), x.dtype), shapes)
    return jax.lax.fori_loop(0, (count + size - 1) // size, put_rows, out)


def row_by_row(function, rows, count):
    """`function` of each of the first `count` rows, zeros for the others."""

    def compute(row):
        return jax.tree.map(lambda x: x[None], function(jax.tree.map(lambda x: x[0], row)))

    return on_first(compute, rows, count, 1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2, 3))
def moments(activation: Activation, G, asked: Placements, grid: Grid):
    """`series`'s moments on G (B, 4, 4), differentiable any number of times: (B, placements).

    By Price's theorem, d⟨f⟩ = ½ Σ_ij dG_ij ⟨∂_i ∂_j f⟩.
    """
    return batch(activation, canonical(G), len(G), asked, grid)[0]


@moments.defjvp
def _moments_jvp(activation, asked, grid, primals, tangents):
    (G,), (dG,) = primals, tangents
    pairs = list(itertools.combinations_with_replacement(range(4), 2))
    derivatives = {pair: [_raised(placement, *pair) for placement in asked] for pair in pairs}
    wanted = tuple(sorted({*asked, *itertools.chain.from_iterable(derivatives.values())}))
    values = moments(activation, G, wanted, grid)

    def of(placements: list[Placement]):
        return values[:, np.array([wanted.index(placement) for placement in placements])]

    total = jnp.zeros((len(G), len(asked)))
    for (i, j), raised in derivatives.items():
        total += (dG[:, i, j] + dG[:, j, i])[:, None] * of(raised) / (4 if i == j else 2)
    return of(list(asked)), total


def _raised(placement: Placement, i: int, j: int) -> Placement:
    return tuple(order + (slot == i) + (slot == j) for slot, order in enumerate(placement))
