"""Ω, the part of the NTK that a layer adds and carries, in which D and A share moments."""

from __future__ import annotations

from typing import Any, NamedTuple

from .contract import swap


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
