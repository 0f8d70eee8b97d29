"""From a layer of the stream through the first stage of a block, to its u."""

from __future__ import annotations

import numpy as np

from .._recursions.contract import outer, swap
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
        X: of the layer's products. f_m: ⟨f_24 m_134⟩ in the order 1324.
    """
    of_G, of_h, χ_34 = f.of_metric, f.omega_of_metric, f.chi
    X_ψ, X_Ω, Xh_ψ, Xh_Ω = f.psi.of(X.G), f.omega.of(X.G), f.psi.of(X.h), f.omega.of(X.h)
    # ½ΣJ[ψ34] V_12γγ' and so on.
    ψV, ΩV = on_second_pair(of_G, t.V), on_second_pair(of_h, t.V)
    ψX_ψ = on_second_pair(of_G, X_ψ)
    mixed = χ_34 * of_h(t.D) + on_second_pair(of_h, X_Ω) + χ_34 * Xh_Ω
    slopes_f_m = f.slopes(f_m)
    u = State(
        V=own.V + of_G(ψV) + ψX_ψ + swap(ψX_ψ),
        D=own.D + of_G(ΩV) + χ_34 * of_G(t.D) + on_second_pair(of_h, X_ψ) + χ_34 * Xh_ψ + swap(on_second_pair(of_G, X_Ω)),
        A=own.A + of_h(ΩV) + outer(f.chi, f.chi) * t.A + mixed + swap(mixed),
        F=own.F + f.slopes.on_both(t.F) + slopes_f_m + swap(slopes_f_m),
        B=own.B,
    )  # fmt: skip
    inside = Inside(
        V=ψV + swap(X_ψ),
        D=ΩV + χ_34 * t.D + swap(X_Ω),
        D_of_u=of_G(t.D) + Xh_ψ,
        A=swap(of_h(t.D)) + χ_34 * t.A + swap(Xh_Ω),
        F=own.F,
        B=own.B,
    )
    return u, inside
