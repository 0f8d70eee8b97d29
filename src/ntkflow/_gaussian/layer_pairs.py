"""⟨f(z_a, z_b) g(y_c, y_d)⟩ between layers of a stream, from the Hermite coefficients of f and of g.

In whitened coordinates x of z and x' of y with cov(x, x') = R(φ) diag(κ1, κ2) R(θ) it is Σ_kl κ1^k κ2^l F_kl K_kl, of the coefficients
in turned coordinates (`rotations`). One sample has one coordinate, and what counts of a plane is its coefficients along one direction.
As κ ≤ 1 this converges at least as products of coefficients do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .._machine.products import multiplied_in_blocks
from .layer_series import LayerSeries, Plane, tail_of
from .rotations import along_first, frequencies, rotations_between, turned, waves

_NEGLIGIBLE = 1e-18  # of two functions' norms
_ROWS = 64  # at a time


class LayerMoments(NamedTuple):
    """Of each quadruple with each of the lower layers.

    Attributes:
        values: (layers, M, products of y, products of z).
        remaining: (layers, M), what the last degrees may add, relative to two functions' norms.
        halved: (layers, M), relative change of mean squares with half the nodes.
    """

    values: np.ndarray
    remaining: np.ndarray
    halved: np.ndarray


def layer_moments(
    upper: LayerSeries, lower: list[LayerSeries], between: np.ndarray, quadruples: np.ndarray,
    of_upper: tuple[str, ...], of_lower: tuple[str, ...],
) -> LayerMoments:  # fmt: skip
    """The moments of products of z of the upper layer with those of y of each of the lower ones.

    Args:
        between: cov(y_c, z_a), (layers, N, N).
        quadruples: c ≤ d of y and a ≤ b of z, (M, 4).
    """
    level = 0
    while any(series.prepare(level) > level for series in (upper, *lower)):
        level = max(upper.level, *(series.level for series in lower))
    shape = len(lower), len(quadruples)
    out = LayerMoments(np.empty((*shape, len(of_lower), len(of_upper))), np.empty(shape), np.empty(shape))
    work = _Work(upper, lower, between, quadruples, of_upper, of_lower, out)
    one_y, one_z = (quadruples[:, i] == quadruples[:, i + 1] for i in (0, 2))
    work.between_lines(np.flatnonzero(one_y & one_z))
    work.upper_planes(np.flatnonzero(one_y & ~one_z))
    work.lower_planes(np.flatnonzero(~one_y & one_z))
    work.between_planes(np.flatnonzero(~one_y & ~one_z))
    return out


class _Work(NamedTuple):
    """The arguments of `layer_moments`, and what they give."""

    upper: LayerSeries
    lower: list[LayerSeries]
    between: np.ndarray
    quadruples: np.ndarray
    of_upper: tuple[str, ...]
    of_lower: tuple[str, ...]
    out: LayerMoments

    def between_lines(self, rows: np.ndarray) -> None:
        of_z = self.upper.lines(self.of_upper)
        for layer, series in enumerate(self.lower):
            of_y = series.lines(self.of_lower)
            for part in _parts(rows):
                c, a = self.quadruples[part][:, [0, 2]].T
                kappa = np.clip(_scaled(self.between[layer, c, a], series.s[c] * self.upper.s[a]), -1.0, 1.0)
                y, z = of_y.coefficients[c], of_z.coefficients[a]
                self.out.values[layer, part] = (y * _powers(kappa, y.shape[-1])[:, None]) @ z.swapaxes(1, 2)
                self.out.remaining[layer, part] = _remaining(of_y.shares[c], of_z.shares[a], kappa)
                self.out.halved[layer, part] = np.maximum(of_y.halved[c], of_z.halved[a])

    def upper_planes(self, rows: np.ndarray) -> None:
        """Of two samples of z and one of y."""
        lines = [series.lines(self.of_lower) for series in self.lower]
        s = np.stack([series.s for series in self.lower])
        for (a, b), mine in _grouped(self.quadruples[:, 2:], rows):
            plane = self.upper.plane(a, b, self.of_upper)
            for layers, part in self._with_layers(mine):
                c = self.quadruples[part, 0]
                cov = self.between[layers, c][:, [a, b]]
                y, shares, halved = (
                    np.stack([getattr(lines[layer], name)[i] for layer, i in zip(layers, c, strict=True)])
                    for name in ("coefficients", "shares", "halved")
                )
                towards = _scaled(cov, s[layers, c][:, None]) @ plane.inverse.T
                z, powers, kappa = _towards(plane, towards, shares)
                self.out.values[layers, part] = (y[..., : z.shape[-1]] * powers) @ z.swapaxes(1, 2)
                self.out.remaining[layers, part] = _remaining(plane.shares[None], shares, kappa)
                self.out.halved[layers, part] = np.maximum(halved, plane.halved)

    def lower_planes(self, rows: np.ndarray) -> None:
        """Of one sample of z and two of y."""
        lines = self.upper.lines(self.of_upper)
        for layer, series in enumerate(self.lower):
            for (c, d), mine in _grouped(self.quadruples[:, :2], rows):
                plane = series.plane(c, d, self.of_lower)
                for part in _parts(mine):
                    a = self.quadruples[part, 2]
                    cov = self.between[layer][[c, d]][:, a].T
                    towards = _scaled(cov, self.upper.s[a][:, None]) @ plane.inverse.T
                    y, powers, kappa = _towards(plane, towards, lines.shares[a])
                    z = lines.coefficients[a][..., : y.shape[-1]]
                    self.out.values[layer, part] = (y * powers) @ z.swapaxes(1, 2)
                    self.out.remaining[layer, part] = _remaining(plane.shares[None], lines.shares[a], kappa)
                    self.out.halved[layer, part] = np.maximum(lines.halved[a], plane.halved)

    def between_planes(self, rows: np.ndarray) -> None:
        """Of two samples of each, some planes of y at a time."""
        of_y = [
            (layer, pair, mine)
            for layer in range(len(self.lower))
            for pair, mine in _grouped(self.quadruples[:, :2], rows)
        ]
        for start in range(0, len(of_y), _ROWS):
            some = of_y[start : start + _ROWS]
            planes = Planes.of([self.lower[layer].plane(*pair, self.of_lower) for layer, pair, _ in some])
            number = np.repeat(np.arange(len(some)), [len(mine) for *_, mine in some])
            layers = np.array([layer for layer, *_ in some])[number]
            which = np.concatenate([mine for *_, mine in some])
            for (a, b), mine in _grouped(self.quadruples[which, 2:], np.arange(len(which))):
                plane = self.upper.plane(a, b, self.of_upper)
                y, layer, row = number[mine], layers[mine], which[mine]
                cross = np.stack(
                    [[self.between[layer, self.quadruples[row, i], z] for i in (0, 1)] for z in (a, b)]
                )
                M = plane.inverse @ np.moveaxis(cross, 2, 0) @ planes.inverse[y].swapaxes(1, 2)
                values, kappa = _between_planes(plane, planes, y, M)
                self.out.values[layer, row] = values
                self.out.remaining[layer, row] = _remaining(planes.shares[y], plane.shares[None], kappa)
                self.out.halved[layer, row] = np.maximum(planes.halved[y], plane.halved)

    def _with_layers(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each of the rows with each layer, some at a time."""
        layers, all_rows = (x.ravel() for x in np.meshgrid(np.arange(len(self.lower)), rows, indexing="ij"))
        for part in _parts(np.arange(len(all_rows))):
            yield layers[part], all_rows[part]


class Planes(NamedTuple):
    """Several planes, stacked."""

    inverse: np.ndarray
    coefficients: np.ndarray
    shares: np.ndarray
    halved: np.ndarray

    @classmethod
    def of(cls, planes: list[Plane]) -> Planes:
        return cls(*(np.stack(x) for x in zip(*planes, strict=True)))


def _grouped(pairs: np.ndarray, rows: np.ndarray) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Each different pair that stands in some of the rows, and in which."""
    if len(rows):
        distinct, which = np.unique(pairs[rows], axis=0, return_inverse=True)
        for number, (a, b) in enumerate(distinct.tolist()):
            yield (a, b), rows[which == number]


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))


def _scaled(covariance: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)


def _powers(kappa: np.ndarray, degrees: int) -> np.ndarray:
    return kappa[..., None] ** np.arange(degrees)


def _remaining(first: np.ndarray, second: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """What the last degrees may add, (B,), from shares (B, products, degrees) and the larger κ, (B,)."""
    return tail_of(first) * tail_of(second) * np.abs(kappa) ** (first.shape[-1] - 1)


def _waves(angles: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """cos μφ and sin μφ, (B, degrees + 2)."""
    phases = angles[:, None] * np.arange(degrees + 2)
    return np.cos(phases), np.sin(phases)


def _towards(plane: Plane, towards: np.ndarray, shares: np.ndarray):
    """The coefficients of he_n along some directions in a plane, and the powers of the directions' lengths κ, as far as they matter.

    Args:
        towards: (B, 2). shares: of the functions that they meet, (B, products, degrees).

    Returns:
        (B, products, degrees), (B, 1, degrees), and κ, (B,).
    """
    kappa = np.minimum(np.hypot(*towards.T), 1.0)
    largest = _powers(kappa, shares.shape[-1]) * plane.shares.max(axis=0) * shares.max(axis=1)
    degrees = 1 + max(np.flatnonzero(largest.max(axis=0) > _NEGLIGIBLE).tolist(), default=0)
    mu, first = frequencies(degrees), along_first(len(plane.coefficients))
    half = mu.shape[1]
    cos, sin = (
        x[:, mu] * first[:degrees, :half] for x in _waves(np.arctan2(towards[:, 1], towards[:, 0]), degrees)
    )
    odd = (np.arange(degrees) % 2 == 1)[:, None]
    parts = np.concatenate([np.where(odd, -sin, cos), np.where(odd, cos, sin)], axis=2)
    coefficients = plane.coefficients[:degrees, ..., :half]
    along = coefficients.reshape(degrees, -1, 2 * half) @ np.moveaxis(parts, 0, 2)
    return np.moveaxis(along, (2, 1, 0), (0, 1, 2)), _powers(kappa, degrees)[:, None], kappa


def _between_planes(upper: Plane, lower: Planes, y: np.ndarray, M: np.ndarray):
    """The moments (B, products of y, products of z) of one plane of z with those planes y (B,) of the lower ones, cov(x, x') = M (B, 2, 2), and κ1, (B,)."""
    phi, kappa, theta = rotations_between(M)
    kappa = np.clip(kappa, -1.0, 1.0)
    degrees = len(upper.coefficients)
    back, turn = _waves(phi, degrees), _waves(-theta, degrees)
    powers = _powers(kappa, degrees)
    needed = powers[:, :1] * upper.shares.max(axis=0) * lower.shares[y] > _NEGLIGIBLE
    out = np.zeros((*needed.shape[:2], upper.coefficients.shape[1]))
    for n in np.flatnonzero(needed.any(axis=(0, 1))).tolist():
        row, word = np.nonzero(needed[:, :, n])
        to, half = waves(n), n // 2 + 1
        mu = n % 2 + 2 * np.arange(half)
        of_degree = lower.coefficients[y[row], n, word, :, :half]
        real, imag = turned(of_degree[:, 0], of_degree[:, 1], *(x[row[:, None], mu] for x in turn))
        scale = powers[row, 0, : n + 1] * powers[row, 1, n::-1]
        even, odd = (
            multiplied_in_blocks(part, matrix) * scale[:, parity::2]
            for parity, (part, matrix) in enumerate(zip((real, imag), to, strict=True))
        )
        cos, sin = (x[row[:, None], mu] for x in back)
        real, imag = turned(
            multiplied_in_blocks(even, to.real.T), multiplied_in_blocks(odd, to.imag.T), cos, -sin
        )
        of_z = upper.coefficients[n, :, :, :half]
        out[row, word] += real @ of_z[:, 0].T + imag @ of_z[:, 1].T
    return out, kappa[:, 0]
