"""Every expectation of one step as a pure function of the metric, for JAX to compile, batch and differentiate.

The plan is made without looking at the metric. Smooth σ: Mehler's series of fixed length for two samples, the canonical series of fixed
length for four, the line rule on the diagonal, good to round-off for variances up to about 2. Piecewise-linear σ: closed forms.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation
from ..errors import ActivationError
from .expectations import Expectations
from .four_samples import Grid, moments
from .four_signs import quadrature
from .linear_pieces import pair_moment, pair_tables, slot_moments
from .piecewise_linear import at_zero
from .requests import Factors, Placements, placements
from .rules import FINE, folded, line_basis, product
from .sample_sets import SampleSets, pair_requests
from .series import series_block
from .series_integrals import ALWAYS, DERIVATIVES, ORDER

_GRID = Grid(FINE.reach, 84, 64)
_slot_moments = jax.jit(slot_moments, static_argnums=(0, 1), static_argnames="straight")


def traced_expectations(activation: Activation, G, sets: SampleSets) -> Expectations:
    """`expectations` on a metric G (N, N) that may be traced; ActivationError for a σ that has a kink and is not piecewise linear."""
    asked = placements(sets.moments)
    variance = jnp.diag(G)
    G = G + jnp.diag(differentiable(activation, variance) - variance)
    if activation.slopes:
        return _piecewise_linear(activation, G, sets.k, sets.moments)._replace(
            moments=_piecewise_linear_moments(activation, G, sets.quadruples, asked)
        )
    if activation.kinked:
        raise ActivationError(
            f"activation {activation.name} has a kink: its flow can't be traced; only piecewise-linear ones and smooth ones"
        )
    return _smooth(activation, G, sets.quadruples, sets.k, sets.moments)


def differentiable(activation: Activation, variance):
    """Variances, those that are 0 as 1e-16 unless σ has a kink: integrals take their roots, which have no derivative at 0.

    Expectations move by round-off of those at variance 1; their derivatives there are right to about 1e-8.
    """
    return variance if activation.kinked else jnp.where(variance == 0, variance + 1e-16, variance)


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _piecewise_linear(activation: Activation, G, k: int, words: tuple[str, ...]) -> Expectations:
    N = len(G)
    variance = jnp.diag(G)
    metric = (
        jnp.broadcast_to(variance[:, None], G.shape), G, jnp.broadcast_to(variance, G.shape), jnp.eye(N),
    )  # fmt: skip
    tables = pair_tables(activation.slopes, at_zero(activation), *metric)
    return Expectations(
        **{name: jnp.stack(table) if isinstance(table, list) else table for name, table in tables.items()},
        pairs={
            request: pair_moment(
                *request, activation.slopes, at_zero(activation), *metric, straight=not activation.kinked
            )
            for request in pair_requests(k, words)
        },
        moments=None,
    )


def _piecewise_linear_moments(activation: Activation, G, quadruples: np.ndarray, asked: Placements):
    nodes = quadrature(FINE.sign_nodes)
    moments = jnp.zeros((len(quadruples), len(asked)))
    starts = np.cumsum(np.diff(quadruples, axis=1, prepend=quadruples[:, :1]) != 0, axis=1)
    for pattern in np.unique(starts, axis=0):
        mine = np.flatnonzero((starts == pattern).all(axis=1))
        heads = quadruples[mine][:, np.unique(pattern, return_index=True)[1]]
        four = nodes if heads.shape[1] == 4 else None
        values = _slot_moments(
            tuple(pattern.tolist()), asked, activation.slopes, at_zero(activation), four,
            G[heads[:, :, None], heads[:, None, :]], straight=not activation.kinked,
        )  # fmt: skip
        moments = moments.at[mine].set(values)
    return moments


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _smooth(activation: Activation, G, quadruples, k: int, words: tuple[str, ...]) -> Expectations:
    # One function of one layer, so that it is compiled once where the whole flow is not compiled by the caller.
    basis = folded(*line_basis(FINE.reach, FINE.line_nodes, FINE.line_terms))
    e, _ = smooth_on_pairs(activation, G, basis, k, words)
    metrics = G[quadruples[:, :, None], quadruples[:, None, :]]
    asked = placements(words)
    return e._replace(moments=moments(activation, metrics, asked, _GRID) if asked else e.moments)


class Doubts(NamedTuple):
    """What tells whether a series of fixed length, and a σ taken to be smooth, will do.

    Attributes:
        tail: the largest bound on the last quarter of a series, relative to the norms of its two functions.
        halved: how much products on one sample change with every second node, relative to the norms of their two functions;
            where nodes are equally spaced.
        means, by_parts, norm, s: as of `missing_deltas`.
    """

    tail: Any
    halved: Any
    means: Any
    by_parts: Any
    norm: Any
    s: Any


def smooth_on_pairs(
    activation: Activation, G, basis, k: int, words: tuple[str, ...]
) -> tuple[Expectations, Doubts]:
    """The expectations on at most two samples that sets of k samples need, for a smooth σ, by series of one length.

    Args:
        basis: as `folded` gives it; columns of the matrices may be zero.
    """
    u, even, odd = (jnp.asarray(x) for x in basis)
    N, terms = len(G), even.shape[1] + odd.shape[1]
    variance = jnp.diag(G)
    s = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    scale = s[:, None] * s
    rho = jnp.where(scale > 0, G / jnp.where(scale > 0, scale, 1.0), 0.0)
    requests = sorted({(max(pair), min(pair)) for pair in [*ALWAYS, *pair_requests(k, words)]})
    functions = sorted({f for pair in requests for f in pair})
    first, second = (np.array([functions.index(pair[side]) for pair in requests]) for side in (0, 1))
    above = s[:, None] * u
    values = activation.derivatives(jnp.stack([above, -above]), ORDER)
    on_line = jnp.stack([product(values, f) for f in functions])  # (functions, 2, N, nodes)
    by_parity = [(on_line[:, 0] + on_line[:, 1]) @ even, (on_line[:, 0] - on_line[:, 1]) @ odd]
    coefficients = jnp.stack(by_parity, axis=-1).reshape(len(functions), N, terms)
    by_term = jnp.moveaxis(coefficients, -1, 0)[::-1]
    apart = series_block(by_term[:, first], by_term[:, second], rho)
    products = jnp.sum(on_line[first] * on_line[second], axis=1)
    coinciding = products @ even[:, 0]
    same = jnp.eye(N, dtype=bool)
    tables = dict(zip(requests, jnp.where(same, coinciding[:, :, None], apart), strict=True))
    start = 3 * terms // 4
    norm, last = (jnp.sqrt(jnp.sum(c**2, axis=-1)) for c in (coefficients, coefficients[..., start:]))
    share = jnp.where(norm > 0, last / jnp.where(norm > 0, norm, 1.0), 0.0)
    tail = jnp.where(same, 0.0, jnp.abs(rho) ** start * share[first, :, None] * share[second, None, :])
    half = 2 * products[..., ::2] @ even[::2, 0]
    size = norm[first] * norm[second]
    orders = [functions.index((order,)) for order in range(ORDER + 1)]
    factorials = np.array([math.factorial(order) for order in range(ORDER + 1)])
    doubts = Doubts(
        tail.max(),
        jnp.max(jnp.abs(half - coinciding) / jnp.where(size > 0, size, 1.0)),
        coefficients[orders, :, 0],
        coefficients[orders[0], :, : ORDER + 1].T * np.sqrt(factorials)[:, None],
        jnp.sqrt(coinciding[requests.index(((0,), (0,)))]),
        s,
    )

    def pair(f: Factors, g: Factors):
        return tables[f, g] if (f, g) in tables else tables[g, f].T

    e = Expectations(
        **{
            name: jnp.stack([pair((a + order - m,), (b + m,)) for m in range(order + 1)])
            for name, (a, b, order) in DERIVATIVES.items()
        },
        Phi=pair((0,), (0,)),
        dPhi=pair((1,), (1,)),
        pairs={request: pair(*request) for request in pair_requests(k, words)},
        moments=np.zeros((0, len(placements(words)))),
    )
    return e, doubts
