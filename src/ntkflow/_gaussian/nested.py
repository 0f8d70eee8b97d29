"""Cubatures for functions with kinks where some z_k = κ: one variable after the other, each line cut at the kinks.

In a triangular basis, z = L v, each v_j is the last variable that some z_k depends on. Given the variables before it, its line is cut where
that z_k has its kinks; the integral over it is then a smooth function of the variables before it. Where z_k depends little on v_j and more
on an earlier variable, that function is steep next to the kink, and the earlier variable's nodes are graded towards it. With as many z
as variables, the nodes converge geometrically, whatever the metric; with more (a singular metric), where cuts cross, as a power.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg import qr

from .graded import graded_parts, graded_rule

_SAME = 1e-9
_STEEP = 0.3  # what varies over less than this is graded for
_WIDTH = 4.0  # of the grading, in widths of what varies; and the largest, in standard deviations
_NEGLIGIBLE = 1e-23  # of weights; functions are taken to be below 1e10 where these are
_AT_ONCE = 2**20
_SHARES = 4  # of nodes, in the length of `reach`


class Nested:
    """The cubature for z = root u, u ~ N(0, 1)^r, and kinks at z_k = κ.

    Args:
        root: (d, r), of rank r.
        kinks: each κ.
        reach: where lines are cut off.
    """

    def __init__(self, root: np.ndarray, kinks: Sequence[float], reach: float):
        norm = np.linalg.norm(root, axis=1)
        unit = root[norm > 0] / norm[norm > 0, None]
        # Pivoting puts off what depends little on new variables.
        basis, triangle, order = qr(unit.T, pivoting=True)  # type: ignore[misc]
        self.basis, L = np.asarray(basis), np.transpose(triangle)
        at = np.divide.outer(np.array(kinks, float), norm[norm > 0][order])
        self.reach = reach
        self.lines = [_cuts(L, at, j) for j in range(root.shape[1])]

    def size(self, nodes: int) -> float:
        """An upper bound on the number of points, with `nodes` nodes on half a line."""
        return float(np.prod([nodes * (2 + 2 * len(widths) / _SHARES) for _, widths in self.lines]))

    def pieces(self, nodes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Points u (P, r) and weights (P,), without negligible ones, some at a time."""
        return self._beyond(np.zeros((1, 0)), np.ones(1), nodes)

    def _beyond(self, v: np.ndarray, weights: np.ndarray, nodes: int):
        """All points whose first coordinates are v."""
        j = v.shape[1]
        if j == len(self.lines):
            yield v @ self.basis.T, weights
            return
        affine, widths = self.lines[j]
        at_once = max(_AT_ONCE // (2 * nodes * len(widths)), 1)
        for start in range(0, len(v), at_once):
            before, weight = v[start : start + at_once], weights[start : start + at_once]
            breaks = affine[:, :1] + affine[:, 1:] @ before.T
            # A part that is twice as long gets twice the nodes: cuts are often far from the middle.
            grading = np.broadcast_to(widths[:, None], breaks.shape)
            lengths = graded_parts(breaks, grading, self.reach).length
            shares = np.maximum(np.ceil(_SHARES * lengths / self.reach - 0.5), 1).astype(int)
            for share, which in _grouped(shares):
                cuts = breaks[:, which]
                counts = [math.ceil(nodes * part / _SHARES) for part in share]
                line, w = graded_rule(cuts, grading[:, which], self.reach, counts)
                w = w * weight[which]
                kept = w > _NEGLIGIBLE
                first = before[which[np.nonzero(kept)[1]]]
                yield from self._beyond(np.concatenate([first, line[kept][:, None]], axis=1), w[kept], nodes)


def _grouped(columns: np.ndarray) -> Iterator[tuple[list[int], np.ndarray]]:
    """Each different column, and where it stands."""
    distinct, which = np.unique(columns, axis=1, return_inverse=True)
    for number, column in enumerate(distinct.T.tolist()):
        yield column, np.flatnonzero(which == number)


def _cuts(L: np.ndarray, at: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Where line j is cut, as affine functions (cuts, 1 + j) of the variables before it, and the width of the grading there (cuts,).

    Args:
        L: (d, r), z = L v. at: (kinks, d).
    """
    affine, widths = [], []
    for row, kinks in zip(L, at.T, strict=True):
        later = np.linalg.norm(row[j + 1 :])
        if abs(row[j]) < _SAME or _STEEP * abs(row[j]) < later:
            continue
        affine += [np.array([kink, *-row[:j]]) / row[j] for kink in kinks]
        widths += [later / abs(row[j]) if later > _SAME else np.inf] * len(kinks)
    if not affine:
        return np.zeros((1, 1 + j)), np.array([_WIDTH])
    # Kinks that coincide are one cut, as steep as the steepest.
    _, first, which = np.unique(np.round(affine, 9), axis=0, return_index=True, return_inverse=True)
    steepest = [np.min(np.array(widths)[which == k]) for k in range(len(first))]
    return np.array(affine)[first], _WIDTH * np.minimum(steepest, 1.0)
