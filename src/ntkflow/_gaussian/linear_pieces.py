"""Expectations of σ(z) = z (p + q sgn z) as pure functions of the metric: for JAX to compile, batch and differentiate.

σ is homogeneous: variances are scaled out, and what remains depends on the angles between samples alone. `slopes` are those
below and above 0; a sample whose preactivation vanishes takes `at_zero`, JAX's value of σ'(0). All want float64.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from ..errors import ActivationError
from .requests import Factors, Placement, Placements
from .sign_moments import LEAST_VARIANCE, delta_moment, factor, pairs, sign_moments


def square_root(x):
    """√x with derivative 0 at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def _quotient(a, b):
    """a / b, and 0 where b is 0."""
    return jnp.where(b != 0, a / jnp.where(b != 0, b, 1.0), 0.0)


def _determinant(a, b, c):
    """a b - c² to the last digits of what these floats give: near ρ = ±1 the products cancel."""
    plain = a * b - c * c
    (a1, a2), (b1, b2), (c1, c2) = (_halves(x) for x in (a, b, c))
    middle, rounding1 = _sum_and_rounding(a1 * b2, a2 * b1)
    middle, rounding2 = _sum_and_rounding(middle, -2 * (c1 * c2))
    exact = ((a1 * b1 - c1 * c1) + middle) + ((a2 * b2 - c2 * c2) + (rounding1 + rounding2))
    return plain + jax.lax.stop_gradient(exact - plain)


def _halves(x):
    """x as a sum of two floats of 26 digits, whose products are exact."""
    high = jax.lax.reduce_precision(x, exponent_bits=11, mantissa_bits=25)
    return high, x - high


def _sum_and_rounding(x, y):
    """x + y, and what rounding took from it."""
    total = x + y
    added = total - x
    return total, (x - (total - added)) + (y - added)


def angle(g11, g12, g22, parallel=None):
    """Standard deviations, ρ and √(1-ρ²) of two samples; ρ = 0 where one of them vanishes.

    Args:
        parallel: the sign of c where z2 = c z1 is known, 0 elsewhere; what rounding left between them is ignored.
    """
    s1, s2 = square_root(g11), square_root(g22)
    rho = _quotient(g12, s1 * s2)
    sine = jnp.where(g11 * g22 > 0, square_root(_quotient(_determinant(g11, g22, g12), g11 * g22)), 1.0)
    if parallel is not None:
        known = (parallel != 0) & (g11 * g22 > 0)
        rho, sine = jnp.where(known, jnp.sign(parallel), rho), jnp.where(known, 0.0, sine)
    return s1, s2, rho, sine


def _sides(above, below, resting, s):
    """A function of sgn z as even + odd sgn z; `resting` for a z that vanishes."""
    return jnp.where(s > 0, (above + below) / 2, resting), jnp.where(s > 0, (above - below) / 2, 0.0)


def pair_moment(f: Factors, g: Factors, slopes, at_zero, g11, g12, g22, parallel=None, *, straight=False):
    """⟨Π_{i∈f} σ^(i)(z1) Π_{i∈g} σ^(i)(z2)⟩ for orders i ∈ {0, 1}, and one 2 whose δ is taken into account: the shape of g12.

    Without δ its derivative by g12 where ρ = ±1 exactly is that from inside, or 0 where that is infinite. Of ⟨σ''1 σ''2⟩ and ⟨σ'''1 σ'2⟩,
    which diverge there, the total derivative of ⟨σ''1 σ'2⟩ stands in the place of both: 0.

    Args:
        straight: whether both slopes are known to be the same, so that σ'' is 0.

    Raises:
        ActivationError: as of `check_orders`.
    """
    if max((*f, *g), default=0) > 1 and straight:
        return jnp.zeros_like(g12)
    if sorted((*f, *g)) in _SECOND_OF_SLOPES:
        return _second_of_slopes(f, g, slopes, g11, g12, g22, parallel)
    check_orders((*f, *g))
    if (2 in f, f.count(0)) < (2 in g, g.count(0)):
        f, g, g11, g22 = g, f, g22, g11
    powers, metric = (f.count(0), g.count(0)), (g11, g12, g22, parallel)
    if 2 in f:
        return _pair_delta(powers, (len(f), len(g)), slopes, at_zero, *metric)
    return _compiled_pair_moment(powers, len(f), len(g), slopes, at_zero, *metric)


_SECOND_OF_SLOPES = ([2, 2], [1, 3])
"""The orders of second derivatives of σ'1 σ'2."""


def _second_of_slopes(f: Factors, g: Factors, slopes, g11, g12, g22, parallel):
    if len(f) != 1 or len(g) != 1:
        return jnp.zeros_like(g12)
    q = (slopes[1] - slopes[0]) / 2
    return _second_derivatives(q, angle(g11, g12, g22, parallel))[g[0] - 1]


def _second_derivatives(q, geometry):
    """⟨σ'''1 σ'2⟩, ⟨σ''1 σ''2⟩, ⟨σ'1 σ'''2⟩ of z (p + q sgn z), 0 where samples are parallel or vanish."""
    s1, s2, rho, sine = geometry
    apart = (s1 > 0) & (s2 > 0) & (sine > 0)
    t1, t2, t = (jnp.where(apart, x, 1.0) for x in (s1, s2, sine))
    return [
        jnp.where(apart, 2 * q * q / math.pi * value, 0.0)
        for value in (-rho / (t * t1**2), 1 / (t * t1 * t2), -rho / (t * t2**2))
    ]


def check_orders(orders: Factors) -> None:
    """ActivationError for moments that are not computed: where samples coincide, more than one δ, or a derivative of one, diverges."""
    if max(orders, default=0) > 2 or orders.count(2) > 1:
        raise ActivationError(
            "of an activation with a kink, moments with one second derivative are computed: with two, or a third one, they diverge where samples coincide"
        )


@functools.partial(jax.jit, static_argnums=0)
def _compiled_pair_moment(powers, length1, length2, slopes, at_zero, *metric):
    return _pair_moment(powers, length1, length2, slopes, at_zero, angle(*metric))


def _pair_moment(powers: tuple[int, int], length1, length2, slopes, at_zero, geometry):
    """`pair_moment` of products of `length1` and `length2` factors, of which `powers` are σ."""
    s1, s2, rho, _ = geometry
    L, p, q = _pair_of_unit_normals(length1, length2, slopes, at_zero, geometry)
    return s1 ** powers[0] * s2 ** powers[1] * sign_moments((powers,), None, rho[None], L, p, q)[0]


def _pair_of_unit_normals(length1, length2, slopes, at_zero, geometry):
    s1, s2, rho, sine = geometry
    below, above = slopes
    sides = [_sides(above**n, below**n, at_zero**n, s) for n, s in ((length1, s1), (length2, s2))]
    p, q = (jnp.stack(x) for x in zip(*sides, strict=True))
    return [[jnp.ones_like(rho)], [rho, sine]], p, q


@functools.partial(jax.jit, static_argnums=(0, 1))
def _pair_delta(powers: tuple[int, int], lengths: tuple[int, int], slopes, at_zero, *metric):
    """`pair_moment` with σ'' as one of the factors of z1."""
    geometry = angle(*metric)
    s1, s2, rho, sine = geometry
    if powers[0]:
        return jnp.zeros_like(rho)
    L, p, q = _pair_of_unit_normals(*lengths, slopes, at_zero, geometry)
    steps = [slopes] * (lengths[0] - 1)
    apart = delta_moment(powers, 0, L, p, q.at[0].set(jump(slopes, steps) / 2)) * s2 ** powers[1]
    together = 0.0
    if not powers[1]:
        turned = [jnp.where(rho > 0, a, b) for a, b in (slopes, slopes[::-1])]
        merged = jump(slopes, [*steps, *[turned] * lengths[1]])
        together = jnp.where(s2 > 0, merged, jump(slopes, steps) * at_zero ** lengths[1]) / math.sqrt(
            2 * math.pi
        )
    moment = jnp.where((sine > 0) & (s2 > 0), apart, together)
    return jnp.where(s1 > 0, moment / jnp.where(s1 > 0, s1, 1.0), 0.0)


def jump(slopes, steps):
    """∫ σ''(z) Π_i σ'_i(z) dz across the kink, as the limit of smooth σ; σ'_i has the values `steps[i]` below and above it.

    On the way all σ' pass together through the values between their two, those of multiples of z too.
    """
    if len(steps) > 3:
        raise ValueError("two nodes integrate products of at most three slopes")
    nodes = [(1 + sign / math.sqrt(3)) / 2 for sign in (-1, 1)]
    mean = sum(math.prod((a + (b - a) * t for a, b in steps), start=1.0) for t in nodes) / 2
    return (slopes[1] - slopes[0]) * mean


def pair_tables(slopes, at_zero, g11, g12, g22, parallel=None):
    """The tables of `Expectations` for two samples, each a list over the derivatives taken at the second.

    The kink's δ's in closed form, from Price's theorem on ⟨|z1 z2|⟩. Where z2 = c z1 the total derivative stands first, if
    there is a kink: without one the separate derivatives are finite, and what rounding makes of two samples does not matter.
    """
    geometry = angle(g11, g12, g22, parallel)
    s1, s2, rho, sine = geometry
    p, q = (slopes[1] + slopes[0]) / 2, (slopes[1] - slopes[0]) / 2
    alive = (s1 > 0) & (s2 > 0)
    apart = alive & (sine > 0)
    Phi = _pair_moment((1, 1), 1, 1, slopes, at_zero, geometry)
    dPhi = _pair_moment((0, 0), 1, 1, slopes, at_zero, geometry)
    # Of (2q²/π) D^½ / g, D = g11 g22 - g12², and its derivatives; each over what it is singular in.
    unit = 2 * q * q / math.pi
    t1, t2, t = (jnp.where(x, y, 1.0) for x, y in ((alive, s1), (alive, s2), (apart, sine)))

    def delta(value):
        return jnp.where(apart, unit * value, 0.0)

    third = _second_derivatives(q, geometry)
    fourth = [delta((2 * rho**2 - 1) * y / (t * x**3)) for x, y in ((t1, t2), (t2, t1))]
    fifth = [delta(rho * (3 - 2 * rho**2) / (t**3 * x**4)) for x in (t1, t2)]
    sixth = [delta(-1 / (t**3 * x**3 * y)) for x, y in ((t1, t2), (t2, t1))]
    middle = delta(rho / (t**3 * t1**2 * t2**2))
    second = [delta(t * t2 / t1), delta(t * t1 / t2)]
    # Where z2 = c z1: σ1σ2 = (p² ± q²) c z1² and nothing else.
    same = alive & ~apart & (q != 0)
    total = jnp.where(same, p * p + jnp.sign(rho) * q * q, 0.0)
    return {
        "Phi": Phi,
        "dPhi": dPhi,
        "J_ss": [jnp.where(same, 2 * rho * s2 / t1 * total, second[0]), jnp.where(same, 0.0, dPhi), second[1]],
        "J_dd": third,
        "K_sd": [jnp.where(same, total, dPhi), second[1]],
        "Q_ss": [fourth[0], *third, fourth[1]],
        "Q_dd": [fifth[0], sixth[0], middle, sixth[1], fifth[1]],
    }  # fmt: skip


def slot_moments(*arguments, **options):
    """`each_slot_moment` as one array, (*batch, placements)."""
    return jnp.stack(each_slot_moment(*arguments, **options), axis=-1)


def each_slot_moment(
    pattern: tuple[int, ...], asked: Placements, slopes, at_zero, nodes, G, scale=None, least=LEAST_VARIANCE, *,
    straight=False,
):  # fmt: skip
    """⟨Π_i σ^(p_i)(c_i z_a(i))⟩ over four slots i for each placement p, of orders as of `pair_moment`: a list of (*batch,).

    Args:
        pattern: the sample a(i) of each slot, out of 0 … n - 1.
        nodes: `quadrature` of the four-sign integral; None for n < 4.
        G: (*batch, n, n); two samples must not be parallel, for then they are one sample.
        scale: c, (*batch, 4), not 0; None for 1.
        least: the variance of a sample given others, next to its own, where it is below LEAST_VARIANCE.
        straight: as of `pair_moment`.

    Raises:
        ActivationError: as of `check_orders`.
    """
    n = G.shape[-1]
    s = [square_root(G[..., a, a]) for a in range(n)]
    c = [jnp.ones_like(s[0])] * 4 if scale is None else [scale[..., i] for i in range(4)]
    # σ' of each slot below and above the kink of its sample.
    steps = [[jnp.where(c[i] > 0, x, y) for x, y in (slopes, slopes[::-1])] for i in range(4)]
    slots = [[i for i, a in enumerate(pattern) if a == b] for b in range(n)]
    sides = [
        _sides(
            math.prod(steps[i][1] for i in mine),
            math.prod(steps[i][0] for i in mine),
            at_zero ** len(mine),
            s[a],
        )
        for a, mine in enumerate(slots)
    ]
    p, q = (jnp.stack(x) for x in zip(*sides, strict=True))
    if n == 2:
        *_, rho, sine = angle(G[..., 0, 0], G[..., 0, 1], G[..., 1, 1])
        correlations, L = rho[None], [[jnp.ones_like(rho)], [rho, sine]]
    else:
        correlations = [_quotient(G[..., a, b], s[a] * s[b]) for a, b in pairs(n)]
        L = factor(correlations, least) if n > 1 else [[jnp.ones_like(s[0])]]
        correlations = jnp.stack(correlations) if n > 1 else jnp.zeros((0, *s[0].shape))

    def powers(placement: Placement) -> tuple[int, ...]:
        return tuple(sum(placement[i] == 0 for i in mine) for mine in slots)

    orders = tuple(sorted({powers(placement) for placement in asked if max(placement) < 2}))
    values = sign_moments(orders, nodes, correlations, L, p, q) if orders else ()
    without_delta = dict(zip(orders, values, strict=True))

    def of_unit_normals(placement: Placement):
        if straight and max(placement) > 1:
            return jnp.zeros_like(s[0])
        check_orders(placement)
        m = powers(placement)
        if 2 not in placement:
            return without_delta[m]
        slot = placement.index(2)
        a = pattern[slot]
        if m[a]:
            return jnp.zeros_like(s[0])
        across = jump(slopes, [steps[i] for i in slots[a] if i != slot])
        weight = jnp.where(s[a] > 0, 1 / jnp.where(s[a] > 0, jnp.abs(c[slot]) * s[a], 1.0), 0.0)
        return weight * delta_moment(m, a, L, p, q.at[a].set(across / 2))

    return [
        math.prod(
            (c[i] * s[a] for i, a in enumerate(pattern) if placement[i] == 0),
            start=of_unit_normals(placement),
        )
        for placement in asked
    ]
