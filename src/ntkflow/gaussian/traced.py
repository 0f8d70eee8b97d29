"""Every expectation of one step as a pure function of the metric, for JAX to compile, batch and differentiate.

The plan is made without looking at the metric: Mehler's series of fixed length for two samples, the canonical series of fixed length for
four, the line rule on the diagonal. Good to round-off for variances up to about 2, see docs/integrals.md.
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
from .rules import FINE, line_basis
from .sample_sets import SampleSets, pair_requests
from .series import series_block
from .series_integrals import DERIVATIVES, Factors

_GRID = Grid(FINE.reach, 84, 64)


def traced_expectations(activation: Activation, G, sets: SampleSets | None) -> Expectations:
    """`expectations` on a metric G (N, N) that may be traced; ActivationError for a σ that has a kink and is not piecewise linear."""
    if activation.kinked:
        raise ActivationError(
            f"activation {activation.name} has a kink: its flow can't be traced; only piecewise-linear ones and smooth ones"
        )
    k, wide = (0, np.zeros((0, 4), int)) if sets is None else (sets.k, sets.wide)
    return _smooth(activation, G, wide, k)


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
        pairs={request: on_pairs(*request) for request in (pair_requests(k) if k else [])},
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
        return functools.reduce(jnp.multiply, [values[order] for order in f], jnp.ones((N, u.size)))

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
