"""The NTK's own variance: A and B."""

from __future__ import annotations

from typing import Any, NamedTuple

from .contract import outer, over_both, over_pair, swap


class OmegaMoments(NamedTuple):
    """Of Ω_12 = λ_W σ1σ2 + C_W H_12 σ'1σ'2, PDLT (8.74): ⟨Ω12⟩, J[Ω12], ⟨σ1σ2Ω34⟩ and ⟨Ω12Ω34⟩."""

    mean: Any
    J: Any
    with_ss: Any
    with_omega: Any


def Omega(h, e) -> OmegaMoments:
    """The moments of Ω that D and A share."""
    CH_34 = h.C_W * e.H
    CH_12 = CH_34[:, :, None, None]
    return OmegaMoments(
        mean=h.lambda_W * e.Phi + CH_34 * e.dPhi,
        J=h.lambda_W * e.J_ss + CH_34 * e.J_dd,
        with_ss=h.lambda_W * e.ssss + CH_34 * e.ssdd,
        with_omega=h.lambda_W**2 * e.ssss
        + h.lambda_W * (CH_34 * e.ssdd + CH_12 * swap(e.ssdd))
        + CH_12 * CH_34 * e.dddd,
    )


def A(h, e, omega, t):
    """A'_(12)(34), PDLT (8.97)."""
    mixed = e.dPhi * over_pair(omega.J, t.D)
    return (
        omega.with_omega - outer(omega.mean, omega.mean)
        + h.r / 4 * over_both(omega.J, t.V, omega.J)
        + h.r * h.C_W**2 * outer(e.dPhi, e.dPhi) * t.A
        + h.r / 2 * h.C_W * (mixed + swap(mixed))
    )  # fmt: skip


def B(h, e, t):
    """B'_1324, PDLT (8.89)."""
    dddd_1324 = e.dddd.swapaxes(1, 2)
    H_12, H_34 = e.H[:, None, :, None], e.H[:, None]
    return h.C_W**2 * (dddd_1324 * H_12 * H_34 + h.r * outer(e.dPhi, e.dPhi) * t.B)
