"""Every expectation of one step as a pure function of the metric, for JAX to compile, batch and differentiate.

The plan is made without looking at the metric. Smooth σ: Mehler's series of fixed length for two samples, the canonical series of fixed
length for four, the line rule on the diagonal, good to round-off for variances up to about 2. Piecewise-linear σ: closed forms.
"""

from __future__ import annotations

import functools

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
from .rules import FINE, Factors, line_basis, product
from .sample_sets import SampleSets, pair_requests
from .series import series_block
from .series_integrals import DERIVATIVES

_GRID = Grid(FINE.reach, 84, 64)
_slot_moments = jax.jit(slot_moments, static_argnums=0)


def traced_expectations(activation: Activation, G, sets: SampleSets) -> Expectations:
    """`expectations` on a metric G (N, N) that may be traced; ActivationError for a σ that has a kink and is not piecewise linear."""
    k, wide = sets.k, sets.wide
    if activation.slopes:
        return _piecewise_linear(activation, G, k)._replace(
            wide=_piecewise_linear_moments(activation, G, wide)
        )
    if activation.kinked:
        raise ActivationError(
            f"activation {activation.name} has a kink: its flow can't be traced; only piecewise-linear ones and smooth ones"
        )
    return _smooth(activation, G, wide, k)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _piecewise_linear(activation: Activation, G, k: int) -> Expectations:
    N = len(G)
    variance = jnp.diag(G)
    metric = (
        jnp.broadcast_to(variance[:, None], G.shape), G, jnp.broadcast_to(variance, G.shape), jnp.eye(N),
    )  # fmt: skip
    tables = pair_tables(activation.slopes, at_zero(activation), *metric)
    return Expectations(
        **{name: jnp.stack(one) if isinstance(one, list) else one for name, one in tables.items()},
        pairs={
            request: pair_moment(*request, activation.slopes, at_zero(activation), *metric)
            for request in pair_requests(k)
        },
        wide=None,
    )


def _piecewise_linear_moments(activation: Activation, G, wide: np.ndarray):
    nodes = quadrature(FINE.sign_nodes)
    found = jnp.zeros((len(wide), 2, 2, 2, 2))
    starts = np.cumsum(np.diff(wide, axis=1, prepend=wide[:, :1]) != 0, axis=1)
    for pattern in np.unique(starts, axis=0):
        mine = np.flatnonzero((starts == pattern).all(axis=1))
        heads = wide[mine][:, np.unique(pattern, return_index=True)[1]]
        four = nodes if heads.shape[1] == 4 else None
        values = _slot_moments(
            tuple(pattern.tolist()), activation.slopes, at_zero(activation), four,
            G[heads[:, :, None], heads[:, None, :]],
        )  # fmt: skip
        found = found.at[mine].set(values)
    return found


@functools.partial(jax.jit, static_argnums=(0, 3))
def _smooth(activation: Activation, G, wide, k: int) -> Expectations:
    # One function of one layer, so that it is compiled once where the whole flow is not compiled by the caller.
    on_pairs = _smooth_pairs(activation, G)
    tables = {
        name: jnp.stack([on_pairs((a + order - m,), (b + m,)) for m in range(order + 1)])
        for name, (a, b, order) in DERIVATIVES.items()
    }
    return Expectations(
        **tables,
        Phi=on_pairs((0,), (0,)),
        dPhi=on_pairs((1,), (1,)),
        pairs={request: on_pairs(*request) for request in pair_requests(k)},
        wide=moments(activation, G[wide[:, :, None], wide[:, None, :]], 1, _GRID),
    )


def _smooth_pairs(activation: Activation, G):
    """The function (f, g) ↦ ⟨f(z_a) g(z_b)⟩, (N, N)."""
    N = len(G)
    variance = jnp.diag(G)
    s = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    u, psi = (jnp.asarray(x) for x in line_basis(FINE.reach, FINE.line_nodes, FINE.line_terms))
    values = activation.derivatives(s[:, None] * u, 5)
    scale = s[:, None] * s
    rho = jnp.where(scale > 0, G / jnp.where(scale > 0, scale, 1.0), 0.0)

    @functools.cache
    def on_line(f: Factors):
        return product(values, f)

    @functools.cache
    def coefficients(f: Factors):
        return (on_line(f) @ psi).T[::-1, None]  # (terms, 1, N), the highest first

    @functools.cache
    def on_pairs(f: Factors, g: Factors):
        if g > f:
            return on_pairs(g, f).T
        apart = series_block(coefficients(f), coefficients(g), rho)[0]
        return jnp.where(jnp.eye(N, dtype=bool), (on_line(f) * on_line(g)) @ psi[:, 0], apart)

    return on_pairs
