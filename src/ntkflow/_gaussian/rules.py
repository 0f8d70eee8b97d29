"""Nodes, weights and Hermite polynomials: how finely to integrate, on a line and in a plane."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation
from .requests import Factors
from .sign_moments import LEAST_VARIANCE

ROUNDING = 128 * np.finfo(float).eps  # the fifth derivatives of jax.nn.silu are off by tens of eps

_VALUES = 2**16  # of σ, at a time
_PANELS = (0.0, 0.05, 0.15, 0.45, 1.35)


@dataclass(frozen=True)
class Rule:
    """How finely to integrate.

    Attributes:
        reach: where the real line is cut, in standard deviations; exp(-u²/4), by which the products of a function
            with a high Hermite polynomial decay, is 4e-19 at 13.
        line_nodes, line_terms: on each half line, and Hermite terms of the series for two samples.
        conditioned: (outer, inner, smooth inner) nodes on each part of a line where no such series converges.
        inner_reach: the inner integral's.
        wedge: (angles, radii) of the cubature in a plane, for smooth activations.
        kinked_plane: (outer, inner) nodes on each part of a line in a plane, for activations with kinks.
        pair_series: (nodes, degrees) of the series for four samples from coefficients of pairs; the degrees are even.
        layer_series: (nodes, degrees) of the series between two layers of a stream, the first of these with which functions of one sample converge; even degrees.
        series: (nodes, terms) of that for each four samples, tried in this order until it has converged; terms are even.
        shared: (nodes, terms) where none of them has: on each half line, and along the second coordinate.
        kinked_series: `series` for activations with kinks, as (outer, inner nodes on each part of a line, terms). It may
            converge as a power of the terms: to see the error, the coarse rule has far fewer, and never as many as the fine one.
        sign_nodes: of the four-sign integral of piecewise-linear activations.
        least_variance: of one of three or four samples given the others, for these activations. The coarse rule's is less:
            round-off over its root then differs.
        converged, kinked_converged: what the last quarter of such a series' terms may add, relative to the largest moment.
        rounding: by how much, relatively, the weights of the nodes on a line are changed: as by rounding of σ's derivatives, which
            the fine rule's and the coarse one's have in common, and which tensors may amplify by cancellation. Moments of piecewise-linear
            activations on nearly singular metrics are changed in proportion.
        suspicious: whether to add to derivatives what Stein's identity finds missing in them: a kink not declared.
    """

    reach: float
    line_nodes: int
    line_terms: int
    conditioned: tuple[int, int, int]
    inner_reach: float
    wedge: tuple[int, int]
    kinked_plane: tuple[int, int]
    pair_series: tuple[tuple[int, int], ...]
    layer_series: tuple[tuple[int, int], ...]
    series: tuple[tuple[int, int], ...]
    shared: tuple[int, int]
    kinked_series: tuple[tuple[int, int, int], ...]
    sign_nodes: int
    least_variance: float
    converged: float = 1e-12
    kinked_converged: float = 1e-9
    rounding: float = 0.0
    suspicious: bool = False

    def to_accuracy(self, rtol: float) -> Rule:
        """The rule for tensors of relative accuracy `rtol`: they come out of integrals that cancel, layer upon layer."""
        return dataclasses.replace(
            self,
            converged=max(self.converged, 1e-4 * rtol),
            kinked_converged=max(self.kinked_converged, 1e-2 * rtol),
        )


FINE = Rule(
    reach=13.0,
    line_nodes=200,
    line_terms=240,
    conditioned=(96, 88, 24),
    inner_reach=10.5,
    wedge=(64, 96),
    kinked_plane=(48, 40),
    pair_series=((104, 56), (140, 104), (180, 160)),
    layer_series=((64, 48), (76, 80), (88, 112), (104, 160), (150, 224), (200, 336)),
    series=((64, 48), (96, 64), (130, 112), (210, 224)),
    shared=(170, 224),
    kinked_series=((44, 32, 24), (64, 44, 48), (144, 56, 144)),
    sign_nodes=64,
    least_variance=LEAST_VARIANCE,
)
COARSE = Rule(
    reach=12.5,
    line_nodes=186,
    line_terms=224,
    conditioned=(88, 80, 20),
    inner_reach=10.0,
    wedge=(60, 90),
    kinked_plane=(44, 36),
    pair_series=((96, 50), (130, 92), (168, 144)),
    layer_series=((60, 44), (71, 74), (82, 104), (97, 150), (140, 212), (188, 320)),
    series=((60, 44), (90, 60), (122, 104), (200, 212)),
    shared=(158, 208),
    kinked_series=((40, 26, 14), (58, 32, 20), (88, 38, 26)),
    sign_nodes=60,
    least_variance=LEAST_VARIANCE / 25,
    rounding=ROUNDING,
    suspicious=True,
)


@functools.lru_cache(maxsize=256)
def legendre(nodes: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on (0, length), to the last digits: NumPy's own weights are off by 1e-14.

    Newton's iteration for x = cos θ in θ, with P_k and P_k - P_{k-1} carried in terms of 1 - x = 2 sin²(θ/2).
    """
    n, half = nodes, (nodes + 1) // 2
    theta = np.pi * (np.arange(1, half + 1) - 0.25) / (n + 0.5)
    slope = np.ones_like(theta)
    for _ in range(4):
        t = 2 * np.sin(theta / 2) ** 2
        P, difference = 1 - t, -t
        before = np.ones_like(t)
        for k in range(1, n):
            before = P
            difference = (k * difference - (2 * k + 1) * t * P) / (k + 1)
            P = P + difference
        slope = -n * (before - np.cos(theta) * P) / np.sin(theta)
        theta = theta - P / slope
    t = np.sin(theta / 2) ** 2
    mirror = np.arange(n - half)[::-1]
    x = np.concatenate([t, 1 - t[mirror]])
    w = 1 / slope**2
    return length * x, length * np.concatenate([w, w[mirror]])


def hermite(u: np.ndarray, terms: int) -> np.ndarray:
    """Normalised Hermite polynomials he_k(u) / √k!, k < terms: (terms, *u.shape)."""
    h = np.ones((terms, *u.shape))
    if terms > 1:
        h[1] = u
    for k in range(2, terms):
        h[k] = (u * h[k - 1] - np.sqrt(k - 1) * h[k - 2]) / np.sqrt(k)
    return h


@functools.lru_cache(maxsize=16)
def line_basis(reach: float, nodes: int, terms: int, rounding: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Nodes u (2 nodes,) and matrix (2 nodes, terms): `f(u) @ matrix` are the Hermite coefficients of f(u), u ~ N(0, 1).

    Gauss-Legendre on panels that shrink towards 0, next to which steep sigmoids have their poles: at 0.05i at
    variance 1000. The nodes are symmetric: f(-u) is f(u) reversed. `rounding`: as of `Rule`.
    """
    few = nodes // 11
    panels = [(few, *edges) for edges in itertools.pairwise(_PANELS)]
    panels.append((nodes - few * len(panels), _PANELS[-1], reach))
    rules = [(low, *legendre(n, high - low)) for n, low, high in panels]
    x = np.concatenate([low + x for low, x, _ in rules])
    w = rounded(np.concatenate([w for *_, w in rules]), rounding)
    return _weighted_basis(np.concatenate([-x[::-1], x]), np.concatenate([w[::-1], w]), terms)


def rounded(x: np.ndarray, rounding: float) -> np.ndarray:
    """x with its rows changed by relative amounts up to `rounding`."""
    return (x.T * (1 + rounding * np.random.default_rng(0).uniform(-1, 1, len(x)))).T


def folded(u: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of symmetric nodes and their matrix: the nodes ≥ 0, and there the even columns, for f(u) + f(-u), and the odd ones, for f(u) - f(-u)."""
    half = len(u) // 2
    upper = matrix[half:].copy()
    if len(u) % 2:
        upper[0] /= 2  # 0 is its own mirror image
    return u[half:], np.ascontiguousarray(upper[:, ::2]), np.ascontiguousarray(upper[:, 1::2])


def line_coefficients(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """`values @ basis` with the matrix of `line_basis`, (…, 2 nodes) to (…, terms): its columns are even and odd in turn."""
    half = len(basis) // 2
    below, above = values[..., half - 1 :: -1], values[..., half:]
    out = np.empty((*values.shape[:-1], basis.shape[1]))
    for parity, folded in enumerate((above + below, above - below)):
        columns = np.ascontiguousarray(basis[half:, parity::2])
        out[..., parity::2] = (folded.reshape(-1, half) @ columns).reshape(*values.shape[:-1], -1)
    return out


@functools.lru_cache(maxsize=16)
def trapezoid_basis(reach: float, nodes: int, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with the trapezoidal rule, which has no preferred place: in a plane poles lie along slanted lines.

    Of the 2 nodes + 1 nodes one is 0: the errors of an even function by all and by every second node then have the
    same sign, and their difference tells of them.
    """
    u, step = np.linspace(-reach, reach, 2 * nodes + 1, retstep=True)
    return _weighted_basis(u, np.full_like(u, step), terms)


def _weighted_basis(u: np.ndarray, weights: np.ndarray, terms: int) -> tuple[np.ndarray, np.ndarray]:
    return u, (weights * np.exp(-u * u / 2) / np.sqrt(2 * np.pi) * hermite(u, terms)).T


def wedges(root: np.ndarray, reach: float, angles: int, radii: int) -> tuple[np.ndarray, np.ndarray]:
    """A cubature for functions of z = root @ u, u ~ N(0, 1)², that are smooth but for kinks where some z_i = 0.

    The lines z_i = 0 cut the plane into wedges; in each, and along each ray, the function is smooth.

    Args:
        root: (B, R, 2).

    Returns:
        Points u (B, 2, P) and weights (B, P), P = 2 R angles radii.
    """
    B = len(root)
    lines = np.sort(np.mod(np.arctan2(root[:, :, 1], root[:, :, 0]) + np.pi / 2, np.pi), axis=1)
    openings = np.diff(lines, append=lines[:, :1] + np.pi, axis=1)[..., None]
    x, w = legendre(angles, 1.0)
    theta = (lines[..., None] + openings * x).reshape(B, -1)
    theta = np.concatenate([theta, theta + np.pi], axis=1)
    theta_weights = np.tile((openings * w).reshape(B, -1), 2)
    r, r_weights = legendre(radii, reach)
    r_weights = r_weights * r * np.exp(-r * r / 2) / (2 * np.pi)
    points = np.stack([np.cos(theta), np.sin(theta)], axis=1)[..., None] * r
    return points.reshape(B, 2, -1), (theta_weights[:, :, None] * r_weights).reshape(B, -1)


@functools.lru_cache(maxsize=64)
def _compiled(activation: Activation, order: int):
    return jax.jit(lambda z: jnp.stack(activation.derivatives(z, order)))


def evaluate(activation: Activation, z: np.ndarray, order: int) -> np.ndarray:
    """σ and its derivatives up to `order` on z, as (order + 1, *z.shape) in float64."""
    flat = np.ravel(np.asarray(z, float))
    out = np.empty((order + 1, flat.size))
    # Filled up to a power of two, so that σ is compiled for few sizes.
    size = min(_VALUES, 1 << max(flat.size - 1, 511).bit_length())
    for start in range(0, flat.size, size):
        part = flat[start : start + size]
        with jax.enable_x64(True):
            values = _compiled(activation, order)(np.pad(part, (0, size - len(part)), mode="edge"))
        out[:, start : start + size] = np.asarray(values)[:, : len(part)]
    return out.reshape(order + 1, *np.shape(z))


def product(values, factors: Factors):
    """Π σ^(p) over p in `factors`, of σ^(p) = values[p]."""
    return functools.reduce(lambda a, b: a * b, [values[p] for p in factors] or [0 * values[0] + 1])
