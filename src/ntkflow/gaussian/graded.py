"""Line rules graded towards given points: for functions with kinks, or poles, at or next to these.

About such a point b the substitution v = b ± ω sinh t makes steps of ω at b and of |v - b| far away. A function with
poles at a distance of ω or more from b, and no other features, then has them a distance of order 1 from the line of t.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .rules import legendre


def graded_rule(breaks, width, reach: float, nodes: int):
    """Nodes and weights for u ~ N(0, 1), cut at each of `breaks` and between two of them: traceable.

    Args:
        breaks: (m, …), in any order; those beyond ±reach count as there.
        width: (m, …), ω > 0 of each.
        nodes: of Gauss and Legendre in each of the 2 m parts.

    Returns:
        Two arrays (2 m nodes, …).
    """
    order = jnp.argsort(breaks, axis=0)
    breaks, width = (jnp.take_along_axis(x, order, axis=0) for x in (breaks, width))
    clipped = jnp.clip(breaks, -reach, reach)
    width = jnp.maximum(width, jnp.abs(breaks - clipped))
    middle = (clipped[1:] + clipped[:-1]) / 2
    end = jnp.full_like(clipped[:1], reach)
    lower, upper = jnp.concatenate([-end, middle]), jnp.concatenate([middle, end])
    x, w = (jnp.asarray(a).reshape(-1, *(1,) * breaks.ndim) for a in legendre(nodes, 1.0))

    def side(length, sign):
        T = jnp.arcsinh(length / width)
        u = clipped + sign * width * jnp.sinh(T * x)
        return u, w * T * width * jnp.cosh(T * x) * jnp.exp(-u * u / 2) / np.sqrt(2 * np.pi)

    parts = [side(clipped - lower, -1.0), side(upper - clipped, 1.0)]
    u, weights = (jnp.stack([part[i] for part in parts]).reshape(-1, *breaks.shape[1:]) for i in (0, 1))
    return u, weights
