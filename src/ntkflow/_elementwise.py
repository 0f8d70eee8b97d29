"""The registry's functions, written so that none of their first five derivatives cancels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

_SMALL = 0.25  # |z|, below which tanh z is summed as a series
# (z - tanh z) / z³ by powers of z²: to round-off up to _SMALL.
_TANH_SHRINK = (
    1 / 3, -2 / 15, 17 / 315, -62 / 2835, 1382 / 155925, -21844 / 6081075, 929569 / 638512875,
    -6404582 / 10854718875, 443861162 / 1856156927625, -18888466084 / 194896477400625,
)  # fmt: skip


@jax.custom_jvp
def logistic(z):
    """s = 1 / (1 + e^-z), t = tanh(z/2) and q = s'.

    All their derivatives are products of these three, right to the last digits; JAX's own ones come from s (1 - s), which cancels.
    """
    decay = jnp.exp(-jnp.abs(z))
    return jax.nn.sigmoid(z), jnp.tanh(z / 2), decay / (1 + decay) ** 2


@logistic.defjvp
def _(primals, tangents):
    s, t, q = logistic(*primals)
    ds = q * tangents[0]
    return (s, t, q), (ds, 2 * ds, -t * ds)


@jax.custom_jvp
def softplus(z):
    return jax.nn.softplus(z)


@softplus.defjvp
def _(primals, tangents):
    return softplus(*primals), sigmoid(*primals) * tangents[0]


@jax.custom_jvp
def tanhshrink(z):
    """z - tanh z, whose derivative is tanh² z."""
    small = jnp.clip(z, -_SMALL, _SMALL)
    series = small**3 * jnp.polyval(jnp.asarray(_TANH_SHRINK[::-1], z.dtype), small**2)
    return jnp.where(jnp.abs(z) < _SMALL, series, z - jnp.tanh(z))


@tanhshrink.defjvp
def _(primals, tangents):
    return tanhshrink(*primals), tanh(*primals) ** 2 * tangents[0]


def sigmoid(z):
    return logistic(z)[0]


def tanh(z):
    return logistic(2 * z)[1]


def silu(z):
    return z * sigmoid(z)


def gelu_tanh(z):
    """z s(2u), u = √(2/π) (z + 0.044715 z³): the usual approximation of gelu."""
    return z * sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))


def mish(z):
    return z * tanh(softplus(z))


def clip(z, low, high):
    """z between low and high. Its derivative is 1 between them and 0 outside, and at both 0, as torch has it."""
    return jnp.where(z <= low, low, jnp.where(z >= high, high, z))


def at_least(z, least):
    return jnp.where(z > least, z, least)


def hardsigmoid(z):
    return clip(z, -3.0, 3.0) / 6 + 0.5
