"""Every expectation that one step of the recursions reads, on one layer's metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..activations import Activation
from .piecewise_linear import PiecewiseLinear
from .rules import Rule
from .sample_sets import SampleSets
from .series_integrals import SeriesIntegrals

_KINDS = {"ssss": (0, 0, 0, 0), "ssdd": (0, 0, 1, 1), "dddd": (1, 1, 1, 1)}


@dataclass(frozen=True)
class Expectations:
    """⟨·⟩ over N(0, G). Tables are (N, N) over samples α1, α2; their leading axis counts derivatives taken at α2.

    Attributes:
        Phi, dPhi: ⟨σ1σ2⟩ and ⟨σ'1σ'2⟩, (N, N).
        J_ss, J_dd: J[σ1σ2] and J[σ'1σ'2], (3, N, N): ⟨∂²/∂z1²⟩, ⟨∂²/∂z1∂z2⟩, ⟨∂²/∂z2²⟩.
        Q_ss, Q_dd: fourth derivatives of σ1σ2 and σ'1σ'2, (5, N, N).
        K_sd: first derivatives of σ1σ'2, (2, N, N).
        ssss, ssdd, dddd: ⟨σσσσ⟩, ⟨σ1σ2σ'3σ'4⟩, ⟨σ'σ'σ'σ'⟩ on each set, (S, k, k, k, k); None for the mean alone.

    Where two samples are one variable (z2 = c z1) and σ has a kink, the separate derivatives diverge: there the total
    derivative stands in the entry of z1 and zeros in the others, which gives the same sums.
    """

    Phi: np.ndarray
    dPhi: np.ndarray
    J_ss: np.ndarray
    J_dd: np.ndarray
    K_sd: np.ndarray
    Q_ss: np.ndarray
    Q_dd: np.ndarray
    ssss: np.ndarray | None = None
    ssdd: np.ndarray | None = None
    dddd: np.ndarray | None = None


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
        return Expectations(**integrals.tables())
    found = integrals.moments([(sets.requests[kind][0], primed) for kind, primed in _KINDS.items()])
    moments = {kind: values[sets.requests[kind][1]] for kind, values in zip(_KINDS, found, strict=True)}
    return Expectations(**integrals.tables(), **moments)
