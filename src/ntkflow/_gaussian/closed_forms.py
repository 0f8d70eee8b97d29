"""⟨σ1σ2⟩ and ⟨σ'1σ'2⟩ in closed form, elementwise in JAX, for those σ that have one.

A closed form is a function of (G11, G12, G22), arrays that broadcast against each other, that returns (Φ, Φ').
It can be differentiated; at ρ = ±1 and at zero variance, which are edges of its domain, derivatives of a kinked σ are
those of the interior's finite terms.

Sources: piecewise-linear Cho & Saul 2009; erf Williams 1997; gelu Tsuchida et al. 2021; the others are elementary.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..activations import Activation
from .linear_pieces import square_root
from .piecewise_linear import at_zero

ClosedForm = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

_PARALLEL = 1e-15  # 1 - ρ² is zero up to round-off


@functools.lru_cache(maxsize=256)
def closed_form(activation: Activation) -> ClosedForm | None:
    """The closed form of a registered or piecewise-linear activation; None where there is none."""
    if activation.slopes is not None:
        return _piecewise_linear(activation)
    make = _CLOSED_FORMS.get(activation.name) if activation.registered else None
    return None if make is None else make(activation)


def _determinant(G11, G12, G22):
    """G11 G22 - G12², 0 where it is round-off."""
    product = G11 * G22
    difference = product - G12 * G12
    return jnp.where(difference > _PARALLEL * product, difference, 0.0)


# Cephes, atan.c: arctan(q) = q + q³ P(q²) / Q(q²) for |q| ≤ 0.66. XLA's own arctan2 takes ten times as long on CPU.
_P = (
    -8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
    -1.228866684490136173410e2, -6.485021904942025371773e1,
)  # fmt: skip
_Q = (
    1.0, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
    4.853903996359136964868e2, 1.945506571482613964425e2,
)  # fmt: skip


@jax.custom_jvp
def _angle(y, x):
    """arctan2(y, x) for x ≥ 0, to the last digits; 0 at (0, 0)."""
    size = jnp.abs(y)
    large, small = jnp.maximum(size, x), jnp.minimum(size, x)
    steep = small > 0.66 * large
    top = jnp.where(steep, small - large, small)
    bottom = jnp.where(steep, small + large, large)
    q = top / jnp.where(large > 0, bottom, 1.0)
    z = q * q
    low = q + q * z * (_horner(_P, z) / _horner(_Q, z)) + jnp.where(steep, math.pi / 4, 0.0)
    return jnp.copysign(jnp.where(size > x, math.pi / 2 - low, low), y)


@_angle.defjvp
def _angle_jvp(primals, tangents):
    (y, x), (dy, dx) = primals, tangents
    square = x * x + y * y
    return _angle(y, x), (x * dy - y * dx) / jnp.where(square > 0, square, 1.0)


def _horner(coefficients, z):
    total = coefficients[0]
    for c in coefficients[1:]:
        total = total * z + c
    return total


def _piecewise_linear(activation: Activation) -> ClosedForm:
    """σ(z) = z (p + q sgn z): ⟨|z1 z2|⟩ = (2/π) (√det + G12 φ), ⟨sgn z1 sgn z2⟩ = (2/π) φ, sin φ = ρ."""
    assert activation.slopes is not None
    left, right = activation.slopes
    p, q = (right + left) / 2, (right - left) / 2
    if q == 0:
        return lambda G11, G12, G22: (p * p * G12, jnp.full_like(G11 * G12 * G22, p * p))
    resting = at_zero(activation)

    def integrate(G11, G12, G22):
        root = square_root(_determinant(G11, G12, G22))
        signs = 2 / math.pi * _angle(G12, root)
        Phi = p * p * G12 + q * q * (2 / math.pi * root + signs * G12)
        dead1, dead2 = G11 == 0, G22 == 0
        means = jnp.where(dead1, resting, p) * jnp.where(dead2, resting, p)
        return Phi, jnp.where(dead1 | dead2, means, p * p + q * q * signs)

    return integrate


def _erf(activation: Activation) -> ClosedForm:
    def integrate(G11, G12, G22):
        # (1 + 2 G11) (1 + 2 G22) - (2 G12)²
        root = jnp.sqrt(1 + 2 * (G11 + G22) + 4 * _determinant(G11, G12, G22))
        return 2 / math.pi * _angle(2 * G12, root), 4 / math.pi / root

    return integrate


def _gelu(activation: Activation) -> ClosedForm:
    def integrate(G11, G12, G22):
        D = 1 + G11 + G22 + _determinant(G11, G12, G22)  # (1 + G11) (1 + G22) - G12²
        root = jnp.sqrt(D)
        both = (1 + G11) * (1 + G22)
        quarter = 0.25 + _angle(G12, root) / (2 * math.pi)
        Phi = G12 * quarter + (G12 * G12 + G11 * G22 * D) / (2 * math.pi * both * root)
        return Phi, quarter + G12 / (2 * math.pi * root) * (1 / D + (2 + G11 + G22) / both)

    return integrate


def _waves(G11, G12, G22):
    """⟨sin z1 sin z2⟩ and ⟨cos z1 cos z2⟩: exp(-(G11 + G22)/2) times sinh G12 and cosh G12."""
    below = G12 < 0
    size = jnp.where(below, -G12, G12)
    near = jnp.exp(size - (G11 + G22) / 2)
    sines = -0.5 * near * jnp.expm1(-2 * size)
    return jnp.where(below, -sines, sines), 0.5 * (near + jnp.exp(-size - (G11 + G22) / 2))


def _cos(activation: Activation) -> ClosedForm:
    def integrate(G11, G12, G22):
        sines, cosines = _waves(G11, G12, G22)
        return cosines, sines

    return integrate


def _exp(activation: Activation) -> ClosedForm:
    def integrate(G11, G12, G22):
        Phi = jnp.exp((G11 + G22) / 2 + G12)
        return Phi, Phi

    return integrate


def _polynomial(activation: Activation) -> ClosedForm:
    """Σ_k G12^k / k! ⟨σ^(k)⟩_1 ⟨σ^(k)⟩_2, with ⟨z^m⟩ = (m-1)!! G11^(m/2) for even m."""
    parameters = dict(activation.parameters)
    if activation.name == "monomial":
        coefficients = (0.0,) * parameters["degree"] + (1.0,)
    else:
        coefficients = parameters["coefficients"]
    slope = tuple(n * c for n, c in enumerate(coefficients))[1:]

    def mean_of_derivative(c, k, G):
        powers = range((len(c) - 1 - k) // 2, -1, -1)
        return _horner(
            [
                c[k + 2 * i] * float(math.factorial(k + 2 * i)) / float(math.factorial(i) * 2**i)
                for i in powers
            ],
            G,
        )

    def series(c, G11, G12, G22):
        total = jnp.zeros_like(G11 * G12 * G22)
        for k in range(len(c) - 1, -1, -1):
            term = mean_of_derivative(c, k, G11) * mean_of_derivative(c, k, G22) / float(math.factorial(k))
            total = total * G12 + term
        return total

    return lambda G11, G12, G22: (series(coefficients, G11, G12, G22), series(slope, G11, G12, G22))


_CLOSED_FORMS: dict[str, Callable[[Activation], ClosedForm]] = {
    "erf": _erf,
    "gelu": _gelu,
    "sin": lambda activation: _waves,
    "cos": _cos,
    "exp": _exp,
    "monomial": _polynomial,
    "polynomial": _polynomial,
}
