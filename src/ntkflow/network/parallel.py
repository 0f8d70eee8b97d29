"""Which samples are one variable, layer by layer: equal inputs, and multiples as long as the network keeps them so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..activations import Activation

_NEAR = 1e-12


class Parallel(NamedTuple):
    """Samples of one label are one variable up to their factors: z_a / factor_a is the same for all of them; both (N,)."""

    label: np.ndarray
    factor: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """c where z_b = c z_a, NaN elsewhere: (N, N)."""
        same = self.label[:, None] == self.label
        return np.where(same, self.factor / self.factor[:, None], np.nan)

    def through(self, activation: Activation | None, biased: bool) -> Parallel:
        """After σ and a layer of weights: equal samples; without biases opposite ones through an odd or even σ, and multiples through a homogeneous one."""
        assert activation is not None
        label, factor = self
        sign, size = np.sign(factor), np.abs(factor)
        if activation.degree is None:
            label, size = _together(label, size), np.ones_like(size)
        else:
            size = size**activation.degree
        if not activation.parity:
            label, sign = _together(label, sign), np.ones_like(sign)
        else:
            sign = np.where(sign > 0, 1.0, activation.parity)
        factor = sign * size
        return Parallel(_together(label, factor), np.ones_like(factor)) if biased else Parallel(label, factor)

    def scaled(self, factor: np.ndarray, exactly_one: bool) -> Parallel:
        """Of samples multiplied by positive factors (N,); `exactly_one` where they then differ in sign at most."""
        return Parallel(self.label, np.sign(self.factor) if exactly_one else self.factor * factor)

    def with_skip(self, added: Parallel) -> Parallel:
        """Of γ z + u, where u is `added`: one variable where both are, with the same factors."""
        label = _together(_together(self.label, added.label), self.factor / added.factor)
        return Parallel(label, self.factor)

    def equal(self) -> np.ndarray:
        """Labels of samples that are equal: (N,)."""
        return _together(self.label, self.factor)


def parallel_inputs(X: np.ndarray, biased: bool, tolerance: float) -> Parallel:
    """Each input's label is the first one that it is a multiple of up to round-off; with a bias equal inputs count alone.

    Candidates are neighbours in a random projection of directions: time N n_0 + N log N, and the square of the number
    of inputs only where many are parallel.

    Args:
        tolerance: how far apart rounding may have put them, relative to the largest component.
    """
    N = len(X)
    label, factor = np.arange(N), np.ones(N)
    top = np.abs(X).max(axis=1)
    size = np.ones(N) if biased else np.where(top > 0, top, 1.0)
    place = (X / size[:, None]) @ np.random.default_rng(0).normal(size=X.shape[1])
    place = place if biased else np.abs(place)
    width = _NEAR * X.shape[1] * (np.maximum(top, np.finfo(float).tiny) if biased else np.ones(N))
    order = np.argsort(place, kind="stable")
    apart = np.diff(place[order]) > np.maximum(width[order][1:], width[order][:-1])
    for group in np.split(order, np.flatnonzero(apart) + 1):
        if len(group) > 1:
            _within(X, np.sort(group), biased, tolerance, top, label, factor)
    return Parallel(label, factor)


def _within(X, group, biased, tolerance, top, label, factor) -> None:
    """Enter into `label` and `factor` what is parallel among a few candidates."""
    heads: list[int] = []
    for b in group.tolist():
        if heads:
            known = X[heads]
            square = np.einsum("an,an->a", known, known)
            scale = np.ones(len(heads)) if biased else known @ X[b] / np.where(square > 0, square, 1.0)
            away = np.abs(X[b] - scale[:, None] * known).max(axis=1)
            # A vanishing input is parallel to vanishing ones alone.
            same = (away <= tolerance * top[b]) & ((top[heads] > 0) == (top[b] > 0))
            if np.any(same):
                first = int(np.argmax(same))
                label[b] = heads[first]
                close = abs(abs(scale[first]) - 1) <= tolerance
                factor[b] = 1.0 if top[b] == 0 else np.sign(scale[first]) if close else scale[first]
                continue
        heads.append(b)


def _together(label: np.ndarray, value: np.ndarray) -> np.ndarray:
    """One label for each pair (label, value)."""
    return np.unique(np.stack([label, value]), axis=1, return_inverse=True)[1].ravel()
