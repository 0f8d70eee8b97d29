"""E[sgn z1 sgn z2 sgn z3 sgn z4], the one moment of piecewise-linear σ that is not elementary.

Let z1's correlations grow from 0 to their values, t r_1j with t from 0 to 1 (Plackett 1954):

    E = (4/π²) Σ_j ∫_0^1 dt r_1j / √(1 - t² r_1j²) · arcsin ρ_kl|1j(t).

With v = 1 - t² every determinant in it is linear, and a sum of positive terms: |R(t)| = (1 - v) |R| + v |R_234|. In t²
the integrand is analytic but for branch points on the real axis beyond 1, as near to 1 as the metric is near to
singular. In x, t = tanh x, all of those lie on Im x = ±π/2: the trapezoidal rule converges alike for every metric.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

_REACH = (
    22.0  # of x: what is left decays at least as 1/cosh x, and as its square where correlations are below 1
)
_STRETCH = 1.5  # nodes grow sparse with x, for the integrand decays


@functools.lru_cache(maxsize=8)
def quadrature(count: int) -> np.ndarray:
    """v = 1 - tanh² x and the weights of dt, for x > 0 as the integrand is even: (2, at least count).

    Filled up to a multiple of 64 with weights 0, so that rules of about that many nodes are one compiled program.
    """
    u = (np.arange(count) + 0.5) / count
    unit = _REACH / np.sinh(_STRETCH)
    v = 1 / np.cosh(unit * np.sinh(_STRETCH * u)) ** 2
    weights = v * unit * _STRETCH * np.cosh(_STRETCH * u) / count
    spare = -count % 64
    return np.stack([np.pad(v, (0, spare), constant_values=1.0), np.pad(weights, (0, spare))])


def four_signs(determinant, bound, nodes):
    """The expectation for unit variances, of any batch shape.

    Args:
        determinant: of the correlations of some of the samples 0 … 3, by their tuple.
        bound: bound(given, i, j), the determinant of `given` times the covariance of z_i and z_j given those z = 0.
        nodes: of the integral, as by `quadrature`; 64 leave 1e-13.
    """
    v, weights = nodes

    def along(start, end):
        return start[..., None] * v + end[..., None] * (1 - v)

    whole = along(determinant((1, 2, 3)), determinant((0, 1, 2, 3)))
    total = 0.0
    for j, k, m in ((1, 2, 3), (2, 1, 3), (3, 1, 2)):
        r = bound((), 0, j)
        pair = along(jnp.ones_like(r), determinant((0, j)))
        angle = jnp.arctan2(along(bound((j,), k, m), bound((0, j), k, m)), jnp.sqrt(pair * whole))
        total = total + r * jnp.sum(weights / jnp.sqrt(pair) * angle, axis=-1)
    return 4 / np.pi**2 * total
