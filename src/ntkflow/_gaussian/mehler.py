"""⟨σ1σ2⟩ and ⟨σ'1σ'2⟩ on a tile of pairs by Mehler's series Σ_k ρ^k f_k g_k, compiled by JAX.

f_k are the normalised Hermite coefficients of f(s u), u ~ N(0, 1), at each sample's own variance s²; `series.py` has
the same series for many tables of one metric, on the host.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..activations import Activation
from .rules import line_basis

CHUNK = 16  # terms of one pass over a tile: fewer passes cost memory traffic, many terms registers
_BELOW_ROUNDOFF = 1e-17


class Coefficients(NamedTuple):
    """Hermite coefficients of σ and σ' on I samples.

    Attributes:
        terms: (K / CHUNK, CHUNK, 2, I), of σ and of σ'.
        mean_squares: (2, I), ⟨σ²⟩ and ⟨σ'²⟩.
        most: (K,), the largest share, among samples and both functions, of the norm beyond the k-th term.
        share: (2, I), each sample's share beyond three quarters of the terms.
    """

    terms: jax.Array
    mean_squares: jax.Array
    most: jax.Array
    share: jax.Array


def coefficients(
    activation: Activation, variance: jax.Array, reach: float, nodes: int, terms: int
) -> Coefficients:
    """Of samples with these variances (I,), by 2 × `nodes` nodes; `terms` is a multiple of CHUNK."""
    u, psi = line_basis(reach, nodes, terms)
    positive = variance > 0
    s = jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1.0)), 0.0)
    values = jnp.stack(activation.derivatives(s[:, None] * u, 1))
    coefficients = jnp.einsum("fiu,uk->kfi", values, psi)
    mean_squares = jnp.einsum("fiu,u->fi", values**2, psi[:, 0])
    norms = jnp.sqrt(jnp.cumsum(coefficients[::-1] ** 2, axis=0)[::-1])
    share = norms / jnp.where(norms[0] > 0, norms[0], 1.0)
    return Coefficients(
        coefficients.reshape(terms // CHUNK, CHUNK, *coefficients.shape[1:]),
        mean_squares,
        share.max(axis=(1, 2)),
        share[3 * terms // 4],
    )


def terms_needed(rows: Coefficients, cols: Coefficients, correlation: jax.Array) -> jax.Array:
    """How many chunks of terms are not below round-off for the largest |ρ| of the tile."""
    worst = rows.most * cols.most * jnp.abs(correlation).max() ** jnp.arange(len(rows.most))
    return jnp.maximum(1, -(-jnp.count_nonzero(worst > _BELOW_ROUNDOFF) // CHUNK))


def mehler(rows: Coefficients, cols: Coefficients, correlation: jax.Array, chunks=None):
    """(Φ, Φ'), each (I, J).

    Args:
        correlation: ρ (I, J).
        chunks: how many of the coefficients' chunks are summed, traced or not; None for all, where the derivative in
            reverse mode is needed too.
    """

    def add(tables, chunk):
        for f, g in zip(chunk[0][::-1], chunk[1][::-1], strict=True):
            tables = tuple(
                table * correlation + f[k][:, None] * g[k][None, :] for k, table in enumerate(tables)
            )
        return tables

    zero = jnp.zeros_like(correlation)
    if chunks is None:
        reverse = (rows.terms, cols.terms)
        return jax.lax.scan(lambda t, c: (add(t, c), None), (zero, zero), reverse, reverse=True)[0]
    return jax.lax.fori_loop(
        0, chunks,
        lambda m, t: add(t, (rows.terms[chunks - 1 - m], cols.terms[chunks - 1 - m])), (zero, zero),
    )  # fmt: skip


def tail(rows: Coefficients, cols: Coefficients, correlation: jax.Array) -> jax.Array:
    """A bound on the last quarter of both series relative to ‖f‖ ‖g‖: (I, J)."""
    start = 3 * len(rows.most) // 4
    both = jnp.maximum(
        rows.share[0][:, None] * cols.share[0][None, :], rows.share[1][:, None] * cols.share[1][None, :]
    )
    return jnp.abs(correlation) ** start * both


def mean_squares(activation: Activation, variance, reach: float, nodes: int, order: int) -> jax.Array:
    """⟨(σ^(k))²⟩, k = 0 … order, on samples with these variances (I,): (order + 1, I)."""
    u, psi = line_basis(reach, nodes, 1)
    values = jnp.stack(activation.derivatives(jnp.sqrt(variance)[:, None] * u, order))
    return values**2 @ psi[:, 0]
