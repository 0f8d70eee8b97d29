"""From a layer of the stream through the first stage of a block, to its u."""

from __future__ import annotations

import numpy as np

from .._recursions.contract import swap
from .carry import behind_stage
from .functions import StageFunctions
from .maps import on_second_pair
from .memory import WithFluctuations
from .own import Own
from .state import Inside, State


def through(
    f: StageFunctions, t: State, X: WithFluctuations, f_m: np.ndarray, own: Own
) -> tuple[State, Inside]:
    """The state of u, and what is carried with it.

    Args:
        X: of the layer's products. f_m: ⟨f_24 m_134⟩ in the order 1324. B of u is what the stage's own weights add: `close` has the rest.
    """
    of_G, of_h, χ_34 = f.of_metric, f.omega_of_metric, f.chi
    X_ψ, X_Ω, Xh_ψ, Xh_Ω = f.psi.of(X.G), f.omega.of(X.G), f.psi.of(X.h), f.omega.of(X.h)
    ψX_ψ, ΩX_ψ, ψX_Ω = on_second_pair(of_G, X_ψ), on_second_pair(of_h, X_ψ), on_second_pair(of_G, X_Ω)
    mixed = on_second_pair(of_h, X_Ω) + χ_34 * Xh_Ω
    slopes_f_m = f.slopes(f_m)
    forgetful = behind_stage(f, t, own)
    u = State(
        V=forgetful.V + ψX_ψ + swap(ψX_ψ),
        D=forgetful.D + ΩX_ψ + χ_34 * Xh_ψ + swap(ψX_Ω),
        A=forgetful.A + mixed + swap(mixed),
        F=forgetful.F + slopes_f_m + swap(slopes_f_m),
        B=own.B,
    )
    inside = Inside(
        V=on_second_pair(of_G, t.V) + swap(X_ψ),
        D=on_second_pair(of_h, t.V) + χ_34 * t.D + swap(X_Ω),
        D_of_u=of_G(t.D) + Xh_ψ,
        A=swap(of_h(t.D)) + χ_34 * t.A + swap(Xh_Ω),
        F=own.F,
    )
    return u, inside
