"""What a kink at z = 0 adds to ⟨σ^(a)(z1) σ^(b)(z2)⟩: derivatives of σ hold δ(z) and its derivatives.

With J_m = σ^(m)(0+) - σ^(m)(0-) and {·} for the ordinary part, σ^(a) = {σ^(a)} + Σ_{m<a} J_m δ^(a-1-m). A factor
δ^(p)(z1) is taken by writing z2 = c z1 + w, w independent of z1:

    ⟨δ^(p)(z1) h(z2)⟩ = (-1)^p Σ_q C(p, q) N^(p-q)(0; G11) c^q ⟨h^(q)(w)⟩.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

ROUNDOFF = 1e-15  # of 1 - ρ²


def sine_squared(own, other, cross):
    """1 - ρ² of covariances [[own, cross], [cross, other]], arrays of one shape; 0 where it is round-off or a variance vanishes.

    Next to ρ = ±1 it has few digits. Statistics in which derivatives cancel are then those of another angle, if every
    expectation takes the angle from here, and meaningless if not.
    """
    product = own * other
    left = np.divide(product - cross**2, product, out=np.zeros_like(product), where=product > 0)
    return np.where(left > ROUNDOFF, left, 0.0)


class DeltaTerms:
    """⟨σ^(a)(z1) σ^(b)(z2)⟩ - ⟨{σ^(a)}(z1) {σ^(b)}(z2)⟩ for every pair, by `terms(a, b)`.

    Args:
        G: (N, N); where z1 and z2 are parallel the result has no meaning.
        jumps: J_m, m = 0 … a + b - 1.
        ordinary_means: for variances (N, N), ⟨{σ^(n)}(w)⟩ with w ~ N(0, variance), n = 0 … a + b - 1: (n, N, N).
    """

    def __init__(self, G: np.ndarray, jumps: np.ndarray, ordinary_means: Callable[[np.ndarray], np.ndarray]):
        self.jumps = jumps
        self.variance = np.diag(G)[:, None] * np.ones_like(G)
        self.slope = np.divide(G, self.variance, out=np.zeros_like(G), where=self.variance > 0)
        self.left = self.variance.T * sine_squared(self.variance, self.variance.T, G)
        self.means = ordinary_means(self.left)

    def terms(self, a: int, b: int) -> np.ndarray:
        """(N, N), z1 along the rows."""
        total = np.zeros_like(self.left)
        for m in np.flatnonzero(self.jumps[:a]).tolist():
            total += self.jumps[m] * self._against_delta(a - 1 - m, b, 0)
        for m in np.flatnonzero(self.jumps[:b]).tolist():
            total += self.jumps[m] * self._against_delta(b - 1 - m, a, a).T
        return total

    def _against_delta(self, p: int, b: int, lowest: int) -> np.ndarray:
        """⟨δ^(p)(z1) h(z2)⟩, where h is σ^(b) without those of its δ's that come from jumps below `lowest`."""
        terms = [
            math.comb(p, q) * _density(self.variance, p - q) * self.slope**q * self._smeared(b + q, lowest)
            for q in range(p + 1)
        ]
        return (-1) ** p * sum(terms)

    def _smeared(self, n: int, lowest: int) -> np.ndarray:
        deltas = [
            self.jumps[m] * (-1) ** (n - 1 - m) * _density(self.left, n - 1 - m) for m in range(lowest, n)
        ]
        return self.means[n] + sum(deltas)


def _density(variance: np.ndarray, order: int) -> np.ndarray:
    """The derivative of that order of the density of N(0, variance), at 0; 0 where the variance vanishes."""
    if order % 2:
        return np.zeros_like(variance)
    s = np.sqrt(variance)
    top = (-1) ** (order // 2) * math.prod(range(1, order, 2)) / math.sqrt(2 * math.pi)
    return np.divide(top, s ** (order + 1), out=np.zeros_like(s), where=s > 0)
