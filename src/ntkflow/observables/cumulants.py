"""The cumulants of z and Ĥ with their neural indices, times n_{ℓ-1}: PDLT (8.31), (8.67), (8.82). Indices broadcast."""

from __future__ import annotations

import numpy as np

from .._theory.statistics import LayerStatistics
from ..errors import ComponentError
from .entries import NTK, ZZ, Z, components


def _equal(*pairs) -> np.ndarray:
    return np.logical_and.reduce(np.broadcast_arrays(*(np.asarray(a) == b for a, b in pairs)))


def two(layer: LayerStatistics, name: str, first: Z, second: Z) -> np.ndarray:
    """δ_{i1i2} G_12, and so for G1."""
    return components(
        layer, name, _equal((first.neuron, second.neuron)), *map(np.asarray, (first.sample, second.sample))
    )


def mean_ntk(layer: LayerStatistics, name: str, ntk: NTK) -> np.ndarray:
    """δ_{i1i2} H_12, and so for H1."""
    return two(layer, name, Z(ntk.neuron1, ntk.sample1), Z(ntk.neuron2, ntk.sample2))


def _paired(layer, name: str, z1: Z, z2: Z, z3: Z, z4: Z) -> np.ndarray:
    """δ_{i1i2} δ_{i3i4} of a tensor with axes 1, 2, 3, 4."""
    same = _equal((z1.neuron, z2.neuron), (z3.neuron, z4.neuron))
    return components(layer, name, same, *(np.asarray(x.sample) for x in (z1, z2, z3, z4)))


def _halves(ntk: NTK) -> tuple[Z, Z]:
    return Z(ntk.neuron1, ntk.sample1), Z(ntk.neuron2, ntk.sample2)


def zzzz(layer: LayerStatistics, z1: Z, z2: Z, z3: Z, z4: Z) -> np.ndarray:
    """n E[zzzz]_connected = δ_{i1i2}δ_{i3i4} V_(12)(34) + δ_{i1i3}δ_{i2i4} V_(13)(24) + δ_{i1i4}δ_{i2i3} V_(14)(23)."""
    return (
        _paired(layer, "V", z1, z2, z3, z4)
        + _paired(layer, "V", z1, z3, z2, z4)
        + _paired(layer, "V", z1, z4, z2, z3)
    )


def zzH(layer: LayerStatistics, z1: Z, z2: Z, ntk: NTK) -> np.ndarray:
    """n E[z z ΔĤ] = δ_{i1i2}δ_{i3i4} D_1234 + δ_{i1i3}δ_{i2i4} F_1324 + δ_{i1i4}δ_{i2i3} F_1423."""
    z3, z4 = _halves(ntk)
    return (
        _paired(layer, "D", z1, z2, z3, z4)
        + _paired(layer, "F", z1, z3, z2, z4)
        + _paired(layer, "F", z1, z4, z2, z3)
    )


def HH(layer: LayerStatistics, first: NTK, second: NTK) -> np.ndarray:
    """n E[ΔĤ ΔĤ] = δ_{i1i2}δ_{i3i4} A_(12)(34) + δ_{i1i3}δ_{i2i4} B_1324 + δ_{i1i4}δ_{i2i3} B_1423."""
    (z1, z2), (z3, z4) = _halves(first), _halves(second)
    return (
        _paired(layer, "A", z1, z2, z3, z4)
        + _paired(layer, "B", z1, z3, z2, z4)
        + _paired(layer, "B", z1, z4, z2, z3)
    )


def covariance(layer: LayerStatistics, first: ZZ | NTK, second: ZZ | NTK) -> float:
    """Cov over seeds of two entries of (z z, Ĥ), to order 1/n."""
    n = layer.fan_in
    if isinstance(first, NTK) and isinstance(second, NTK):
        return float(HH(layer, first, second)) / n
    if isinstance(second, NTK):
        return float(zzH(layer, *_halves(NTK(*first)), second)) / n
    if isinstance(first, NTK):
        return covariance(layer, second, first)
    z1, z2 = _halves(NTK(*first))
    z3, z4 = _halves(NTK(*second))
    total = float(zzzz(layer, z1, z2, z3, z4)) / n
    for p, q, r, s in ((z1, z3, z2, z4), (z1, z4, z2, z3)):
        G_pq, G_rs = two(layer, "G", p, q), two(layer, "G", r, s)
        total += float(G_pq * G_rs)
        total += float(two(layer, "G1", p, q) * G_rs + G_pq * two(layer, "G1", r, s)) / n
    return total


def correlation(layer: LayerStatistics, first: ZZ | NTK, second: ZZ | NTK) -> float:
    """Cov / √(Var Var), each to order 1/n; right to the first order that does not vanish.

    Raises:
        ComponentError: a variance vanishes or, for 1/n too large, is not positive.
    """
    variances = [covariance(layer, entry, entry) for entry in (first, second)]
    for entry, variance in zip((first, second), variances, strict=True):
        if not variance > 0:
            raise ComponentError(f"{entry} has no correlation: its variance to order 1/n is {variance:.3g}")
    return covariance(layer, first, second) / float(np.sqrt(variances[0] * variances[1]))
