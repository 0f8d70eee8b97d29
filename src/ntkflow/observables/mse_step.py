"""Moments of Σ e e Ĥ and Σ Ĥ e with e = z - y, by Wick's theorem and the cumulants: the first step with the squared loss."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from .._theory.statistics import LayerStatistics
from .entries import components

_NEURON, _SAMPLE = "abcdefgh", "ABCDEFGH"


class Moments(NamedTuple):
    """Moments of Σ e_1 e_2 Ĥ_12 over training samples, and of Σ_2 Ĥ_12 e_2, (N, m)."""

    loss_mean: float
    loss_variance: float
    output_mean: np.ndarray
    output_variance: np.ndarray


class _Slots:
    """Sums over slots, each a neuron and a sample, of products of y, of two-point functions and of cumulants over n.

    A factor is (name, slots); a cumulant is a sum of tensors times Kronecker deltas. `samples[k]`: those of slot k.
    """

    def __init__(self, layer: LayerStatistics, y: np.ndarray, samples: list[np.ndarray]):
        self.layer, self.y, self.samples = layer, y, samples

    def total(self, *factors: tuple[str, tuple[int, ...]], out: tuple[int, ...] = ()) -> np.ndarray:
        """The sum, over all slots but `out`; with axes sample, neuron for each of those."""
        kinds = [self._terms(name, slots) for name, slots in factors]
        used = sorted({slot for _, slots in factors for slot in slots})
        return np.sum([self._term(choice, used, out) for choice in itertools.product(*kinds)], axis=0)

    def _terms(self, name: str, s: tuple[int, ...]):
        """(tensor's name, order of its axes, pairs of equal neurons) for each term."""
        tensors = {"κ": "VVV", "C": "DFF", "X": "ABB"}
        if name in tensors:
            first, second, third = tensors[name]
            p, q, r, t = s
            return [
                (first, (p, q, r, t), [(p, q), (r, t)]),
                (second, (p, r, q, t), [(p, r), (q, t)]),
                (third, (p, t, q, r), [(p, t), (q, r)]),
            ]
        return [(name, s, [] if name == "y" else [s])]

    def _term(self, terms, used, out) -> np.ndarray:
        m = self.layer.width
        operands, subscripts = [], []
        for name, slots, equal in terms:
            operands.append(self._tensor(name, slots))
            subscripts.append("".join((_SAMPLE + _NEURON)[k] for k in slots))
            if name == "y":
                subscripts[-1] += _NEURON[slots[0]]
            for pair in equal:
                operands.append(np.eye(m))
                subscripts.append("".join(_NEURON[k] for k in pair))
        result = "".join(_SAMPLE[k] + _NEURON[k] for k in out)
        return np.einsum(",".join(subscripts) + "->" + result, *operands, optimize="greedy")

    def _tensor(self, name: str, slots: tuple[int, ...]) -> np.ndarray:
        if name == "y":
            return self.y
        axes = np.ix_(*(self.samples[k] for k in slots))
        if name in ("S", "M"):
            kernel_and_correction = ("G", "G1") if name == "S" else ("H", "H1")
            leading, first = (components(self.layer, tensor, True, *axes) for tensor in kernel_and_correction)
            return leading + first / self.layer.fan_in
        return components(self.layer, name, True, *axes) / self.layer.fan_in


def mse_moments(layer: LayerStatistics, y: np.ndarray, train: np.ndarray) -> Moments:
    """Means and variances to order 1/n. With S = E[zz], M = E[Ĥ] and the cumulants κ, C = E[zzΔĤ], X = E[ΔĤΔĤ]:

    E[ee] = S + yy; odd numbers of z vanish.
    """
    t = _Slots(layer, y, [train] * 4)
    mean = t.total(("M", (0, 1)), ("S", (0, 1))) + t.total(("M", (0, 1)), ("y", (0,)), ("y", (1,)))
    mean = mean + t.total(("C", (0, 1, 0, 1)))
    MM = ("M", (0, 1)), ("M", (2, 3))
    # Var[e M e]
    variance = 2 * t.total(*MM, ("S", (0, 2)), ("S", (1, 3)))
    variance += 4 * t.total(*MM, ("y", (0,)), ("S", (1, 2)), ("y", (3,))) + t.total(*MM, ("κ", (0, 1, 2, 3)))
    # 2 Cov[e M e, e ΔĤ e]
    M, C = ("M", (0, 1)), ("C", (0, 1, 2, 3))
    variance += 2 * (t.total(M, C, ("S", (2, 3))) + t.total(M, C, ("y", (2,)), ("y", (3,))))
    one_each = ("C", (1, 3, 2, 3))  # legs of z on 1 and 3, of Ĥ on 2 and 3
    variance += 8 * t.total(M, one_each, ("S", (0, 2))) + 8 * t.total(M, one_each, ("y", (0,)), ("y", (2,)))
    # Var[e ΔĤ e], with E[eeee] of Gaussian z
    X = ("X", (0, 1, 2, 3))
    for a, b, c, d in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)):
        variance += t.total(X, ("S", (a, b)), ("S", (c, d)))
        variance += t.total(X, ("S", (a, b)), ("y", (c,)), ("y", (d,)))
        variance += t.total(X, ("y", (a,)), ("y", (b,)), ("S", (c, d)))
    variance += t.total(X, *(("y", (k,)) for k in range(4)))
    # Outputs: slot 0 is any sample.
    t = _Slots(layer, y, [np.arange(len(layer.G)), train, train])
    shift = -t.total(("M", (0, 1)), ("y", (1,)), out=(0,))
    spread = t.total(("M", (0, 1)), ("M", (0, 2)), ("S", (1, 2)), out=(0,))
    spread = spread + 2 * t.total(("M", (0, 1)), ("C", (1, 2, 0, 2)), out=(0,))
    X = ("X", (0, 1, 0, 2))
    spread = spread + t.total(X, ("S", (1, 2)), out=(0,)) + t.total(X, ("y", (1,)), ("y", (2,)), out=(0,))
    return Moments(float(mean), float(variance), shift, spread)
