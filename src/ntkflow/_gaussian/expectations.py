"""Every expectation that one step of the recursions reads, on one layer's metric."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ..activations import Activation
from .piecewise_linear import PiecewiseLinear
from .requests import Factors, Placements, placements
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
        moments: (M, placements), ⟨Π_i σ^(p_i)(z_i)⟩ on the samples `SampleSets.quadruples[m]` for each of the asked `placements`.

    Where two samples are one variable (z2 = c z1) the total derivative may stand in the entry of z1, or of z2 if z1 = 0, and zeros in
    the others, which gives the same sums: the separate derivatives diverge at kinks, and cancel where variances are large.
    """

    Phi: Any
    dPhi: Any
    J_ss: Any
    J_dd: Any
    K_sd: Any
    Q_ss: Any
    Q_dd: Any
    pairs: dict[tuple, Any]
    moments: Any


class Integrals(Protocol):
    """The integrals on one metric, made when they are asked for."""

    def tables(self) -> dict[str, np.ndarray]:
        """The tables of `Expectations`, by name."""
        ...

    def pairs(self, requests: list[tuple[Factors, Factors]]) -> dict[tuple[Factors, Factors], np.ndarray]:
        """⟨f(z_a) g(z_b)⟩ for each (f, g), (N, N)."""
        ...

    def moments(self, quadruples: np.ndarray, asked: Placements) -> np.ndarray:
        """⟨Π_i σ^(p_i)(z_i)⟩ on each of M quadruples (M, 4) of three or four distinct samples: (M, placements)."""
        ...


def integrals(
    activation: Activation, G: np.ndarray, ratio: np.ndarray, rule: Rule, wanted: np.ndarray | None = None
) -> Integrals:
    """The integrals of one step, by the method that suits the activation.

    Args:
        G: (N, N), positive semi-definite.
        ratio: (N, N), c where z_b = c z_a exactly (1 on the diagonal), NaN elsewhere.
        wanted: (N, N), pairs of samples outside of which the tables may be wrong; None for all.
    """
    if activation.slopes:
        return PiecewiseLinear(activation, G, ratio, rule)
    return SeriesIntegrals(activation, G, ratio, rule, wanted)


def on_pairs(of_layer: Integrals, k: int, moments: tuple[str, ...]) -> Expectations:
    """The expectations on at most two samples that sets of k samples need, those of the means alone if k = 0.

    Args:
        moments: the words asked for.
    """
    pairs = of_layer.pairs(pair_requests(k, moments)) if k else {}
    return Expectations(**of_layer.tables(), pairs=pairs, moments=np.zeros((0, len(placements(moments)))))


def expectations(
    activation: Activation, G: np.ndarray, ratio: np.ndarray, sets: SampleSets | None, rule: Rule
) -> Expectations:
    """All expectations of one step.

    Args:
        G, ratio: as of `integrals`.
        sets: where moments on several samples are wanted; None for none.
    """
    of_layer = integrals(activation, G, ratio, rule)
    if sets is None:
        return on_pairs(of_layer, 0, ())
    e = on_pairs(of_layer, sets.k, sets.moments)
    return e._replace(moments=of_layer.moments(sets.quadruples, placements(sets.moments)))
