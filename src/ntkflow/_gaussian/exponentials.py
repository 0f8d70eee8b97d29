"""Closed forms where σ(z) = Re Σ_m c_m e^{λ_m z}: exp, sin, cos and their like.

Every product of derivatives is such a sum again, and ⟨Π_i e^{λ_i z_i}⟩ = exp(½ Σ_ij λ_i λ_j G_ij).
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from .requests import Factors, Placements

Terms = tuple[tuple[complex, complex], ...]
"""(c_m, λ_m), closed under complex conjugation."""


def terms_of(terms: Terms, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """(c, λ) of Π σ^(p), p in `factors`; equal λ are put together."""
    by_rate: dict[complex, complex] = {}
    for chosen in itertools.product(terms, repeat=len(factors)):
        total = complex(sum(rate for _, rate in chosen))
        by_rate[total] = by_rate.get(total, 0) + math.prod(
            c * rate**p for (c, rate), p in zip(chosen, factors, strict=True)
        )
    return np.array(list(by_rate.values()), complex), np.array(list(by_rate.keys()), complex)


def pair_moment(terms: Terms, f: Factors, g: Factors, G11, G12, G22) -> np.ndarray:
    """⟨f(z1) g(z2)⟩, elementwise; inf where it overflows."""
    (c, first), (d, second) = terms_of(terms, f), terms_of(terms, g)
    total = np.zeros(np.shape(G12))
    for (a, x), (b, y) in itertools.product(zip(c, first, strict=True), zip(d, second, strict=True)):
        if a * b:
            total = total + (a * b * np.exp((x * x * G11 + 2 * x * y * G12 + y * y * G22) / 2)).real
    return total


def four_moments(terms: Terms, G: np.ndarray, asked: Placements) -> np.ndarray:
    """⟨Π_i σ^(p_i)(z_i)⟩, G (B, 4, 4), for each placement p: (B, placements)."""
    total = np.zeros((len(G), len(asked)))
    for chosen in itertools.product(terms, repeat=4):
        rate = np.array([x for _, x in chosen])
        powers = np.prod(rate ** np.array(asked).reshape(-1, 4), axis=1)
        value = math.prod(c for c, _ in chosen) * np.exp(np.einsum("i,j,bij->b", rate, rate, G) / 2)
        total += (value[:, None] * powers).real
    return total


def coefficients(terms: Terms, factors: Factors, s: np.ndarray, count: int) -> np.ndarray:
    """Hermite coefficients of Π σ^(p)(s u), u ~ N(0, 1): (N, count). e^{λ s u} has (λ s)^k e^{λ² s² / 2} / √k!."""
    k = np.arange(count)
    half_log_factorial = np.array([math.lgamma(n + 1) for n in k]) / 2
    total = np.zeros((len(s), count))
    for c, rate in zip(*terms_of(terms, factors), strict=True):
        if rate == 0:
            total[:, 0] += c.real
            continue
        x = (rate * s)[:, None]
        total += (c * np.exp(x * x / 2 + k * np.log(x) - half_log_factorial)).real
    return total
