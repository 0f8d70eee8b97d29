"""Divided differences of exp(-xt) and of μ^T: integrals over ordered times of what decays in between.

φ(x_0 … x_k) = (-1)^k f[x_0 … x_k] = ∫ Π_i exp(-x_i τ_i) over times τ_i ≥ 0 that sum to t.
"""

from __future__ import annotations

import functools
import math

import numpy as np

_APART = 1.0  # times t: nodes farther apart lose nothing in differences
_TERMS = 20


def decays(t: float, *nodes: np.ndarray) -> np.ndarray:
    """φ(x_0 … x_k) of rates x_i ≥ 0, arrays that are broadcast; to 1e-14 however close the rates are.

    At infinite time, where x_0 alone may be 0: rates of 0 of the others never train, and count as nothing.
    """
    x = np.broadcast_arrays(*nodes)
    if t == np.inf:
        first, rest = x[0], x[1:]
        product = functools.reduce(np.multiply, rest, np.ones(first.shape))
        return np.where((first == 0) & (product > 0), 1 / np.where(product > 0, product, 1.0), 0.0)
    x = t * np.sort(np.stack(x), axis=0)
    # Windows of sorted neighbours, of one more in each round.
    windows = list(np.exp(-x))
    for size in range(1, len(x)):
        gaps = [x[i + size] - x[i] for i in range(len(x) - size)]
        windows = [
            np.where(
                gap > _APART, (windows[i] - windows[i + 1]) / np.where(gap > _APART, gap, 1.0),
                _of_close(x[i : i + size + 1]),
            )
            for i, gap in enumerate(gaps)
        ]  # fmt: skip
    return t ** (len(x) - 1) * windows[0]


def _of_close(x: np.ndarray) -> np.ndarray:
    """φ at t = 1 of rates (k + 1, …) within about 1: e^{-x̄} Σ_j h_j(x̄ - x) / (j + k)!, h_j the complete homogeneous polynomials."""
    mean = x.mean(axis=0)
    z, k = np.clip(mean - x, -_APART, _APART), len(x) - 1
    # h[j] of the first nodes; one node more at a time.
    h = [z[0] ** j for j in range(_TERMS)]
    for node in z[1:]:
        for j in range(1, _TERMS):
            h[j] = h[j] + node * h[j - 1]
    return np.exp(-mean) * sum(polynomial / math.factorial(j + k) for j, polynomial in enumerate(h))


def powers(T: int, *nodes: np.ndarray) -> np.ndarray:
    """f[μ_0 … μ_k] of f(μ) = μ^T, arrays that are broadcast: the corner of the T-th power of a bidiagonal matrix."""
    mu = np.broadcast_arrays(*nodes)
    size = len(mu)
    one, zero = np.ones(mu[0].shape), np.zeros(mu[0].shape)
    base = {
        (i, j): mu[i] if i == j else one if j == i + 1 else zero for i in range(size) for j in range(i, size)
    }
    result = {(i, j): one if i == j else zero for i in range(size) for j in range(i, size)}
    while T:
        if T & 1:
            result = _product(result, base, size)
        T >>= 1
        if T:
            base = _product(base, base, size)
    return result[0, size - 1]


def _product(a: dict, b: dict, size: int) -> dict:
    """Of upper triangular matrices."""
    return {
        (i, j): sum(a[i, k] * b[k, j] for k in range(i, j + 1)) for i in range(size) for j in range(i, size)
    }
