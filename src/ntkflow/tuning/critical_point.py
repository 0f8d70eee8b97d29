"""Where one activation is critical: K' = K and χ_∥ = χ_⊥ = 1, found on a grid of K, not by Taylor expansions.

g' = ⟨σ'σ'⟩ + ⟨σσ''⟩, so both susceptibilities are 1 where h(K) = g'/⟨σ'σ'⟩ - 1 = 0 and C_W = 1/⟨σ'σ'⟩; then
C_b = K - C_W g(K), which must not be negative. K = 0 is such a point whenever σ(0) = 0 and σ'(0±) do not both vanish.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.optimize import brentq

from .line_rule import LineRule
from .single_input import LEAST_K, SingleInput, averages_of

Kind = Literal["scale-invariant", "K*=0", "half-stable", "none"]
Side = Literal["above", "below", "both sides", "neither side"]

_LOWEST, _HIGHEST, _PER_DECADE = -8, 6, 40
_DEVIATIONS = 6.0  # σ has to vary within so many standard deviations: a network sees little beyond
_LEAST = 1e-290  # of σ'²: below, digits underflow
_FAINT = 1e6  # σ'(0±) has to be so many times its rounding
_LIMIT = 1e-6  # by how much σ'² may differ between 1e-200 and 1e-12
_STRAIGHT = 1e-9  # a σ that deviates by less is scale-invariant
_GROWTH = 1e-11  # of K'/K - 1: what rounding may make
_ROUNDING = 1e-12  # of C_b / K*
_CRITICAL = 1e-10  # of χ_∥ - χ_⊥ at the critical point
_SHRINKING = 0.3
_NEARBY = 0.01  # of K*: how far from it K' - K is looked at


class FixedPoint(NamedTuple):
    """A K that a layer leaves as it is, K' = C_b + C_W g(K) = K."""

    K: float
    chi_parallel: float
    """By how much a layer multiplies a small change of K."""

    @property
    def attracts(self) -> bool:
        """Whether K flows there from nearby."""
        return abs(self.chi_parallel) < 1


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
        other_fixed_points: with C_b and C_W of a half-stable point, K ascending.
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
    other_fixed_points: tuple[FixedPoint, ...] = ()
    reason: str = ""


def straight_point(slopes: tuple[float, float]) -> CriticalPoint:
    """The point of a σ that is straight on both sides of 0."""
    mean = (slopes[0] ** 2 + slopes[1] ** 2) / 2
    if mean == 0:
        return CriticalPoint("none", reason=_NO_SLOPE)
    return CriticalPoint("scale-invariant", 0.0, 1 / mean)


def critical_point(rule: LineRule) -> CriticalPoint:
    """The critical point of the rule's σ: that of K* = 0 if K flows to it, else the half-stable one nearest to K = 1."""
    scanned = _scanned(rule)
    if len(scanned.K) < 2:
        return CriticalPoint("none", reason=_NO_SLOPE)
    zero = _at_zero(rule, scanned)
    if zero is not None and zero.kind != "none":
        return zero
    points, negative = _half_stable(rule, scanned)
    if points:
        nearest = min(points, key=lambda K: abs(np.log(K)))
        return dataclasses.replace(points[nearest], others=tuple(K for K in sorted(points) if K != nearest))
    reasons = [] if zero is None else [zero.reason]
    return CriticalPoint("none", reason="; ".join([*reasons, *(negative or [_no_root(scanned)])]))


def _scanned(rule: LineRule) -> SingleInput:
    """The averages on a grid of K, without those that are unreliable or rest on preactivations that a network hardly has."""
    K = np.logspace(_LOWEST, _HIGHEST, _PER_DECADE * (_HIGHEST - _LOWEST) + 1)
    averages, reliable = averages_of(rule, K[np.sqrt(K) < rule.reach])
    averages = averages[: int(np.argmin(np.append(reliable, False)))]
    if len(averages.K) < 2:
        return averages
    return averages[
        _seen_by_network(averages) & (averages.slope_squared > max(rule.slope_rounding**2, _LEAST))
    ]


def _at_zero(rule: LineRule, scanned: SingleInput) -> CriticalPoint | None:
    """K* = 0, or a scale-invariant σ; "none" if K flows away from 0, None if K = 0 is no fixed point."""
    mean = (rule.slopes[0] ** 2 + rule.slopes[1] ** 2) / 2
    if abs(rule.at_zero) > rule.rounding or mean <= max((_FAINT * rule.slope_rounding) ** 2, _LEAST):
        return None
    C_W = 1 / mean
    nearest, _ = averages_of(rule, np.asarray(LEAST_K))
    if abs(C_W * nearest.slope_squared - 1) > _LIMIT:
        return CriticalPoint("none", reason="sigma' has no limits above and below 0")
    growth = C_W * scanned.g / scanned.K - 1
    deviations = (growth, scanned.h, C_W * scanned.slope_squared - 1)
    if np.max(np.abs(deviations)) < _STRAIGHT:
        return CriticalPoint("scale-invariant", 0.0, C_W)
    growth = np.where(np.abs(growth) > _GROWTH, growth, 0.0)
    if not np.any(growth) or growth[np.flatnonzero(growth)[0]] > 0:
        return CriticalPoint(
            "none", reason=f"K* = 0 is unstable: at C_W = {C_W:.4g} and C_b = 0 a small K grows"
        )
    end = int(np.argmax(np.append(growth, 1.0) > 0))
    inside = growth[:end]
    knee = np.argmax(inside < -_SHRINKING) if np.any(inside < -_SHRINKING) else np.argmin(inside)
    basin = float(scanned.K[end]) if end < len(growth) else np.inf
    return CriticalPoint("K*=0", 0.0, C_W, 0.0, "above", basin=basin, knee=float(scanned.K[knee]))


def _seen_by_network(scanned: SingleInput) -> np.ndarray:
    """Whether ⟨σ'σ'⟩ comes from within `_DEVIATIONS` standard deviations, for each K: d ln⟨σ'σ'⟩/d ln K is half the average of z²/K - 1, weighted by σ'²."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.gradient(np.log(scanned.slope_squared), np.log(scanned.K)) < (_DEVIATIONS**2 - 1) / 2


_NO_SLOPE = (
    "sigma does not vary where preactivations are, or no more than by rounding; chi_perpendicular is 0"
)


def _no_root(scanned: SingleInput) -> str:
    h = scanned.h[np.abs(scanned.h) > scanned.rounding]
    if not len(h):
        return "chi_parallel = chi_perpendicular at every K, but K' = K would need C_b < 0"
    range_of_K = f"between {scanned.K[0]:.0e} and {scanned.K[-1]:.0e}"
    if np.all(h > 0):
        return f"chi_parallel exceeds chi_perpendicular at every K {range_of_K}"
    if np.all(h < 0):
        return f"chi_parallel is below chi_perpendicular at every K {range_of_K}"
    return f"chi_parallel and chi_perpendicular are 1 together at no K {range_of_K}"


def _half_stable(rule: LineRule, scanned: SingleInput) -> tuple[dict[float, CriticalPoint], list[str]]:
    """The points with K* > 0 by their K*, and in words those that would need C_b < 0."""

    def h(log_K: float) -> float:
        return float(averages_of(rule, np.exp(log_K))[0].h)

    points, negative = {}, []
    for K in _roots(h, scanned.K, scanned.h, scanned.rounding):
        at_root, _ = averages_of(rule, np.asarray(K))
        if not abs(at_root.h) <= _CRITICAL:
            continue
        C_b = _bias_variance(at_root)
        if C_b < -_ROUNDING * at_root.K:
            needed = f"would need C_b = {C_b:.3g}"
            negative.append(f"chi_parallel = chi_perpendicular = 1 at K = {at_root.K:.4g} {needed}")
        else:
            points[K] = _point(rule, scanned, at_root)
    return points or _vanishing(rule, scanned), negative


def _vanishing(rule: LineRule, scanned: SingleInput) -> dict[float, CriticalPoint]:
    """The point nearest to K = 1 where h ≡ 0 on an interval, if there is one with C_b > 0."""
    vanishes = (np.abs(scanned.h) <= scanned.rounding) & (_bias_variance(scanned) > _STRAIGHT * scanned.K)
    inside = scanned[vanishes]
    if len(inside.K) < _PER_DECADE:
        return {}
    at_star = inside[np.argmin(np.abs(np.log(inside.K)))]
    interval = (float(inside.K[0]), float(inside.K[-1]))
    return {float(at_star.K): dataclasses.replace(_point(rule, scanned, at_star), interval=interval)}


def _bias_variance(averages: SingleInput) -> np.ndarray:
    """C_b = K - C_W g(K) with C_W = 1/⟨σ'σ'⟩, with which K' = K and χ_⊥ = 1."""
    return averages.K - averages.g / averages.slope_squared


def _point(rule: LineRule, scanned: SingleInput, at_star: SingleInput) -> CriticalPoint:
    """The half-stable point of the averages at K*, where h = 0."""
    K, C_W, C_b = float(at_star.K), float(1 / at_star.slope_squared), max(float(_bias_variance(at_star)), 0.0)

    def move(log_K: np.ndarray | float) -> np.ndarray:
        return C_b + C_W * averages_of(rule, np.exp(log_K))[0].g - np.exp(log_K)

    lower = np.append(scanned.K[scanned.K < (1 - _NEARBY) * K], (1 - _NEARBY) * K)
    upper = np.append((1 + _NEARBY) * K, scanned.K[scanned.K > (1 + _NEARBY) * K])
    moves = [move(np.log(side)) for side in (lower, upper)]
    sides: dict[tuple[bool, bool], Side] = {
        (True, True): "both sides",
        (True, False): "below",
        (False, True): "above",
        (False, False): "neither side",
    }
    attracted = sides[bool(moves[0][-1] > 0), bool(moves[1][0] < 0)]
    fixed_points = [
        FixedPoint(root, C_W * float(averages_of(rule, np.asarray(root))[0].g_prime))
        for side, moves_of_side in zip((lower, upper), moves, strict=True)
        for root in _roots(move, side, moves_of_side, _GROWTH * side)
    ]
    c = C_W * float(at_star.g_second) / 2
    return CriticalPoint("half-stable", C_b, C_W, K, attracted, c, other_fixed_points=tuple(fixed_points))


def _roots(
    function: Callable[[float], Any], K: np.ndarray, values: np.ndarray, rounding: np.ndarray
) -> list[float]:
    """Where a function of ln K changes its sign by more than rounding between some of the K's, ascending; its values there are given."""
    certain = np.flatnonzero(np.abs(values) > rounding)
    changes = np.flatnonzero(np.diff(np.sign(values[certain])))
    log_K = np.log(K[certain])
    roots: list[Any] = [brentq(function, log_K[i], log_K[i + 1], xtol=1e-15) for i in changes]
    return [float(np.exp(root)) for root in roots]
