"""Line rules graded towards given points: for functions with kinks, or poles, at or next to these.

About such a point b the substitution v = b ± ω sinh t makes steps of ω at b and of |v - b| far away. A function with
poles at a distance of ω or more from b, and no other features, then has them a distance of order 1 from the line of t.
Everything is in NumPy or JAX as the points are given: traceable.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .rules import legendre


class Parts(NamedTuple):
    """The line in 2 m parts, each on one side of a point b: v = b ± ω sinh(T t), t from 0 at b to 1 where the part ends; (2 m, …) each."""

    centre: Any
    sign: Any
    width: Any
    """ω."""
    length: Any
    T: Any

    def at(self, t):
        """v and dv/dt > 0 at t, which has an axis more in front of the parts' own ones: (nodes, 2 m, …)."""
        xp = self.T.__array_namespace__()
        return (
            self.centre + self.sign * self.width * xp.sinh(self.T * t),
            self.T * self.width * xp.cosh(self.T * t),
        )


def graded_parts(breaks, width, reach: float) -> Parts:
    """The parts below and above each of `breaks`, in ascending order; arguments as of `graded_rule`."""
    xp = breaks.__array_namespace__()
    order = xp.argsort(breaks, axis=0)
    breaks, width = (xp.take_along_axis(x, order, axis=0) for x in (breaks, width))
    clipped = xp.clip(breaks, -reach, reach)
    # What varies on a scale of ω at another point has its poles as far from here.
    width = xp.min(xp.hypot(width, clipped[:, None] - breaks), axis=1)
    middle = (clipped[1:] + clipped[:-1]) / 2
    end = xp.full_like(clipped[:1], reach)
    below, above = clipped - xp.concat([-end, middle]), xp.concat([middle, end]) - clipped

    def interleaved(below, above):
        return xp.stack([below, above], axis=1).reshape(-1, *breaks.shape[1:])

    width, length = interleaved(width, width), interleaved(below, above)
    sign = xp.ones_like(clipped)
    return Parts(
        interleaved(clipped, clipped), interleaved(-sign, sign), width, length, xp.asinh(length / width)
    )


def graded_rule(breaks, width, reach: float, nodes: int | list[int]):
    """Nodes and weights for u ~ N(0, 1), cut at each of `breaks` and between two of them.

    Args:
        breaks: (m, …), in any order; those beyond ±reach count as there.
        width: (m, …), ω > 0 of each.
        nodes: of Gauss and Legendre in each of the 2 m parts, or those of each in a list, from below.

    Returns:
        Two arrays (nodes of all parts, …).
    """
    xp = breaks.__array_namespace__()
    parts = graded_parts(breaks, width, reach)

    def rule(parts, count):
        t, w = (xp.asarray(x).reshape(count, *(1,) * breaks.ndim) for x in legendre(count, 1.0))
        u, slope = parts.at(t)
        weights = w * slope * xp.exp(-u * u / 2) / np.sqrt(2 * np.pi)
        return (x.reshape(-1, *breaks.shape[1:]) for x in (u, weights))

    if isinstance(nodes, int):
        return tuple(rule(parts, nodes))
    rules = [rule(Parts(*(x[i : i + 1] for x in parts)), count) for i, count in enumerate(nodes)]
    u, weights = zip(*rules, strict=True)
    return xp.concat(u), xp.concat(weights)
