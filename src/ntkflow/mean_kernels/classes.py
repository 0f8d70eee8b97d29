"""Which samples are one variable, layer by layer: equal inputs, and multiples as long as the network keeps them so."""

from __future__ import annotations

import numpy as np

from ..mlp import MLP

_PARALLEL = 1e-13
_NEAR = 1e-12


def parallel_classes(X: np.ndarray, biased: bool) -> tuple[np.ndarray, np.ndarray]:
    """(first, c): each input is c times the input `first` up to round-off; with a bias only equal inputs count.

    Candidates are neighbours in a random projection of directions: time N n_0 + N log N, and the square of the number
    of inputs only where many are parallel.
    """
    N = len(X)
    first, c = np.arange(N), np.ones(N)
    top = np.abs(X).max(axis=1)
    size = np.ones(N) if biased else np.where(top > 0, top, 1.0)
    place = (X / size[:, None]) @ np.random.default_rng(0).normal(size=X.shape[1])
    place = place if biased else np.abs(place)
    width = _NEAR * X.shape[1] * (np.maximum(top, np.finfo(float).tiny) if biased else np.ones(N))
    order = np.argsort(place, kind="stable")
    apart = np.diff(place[order]) > np.maximum(width[order][1:], width[order][:-1])
    for group in np.split(order, np.flatnonzero(apart) + 1):
        if len(group) > 1:
            _within(X, np.sort(group), biased, top, first, c)
    return first, c


def _within(X, group, biased, top, first, c) -> None:
    """Enter into `first` and `c` what is parallel among a few candidates."""
    heads: list[int] = []
    for b in group.tolist():
        if heads:
            known = X[heads]
            square = np.einsum("an,an->a", known, known)
            scale = np.ones(len(heads)) if biased else known @ X[b] / np.where(square > 0, square, 1.0)
            away = np.abs(X[b] - scale[:, None] * known).max(axis=1)
            # A vanishing input is parallel to vanishing ones alone.
            same = (away <= _PARALLEL * top[b]) & ((top[heads] > 0) == (top[b] > 0))
            if np.any(same):
                at = int(np.argmax(same))
                first[b] = heads[at]
                c[b] = 1.0 if top[b] == 0 or abs(scale[at] - 1) < _PARALLEL else scale[at]
                continue
        heads.append(b)


def labels(mlp: MLP, X: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(label, sign) of all samples for the activation of each hidden layer.

    Samples of one label are one variable up to a factor, whose sign is the product of their signs; where σ has no kink
    only equal samples share a label.
    """
    label, c = parallel_classes(X, mlp.C_b[0] > 0)
    found = []
    for layer, activation in enumerate(mlp.activation, start=1):
        if activation.kinked and activation.slopes:
            found.append((label, np.sign(c)))
        else:
            found.append((_together(label, c), np.ones(len(X))))
        if not activation.slopes or mlp.C_b[layer] > 0:
            label, c = _together(label, c), np.ones(len(X))
            continue
        left, right = activation.slopes
        if left == -right:
            c = np.abs(c)
        elif left != right:
            label, c = _together(label, np.sign(c)), np.abs(c)
    return found


def _together(label: np.ndarray, c: np.ndarray) -> np.ndarray:
    """One label for each pair (label, c)."""
    return np.unique(np.stack([label, c]), axis=1, return_inverse=True)[1].ravel()
