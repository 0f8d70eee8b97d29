"""One stage of a block in one network, u' = b + W φ(a), a = g ∘ y + β, y = norm(u), and the equations of its NTK.

A norm's Jacobian dy/du is ν (1 - y yᵀ/n), for "layer" ν (1 - y yᵀ/n - 1 1ᵀ/n): symmetric, and applied without being built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from .dense import slope


class StageParameters(NamedTuple):
    """A stage's weights `W` (n', n) and biases `b` (n',), and the gain `g` and the bias `beta` (n,) of its norm; None without a norm."""

    W: Any
    b: Any
    g: Any = None
    beta: Any = None

    def __repr__(self) -> str:
        arrays = ((name, value) for name, value in zip(self._fields, self, strict=True) if value is not None)
        shown = (
            f"{name} {value.shape} {value.dtype}" if hasattr(value, "dtype") else f"{name} {value!r}"
            for name, value in arrays
        )  # fmt: skip
        return f"StageParameters({', '.join(shown)})"


class Rates(NamedTuple):
    """The λ's of a stage's weights and biases, and of its norm's gain and bias."""

    bias: Any
    weight: Any
    gain: Any
    beta: Any


def forward(stage: Any, p: StageParameters, u: Any) -> Any:
    """u', (…, n')."""
    return stage.activation(read(stage, p, u)) @ p.W.T + p.b


def read(stage: Any, p: StageParameters, u: Any) -> Any:
    """a, what φ is taken of: (…, n)."""
    return u if stage.norm == "none" else p.g * normed(stage, u)[0] + p.beta


def normed(stage: Any, u: Any) -> tuple[Any, Any]:
    """y (…, n) and ν (…, 1)."""
    if stage.norm == "layer":
        u = u - jnp.mean(u, axis=-1, keepdims=True)
    ν = (jnp.mean(u**2, axis=-1, keepdims=True) + stage.eps) ** -0.5
    return ν * u, ν


def through_norm(stage: Any, u: Any, rows: Any) -> Any:
    """(dy/du) rows, along the last axis; `u` broadcasts against `rows`."""
    y, ν = normed(stage, u)
    centred = rows - jnp.mean(rows, axis=-1, keepdims=True) if stage.norm == "layer" else rows
    return ν * (centred - y * jnp.mean(y * rows, axis=-1, keepdims=True))


def own_ntk(
    stage: Any, rates: Rates, p: StageParameters, u: Any, u2: Any, product: Callable[[Any, Any], Any]
) -> list[tuple[Any, Any]]:
    """What each neuron's biases and weights contribute to the NTK of a where there is a norm, β and then g; and to that of u'."""
    of_norm = [] if stage.norm == "none" else [(rates.beta, 0.0), (0.0, rates.gain)]
    seen, seen2 = (stage.activation(read(stage, p, x)) for x in (u, u2))
    return [*of_norm, (rates.bias, rates.weight * product(seen, seen2))]


def pulled_back(stage: Any, p: StageParameters, u: Any, rows: Any) -> tuple[list[Any], Any]:
    """From derivatives by u', (I, N, n'), those by what `own_ntk` lists, in that order, and by u (I, N, n)."""
    at_a = (rows @ p.W) * slope(stage.activation, read(stage, p, u))
    if stage.norm == "none":
        return [rows], at_a
    return [at_a, at_a * normed(stage, u)[0], rows], through_norm(stage, u, at_a * p.g)


def carried(stage: Any, rates: Rates, p: StageParameters, u: Any, u2: Any, H: Any) -> Any:
    """The NTK (…, n', n') of u' but for its own biases and weights, from that of u (…, n, n); u and u2 are (…, n)."""
    return from_right(stage, p, u2, from_left(stage, p, u, H)) + of_norm(stage, rates, p, u, u2)


def from_left(stage: Any, p: StageParameters, u: Any, H: Any) -> Any:
    """(du'/du) H, (…, n', m), from H (…, n, m)."""
    return from_right(stage, p, u, H.swapaxes(-1, -2)).swapaxes(-1, -2)


def from_right(stage: Any, p: StageParameters, u: Any, H: Any) -> Any:
    """H (du'/du)ᵀ, (…, m, n'), from H (…, m, n)."""
    u = u[..., None, :]
    if stage.norm != "none":
        H = p.g * through_norm(stage, u, H)
    return (slope(stage.activation, read(stage, p, u)) * H) @ p.W.T


def of_norm(stage: Any, rates: Rates, p: StageParameters, u: Any, u2: Any) -> Any:
    """What the norm's gain and bias contribute to the NTK of u', (…, n', n'); 0 without a norm."""
    if stage.norm == "none":
        return 0.0
    at_a = rates.beta + rates.gain * normed(stage, u)[0] * normed(stage, u2)[0]
    slopes = slope(stage.activation, read(stage, p, u)) * slope(stage.activation, read(stage, p, u2))
    return (p.W * (slopes * at_a)[..., None, :]) @ p.W.T
