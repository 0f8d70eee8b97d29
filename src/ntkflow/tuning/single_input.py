"""One input: g(K) = ⟨σσ⟩_K, its derivative g'(K) and ⟨σ'σ'⟩_K at any number of variances K.

With these the flow of one input's variance is K' = C_b + C_W g(K), and PDLT's (5.x) susceptibilities are
χ_∥ = C_W g'(K) and χ_⊥ = C_W ⟨σ'σ'⟩_K. They agree where h(K) = g'/⟨σ'σ'⟩ - 1 vanishes.
"""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass

import numpy as np

from ..activations import Activation
from ..errors import DataError
from .line_rule import LineRule, line_rule

LEAST_K = 1e-24  # below it σ(z) is σ(0) + σ'(0±) z to the last digits
_MOST_VALUES = 2**19  # of a Gaussian's density, at a time
_NEGLIGIBLE = 1e-14
_UNDERFLOW = 1491.0  # exp(-x/2) is 0 at it


@dataclass(frozen=True, eq=False)
class SingleInput:
    """Averages of one input's preactivation z ~ N(0, K); all arrays have the shape of K.

    Attributes:
        K: variances.
        g: ⟨σσ⟩.
        g_prime: dg/dK = ⟨zσσ'⟩ / K, that is χ_∥ / C_W.
        slope_squared: ⟨σ'σ'⟩, that is χ_⊥ / C_W.
        g_second: d²g/dK², with an error of about 1e-15 g'/K.
        rounding: of h, by what cancels in g'.
    """

    K: np.ndarray
    g: np.ndarray
    g_prime: np.ndarray
    slope_squared: np.ndarray
    g_second: np.ndarray
    rounding: np.ndarray

    def __getitem__(self, index) -> SingleInput:
        return SingleInput(*(x[index] for x in vars(self).values()))

    @property
    def h(self) -> np.ndarray:
        """g' / ⟨σ'σ'⟩ - 1; NaN where σ' vanishes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.g_prime / self.slope_squared - 1


def single_input(activation: Activation, K) -> SingleInput:
    """The averages at variances K, to about 1e-12 of what is averaged for K from 1e-8 to 1e6.

    ``single_input(ntkflow.Activation(...), [0.1, 1.0]).g``. Next to K = 0 g' loses digits where σ(0) ≠ 0, like 1e-16/√K.

    Args:
        K: an array of any shape, finite, ≥ 0.

    Raises:
        DataError: K is not that, or larger than σ can be integrated at, see `largest_variance`.
        ActivationError: as of `line_rule`.
    """
    K = np.asarray(K, float)
    if not np.all((K >= 0) & np.isfinite(K)):
        raise DataError(
            f"K must be finite variances of at least 0, not {K[~((K >= 0) & np.isfinite(K))].flat[0]}"
        )
    if activation.slopes is not None:
        return _piecewise_linear(activation.slopes, K)
    averages, reliable = averages_of(line_rule(activation), K)
    if not np.all(reliable):
        limit = largest_variance(activation)
        raise DataError(
            f"K = {K[~reliable].min():.4g}: activation {activation.name} can be integrated for K up to {limit:.3g} only"
        )
    return averages


@functools.lru_cache(maxsize=64)
def largest_variance(activation: Activation) -> float:
    """The largest K at which `single_input` is to be trusted, to a tenth of a decade: inf where σ is straight on both sides of 0."""
    if activation.slopes is not None:
        return np.inf
    rule = line_rule(activation)
    K = 10 ** np.arange(-8, 2 * np.log10(rule.reach / 6), 0.1)
    first_unreliable = bisect.bisect(range(len(K)), False, key=lambda i: not averages_of(rule, K[i])[1])
    return float(K[first_unreliable - 1])


def _piecewise_linear(slopes: tuple[float, float], K: np.ndarray) -> SingleInput:
    half = np.full_like(K, (slopes[0] ** 2 + slopes[1] ** 2) / 2)
    return SingleInput(K, half * K, half, half, 0 * K, 0 * K)


def averages_of(rule: LineRule, K: np.ndarray) -> tuple[SingleInput, np.ndarray]:
    """The averages by a rule, and whether next to nothing of each integral lies beyond its reach, an array like K."""
    flat = np.maximum(np.ravel(K), LEAST_K)
    sums = np.empty((8, flat.size))
    ascending = np.argsort(flat)
    rows = max(1, _MOST_VALUES // rule.folded[0].size)
    for start in range(0, flat.size, rows):
        batch = ascending[start : start + rows]
        sums[:, batch] = _averages(rule, flat[batch])
    g, slope_squared, zss, zss_size, z3ss, *outermost = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond = np.abs(outermost) > _NEGLIGIBLE * np.stack([g, slope_squared, zss_size])
        rounding = 1e-13 * (1 + zss_size / (flat * slope_squared)) + rule.slope_rounding / np.sqrt(
            slope_squared
        )
    reliable = ~np.any(beyond, axis=0) & np.all(np.isfinite(sums), axis=0)
    g_prime = zss / flat
    g_second = (z3ss / flat - 3 * zss) / (2 * flat**2)
    start = rule.at_zero**2
    g = np.where(np.ravel(K) < flat, start + (g - start) * (np.ravel(K) / flat), g)  # straight below LEAST_K
    averages = (x.reshape(np.shape(K)) for x in (g, g_prime, slope_squared, g_second, rounding))
    return SingleInput(np.asarray(K), *averages), reliable.reshape(np.shape(K))


def _averages(rule: LineRule, K: np.ndarray) -> np.ndarray:
    """The averages of the rule's products over N(0, K), (8, rows). Nodes at which the densities underflow are left out."""
    z_squared, products = rule.folded
    used = np.searchsorted(z_squared, _UNDERFLOW * K.max(), side="right")
    density = np.exp(np.multiply.outer(-0.5 / K, z_squared[:used]))
    return (density @ products[:used]).T / np.sqrt(2 * np.pi * K)
