"""A layer that the package does not have, in one file: z' = γ z, without weights."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ntkflow.errors import SpecError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scale:
    """z'_i = γ z_i: every leg of a tensor has a factor γ, and the tensors' n is that of the layer below."""

    gamma: Any
    activation = None

    @property
    def without_activation(self):
        return self

    def means(self, e, G, H):
        return self.gamma**2 * G, self.gamma**2 * H

    def shares(self, e):
        return 0.0, 0.0, self.gamma**2

    def added(self, G, H):
        return 0.0, 0.0 * H

    def tensors(self, r, e, t):
        return t.map(lambda declared, array: r * self.gamma**declared.rank * array)

    def parallel(self, samples):
        return samples

    def shapes(self, fan_in, width):
        if fan_in != width:
            raise SpecError(f"z' = γ z has as many neurons as z, {fan_in}, not {width}")
        return (0, 0), (0,)

    def draw(self, fan_in, width, normal):
        return tuple(normal(which, shape) for which, shape in enumerate(self.shapes(fan_in, width)))

    def learning_rates(self, fan_in):
        return 0.0, 0.0

    def forward(self, p, z):
        return self.gamma * z

    read_out = None

    def own_ntk(self, rates, p, z, z2, product):
        nothing = 0 * product(z, z2)
        return [(nothing, nothing)]

    def jacobian(self, p, z, neurons):
        one = self.gamma * jnp.eye(z.shape[1], dtype=z.dtype)[neurons]
        return [], jnp.broadcast_to(one[:, None], (len(one), *z.shape))

    def pulled_back(self, p, z, rows):
        return [rows], self.gamma * rows

    def carried_ntk(self, rates, p, z, z2, H):
        return self.gamma**2 * H

    def carried_ntk_of_pairs(self, rates, p, below):
        return self.gamma**2 * below.ntk.m
