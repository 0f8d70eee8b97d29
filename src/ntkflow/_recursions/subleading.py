"""The 1/n corrections G1 and H1 of the two means."""

import numpy as np

from .cancellation import cubed
from .contract import over_quartet
from .tensors import Correction, tensor


def _corr(J, Q, t):
    """corr[f] = ½ Σ J_γ1γ2[f] G1_γ1γ2 + ⅛ Σ ⟨∂⁴f⟩ V_(γ1γ2)(γ3γ4)."""
    i = np.arange(len(t.G1))
    diagonal = t.G1[i, i]
    pair = J[0] * diagonal[:, None] + 2 * J[1] * t.G1 + J[2] * diagonal[None]
    return pair / 2 + over_quartet(Q, t.V) / 8


@tensor(
    "12", equal=("21",), made_of="GG", measured=Correction("G"), vanishes_below=3, cancels_from=("V",), powers=(3, 4),
)  # fmt: skip
def G1(h, e, t):
    """G1' = r C_W corr[σσ]."""
    return h.r * h.C_W * _corr(e.J_ss, e.Q_ss, t)


@tensor(
    "12", equal=("21",), made_of="HH", measured=Correction("H"), vanishes_below=3, cancels_from=("G1", "V", "D", "F"),
    cancellation=cubed, powers=(1, 1),
)  # fmt: skip
def H1(h, e, t):
    """H1' = r {λ_W corr[σσ] + C_W (corr[σ'σ'] H + Φ' H1 + ½ Σ J[σ'σ'] D_γ1γ2 12 + Σ J[σ'σ'] F_γ1 1 γ2 2)}."""
    i = np.arange(len(t.H1))
    a, b = i[:, None], i[None, :]
    J = e.J_dd
    with_D = J[0] * t.D[a, a, a, b] + 2 * J[1] * t.D[a, b, a, b] + J[2] * t.D[b, b, a, b]
    with_F = J[0] * t.F[a, a, a, b] + J[1] * (t.F[a, a, b, b] + t.F[b, a, a, b]) + J[2] * t.F[b, a, b, b]
    return h.r * (
        h.lambda_W * _corr(e.J_ss, e.Q_ss, t)
        + h.C_W * (_corr(e.J_dd, e.Q_dd, t) * e.H + e.dPhi * t.H1 + with_D / 2 + with_F)
    )
