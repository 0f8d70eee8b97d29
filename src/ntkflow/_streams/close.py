"""The end of a block, z' = γ z + u."""

from __future__ import annotations

import numpy as np

from .._recursions.contract import swap
from .correlations import ReadLayer
from .functions import StageFunctions
from .maps import SlopeMap, on_second_pair
from .memory import Chain, Past
from .state import Inside, State


def close(
    gamma: float, f: StageFunctions, chain: Chain, t: State, u: State, inside: Inside, f_m: np.ndarray, kappa_p: np.ndarray
) -> State:  # fmt: skip
    """The state of the next layer of the stream.

    Args:
        f: of the block's first stage. chain: of its further ones.
        t: the state of the layer at the block's beginning. u, inside: at its end.
        f_m: ⟨f_24 m_134⟩. kappa_p: ⟨κ_13 p_1324⟩, both in the order 1324, of the first stage's f and κ.
    """
    slopes = slopes_of_block(gamma, f, chain)
    slopes_f_m = slopes(on_second_pair(chain.slopes, f_m))
    γ2 = gamma**2
    χ = γ2 + chain.chi * f.chi
    χ_13 = χ[:, :, None, None]
    χκp = χ * chain.chi[:, :, None, None] * kappa_p
    return State(
        V=γ2**2 * t.V + γ2 * (inside.V + swap(inside.V)) + u.V,
        D=γ2**2 * t.D + γ2 * (inside.D + inside.D_of_u) + u.D,
        A=γ2**2 * t.A + γ2 * (inside.A + swap(inside.A)) + u.A,
        F=slopes.on_both(t.F) + slopes_f_m + swap(slopes_f_m) + inside.F,
        B=χ_13 * χ * t.B + χκp + swap(χκp) + u.B,
    )


def slopes_of_block(gamma: float, f: StageFunctions, chain: Chain) -> SlopeMap:
    """t_13γ = γ² δ_γ1 + ⟨∂_γ f_13⟩."""
    return chain.slopes.after(f.slopes).plus(gamma**2)


def remembered(past: list[Past], gamma: float, layer: ReadLayer, chain: Chain) -> list[Past]:
    """The memory of the next layer, from the layer at the block's beginning; none behind a layer without a skip."""
    if gamma == 0:
        return []
    f = layer.functions
    assert f is not None
    slopes = slopes_of_block(gamma, f, chain)
    χ = gamma**2 + chain.chi * f.chi
    k, S = layer.nu.shape
    a = gamma**2 * layer.H[:, None, :, None] * layer.H[:, None]
    new = Past(layer, gamma, gamma, chain, a, SlopeMap.identity(k, S).scaled(gamma))
    return [
        *(
            source._replace(
                gamma=gamma * source.gamma,
                a=gamma**2 * χ * source.a,
                alpha=slopes.after(source.alpha).scaled(gamma),
            )
            for source in past
        ),
        new,
    ]
