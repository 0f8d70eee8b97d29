"""Rotations of Hermite coefficients in a plane, degree by degree.

A rotation mixes coefficients of one degree n alone, those of φ_k = he_k(x1) he_(n-k)(x2) / √(k! (n-k)!), as e^{φJ} with

    J φ_k = √((k+1)(n-k)) φ_(k+1) - √(k(n-k+1)) φ_(k-1).

With v_μ the eigenvectors of the symmetric matrix of the same entries, of eigenvalues μ = -n, -n+2 … n, those of J are i^k v_μk, of
eigenvalues -iμ: a rotation is a phase. Of real coefficients c_μ is the conjugate of c_(-μ), its real part made of even k alone and its
imaginary one of odd k: two real matrices of half the size, with orthonormal rows, lead to c_μ of μ ≥ 0 and back.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np


class Waves(NamedTuple):
    """Of one degree n: from even k to the real part and from odd k to the imaginary one, (n // 2 + 1, n // 2 + 1) and (n // 2 + 1, (n + 1) // 2)."""

    real: np.ndarray
    imag: np.ndarray


@functools.lru_cache(maxsize=512)
def waves(n: int) -> Waves:
    """From k = 0 up to the middle, where they no longer grow; the other half mirrors this one."""
    j = np.arange(n // 2, -1, -1)  # μ = n - 2j
    v = np.empty((len(j), n + 1))
    v[:, 0] = 1.0
    below, entry = np.zeros(len(j)), 0.0
    for k in range(n // 2):
        above = np.sqrt((k + 1.0) * (n - k))
        v[:, k + 1] = ((n - 2 * j) * v[:, k] - entry * below) / above
        below, entry = v[:, k], above
    half = (n + 1) // 2
    v[:, n + 1 - half :] = (v[:, :half] * (-1.0) ** j[:, None])[:, ::-1]
    v *= (np.where(2 * j < n, np.sqrt(2), 1.0) / np.linalg.norm(v, axis=1))[:, None]
    sign = (-1.0) ** (np.arange(n + 1) // 2)
    return Waves(v[:, ::2] * sign[::2], -v[:, 1::2] * sign[1::2])


def frequencies(degrees: int) -> np.ndarray:
    """μ ≥ 0 of each degree, (degrees, degrees // 2 + 1), filled up with higher ones."""
    return (np.arange(degrees) % 2)[:, None] + 2 * np.arange(degrees // 2 + 1)


@functools.lru_cache(maxsize=8)
def along_first(degrees: int) -> np.ndarray:
    """What makes the coefficient of he_n(x1) / √n! of real parts (n even) or imaginary ones (n odd): (degrees, degrees // 2 + 1), zeros beyond."""
    out = np.zeros((degrees, degrees // 2 + 1))
    for n in range(degrees):
        out[n, : n // 2 + 1] = waves(n)[n % 2][:, -1]
    return out


def turned(real, imag, cos, sin):
    """Real and imaginary parts in turned coordinates, of the cosines and sines of μφ."""
    return cos * real + sin * imag, cos * imag - sin * real


def rotations_between(M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """φ, (κ1, κ2) and θ of M = R(φ) diag(κ1, κ2) R(θ), (…, 2, 2)."""
    a, b, c, d = M[..., 0, 0], M[..., 0, 1], M[..., 1, 0], M[..., 1, 1]
    q, r = np.hypot(a + d, c - b) / 2, np.hypot(a - d, c + b) / 2
    difference, total = np.arctan2(c + b, a - d), np.arctan2(c - b, a + d)
    return (total + difference) / 2, np.stack([q + r, q - r], axis=-1), (total - difference) / 2
