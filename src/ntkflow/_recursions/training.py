"""The tensors of training: P, Q of the NTK's first derivative dĤ, and R, S, T, U of its second ones, ddĤ.

Where PDLT takes them up: the dNTK in chapter 11, the ddNTKs in chapter ∞. Axes are in the order of the subscripts: `T[a1, a3, a2, a4]`,
`U[a1, a4, a2, a3]`. A sum over γ is over slots, with derivatives by the slot.

At a kink of σ' σ'' is a δ: on coinciding samples the products of two of them in R, S, T and U diverge, and the change of the NTK has no
expansion in 1/n. P and Q are finite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cancellation import of_second_derivatives
from .tensors import Derivative, tensor

Component = Callable[[Any], Any]
"""A tensor's components as a function of the sample in one of its slots."""


def _slots(e):
    """Indices of four slots, which broadcast to (k, k, k, k)."""
    return np.ogrid[tuple([slice(len(e.H))] * 4)]


def _over_ds(e, a, b, X: Component):
    """Σ_γ ⟨∂_γ(σ'_a σ_b)⟩ X_γ, γ ∈ {a, b}."""
    return e.es[a, b] * X(a) + e.dPhi[a, b] * X(b)


def _omega_first_twice(h, e):
    """⟨Ω_äb⟩, Ω_12 = λ_W σ1σ2 + C_W H_12 σ'1σ'2 with two derivatives by its first slot: (k, k, S)."""
    return h.lambda_W * e.es + h.C_W * e.H * e.fd


def _omega_once_each(h, e):
    """⟨Ω_ȧḃ⟩, with one derivative by each slot."""
    return h.lambda_W * e.dPhi + h.C_W * e.H * e.ee


def _over_omega(h, e, a, b, X: Component):
    """Σ_γ ⟨∂_γ Ω_ȧb⟩ X_γ, γ ∈ {a, b}."""
    return _omega_first_twice(h, e)[a, b] * X(a) + _omega_once_each(h, e)[a, b] * X(b)


@tensor(
    "0123", equal=("0213",), moments=("edds", "es"), made_of="HHHG", measured=Derivative("dH_z", (0, 1, 1, 0)),
    cancellation=of_second_derivatives, training=True,
)  # fmt: skip
def P(h, e, t):
    """P'_0123 of E[dĤ_012 z_3]."""
    a0, a1, a2, a3 = _slots(e)
    carried = e.es[a0, a3] * t.B[a0, a0, a1, a2] + _over_ds(e, a0, a3, lambda c: t.P[a0, a1, a2, c])
    return h.C_W**2 * (e.edds * e.H[a0, a1] * e.H[a0, a2] + h.r * e.dPhi[a1, a2] * carried)


@tensor(
    "0123", equal=(), moments=("dsds", "edds", "es", "fd", "ee"), made_of="HHHG", measured=Derivative("dH_z", (0, 0, 1, 1)),
    cancels_from=("F",), cancellation=of_second_derivatives, training=True,
)  # fmt: skip
def Q(h, e, t):
    """Q'_0123 of E[dĤ_012 z_3]."""
    a0, a1, a2, a3 = _slots(e)
    omega_ds = h.lambda_W * e.dsds + h.C_W * e.H[a0, a1] * e.edds
    with_F = _over_omega(h, e, a0, a1, lambda c: _over_ds(e, a2, a3, lambda d: t.F[c, a0, d, a2]))
    with_Q = h.C_W * e.dPhi[a0, a1] * _over_ds(e, a2, a3, lambda d: t.Q[a0, a1, a2, d])
    return h.C_W * (omega_ds * e.H[a0, a2] + h.r * (with_F + with_Q))


@tensor(
    "0123", equal=("0132",), moments=("esdd", "fddd", "es", "fd", "ee"), made_of="HHHH",
    measured=Derivative("ddH_I", (0, 0, 1, 1)), training=True, smooth=True,
)  # fmt: skip
def R(h, e, t):
    """R'_0123 of E[ddĤ_I]."""
    a0, a1, a2, a3 = _slots(e)
    omega_dd = h.lambda_W * e.esdd + h.C_W * e.H[a0, a1] * e.fddd
    carried = (
        _omega_first_twice(h, e)[a0, a1] * t.B[a0, a0, a2, a3]
        + _over_omega(h, e, a0, a1, lambda c: t.P[a0, a2, a3, c])
        + h.C_W * e.dPhi[a0, a1] * t.R
    )
    return h.C_W * (omega_dd * e.H[a0, a2] * e.H[a0, a3] + h.r * e.dPhi[a2, a3] * carried)


@tensor(
    "1234", equal=("2143",), moments=("dddd", "eedd", "ee"), made_of="HHHH",
    measured=Derivative("ddH_II", (0, 0, 1, 1)), training=True, smooth=True,
)  # fmt: skip
def S(h, e, t):
    """S'_1234 of E[ddĤ_II]."""
    a1, a2, a3, a4 = _slots(e)
    omega_dd = h.lambda_W * e.dddd + h.C_W * e.H[a1, a2] * e.eedd
    carried = _omega_once_each(h, e)[a1, a2] * t.B + h.C_W * e.dPhi[a1, a2] * t.S
    return h.C_W * (omega_dd * e.H[a1, a3] * e.H[a2, a4] + h.r * e.dPhi[a3, a4] * carried)


@tensor(
    "1324", equal=("2413",), moments=("dsds", "dsed", "eded", "es", "fd", "ee"), made_of="HHHH",
    measured=Derivative("ddH_II", (0, 1, 0, 1)), training=True, smooth=True,
)  # fmt: skip
def T(h, e, t):
    """T'_1324 of E[ddĤ_II]."""
    a1, a3, a2, a4 = _slots(e)
    CH_13, CH_24 = h.C_W * e.H[a1, a3], h.C_W * e.H[a2, a4]
    edds = e.dsed.transpose(2, 3, 0, 1, 4)
    omega_omega = (
        h.lambda_W**2 * e.dsds + h.lambda_W * (CH_24 * e.dsed + CH_13 * edds) + CH_13 * CH_24 * e.eded
    )
    carried = (
        _over_omega(h, e, a1, a3, lambda c: _over_omega(h, e, a2, a4, lambda d: t.F[c, a1, d, a2]))
        + h.C_W**2 * e.dPhi[a1, a3] * e.dPhi[a2, a4] * t.T
        + h.C_W * e.dPhi[a2, a4] * _over_omega(h, e, a1, a3, lambda c: t.Q[a2, a4, a1, c])
        + h.C_W * e.dPhi[a1, a3] * _over_omega(h, e, a2, a4, lambda d: t.Q[a1, a3, a2, d])
    )
    return omega_omega * e.H[a1, a2] + h.r * carried


@tensor(
    "1423", equal=("2314",), moments=("eded",), made_of="HHHH", measured=Derivative("ddH_II", (0, 1, 1, 0)),
    training=True, smooth=True,
)  # fmt: skip
def U(h, e, t):
    """U'_1423 of E[ddĤ_II]."""
    a1, a4, a2, a3 = _slots(e)
    local = e.eded * e.H[a1, a2] * e.H[a1, a3] * e.H[a2, a4]
    return h.C_W**2 * (local + h.r * e.dPhi[a1, a4] * e.dPhi[a2, a3] * t.U)
