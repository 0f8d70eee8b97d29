"""G and H from layer to layer on a tile of pairs of samples: pure JAX, the same for host plans, jit, vmap and grad."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..._gaussian.closed_forms import closed_form
from ..._gaussian.mehler import Coefficients, coefficients, mehler, tail, terms_needed
from ...activations import Activation

LINE = (13.0, 160, 192)  # reach, nodes on each half line, terms of the series
LONG_LINE = (13.0, 640, 1024)


class Samples(NamedTuple):
    """What one layer's integrals need to know of I samples.

    Attributes:
        variance: (I,), G_αα.
        label, sign: (I,), samples of one label are one variable up to a factor, whose sign is the product of theirs.
        coefficients: of Mehler's series; None where there is a closed form.
    """

    variance: Any
    label: Any
    sign: Any
    coefficients: Coefficients | None


class Expectations(NamedTuple):
    """What `recursions.means` reads: NumPy's or JAX's arrays."""

    Phi: Any
    dPhi: Any


def samples(activation: Activation, variance, label, sign, line=LINE) -> Samples:
    """The samples of one layer, with the coefficients that its activation's integrals need."""
    series = None if closed_form(activation) else coefficients(activation, variance, *line)
    return Samples(variance, label, sign, series)


def diagonal_expectations(activation: Activation, side: Samples) -> Expectations:
    """⟨σ²⟩ and ⟨σ'²⟩ of each sample, (I,)."""
    form = closed_form(activation)
    if form is not None:
        return Expectations(*form(side.variance, side.variance, side.variance))
    assert side.coefficients is not None
    return Expectations(*side.coefficients.mean_squares)


def _geometric_mean(a, b):
    product = a * b
    positive = product > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, product, 1.0)), 0.0)


def integrate(activation: Activation, rows: Samples, cols: Samples, G, shorten: bool = True):
    """(Expectations, tail) on a tile G (I, J); tail (I, J) bounds what a series leaves out, None for a closed form.

    Args:
        shorten: leave out terms that are below round-off on this tile; False where reverse-mode derivatives are needed.
    """
    G11, G22 = rows.variance[:, None], cols.variance[None, :]
    scale = _geometric_mean(G11, G22)
    parallel = rows.label[:, None] == cols.label[None, :]
    form = closed_form(activation)
    if form is not None:
        along = rows.sign[:, None] * cols.sign[None, :] * scale
        return Expectations(*form(G11, jnp.where(parallel, along, G), G22)), None
    f, g = rows.coefficients, cols.coefficients
    assert f is not None and g is not None
    # Samples of one label are equal here: their integrals are one-dimensional.
    inside = (scale > 0) & ~parallel
    correlation = jnp.where(inside, jnp.clip(G / jnp.where(scale > 0, scale, 1.0), -1.0, 1.0), 0.0)
    chunks = terms_needed(f, g, correlation) if shorten else None
    Phi, dPhi = (
        jnp.where(parallel, square[:, None], table)
        for square, table in zip(f.mean_squares, mehler(f, g, correlation, chunks), strict=True)
    )
    return Expectations(Phi, dPhi), tail(f, g, correlation)
