"""One layer to the next: every tensor of a batch of sample sets, in the order in which they feed each other.

A step costs O(S k⁴) time and memory for S sets of k samples, besides the integrals.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from ..gaussian import Expectations
from ..gaussian.sample_sets import OnSets, on_sets
from . import cross, subleading, variance, vertex
from .symmetry import SYMMETRIES, orbits, pack, unpack


class Hyperparameters(NamedTuple):
    """Of layer ℓ+1, with r = n_ℓ / n_{ℓ-1}."""

    C_b: Any
    C_W: Any
    lambda_b: Any
    lambda_W: Any
    r: Any


class Tensors(NamedTuple):
    """One layer's tensors on S sets of k samples: G1, H1 (k, k, S); V, D, F, A, B (k, k, k, k, S), axes as their subscripts.

    Packed, each is (orbits, S): see `symmetry`.
    """

    G1: Any
    H1: Any
    V: Any
    D: Any
    F: Any
    A: Any
    B: Any

    def packed(self) -> Tensors:
        return Tensors(*(pack(name, x) for name, x in zip(self._fields, self, strict=True)))

    def unpacked(self, k: int) -> Tensors:
        return Tensors(*(unpack(name, x, k) for name, x in zip(self._fields, self, strict=True)))


def first_layer(k: int, S: int) -> Tensors:
    """Layer 1 is Gaussian with a deterministic NTK, PDLT (8.21), (8.23): all zero, packed."""
    return Tensors(*(np.zeros((orbits(name, k)[1].shape[1], S)) for name in SYMMETRIES))


def step(h: Hyperparameters, e: OnSets, t: Tensors) -> Tensors:
    """The tensors of layer ℓ+1 from those of layer ℓ and its expectations."""
    omega = variance.Omega(h, e)
    return Tensors(
        G1=subleading.G1(h, e, t),
        H1=subleading.H1(h, e, t),
        V=vertex.V(h, e, t),
        D=cross.D(h, e, omega, t),
        F=cross.F(h, e, t),
        A=variance.A(h, e, omega, t),
        B=variance.B(h, e, t),
    )


@functools.partial(jax.jit, static_argnames="k")
def packed_step(h: Hyperparameters, e: Expectations, H, sets, rows, t: Tensors, k: int) -> Tensors:
    """`step` on packed tensors, with the expectations gathered on sets (k, S); arguments as of `on_sets`."""
    return step(h, on_sets(e, H, sets, rows, k), t.unpacked(k)).packed()
