"""Every expectation that one step of the recursions reads, on one layer's metric."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..activations import Activation
from .piecewise_linear import PiecewiseLinear
from .rules import Rule
from .sample_sets import SampleSets, pair_requests
from .series_integrals import SeriesIntegrals


class Expectations(NamedTuple):
    """⟨·⟩ over N(0, G).

    Tables are over samples α1, α2; the leading axis counts derivatives taken at α2.

    Attributes:
        Phi, dPhi: ⟨σ1σ2⟩ and ⟨σ'1σ'2⟩, (N, N).
        J_ss, J_dd: J[σ1σ2] and J[σ'1σ'2], (3, N, N): ⟨∂²/∂z1²⟩, ⟨∂²/∂z1∂z2⟩, ⟨∂²/∂z2²⟩.
        K_sd: first derivatives of σ1σ'2, (2, N, N).
        Q_ss, Q_dd: fourth derivatives of σ1σ2 and σ'1σ'2, (5, N, N).
        pairs: ⟨f(z1) g(z2)⟩, (N, N), by (f, g): (0, 0, 1) is σ σ σ'.
        wide: (M, 2, 2, 2, 2), ⟨Π_i σ^(p_i)(z_i)⟩ at [m, p1, p2, p3, p4] on the samples `SampleSets.wide[m]`.

    Where two samples are one variable (z2 = c z1) and σ has a kink, the separate derivatives diverge: there the total
    derivative stands in the entry of z1 and zeros in the others, which gives the same sums.
    """

    Phi: Any
    dPhi: Any
    J_ss: Any
    J_dd: Any
    K_sd: Any
    Q_ss: Any
    Q_dd: Any
    pairs: dict[tuple, Any]
    wide: Any


def expectations(
    activation: Activation, G: np.ndarray, ratio: np.ndarray, sets: SampleSets | None, rule: Rule
) -> Expectations:
    """All expectations of one step.

    Args:
        G: (N, N), positive semi-definite.
        ratio: (N, N), c where z_b = c z_a exactly (1 on the diagonal), NaN elsewhere.
        sets: where the four-sample moments are wanted; None for none.
    """
    integrals = (PiecewiseLinear if activation.slopes else SeriesIntegrals)(activation, G, ratio, rule)
    if sets is None:
        return Expectations(**integrals.tables(), pairs={}, wide=np.zeros((0, 2, 2, 2, 2)))
    pairs = integrals.pairs(pair_requests(sets.k))
    return Expectations(**integrals.tables(), pairs=pairs, wide=integrals.wide_all(sets.wide))
