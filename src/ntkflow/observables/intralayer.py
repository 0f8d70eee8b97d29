"""Covariances over seeds of two functions of one layer's preactivations, PDLT (8.41)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from .._gaussian.functions import Integration, expectation
from .._theory.statistics import LayerStatistics
from . import cumulants
from .entries import Z
from .expansion import Expanded, curvature, edgeworth, variables


def covariance(
    layer: LayerStatistics, f: Callable, z_f: Z, g: Callable, z_g: Z, how: Integration
) -> Expanded:
    """Cov[f, g] to order 1/n: of order 1 if they have a neuron in common, otherwise (8.41)."""
    if not set(z_f.neuron.tolist()) & set(z_g.neuron.tolist()):
        return _different(layer, f, z_f, g, z_g, how)
    entries = dict.fromkeys(
        zip(*(np.concatenate(x).tolist() for x in zip(z_f, z_g, strict=True)), strict=True)
    )
    order = list(entries)
    in_f, in_g = (
        np.array([order.index(pair) for pair in zip(*map(np.ndarray.tolist, z), strict=True)])
        for z in (z_f, z_g)
    )
    z = Z(*np.array(order).T)
    v = variables(layer, z)
    w = edgeworth(layer, z, v)

    def terms(x, u):
        a, b = f(x[in_f]), g(x[in_g])
        return (jnp.array([[1.0], [w(u)]]) * jnp.stack([a, b, a * b])).ravel()

    value, error = (x.reshape(2, 3) for x in expectation(terms, v, how))
    (mean_f, mean_g, product), (first_f, first_g, first_product) = value
    leading = product - mean_f * mean_g
    correction = first_product - first_f * mean_g - mean_f * first_g
    n = layer.fan_in
    sizes = np.array([abs(mean_g) + abs(first_g) / n, abs(mean_f) + abs(first_f) / n, 1.0])
    return Expanded(leading, correction, n, float((error[0] + error[1] / n) @ sizes))


def _different(layer, f, z_f, g, z_g, how) -> Expanded:
    """(1/4n) Σ V_(γ1γ2)(γ3γ4) J_γ1γ2[f] J_γ3γ4[g]."""
    J_f, J_g = curvature(layer, f, z_f, how), curvature(layer, g, z_g, how)
    kappa = _between(layer, z_f, z_g)
    value = np.einsum("ab,cd,abcd->", J_f.value, J_g.value, kappa) / 4
    error = sum(
        np.einsum("ab,cd,abcd->", np.abs(x), np.abs(y), np.abs(kappa)) / 4
        for x, y in ((J_f.error, J_g.value), (J_f.value, J_g.error))
    )
    return Expanded(0.0, float(value), layer.fan_in, float(error) / layer.fan_in)


def _between(layer: LayerStatistics, z_f: Z, z_g: Z) -> np.ndarray:
    """n E[zzzz]_connected of two entries of f and two of g: (d_f, d_f, d_g, d_g)."""
    axes = [(-1, 1, 1, 1), (1, -1, 1, 1), (1, 1, -1, 1), (1, 1, 1, -1)]
    z = [z_f, z_f, z_g, z_g]
    return cumulants.zzzz(
        layer, *(Z(np.reshape(x.neuron, s), np.reshape(x.sample, s)) for x, s in zip(z, axes, strict=True))
    )
