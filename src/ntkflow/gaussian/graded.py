"""Line rules graded towards given points: for functions with kinks, or poles, at or next to these.

About such a point b the substitution v = b ± ω sinh t makes steps of ω at b and of |v - b| far away. A function with
poles at a distance of ω or more from b, and no other features, then has them a distance of order 1 from the line of t.
"""

from __future__ import annotations

import numpy as np

from .rules import legendre


def graded_rule(breaks, width, reach: float, nodes):
    """Nodes and weights for u ~ N(0, 1), cut at each of `breaks` and between two of them, in NumPy or JAX as `breaks` are: traceable.

    Args:
        breaks: (m, …), in any order; those beyond ±reach count as there.
        width: (m, …), ω > 0 of each.
        nodes: of Gauss and Legendre in each of the 2 m parts, or those of each in a list, from below.

    Returns:
        Two arrays (nodes of all parts, …).
    """
    xp = breaks.__array_namespace__()
    order = xp.argsort(breaks, axis=0)
    breaks, width = (xp.take_along_axis(x, order, axis=0) for x in (breaks, width))
    lengths = part_lengths(breaks, reach)
    clipped = xp.clip(breaks, -reach, reach)
    width = xp.maximum(width, xp.abs(breaks - clipped))

    def part(number, count):
        at, sign = number // 2, 2 * (number % 2) - 1
        x, w = (xp.asarray(a).reshape(-1, *(1,) * (breaks.ndim - 1)) for a in legendre(count, 1.0))
        T = xp.asinh(lengths[number] / width[at])
        u = clipped[at] + sign * width[at] * xp.sinh(T * x)
        return u, w * T * width[at] * xp.cosh(T * x) * xp.exp(-u * u / 2) / np.sqrt(2 * np.pi)

    counts = [nodes] * len(lengths) if isinstance(nodes, int) else nodes
    u, weights = zip(*(part(number, count) for number, count in enumerate(counts)), strict=True)
    return xp.concat(u), xp.concat(weights)


def part_lengths(breaks, reach: float):
    """Of ascending breaks (m, …) the lengths of the 2 m parts of `graded_rule`, below and above each of them."""
    xp = breaks.__array_namespace__()
    clipped = xp.clip(breaks, -reach, reach)
    middle = (clipped[1:] + clipped[:-1]) / 2
    end = xp.full_like(clipped[:1], reach)
    below, above = clipped - xp.concat([-end, middle]), xp.concat([middle, end]) - clipped
    return xp.stack([below, above], axis=1).reshape(-1, *breaks.shape[1:])
