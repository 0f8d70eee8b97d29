"""Numbered networks: draw k of a seed is the same network whatever the batch, the device or the process."""

from __future__ import annotations

import jax


def draw_key(seed: int, draw: int) -> jax.Array:
    """The key of network number `draw` = 0, 1, … of a seed: `init(mlp, draw_key(seed, draw))` is that network."""
    return jax.random.fold_in(jax.random.key(seed), draw)
