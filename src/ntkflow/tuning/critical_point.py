"""Where one activation is critical: K' = K and χ_∥ = χ_⊥ = 1, found by looking, not by Taylor expansions.

g' = ⟨σ'σ'⟩ + ⟨σσ''⟩, so both susceptibilities are 1 where h(K) = g'/⟨σ'σ'⟩ - 1 = 0 and C_W = 1/⟨σ'σ'⟩; then
C_b = K - C_W g(K), which must not be negative. K = 0 is such a point whenever σ(0) = 0 and σ'(0±) do not both vanish.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from .line_rule import LineRule
from .single_input import SingleInput, averages_of

Kind = Literal["scale-invariant", "K*=0", "half-stable", "none"]
Side = Literal["above", "below", "both sides", "neither side"]

_LOWEST, _HIGHEST, _PER_DECADE = -8, 6, 40
_DEVIATIONS = 6.0  # σ has to vary within so many standard deviations: a network sees little beyond
_FAINT = 1e5  # σ'(0±) has to be so many times its rounding
_STRAIGHT = 1e-9  # a σ that deviates by less is scale-invariant
_GROWTH = 1e-11  # of K'/K - 1: what rounding may make
_ROUNDING = 1e-12  # of C_b / K*
_CRITICAL = 1e-10  # of χ_∥ - χ_⊥ at the critical point
_SHRINKING = 0.3
_NEARBY = 0.01  # of K*: how far from it K' - K is looked at


@dataclass(frozen=True)
class CriticalPoint:
    """A solution, or why there is none.

    Attributes:
        kind, C_b, C_W, K_star: as of `Criticality`.
        attracted: from which side of K* a single input's K flows to it.
        c: of K' - K* = c (K - K*)² + …, half-stable points only.
        basin: K from 0 to this flows to K* = 0; inf where no end to it was seen.
        knee: a K in the basin from which the flow sets out with a K'/K well below 1.
        interval: where h ≡ 0 on an interval, as for relu(z - 1), its ends: each K there has a C_W and C_b of its own.
        others: K* of further half-stable points.
        reason: for "none", why, as the end of a sentence.
    """

    kind: Kind
    C_b: float | None = None
    C_W: float | None = None
    K_star: float | None = None
    attracted: Side | None = None
    c: float | None = None
    basin: float | None = None
    knee: float | None = None
    interval: tuple[float, float] | None = None
    others: tuple[float, ...] = ()
    reason: str = ""


def straight_point(slopes: tuple[float, float]) -> CriticalPoint:
    """The point of a σ that is straight on both sides of 0."""
    mean = (slopes[0] ** 2 + slopes[1] ** 2) / 2
    if mean == 0:
        return CriticalPoint("none", reason=_NO_SLOPE)
    return CriticalPoint("scale-invariant", 0.0, 1 / mean)


def critical_point(rule: LineRule) -> CriticalPoint:
    """The point of the σ that a rule holds the values of: of K* = 0 if K flows to it, else the half-stable one nearest to K = 1."""
    K = np.logspace(_LOWEST, _HIGHEST, _PER_DECADE * (_HIGHEST - _LOWEST) + 1)
    K = K[np.sqrt(K) < rule.reach]
    scanned, reliable = averages_of(rule, K)
    scanned = scanned[: int(np.argmin(np.append(reliable, False)))]
    scanned = scanned[_looked_at(scanned) & (scanned.slope_squared > rule.slope_rounding**2)]
    K = scanned.K
    if len(K) < 2:
        return CriticalPoint("none", reason=_NO_SLOPE)
    reasons = []
    mean = (rule.slopes[0] ** 2 + rule.slopes[1] ** 2) / 2
    if abs(rule.at_zero) <= rule.rounding and np.sqrt(mean) > _FAINT * rule.slope_rounding:
        growth = scanned.g / (mean * K) - 1
        straight = (growth, scanned.h, scanned.slope_squared / mean - 1)
        if np.max(np.abs(straight)) < _STRAIGHT:
            return CriticalPoint("scale-invariant", 0.0, 1 / mean)
        moving = np.flatnonzero(np.abs(growth) > _GROWTH)
        if len(moving) and growth[moving[0]] < 0:
            return CriticalPoint(
                "K*=0",
                0.0,
                1 / mean,
                0.0,
                "above",
                **_basin(K, np.where(np.abs(growth) > _GROWTH, growth, 0.0)),
            )
        reasons.append("K* = 0 is unstable: at C_W = %.4g and C_b = 0 a small K grows" % (1 / mean))
    points, negative = _half_stable(rule, scanned)
    if points:
        first, *others = sorted(points, key=lambda point: abs(np.log(point.K_star)))
        return CriticalPoint(**{**vars(first), "others": tuple(sorted(other.K_star for other in others))})
    reasons += negative or [_no_root(scanned)]
    return CriticalPoint("none", reason="; ".join(reasons))


def _looked_at(scanned: SingleInput) -> np.ndarray:
    """Where ⟨σ'σ'⟩ comes from within some standard deviations: d ln⟨σ'σ'⟩/d ln K is half of z²/K - 1 on average."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.gradient(np.log(scanned.slope_squared), np.log(scanned.K)) < (_DEVIATIONS**2 - 1) / 2


def _basin(K: np.ndarray, growth: np.ndarray) -> dict[str, float]:
    """`basin` and `knee` of K* = 0, from K'/K - 1."""
    end = int(np.argmax(np.append(growth, 1.0) > 0))
    inside = growth[:end]
    knee = int(np.argmax(inside < -_SHRINKING)) if np.any(inside < -_SHRINKING) else int(np.argmin(inside))
    return {"basin": float(K[end]) if end < len(K) else np.inf, "knee": float(K[knee])}


_NO_SLOPE = (
    "sigma does not vary where preactivations are, or no more than by rounding; chi_perpendicular is 0"
)


def _no_root(scanned: SingleInput) -> str:
    h = scanned.h[np.abs(scanned.h) > scanned.rounding]
    looked = f"between {scanned.K[0]:.0e} and {scanned.K[-1]:.0e}"
    if np.all(h > 0):
        return f"chi_parallel exceeds chi_perpendicular at every K {looked}"
    if np.all(h < 0):
        return f"chi_parallel is below chi_perpendicular at every K {looked}"
    return f"chi_parallel and chi_perpendicular are 1 together at no K {looked}"


def _half_stable(rule: LineRule, scanned: SingleInput) -> tuple[list[CriticalPoint], list[str]]:
    """The points with K* > 0, and in words those that would need C_b < 0."""

    def h(log_K: float) -> float:
        return float(averages_of(rule, np.exp(log_K))[0].h)

    points, negative = [], []
    for low, high in _sign_changes(scanned):
        K = float(np.exp(brentq(h, np.log(low), np.log(high), xtol=1e-15)))
        point = _point(rule, K)
        if point is None:
            continue
        if point.C_b < -_ROUNDING * K:
            negative.append(
                f"chi_parallel = chi_perpendicular = 1 at K = {K:.4g} would need C_b = {point.C_b:.3g}"
            )
        else:
            points.append(dataclasses.replace(point, C_b=max(point.C_b, 0.0)))
    return points or _vanishing(rule, scanned), negative


def _vanishing(rule: LineRule, scanned: SingleInput) -> list[CriticalPoint]:
    """The point nearest to K = 1 where h ≡ 0 on an interval, if there is one with C_b > 0."""
    C_b = scanned.K - scanned.g / scanned.slope_squared
    there = (np.abs(scanned.h) <= scanned.rounding) & (C_b > _STRAIGHT * scanned.K)
    K = scanned.K[there]
    if len(K) < _PER_DECADE:
        return []
    point = _point(rule, float(K[np.argmin(np.abs(np.log(K)))]))
    return [] if point is None else [dataclasses.replace(point, interval=(float(K[0]), float(K[-1])))]


def _point(rule: LineRule, K: float) -> CriticalPoint | None:
    """The half-stable point at a root of h, whatever its C_b; None if it's none to the digits wanted."""
    at, _ = averages_of(rule, np.asarray(K))
    if not abs(at.h) <= _CRITICAL:
        return None
    C_W = float(1 / at.slope_squared)
    C_b = K - C_W * float(at.g)
    nearby = K * np.array([1 - _NEARBY, 1 + _NEARBY])
    below, above = (C_b + C_W * averages_of(rule, nearby)[0].g - nearby) * [1, -1] > 0
    attracted: Side = {(True, True): "both sides", (True, False): "below", (False, True): "above"}.get(
        (bool(below), bool(above)), "neither side"
    )
    return CriticalPoint("half-stable", C_b, C_W, K, attracted, C_W * float(at.g_second) / 2)


def _sign_changes(scanned: SingleInput) -> list[tuple[float, float]]:
    """Between which K's h changes its sign, by more than rounding."""
    h = scanned.h
    certain = np.flatnonzero(np.abs(h) > scanned.rounding)
    changes = np.flatnonzero(np.diff(np.sign(h[certain])))
    return [(scanned.K[certain[i]], scanned.K[certain[i + 1]]) for i in changes]
