"""Nodes on a line that serve one σ at every variance: panels between which σ and σ' are polynomials to the last digits.

The panels' edges are graded towards 0 and out to 2^24 by constant factors, so that on each of them the Gaussian's density is
smooth at any variance, and each is halved until σ is smooth on it too. Where halving does not help σ has a kink: the
kinks, declared or not, become edges. σ is evaluated once; averages at any number of variances are then matrix products.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

import numpy as np

from .._gaussian.rules import evaluate, legendre
from ..activations import NEXT_TO_ZERO, Activation
from ..errors import ActivationError

_NODES = 24  # on each panel
_CHUNK = 4096  # values of σ at a time: one size, so that it is compiled once
_MOST_PANELS = 8192
_OCTAVES = (-40, 24)
_FINE_OCTAVES = (-8, 8)  # where features of σ are to be expected, and panels are narrower
_RESOLVED = 1e-12  # of σ: what the last Legendre coefficients may amount to
_ROUGHLY_RESOLVED = 1e-7  # on however narrow a panel
_NARROWEST = 1e-12  # of a panel's distance from 0, or of the least one
_INEXACT = 4e-15  # of the largest value within _NEAR: may be rounding, say that of 1 - tanh²
_NEAR = 8.0
_HALVINGS = 3  # before it is taken to be that
_JUMP = 1e-9
_LEAST_REACH = 16.0


@dataclass(frozen=True, eq=False)
class LineRule:
    """Nodes and weights on (-reach, reach) with σ and σ' there.

    Attributes:
        z, weights, sigma, slope: (M,); the weights are those of ∫dz.
        outermost: (M,), whether a node is on one of the two outermost panels.
        reach: the integrals end there, where σ² or σ'² overflows or σ varies too fast further out.
        at_zero: σ(0).
        slopes: σ'(0-) and σ'(0+).
        rounding, slope_rounding: by how much values of σ and of σ' next to 0 may be off.
    """

    z: np.ndarray
    weights: np.ndarray
    sigma: np.ndarray
    slope: np.ndarray
    outermost: np.ndarray
    reach: float
    at_zero: float
    slopes: tuple[float, float]
    rounding: float
    slope_rounding: float

    @functools.cached_property
    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """z² (M',) ascending, of z and -z together, and what is averaged with the weights of dz, (M', 8).

        That is σσ, σ'σ', zσσ', |zσσ'|, z³σσ', and the outermost parts of the first, second and fourth.
        """
        zss = self.z * self.sigma * self.slope
        inner = np.stack([self.sigma**2, self.slope**2, zss, np.abs(zss), self.z**2 * zss])
        outer = np.where(self.outermost, inner[[0, 1, 3]], 0.0)
        sizes, place = np.unique(np.abs(self.z), return_inverse=True)
        products = np.zeros((sizes.size, 8))
        np.add.at(products, place, (self.weights * np.concatenate([inner, outer])).T)
        return sizes**2, products

    def shifted(self) -> LineRule:
        """The rule of σ - σ(0)."""
        return dataclasses.replace(self, sigma=self.sigma - self.at_zero, at_zero=0.0)


@functools.lru_cache(maxsize=64)
def line_rule(activation: Activation) -> LineRule:
    """The nodes for an activation.

    Raises:
        ActivationError: σ jumps, is not finite or varies too fast to be integrated, or its derivative by JAX is not that of its values.
    """
    declared = np.array(activation.kinks)
    kinks = _separate(_panels(activation, _edges(declared), detect=True).narrow, declared)
    _check_bounded_slope(activation, kinks)
    panels = _panels(activation, _edges(kinks), detect=False)
    _check_continuous(activation, panels)
    z, weights = _nodes(panels.a, panels.b)
    sigma, slope = panels.values.swapaxes(0, 1)
    ends = (panels.a == panels.a.min()) | (panels.b == panels.b.max())
    outermost = np.broadcast_to(ends[:, None], z.shape)
    near_zero = _values(activation, np.array([-NEXT_TO_ZERO, 0.0, NEXT_TO_ZERO]))
    return LineRule(
        *(x.ravel() for x in (z, weights, sigma, slope, outermost)),
        reach=panels.reach,
        at_zero=float(near_zero[0, 1]),
        slopes=(float(near_zero[1, 0]), float(near_zero[1, 2])),
        rounding=1e-13 * float(np.abs(sigma[np.abs(z) <= 1]).max()),
        slope_rounding=_INEXACT * float(np.abs(slope[np.abs(z) <= _NEAR]).max()),
    )


@dataclass(frozen=True, eq=False)
class _Panels:
    a: np.ndarray
    b: np.ndarray
    values: np.ndarray
    """σ and σ' at the nodes: (P, 2, nodes)."""
    ends: np.ndarray
    """σ and σ' next to the lower and the upper end: (P, 2, 2)."""
    scale: np.ndarray
    """The sizes of σ and σ' that errors are relative to: (P, 2)."""
    narrow: np.ndarray
    """The middles of panels that are as narrow as panels get, on which σ still isn't smooth."""
    reach: float
    inexact: np.ndarray
    """The rounding errors that σ and σ' may have: (2,)."""


def _edges(kinks: np.ndarray) -> np.ndarray:
    low, high = _OCTAVES
    kinks = kinks[np.abs(kinks) < 2.0**high]
    coarse, fine = np.arange(low, high + 0.25, 0.5), np.arange(*_FINE_OCTAVES, 0.25)
    sizes = np.exp2(np.union1d(coarse, fine))
    return np.unique(np.concatenate([-sizes, [0.0], sizes, kinks]))


def _nodes(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (P, nodes) on panels from a to b, neither across 0: those of mirrored panels are mirrored to the last bit."""
    t, w = legendre(_NODES, 1.0)
    above = (b > 0)[:, None]
    inner, outer = np.where(above, a[:, None], b[:, None]), np.where(above, b[:, None], a[:, None])
    z, weights = inner + (outer - inner) * t, np.abs(outer - inner) * w
    return np.where(above, z, z[:, ::-1]), np.where(above, weights, weights[:, ::-1])


def _separate(places: np.ndarray, declared: np.ndarray) -> np.ndarray:
    """The declared kinks, and each of `places` that is not next to a kink already listed."""
    kinks = declared.tolist()
    for place in np.sort(places).tolist():
        if not np.any(np.abs(np.array(kinks) - place) <= 1e-9 * np.abs(place)):
            kinks.append(place)
    return np.array(kinks)


def _values(activation: Activation, z: np.ndarray) -> np.ndarray:
    """σ and σ' at z: (2, *z.shape)."""
    flat = np.pad(z.ravel(), (0, -z.size % _CHUNK), mode="edge").reshape(-1, _CHUNK)
    values = np.concatenate([evaluate(activation, row, 1) for row in flat], axis=1)
    return values[:, : z.size].reshape(2, *z.shape)


@functools.cache
def _legendre_matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From values at the nodes: the last two Legendre coefficients, values and derivatives at both ends, (nodes, 2) each."""
    t, w = legendre(_NODES, 1.0)
    degrees = np.arange(_NODES)
    coefficients = w[:, None] * np.polynomial.legendre.legvander(2 * t - 1, _NODES - 1) * (2 * degrees + 1)
    signs = (-1.0) ** degrees
    at_ends = np.stack([signs, np.ones(_NODES)], axis=1)
    slopes_at_ends = (degrees * (degrees + 1))[:, None] * np.stack([-signs, np.ones(_NODES)], axis=1)
    return coefficients[:, -2:], coefficients @ at_ends, coefficients @ slopes_at_ends


def _panels(activation: Activation, edges: np.ndarray, detect: bool) -> _Panels:
    """Panels on which σ and σ' are resolved, each made by halving those between the edges.

    Args:
        detect: find only the panels that halving does not resolve, and keep no others.
    """
    a, b, scale = edges[:-1], edges[1:], None
    reach = float(edges[-1])
    resolved_panels, narrow = [], []
    inexact = np.zeros(2)
    for level in itertools.count():
        if not len(a):
            break
        nearest, furthest = np.minimum(np.abs(a), np.abs(b)), np.maximum(np.abs(a), np.abs(b))
        inset = np.minimum(_NARROWEST * furthest / (b - a), 0.1)
        step = (inset * (b - a))[:, None]
        z = np.concatenate([a[:, None] + step, _nodes(a, b)[0], b[:, None] - step], axis=1)
        values = _values(activation, z).swapaxes(0, 1)
        with np.errstate(over="ignore"):
            infinite = ~np.all(np.isfinite(values**2), axis=(1, 2))
        if np.any(infinite):
            reach = min(reach, _edge_within(edges, nearest[infinite].min()))
            if reach < _LEAST_REACH:
                place = a[infinite][np.argmin(nearest[infinite])]
                raise ActivationError(
                    f"activation {activation.name} or its square is not finite near {place:.4g}"
                )
        values = np.where(infinite[:, None, None], 0.0, values)
        ends, values = values[..., [0, -1]], values[..., 1:-1]
        largest = np.abs(values).max(axis=2)
        scale = _running_maximum(largest, furthest) if scale is None else np.maximum(scale, largest)
        width = (b - a) / np.maximum(furthest, 2.0 ** _OCTAVES[0])
        missed = _missed(values, ends, inset)
        relative = np.divide(missed, scale, out=np.zeros_like(missed), where=scale > 0)
        smooth = (relative <= _ROUGHLY_RESOLVED) & (relative * width[:, None] <= _RESOLVED)
        if level == 0:
            inexact = _INEXACT * largest[furthest <= _NEAR].max(axis=0)
        elif level >= _HALVINGS:
            smooth |= missed <= inexact
        resolved = np.all(smooth, axis=1) & ~infinite
        ended = ~resolved & (width <= _NARROWEST)
        narrow.append((a + b)[ended] / 2)
        if not detect:
            finished = resolved | ended
            resolved_panels.append(
                (a[finished], b[finished], values[finished], ends[finished], scale[finished])
            )
        unresolved = ~(resolved | ended | infinite)
        middle = (a + b)[unresolved] / 2
        a, b = np.concatenate([a[unresolved], middle]), np.concatenate([middle, b[unresolved]])
        scale = np.concatenate([scale[unresolved], scale[unresolved]])
        reach, within_reach = _affordable(
            activation, edges, reach, [(x, y) for x, y, *_ in resolved_panels], a, b
        )
        a, b, scale = a[within_reach], b[within_reach], scale[within_reach]
    if detect:
        resolved_panels = [(np.empty(0),) * 5]
    a, b, values, ends, scale = (np.concatenate(x) for x in zip(*resolved_panels, strict=True))
    within_reach = np.maximum(np.abs(a), np.abs(b)) <= reach
    a, b, values, ends, scale = (x[within_reach] for x in (a, b, values, ends, scale))
    return _Panels(a, b, values, ends, scale, np.concatenate(narrow), reach, inexact)


def _missed(values: np.ndarray, ends: np.ndarray, inset: np.ndarray) -> np.ndarray:
    """By how much the polynomials through the values at the nodes have not converged, or miss the values at the ends: (P, 2)."""
    last, at_ends, slopes_at_ends = _legendre_matrices()
    step = inset[:, None, None] * np.array([1.0, -1.0])
    missed = np.abs(values @ at_ends + step * (values @ slopes_at_ends) - ends).max(axis=2)
    return np.maximum(np.abs(values @ last).max(axis=2), missed / 10)


def _affordable(activation, edges, reach, panels, a, b) -> tuple[float, np.ndarray]:
    """A reach that leaves no more panels than can be afforded, and which of (a, b) are within it."""
    sizes = np.concatenate([np.maximum(np.abs(x), np.abs(y)) for x, y in [*panels, (a, b)]])
    while np.sum(sizes <= reach) > _MOST_PANELS:
        reach = _edge_within(edges, 0.9 * reach)
    if reach < _LEAST_REACH:
        raise ActivationError(
            f"activation {activation.name} varies too fast, or its values are too inexact, to be integrated"
        )
    return reach, np.maximum(np.abs(a), np.abs(b)) <= reach


def _edge_within(edges: np.ndarray, reach: float) -> float:
    """The largest r ≤ reach with edges at -r and r."""
    return float(np.max(edges[(edges <= reach) & np.isin(-edges, edges)], initial=0.0))


def _running_maximum(largest: np.ndarray, furthest: np.ndarray) -> np.ndarray:
    """For each panel the largest |σ| and |σ'| as far from 0 as itself, (P, 2).

    Values further in weigh more at every variance. Those of σ are rounded as f(z + a) - f(a) is, however small they are next to 0.
    """
    order = np.argsort(furthest, kind="stable")
    scale = np.empty_like(largest)
    scale[order] = np.maximum.accumulate(largest[order], axis=0)
    scale[:, 0] = np.maximum(scale[:, 0], 1e-3 * largest[furthest <= 1.0, 0].max())
    return scale


def _check_continuous(activation: Activation, panels: _Panels) -> None:
    """ActivationError where σ at a panel's end differs from its neighbour's, or σ' does not integrate to the difference of the ends."""
    _, w = legendre(_NODES, 1.0)
    order = np.argsort(panels.a)
    a, b, values, ends, scale = (
        x[order] for x in (panels.a, panels.b, panels.values, panels.ends, panels.scale)
    )
    scale = scale + panels.inexact / _JUMP
    allowed = _JUMP * (scale[:, 0] + np.minimum(np.maximum(np.abs(a), np.abs(b)), 1.0) * scale[:, 1])
    low, high = ends[:, 0].T
    nearby = 2 * _NARROWEST * np.maximum(np.abs(a), np.abs(b)) * scale[:, 1]
    between = np.abs(low[1:] - high[:-1]) > (allowed + nearby)[1:] + nearby[:-1]
    within = np.abs(high - low - (b - a) * (values[:, 1] @ w)) > allowed + 2 * nearby
    for wrong, places, words in (
        (between, a[1:], "it jumps there; it must be continuous"),
        (within, a, "it jumps there, or its derivative by JAX is not that of its values"),
    ):
        if np.any(wrong):
            place = places[wrong][np.argmin(np.abs(places[wrong]))]
            raise ActivationError(f"activation {activation.name} near {place:.6g}: {words}")


def _check_bounded_slope(activation: Activation, kinks: np.ndarray) -> None:
    """ActivationError where σ' grows without bound towards a kink, or towards 0."""
    places = np.append(kinks, 0.0)[:, None]
    size = np.where(places == 0, 1.0, np.abs(places))
    distances = np.array([-1e-12, 1e-12, -1e-6, 1e-6])
    slope = np.abs(_values(activation, places + size * distances)[1])
    steep = slope[:, :2].max(axis=1) > 3 * slope[:, 2:].max(axis=1) + 1e-300
    if np.any(steep):
        raise ActivationError(
            f"activation {activation.name} near {places[steep][0, 0]:.6g}: its derivative is not finite there"
        )
