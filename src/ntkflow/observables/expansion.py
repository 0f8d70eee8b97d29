"""Expectations to order 1/n by the truncated density p(z, Ĥ) of a layer, PDLT (8.19), (8.24), (8.40).

With κ for the cumulants times n_{ℓ-1} (`cumulants.py`) and He for Hermite polynomials, p(z) = p_G(z) [1 + w(z)/n],

    w = ½ G1·He₂ + (1/24) κ_zzzz·He₄,

and of Ĥ, about its mean H, the first two moments given z: ΔĤ has the mean (H1 + ½ κ_zzH·He₂) / n and the covariance κ_HH / n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .._gaussian.functions import Estimate, Integration, Variables, expectation, whiten
from .._theory.result import Flow
from .._theory.statistics import LayerStatistics
from . import cumulants
from .entries import NTK, Z


@dataclass(frozen=True)
class Expanded:
    """leading + correction / fan_in, with the absolute error of the integration."""

    leading: float
    correction: float
    fan_in: int
    error: float

    def __repr__(self) -> str:
        return (
            f"Expanded {self.value:.10g}, error {self.error:.1g}: {self.leading:.10g} at infinite width and "
            f"{self.correction / self.fan_in:.5g} of order 1/n, n = {self.fan_in}"
        )

    @property
    def value(self) -> float:
        """To order 1/n at the network's real width."""
        return self.leading + self.correction / self.fan_in

    def __float__(self) -> float:
        return self.value


def kinks_of(flow: Flow, layer: int) -> tuple[float, ...]:
    """Where functions of a layer's preactivations may have kinks: at 0, and where its activation has them."""
    sigma = flow.mlp.layers[layer].activation if layer < len(flow) else None
    sigma_kinks = () if sigma is None else sigma.kinks
    return tuple(sorted({0.0, *sigma_kinks}))


def outer(z: Z, axes: int) -> list[Z]:
    """The entries along each of some axes, to broadcast against each other."""
    shapes = [tuple(-1 if k == axis else 1 for k in range(axes)) for axis in range(axes)]
    return [Z(np.reshape(z.neuron, shape), np.reshape(z.sample, shape)) for shape in shapes]


def variables(layer: LayerStatistics, z: Z) -> Variables:
    """The entries as Gaussian variables of the infinite-width metric."""
    return whiten(cumulants.two(layer, "G", *outer(z, 2)), np.asarray(z.neuron))


def hermite_2(tensor, u):
    """tensor·He₂(u) of a symmetric tensor (r, r)."""
    return u @ tensor @ u - jnp.trace(tensor)


def hermite_4(tensor, u):
    """tensor·He₄(u) of a symmetric tensor (r, r, r, r)."""
    inner = jnp.einsum("aabc->bc", tensor)
    square = jnp.einsum("abcd,c,d->ab", tensor, u, u)
    return u @ square @ u - 6 * (u @ inner @ u) + 3 * jnp.trace(inner)


def edgeworth(layer: LayerStatistics, z: Z, v: Variables) -> Callable:
    """w(u), the relative correction of the density times n."""
    # The tensor of four samples comes first: its error names the larger sets that the flow lacks.
    kappa = v.whitened(cumulants.zzzz(layer, *outer(z, 4)))
    G1 = v.whitened(cumulants.two(layer, "G1", *outer(z, 2)))
    return lambda u: hermite_2(G1, u) / 2 + hermite_4(kappa, u) / 24


def given_z(layer: LayerStatistics, z: Z, ntk: NTK, v: Variables) -> Callable:
    """½ κ_zzH·He₂(u) of each element of the NTK, (K,): the mean of ΔĤ given z, times n, less H1."""
    z1, z2 = outer(z, 2)
    rows = [
        v.whitened(cumulants.zzH(layer, z1, z2, NTK._make(x[k] for x in ntk)))
        for k in range(len(ntk.neuron1))
    ]
    C = np.array(rows).reshape(len(rows), len(v.inverse) ** 2)
    traces = np.array([np.trace(row) for row in rows])
    return lambda u: (C @ jnp.outer(u, u).ravel() - traces) / 2


def expect_z(layer: LayerStatistics, f: Callable, z: Z, how: Integration) -> Expanded:
    """E[f(z)] to order 1/n."""
    v = variables(layer, z)
    w = edgeworth(layer, z, v)
    estimate = expectation(lambda x, u: f(x) * jnp.stack([1.0, w(u)]), v, how)
    return expanded(estimate, layer.fan_in)


def expect_joint(layer: LayerStatistics, f: Callable, z: Z, ntk: NTK, how: Integration) -> Expanded:
    """E[f(z, Ĥ)] to order 1/n; f is expanded about the mean of Ĥ to second order."""
    v = variables(layer, z)
    w, shift = edgeworth(layer, z, v), given_z(layer, z, ntk, v)
    H, H1 = cumulants.mean_ntk(layer, "H", ntk), cumulants.mean_ntk(layer, "H1", ntk)
    first_ntk, second_ntk = (NTK(*(x[k] for x in ntk)) for k in (np.s_[:, None], np.s_[None, :]))
    covariance = cumulants.HH(layer, first_ntk, second_ntk)

    def terms(x, u):
        slope, curvature = jax.grad(f, 1)(x, H), jax.hessian(f, 1)(x, H)
        value = f(x, H)
        return jnp.stack(
            [value, value * w(u) + slope @ (H1 + shift(u)) + jnp.sum(curvature * covariance) / 2]
        )

    return expanded(expectation(terms, v, how), layer.fan_in)


def expect_with_ntk(layer: LayerStatistics, f: Callable, z: Z, ntk: NTK, how: Integration) -> np.ndarray:
    """n E[f(z) ΔĤ] of each element of the NTK, PDLT (8.71), and its error: (2, K)."""
    v = variables(layer, z)
    shift = given_z(layer, z, ntk, v)
    return np.stack(expectation(lambda x, u: f(x) * shift(u), v, how))


def curvature(layer: LayerStatistics, f: Callable, z: Z, how: Integration) -> Estimate:
    """J_kl = ⟨∂²f/∂z_k ∂z_l⟩, (d, d); for a singular metric one of the J's that give the same sums with any cumulant."""
    v = variables(layer, z)
    r, d = v.inverse.shape
    a, b = np.triu_indices(r)

    def terms(x, u):
        return f(x) * (u[a] * u[b] - (a == b))

    estimate = expectation(terms, v, how)
    J, error = np.zeros((2, r, r))
    J[a, b], J[b, a], error[a, b], error[b, a] = *[estimate.value] * 2, *[estimate.error] * 2
    return Estimate(
        (v.inverse.T @ J @ v.inverse).reshape(d, d), np.abs(v.inverse.T) @ error @ np.abs(v.inverse)
    )


def expanded(estimate: Estimate, fan_in: int) -> Expanded:
    value, error = estimate
    return Expanded(float(value[0]), float(value[1]), fan_in, float(error[0] + error[1] / fan_in))
