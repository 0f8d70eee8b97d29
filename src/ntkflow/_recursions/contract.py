"""The sums over γ of the recursions, over slots: where two slots are one sample this is the chain rule.

Tensors are (k, k, k, k, S), tables (k, k, S): the S sample sets come last, and broadcasting aligns a table with axes 3 and 4.
"""

from __future__ import annotations

import numpy as np


def outer(f, g):
    """f_12 g_34 for (k, k, S) tables."""
    return f[:, :, None, None] * g


def swap(X):
    """X_3412 from X_1234."""
    return X.transpose(2, 3, 0, 1, 4)


def over_pair(J, X):
    """Σ_γ1γ2 J_γ1γ2 X_γ1γ2 34, γ1, γ2 ∈ {1, 2}: J (3, k, k, S), X (k, k, k, k, S)."""
    i = np.arange(len(X))
    same = X[i, i]
    J = J[:, :, :, None, None]
    return J[0] * same[:, None] + 2 * J[1] * X + J[2] * same[None]


def over_both(J, X, K):
    """Σ J_γ1γ2 K_γ3γ4 X_γ1γ2γ3γ4, γ1, γ2 ∈ {1, 2} and γ3, γ4 ∈ {3, 4}."""
    return swap(over_pair(K, swap(over_pair(J, X))))


def over_first(K, F):
    """Σ_γ1 K_γ1 F_γ1 3 24, γ1 ∈ {1, 3}: K (2, k, k, S), F_1324 (k, k, k, k, S)."""
    i = np.arange(len(F))
    K = K[:, :, :, None, None]
    return K[0] * F + K[1] * F[i, i][None]


def over_quartet(Q, V):
    """Σ ∂⁴_γ1γ2γ3γ4 V_(γ1γ2)(γ3γ4), all γ ∈ {1, 2}: Q (5, k, k, S) counts derivatives at 2; (k, k, S)."""
    i = np.arange(len(V))
    a, b = i[:, None], i[None, :]
    return (
        Q[0] * V[a, a, a, a]
        + 4 * Q[1] * V[a, a, a, b]
        + Q[2] * (2 * V[a, a, b, b] + 4 * V[a, b, a, b])
        + 4 * Q[3] * V[a, b, b, b]
        + Q[4] * V[b, b, b, b]
    )
