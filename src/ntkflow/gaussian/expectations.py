"""Every expectation that one step of the recursions reads, on one layer's metric."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ..activations import Activation
from .piecewise_linear import PiecewiseLinear
from .rules import Rule
from .series_integrals import SeriesIntegrals

_KINDS = {"ssss": (0, 0, 0, 0), "ssdd": (0, 0, 1, 1), "dddd": (1, 1, 1, 1)}


class SampleSets:
    """Sample sets (S, k), and for each of their k⁴ slots the distinct integral that serves it."""

    def __init__(self, sets: np.ndarray, samples: int):
        self.sets = np.asarray(sets)
        self.samples = samples
        k = self.sets.shape[1]
        slots = self.sets[:, np.array(list(itertools.product(range(k), repeat=4)))]
        halves = np.concatenate([np.sort(slots[..., :2]), np.sort(slots[..., 2:])], axis=-1)
        same, same_inverse = self._unique(np.sort(slots))
        mixed, mixed_inverse = self._unique(halves)
        self.requests = {
            "ssss": (same, same_inverse),
            "ssdd": (mixed, mixed_inverse),
            "dddd": (same, same_inverse),
        }

    def _unique(self, quadruples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = quadruples @ (self.samples ** np.arange(4, dtype=np.int64))
        _, first, inverse = np.unique(key.ravel(), return_index=True, return_inverse=True)
        k = self.sets.shape[1]
        return quadruples.reshape(-1, 4)[first], inverse.reshape(len(self.sets), k, k, k, k)

    def pairs(self, table: np.ndarray) -> np.ndarray:
        """An (…, N, N) table restricted to each set: (S, …, k, k)."""
        return np.moveaxis(table[..., self.sets[:, :, None], self.sets[:, None, :]], -3, 0)


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
    tables = integrals.tables()
    if sets is None:
        return Expectations(**tables)
    moments = {}
    for kind, primed in _KINDS.items():
        quadruples, inverse = sets.requests[kind]
        moments[kind] = integrals.moments(quadruples, primed)[inverse]
    return Expectations(**tables, **moments)
