"""⟨f(z1) g(z2)⟩ where no series converges: z2 is integrated given z1, then z1.

With u2 = ρ u1 + √(1-ρ²) v the inner integral over v is cut where z2 has a kink, and the outer one over u1 where z1 has
one and where z2 typically has; both are graded towards these points, steeper sigmoids having their poles next to 0.
Nothing is lost as ρ → ±1.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from .._machine.batches import batches
from ..activations import Activation
from .four_samples import row_by_row
from .graded import graded_rule
from .requests import Factors
from .rules import Rule, product

_BATCH = 32
_TINY = 1e-150
_SHARPEST = 1e-12
_SMOOTH_INNER = 0.3


def pair_moments(
    activation: Activation,
    functions: list[Factors],
    variances: np.ndarray,
    rho: np.ndarray,
    sine: np.ndarray,
    rule: Rule,
) -> np.ndarray:
    """⟨h(z1) k(z2)⟩ for all products h, k of derivatives in `functions`, ordinary parts alone.

    Args:
        variances: (P, 2). rho, sine: (P,), correlations and √(1-ρ²).

    Returns:
        (P, F, F) for F functions. With n nodes on a line, time P F n² + P F² n.
    """
    out = np.empty((len(rho), len(functions), len(functions)))
    s = np.sqrt(variances)
    # The inner integral is the easier the slower z2 varies.
    swapped = s[:, 1] > s[:, 0]
    s = np.where(swapped[:, None], s[:, ::-1], s)
    mild = s[:, 1] * sine <= _SMOOTH_INNER if not activation.kinks else np.zeros(len(rho), bool)
    for inner, chosen in (("smooth", mild), ("cut", ~mild)):
        rows = np.flatnonzero(chosen)
        for batch, index in batches(len(rows), _BATCH):
            pairs, filled = rows[batch], rows[index]
            with jax.enable_x64(True):
                # What is filled in is not computed.
                moments = _compiled(activation, tuple(functions), rule, inner)(
                    s[filled], rho[filled], sine[filled], len(pairs)
                )
            out[pairs] = np.asarray(moments)[: len(pairs)]
    return np.where(swapped[:, None, None], out.swapaxes(1, 2), out)


@functools.lru_cache(maxsize=64)
def _compiled(activation: Activation, functions: tuple[Factors, ...], rule: Rule, inner: str):
    centres = np.array(activation.kinks or (0.0,))[:, None]
    order = max(itertools.chain.from_iterable(functions))
    outer_nodes, inner_nodes = rule.conditioned[:2]
    if activation.kinks:
        # Graded down to the width over which the inner integral smears a kink: √(1-ρ²).
        outer_nodes = 7 * outer_nodes // 4
    hermite_nodes, hermite_weights = np.polynomial.hermite_e.hermegauss(rule.conditioned[2])
    hermite_weights = hermite_weights / hermite_weights.sum()

    def products(z):
        values = activation.derivatives(z, order)
        return [product(values, h) for h in functions]

    def moments_of_pair(pair):
        s, rho, delta = pair
        sign = jnp.where(rho < 0, -1.0, 1.0)
        slope = jnp.where(jnp.abs(rho) > 0.05, rho, 0.05 * sign)
        ratio = jnp.abs(delta / slope)
        # Where z1, and where z2 typically, has its kinks; for a kink at 0 one point serves both.
        near = jnp.concatenate([centres, centres[centres[:, 0] != 0] * s[0] / (s[1] * slope)]) / s[0]
        finest = jnp.maximum(ratio, _SHARPEST if activation.kinks else 1 / s[1])
        width = jnp.full_like(near, jnp.minimum(1 / s[0], finest))
        u, weights = graded_rule(near, width, rule.reach, outer_nodes)
        u, weights = u[:, 0], weights[:, 0]
        if inner == "smooth":
            v, inner_weights = hermite_nodes[:, None], hermite_weights[:, None]
        else:
            across = jnp.maximum(delta, _TINY)
            at = (centres / s[1] - rho * u) / across
            v, inner_weights = graded_rule(
                at, jnp.full_like(at, 1.0) / (s[1] * across), rule.inner_reach, inner_nodes
            )
        second = jnp.stack(
            [jnp.sum(h * inner_weights, axis=0) for h in products(s[1] * (rho * u + delta * v))]
        )
        return (jnp.stack(products(s[0] * u)) * weights) @ second.T

    return jax.jit(lambda s, rho, delta, count: row_by_row(moments_of_pair, (s, rho, delta), count))
