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
from .layer_series import LAST, LayerSeries, Plane
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
    level = upper.prepare(of_upper, max(series.prepare(of_lower, 0) for series in lower))
    while any(series.prepare(of_lower, level) > level for series in lower):
        level = upper.prepare(of_upper, max(series.prepare(of_lower, level) for series in lower))
    shape = len(lower), len(quadruples)
    out = LayerMoments(np.empty((*shape, len(of_lower), len(of_upper))), np.empty(shape), np.empty(shape))
    one_y, one_z = (quadruples[:, i] == quadruples[:, i + 1] for i in (0, 2))
    _between_lines(out, upper, lower, between, quadruples, np.flatnonzero(one_y & one_z), of_upper, of_lower)
    for (a, b), rows in _grouped(quadruples[:, 2:], np.flatnonzero(~one_z)):
        plane = upper.plane(a, b, of_upper)
        for layer, series in enumerate(lower):
            lines, mine = series.lines(of_lower), rows[one_y[rows]]
            for c, part in _in_parts(quadruples[mine, 0], mine):
                towards = _scaled(between[layer, c][:, [a, b]], series.s[c][:, None]) @ plane.inverse.T
                F, kappa = _towards(plane, towards)
                G = lines.coefficients[c]
                out.values[layer, part] = (G * kappa[:, None]) @ F.swapaxes(1, 2)
                shares = lines.shares[c], plane.shares[None]
                out.remaining[layer, part] = _remaining(*shares, kappa)
                out.halved[layer, part] = np.maximum(lines.halved[c], plane.halved)
        pairs = [(layer, row) for layer in range(len(lower)) for row in rows[~one_y[rows]]]
        for start in range(0, len(pairs), _ROWS):
            layers, part = np.array(pairs[start : start + _ROWS]).T
            planes = [
                lower[layer].plane(*quadruples[row, :2], of_lower)
                for layer, row in zip(layers, part, strict=True)
            ]
            c, d = quadruples[part, :2].T
            cross = np.stack(
                [[between[layers, y, z] for y in (c, d)] for z in (a, b)]
            )  # (z, y, rows)
            inverses = np.stack([plane.inverse for plane in planes])
            M = plane.inverse @ np.moveaxis(cross, 2, 0) @ inverses.swapaxes(1, 2)
            values, remaining = _between_planes(plane, planes, M)
            out.values[layers, part], out.remaining[layers, part] = values, remaining
            out.halved[layers, part] = np.maximum([plane.halved for plane in planes], plane.halved)
    for layer, series in enumerate(lower):
        for (c, d), rows in _grouped(quadruples[:, :2], np.flatnonzero(~one_y & one_z)):
            plane, lines = series.plane(c, d, of_lower), upper.lines(of_upper)
            for a, part in _in_parts(quadruples[rows, 2], rows):
                towards = _scaled(between[layer][[c, d]][:, a].T, upper.s[a][:, None]) @ plane.inverse.T
                G, kappa = _towards(plane, towards)
                F = lines.coefficients[a]
                out.values[layer, part] = (G * kappa[:, None]) @ F.swapaxes(1, 2)
                out.remaining[layer, part] = _remaining(plane.shares[None], lines.shares[a], kappa)
                out.halved[layer, part] = np.maximum(lines.halved[a], plane.halved)
    return out


def _between_lines(out: LayerMoments, upper, lower, between, quadruples, rows, of_upper, of_lower) -> None:
    of_z = upper.lines(of_upper)
    for layer, series in enumerate(lower):
        of_y = series.lines(of_lower)
        for a, part in _in_parts(quadruples[rows, 2], rows):
            c = quadruples[part, 0]
            kappa = np.clip(_scaled(between[layer, c, a], series.s[c] * upper.s[a]), -1.0, 1.0)
            powers = kappa[:, None] ** np.arange(upper.degrees)
            out.values[layer, part] = (of_y.coefficients[c] * powers[:, None]) @ of_z.coefficients[
                a
            ].swapaxes(1, 2)
            out.remaining[layer, part] = _remaining(of_y.shares[c], of_z.shares[a], powers)
            out.halved[layer, part] = np.maximum(of_y.halved[c], of_z.halved[a])


def _grouped(pairs: np.ndarray, rows: np.ndarray) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Each different pair that stands in some of the rows, and in which."""
    if len(rows):
        distinct, which = np.unique(pairs[rows], axis=0, return_inverse=True)
        for number, (a, b) in enumerate(distinct.tolist()):
            yield (a, b), rows[which == number]


def _in_parts(values: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(rows), _ROWS):
        yield values[start : start + _ROWS], rows[start : start + _ROWS]


def _scaled(covariance: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)


def _remaining(first: np.ndarray, second: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """What the last degrees may add, (B,), from shares (B, products, degrees) and powers of κ (B, degrees)."""
    last = [np.linalg.norm(x[..., -LAST:], axis=-1).max(axis=-1) for x in (first, second)]
    return last[0] * last[1] * np.abs(powers[:, -1])


def _waves(angles: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """cos μφ and sin μφ, (B, degrees + 2)."""
    phases = angles[:, None] * np.arange(degrees + 2)
    return np.cos(phases), np.sin(phases)


def _towards(plane: Plane, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients of he_n along some directions in a plane, (B, products, degrees), and the powers of the directions' lengths, (B, degrees)."""
    degrees = len(plane.coefficients)
    kappa = np.minimum(np.hypot(*towards.T), 1.0)
    mu, first = frequencies(degrees), along_first(degrees)
    cos, sin = (x[:, mu] * first for x in _waves(np.arctan2(towards[:, 1], towards[:, 0]), degrees))
    odd = (np.arange(degrees) % 2 == 1)[:, None]
    parts = np.stack([np.where(odd, -sin, cos), np.where(odd, cos, sin)], axis=2)  # (B, degrees, 2, μ)
    flat = plane.coefficients.reshape(*plane.coefficients.shape[:2], -1)
    along = flat @ np.moveaxis(parts.reshape(*parts.shape[:2], -1), 0, 2)
    return np.moveaxis(along, (2, 1, 0), (0, 1, 2)), kappa[:, None] ** np.arange(degrees)


def _between_planes(upper: Plane, lower: list[Plane], M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The moments (B, products of y, products of z) of one plane of z with several of y, cov(x, x') = M (B, 2, 2), and what may remain of them, (B,)."""
    phi, kappa, theta = rotations_between(M)
    kappa = np.clip(kappa, -1.0, 1.0)
    degrees, B, V = len(upper.coefficients), len(lower), len(lower[0].shares)
    back, turn = _waves(phi, degrees), _waves(-theta, degrees)
    powers = kappa[:, :, None] ** np.arange(degrees)
    shares = np.stack([plane.shares for plane in lower])
    needed = np.abs(powers[:, :1]) * upper.shares.max(axis=0) * shares > _NEGLIGIBLE
    coefficients = np.stack([plane.coefficients for plane in lower])
    out = np.zeros((B, V, upper.coefficients.shape[1]))
    for n in range(degrees):
        row, word = np.nonzero(needed[:, :, n])
        if not len(row):
            continue
        to, half = waves(n), n // 2 + 1
        mu = n % 2 + 2 * np.arange(half)
        of_degree = coefficients[row, n, word, :, :half]
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
    return out, _remaining(shares, upper.shares[None], powers[:, 0])
