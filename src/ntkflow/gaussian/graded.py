"""Line rules graded towards given points: for functions with kinks, or poles, at or next to these.

About such a point b the substitution v = b ± ω sinh t makes steps of ω at b and of |v - b| far away. A function with
poles at a distance of ω or more from b, and no other features, then has them a distance of order 1 from the line of t.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
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
        return (
            self.centre + self.sign * self.width * jnp.sinh(self.T * t),
            self.T * self.width * jnp.cosh(self.T * t),
        )


def graded_parts(breaks, width, reach: float) -> Parts:
    """The line from -reach to reach, cut at each of `breaks` (m, …) and between two of them; arguments as of `graded_rule`."""
    order = jnp.argsort(breaks, axis=0)
    breaks, width = (jnp.take_along_axis(x, order, axis=0) for x in (breaks, width))
    clipped = jnp.clip(breaks, -reach, reach)
    width = jnp.maximum(width, jnp.abs(breaks - clipped))
    middle = (clipped[1:] + clipped[:-1]) / 2
    end = jnp.full_like(clipped[:1], reach)
    length = jnp.concatenate(
        [clipped - jnp.concatenate([-end, middle]), jnp.concatenate([middle, end]) - clipped]
    )
    sign = jnp.ones_like(clipped)
    centre, sign, width = (jnp.concatenate(x) for x in ([clipped, clipped], [-sign, sign], [width, width]))
    return Parts(centre, sign, width, length, jnp.arcsinh(length / width))


def graded_rule(breaks, width, reach: float, nodes: int):
    """Nodes and weights for u ~ N(0, 1), cut at each of `breaks` and between two of them: traceable.

    Args:
        breaks: (m, …), in any order; those beyond ±reach count as there.
        width: (m, …), ω > 0 of each.
        nodes: of Gauss and Legendre in each of the 2 m parts.

    Returns:
        Two arrays (2 m nodes, …).
    """
    t, w = (x.reshape(nodes, *(1,) * breaks.ndim) for x in legendre(nodes, 1.0))
    u, slope = graded_parts(breaks, width, reach).at(t)
    weights = w * slope * jnp.exp(-u * u / 2) / np.sqrt(2 * np.pi)
    return u.reshape(-1, *breaks.shape[1:]), weights.reshape(-1, *breaks.shape[1:])
