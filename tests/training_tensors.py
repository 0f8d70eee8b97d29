"""The tensors of training, P, Q, R, S, T, U: they ask for moments of σ'' and σ''' that no other tensor reads.

Of a smooth σ. Subscripts and axes are in the order in which the tensors' names have them: T[a1, a3, a2, a4], U[a1, a4, a2, a3].
"""

import numpy as np

from ntkflow._recursions.tensors import tensor

NAMES = ("P", "Q", "R", "S", "T", "U")


class _Omega:
    """Means of Ω_12 = λ_W σ1σ2 + C_W H_12 σ'1σ'2, differentiated by its slots: (k, k, S)."""

    def __init__(self, h, e):
        self.first_once_and_second = h.lambda_W * e.dPhi + h.C_W * e.H * e.ee
        self.first_twice = h.lambda_W * e.es + h.C_W * e.H * e.fd

    def change(self, a, b, of):
        """Σ_γ ⟨∂_γ Ω_ȧb⟩ of(γ), γ ∈ {a, b}."""
        return self.first_twice[a, b] * of(a) + self.first_once_and_second[a, b] * of(b)


def _slots(e):
    return np.ogrid[tuple([slice(len(e.H))] * 4)]


def _change(e, a, b, of):
    """Σ_γ ⟨∂_γ(σ'_a σ_b)⟩ of(γ), γ ∈ {a, b}."""
    return e.es[a, b] * of(a) + e.dPhi[a, b] * of(b)


@tensor("0123", equal=("0213",), moments=("edds", "es"), made_of="HHHG")
def P(h, e, t):
    a0, a1, a2, a3 = _slots(e)
    carried = e.es[a0, a3] * t.B[a0, a0, a1, a2] + _change(e, a0, a3, lambda c: t.P[a0, a1, a2, c])
    return h.C_W**2 * (e.edds * e.H[a0, a1] * e.H[a0, a2] + h.r * e.dPhi[a1, a2] * carried)


@tensor("0123", equal=(), moments=("dsds", "edds", "es", "fd", "ee"), made_of="HHHG")
def Q(h, e, t):
    a0, a1, a2, a3 = _slots(e)
    omega = _Omega(h, e)
    added = h.lambda_W * e.dsds + h.C_W * e.H[a0, a1] * e.edds
    with_F = omega.change(a0, a1, lambda c: _change(e, a2, a3, lambda d: t.F[c, a0, d, a2]))
    with_Q = h.C_W * e.dPhi[a0, a1] * _change(e, a2, a3, lambda d: t.Q[a0, a1, a2, d])
    return h.C_W * (added * e.H[a0, a2] + h.r * (with_F + with_Q))


@tensor("0123", equal=("0132",), moments=("esdd", "fddd", "es", "fd", "ee"), made_of="HHHH")
def R(h, e, t):
    a0, a1, a2, a3 = _slots(e)
    omega = _Omega(h, e)
    added = h.lambda_W * e.esdd + h.C_W * e.H[a0, a1] * e.fddd
    carried = (
        omega.first_twice[a0, a1] * t.B[a0, a0, a2, a3]
        + omega.change(a0, a1, lambda c: t.P[a0, a2, a3, c])
        + h.C_W * e.dPhi[a0, a1] * t.R
    )
    return h.C_W * (added * e.H[a0, a2] * e.H[a0, a3] + h.r * e.dPhi[a2, a3] * carried)


@tensor("1234", equal=("2143",), moments=("dddd", "eedd", "ee"), made_of="HHHH")
def S(h, e, t):
    a1, a2, a3, a4 = _slots(e)
    added = h.lambda_W * e.dddd + h.C_W * e.H[a1, a2] * e.eedd
    carried = _Omega(h, e).first_once_and_second[a1, a2] * t.B + h.C_W * e.dPhi[a1, a2] * t.S
    return h.C_W * (added * e.H[a1, a3] * e.H[a2, a4] + h.r * e.dPhi[a3, a4] * carried)


@tensor(
    "1324", equal=("2413",), moments=("dsds", "dsed", "edds", "eded", "es", "fd", "ee"), made_of="HHHH"
)  # fmt: skip
def T(h, e, t):
    a1, a3, a2, a4 = _slots(e)
    omega = _Omega(h, e)
    CH_13, CH_24 = h.C_W * e.H[a1, a3], h.C_W * e.H[a2, a4]
    added = (
        h.lambda_W**2 * e.dsds
        + h.lambda_W * (CH_24 * e.dsed + CH_13 * e.edds)
        + CH_13 * CH_24 * e.eded
    )  # fmt: skip
    carried = (
        omega.change(a1, a3, lambda c: omega.change(a2, a4, lambda d: t.F[c, a1, d, a2]))
        + h.C_W**2 * e.dPhi[a1, a3] * e.dPhi[a2, a4] * t.T
        + h.C_W * e.dPhi[a2, a4] * omega.change(a1, a3, lambda c: t.Q[a2, a4, a1, c])
        + h.C_W * e.dPhi[a1, a3] * omega.change(a2, a4, lambda d: t.Q[a1, a3, a2, d])
    )
    return added * e.H[a1, a2] + h.r * carried


@tensor("1423", equal=("2314",), moments=("eded",), made_of="HHHH")
def U(h, e, t):
    a1, a4, a2, a3 = _slots(e)
    added = e.eded * e.H[a1, a2] * e.H[a1, a3] * e.H[a2, a4]
    return h.C_W**2 * (added + h.r * e.dPhi[a1, a4] * e.dPhi[a2, a3] * t.U)
