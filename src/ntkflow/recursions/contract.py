"""The sums over γ of the recursions, over slots: where two slots are one sample this is the chain rule."""

from __future__ import annotations

import numpy as np


def outer(f, g):
    """f_12 g_34 for (…, k, k) tables."""
    return f[..., :, :, None, None] * g[..., None, None, :, :]


def swap(X):
    """X_3412 from X_1234."""
    return np.moveaxis(X, (-2, -1), (-4, -3))


def over_pair(J, X):
    """Σ_γ1γ2 J_γ1γ2 X_γ1γ2 34, γ1, γ2 ∈ {1, 2}: J (S, 3, k, k), X (S, k, k, k, k)."""
    k = X.shape[-1]
    i = np.arange(k)
    same = X[:, i, i]
    J = J[..., None, None]
    return J[:, 0] * same[:, :, None] + 2 * J[:, 1] * X + J[:, 2] * same[:, None, :]


def over_both(J, X, K):
    """Σ J_γ1γ2 K_γ3γ4 X_γ1γ2γ3γ4, γ1, γ2 ∈ {1, 2} and γ3, γ4 ∈ {3, 4}."""
    return swap(over_pair(K, swap(over_pair(J, X))))


def over_first(K, F):
    """Σ_γ1 K_γ1 F_γ1 3 24, γ1 ∈ {1, 3}: K (S, 2, k, k), F_1324 (S, k, k, k, k)."""
    i = np.arange(F.shape[-1])
    return K[:, 0, :, :, None, None] * F + K[:, 1, :, :, None, None] * F[:, i, i][:, None]


def over_quartet(Q, V):
    """Σ ∂⁴_γ1γ2γ3γ4 V_(γ1γ2)(γ3γ4), all γ ∈ {1, 2}: Q (S, 5, k, k) counts derivatives at 2; (S, k, k)."""
    i = np.arange(V.shape[-1])
    a, b = i[:, None], i[None, :]
    return (
        Q[:, 0] * V[:, a, a, a, a]
        + 4 * Q[:, 1] * V[:, a, a, a, b]
        + Q[:, 2] * (2 * V[:, a, a, b, b] + 4 * V[:, a, b, a, b])
        + 4 * Q[:, 3] * V[:, a, b, b, b]
        + Q[:, 4] * V[:, b, b, b, b]
    )
