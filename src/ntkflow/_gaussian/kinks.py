"""What kinks, wherever they are, add to ⟨σ^(a)(z1) σ^(b)(z2)⟩: derivatives of σ hold δ's and their derivatives.

With J_m = σ^(m)(κ+) - σ^(m)(κ-) at a kink κ and {·} for the ordinary part, σ^(a) = {σ^(a)} + Σ_κ Σ_{m<a} J_m
δ^(a-1-m)(z - κ). A factor δ^(p)(z1 - κ) is taken by writing z2 = c z1 + w, w independent of z1:

    ⟨δ^(p)(z1 - κ) h(z2)⟩ = (-1)^p Σ_q C(p, q) N^(p-q)(κ; G11) c^q ⟨h^(q)(c κ + w)⟩.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..activations import Activation, beside
from .rules import evaluate

ROUNDOFF = 1e-15  # of 1 - ρ²
_MISSING = 1e-10


def sine_squared(variance1, variance2, covariance):
    """1 - ρ² of two variables, from arrays of one shape; 0 where it is round-off or a variance vanishes.

    Next to ρ = ±1 it has few digits. Statistics in which derivatives cancel are then those of another angle, if every
    expectation takes the angle from here, and meaningless if not.
    """
    product = variance1 * variance2
    share = np.divide(product - covariance**2, product, out=np.zeros_like(product), where=product > 0)
    return np.where(share > ROUNDOFF, share, 0.0)


class DeltaTerms:
    """⟨σ^(a)(z1) σ^(b)(z2)⟩ - ⟨{σ^(a)}(z1) {σ^(b)}(z2)⟩ for every pair, by `terms(a, b)`.

    Args:
        G: (N, N); where z1 and z2 are parallel the result has no meaning.
        kinks: (m,), κ.
        jumps: (m, n), J_0 … J_{n-1} of each kink, n ≥ a + b.
        ordinary_means: for means and variances (…), ⟨{σ^(n)}(mean + w)⟩ with w ~ N(0, variance): (n, …).
    """

    def __init__(
        self,
        G: np.ndarray,
        kinks: np.ndarray,
        jumps: np.ndarray,
        ordinary_means: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ):
        self.kinks, self.jumps = kinks, jumps
        self.variance = np.diag(G)[:, None] * np.ones_like(G)
        self.slope = np.divide(G, self.variance, out=np.zeros_like(G), where=self.variance > 0)
        self.conditional_variance = self.variance.T * sine_squared(self.variance, self.variance.T, G)
        self.means = [ordinary_means(self.slope * kink, self.conditional_variance) for kink in kinks]

    def terms(self, a: int, b: int) -> np.ndarray:
        """(N, N), z1 along the rows."""
        total = np.zeros_like(self.conditional_variance)
        for number, jumps in enumerate(self.jumps):
            for m in np.flatnonzero(jumps[:a]).tolist():
                total += jumps[m] * self._against_delta(number, a - 1 - m, b, 0)
            for m in np.flatnonzero(jumps[:b]).tolist():
                total += jumps[m] * self._against_delta(number, b - 1 - m, a, a).T
        return total

    def _against_delta(self, number: int, p: int, b: int, lowest: int) -> np.ndarray:
        """⟨δ^(p)(z1 - κ) h(z2)⟩, h being σ^(b) without those of its δ's that come from jumps below `lowest`."""
        terms = [
            math.comb(p, q)
            * _density(self.kinks[number], self.variance, p - q)
            * self.slope**q
            * self._smeared(number, b + q, lowest)
            for q in range(p + 1)
        ]
        return (-1) ** p * sum(terms)

    def _smeared(self, number: int, n: int, lowest: int) -> np.ndarray:
        """⟨h^(q)(c κ + w)⟩, n = b + q, without those δ's that come from jumps below `lowest`."""
        total = self.means[number][n]
        away = self.slope * self.kinks[number]
        for kink, jumps in zip(self.kinks, self.jumps, strict=True):
            for m in range(lowest, n):
                if jumps[m]:
                    total = total + jumps[m] * (-1) ** (n - 1 - m) * _density(
                        kink - away, self.conditional_variance, n - 1 - m
                    )
        return total


def _density(x, variance: np.ndarray, order: int) -> np.ndarray:
    """The derivative of that order of the density of N(0, variance), at x; 0 where the variance vanishes."""
    s = np.sqrt(variance)
    alive = s > 0
    u = np.divide(x, s, out=np.zeros_like(s), where=alive)
    polynomial = np.polynomial.hermite_e.hermeval(u, [0] * order + [1])
    top = (-1) ** order * polynomial * np.exp(-u * u / 2) / math.sqrt(2 * math.pi)
    return np.divide(top, s ** (order + 1), out=np.zeros_like(s), where=alive)


def kinks_and_jumps(activation: Activation, order: int) -> tuple[np.ndarray, np.ndarray]:
    """κ (m,) and J_0 … J_order of each (m, order + 1)."""
    kinks = np.array(activation.kinks)
    below, above = beside(kinks)
    return kinks, (evaluate(activation, above, order) - evaluate(activation, below, order)).T


def missing_deltas(
    activation: Activation, means: np.ndarray, by_parts: np.ndarray, norm: np.ndarray, s: np.ndarray
) -> np.ndarray:
    """|⟨σ(z) He_n(z/s)⟩ / sⁿ - ⟨σ^(n)(z)⟩|, which vanishes by Stein's identity unless σ has a kink nobody declared.

    Args:
        means: ⟨{σ^(n)}⟩ of N samples, n = 0 …: (n, N). by_parts: ⟨σ(z) He_n(z/s)⟩, of that shape.
        norm: √⟨σ²⟩, (N,). s: (N,).

    Returns:
        An array like `means`; 0 where the difference may be round-off.
    """
    missing = np.zeros_like(means)
    alive = s > 0
    s = np.where(alive, s, 1.0)
    for n in range(1, len(means)):
        declared = np.zeros_like(s)
        if activation.kinks:
            for kink, jumps in zip(*kinks_and_jumps(activation, n), strict=True):
                for m in range(n):
                    declared += jumps[m] * (-1) ** (n - 1 - m) * _density(kink, s**2, n - 1 - m)
        gap = np.abs(by_parts[n] / s**n - means[n] - declared)
        doubt = _MISSING * norm * math.sqrt(math.factorial(n)) / s**n
        missing[n] = np.where(alive & (gap > doubt), gap, 0.0)
    return missing
