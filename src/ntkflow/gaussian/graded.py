"""Line rules graded towards given points: for functions with kinks, or poles, at or next to these.

About such a point b the substitution v = b ± ω sinh t makes steps of ω at b and of |v - b| far away. A function with
poles at a distance of ω or more from b, and no other features, then has them a distance of order 1 from the line of t.
"""

from __future__ import annotations

import numpy as np

from .rules import legendre


def graded_rule(breaks, width, reach: float, nodes: int):
    """Nodes and weights for u ~ N(0, 1), cut at each of `breaks` and between two of them, in NumPy or JAX as `breaks` are: traceable.

    Args:
        breaks: (m, …), in any order; those beyond ±reach count as there.
        width: (m, …), ω > 0 of each.
        nodes: of Gauss and Legendre in each of the 2 m parts.

    Returns:
        Two arrays (2 m nodes, …).
    """
    xp = breaks.__array_namespace__()
    order = xp.argsort(breaks, axis=0)
    breaks, width = (xp.take_along_axis(x, order, axis=0) for x in (breaks, width))
    clipped = xp.clip(breaks, -reach, reach)
    width = xp.maximum(width, xp.abs(breaks - clipped))
    middle = (clipped[1:] + clipped[:-1]) / 2
    end = xp.full_like(clipped[:1], reach)
    lower, upper = xp.concat([-end, middle]), xp.concat([middle, end])
    x, w = (xp.asarray(a).reshape(-1, *(1,) * breaks.ndim) for a in legendre(nodes, 1.0))

    def side(length, sign):
        T = xp.asinh(length / width)
        u = clipped + sign * width * xp.sinh(T * x)
        return u, w * T * width * xp.cosh(T * x) * xp.exp(-u * u / 2) / np.sqrt(2 * np.pi)

    parts = [side(clipped - lower, -1.0), side(upper - clipped, 1.0)]
    u, weights = (xp.stack([part[i] for part in parts]).reshape(-1, *breaks.shape[1:]) for i in (0, 1))
    return u, weights
