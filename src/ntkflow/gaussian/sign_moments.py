"""Exact moments of piecewise-linear σ(z) = z (p + q sgn z): truncated Gaussian moments, THEORY section 8.

Products of z's and signs are lowered by Stein's identity E[z_i f] = Σ_j G_ij E[∂_j f]; differentiating sgn z_j
gives 2δ(z_j), which conditions on z_j = 0 and loses that variable. What remains are E[s_i s_j], an arcsine, and
E[s_1 s_2 s_3 s_4], one smooth integral along correlations t R (Plackett 1954).
"""

from __future__ import annotations

import itertools

import numpy as np

from .kinks import sine_squared


def _divide(a, b):
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _correlation(G: np.ndarray, i: int, j: int) -> np.ndarray:
    return np.clip(_divide(G[:, i, j], np.sqrt(G[:, i, i] * G[:, j, j])), -1.0, 1.0)


def _sine_squared(G: np.ndarray, i: int, j: int) -> np.ndarray:
    return sine_squared(G[:, i, i], G[:, j, j], G[:, i, j])


def _condition(G: np.ndarray, j: int) -> np.ndarray:
    """The covariance given z_j = 0; what rounding leaves of a vanishing variance is set to zero."""
    column = G[:, :, j]
    H = G - _divide(column[:, :, None] * column[:, None, :], np.broadcast_to(G[:, j, j, None, None], G.shape))
    for i in range(G.shape[1]):
        H[:, i, i] = 0.0 if i == j else G[:, i, i] * np.where(G[:, j, j] > 0, _sine_squared(G, i, j), 1.0)
    alive = np.einsum("bii->bi", H) > 0
    return np.where(alive[:, :, None] & alive[:, None, :], H, 0.0)


def sign_moment(
    G: np.ndarray,
    powers: tuple[int, ...],
    signs: tuple[int, ...],
    nodes: int,
    roundoff: np.ndarray | None = None,
):
    """E[Π z_i^{m_i} Π_{i in signs} sgn z_i] over N(0, G), G (B, R, R), sgn 0 = 0: (B,).

    `roundoff` (B, R) is what rounding may have left in the variances: variables that are parallel up to it are merged,
    for the product rule does not hold for signs that jump together.
    """
    if (sum(powers) + len(signs)) % 2:
        return np.zeros(len(G))
    for i, j in itertools.combinations([k for k in range(len(powers)) if powers[k] or k in signs], 2):
        parallel = _parallel(G, i, j, roundoff)
        if parallel.any():
            total = np.empty(len(G))
            for rows, moment in ((parallel, _merged_moment), (~parallel, sign_moment)):
                left = None if roundoff is None else roundoff[rows]
                pair = (i, j) if moment is _merged_moment else ()
                total[rows] = moment(G[rows], powers, signs, nodes, left, *pair)
            return total
    if sum(powers) == 0:
        return _signs(G, signs, nodes)
    i = next(k for k, m in enumerate(powers) if m)
    rest = list(powers)
    rest[i] -= 1
    total = np.zeros(len(G))
    for j, m in enumerate(rest):
        if m:
            lower = list(rest)
            lower[j] -= 1
            total += m * G[:, i, j] * sign_moment(G, tuple(lower), signs, nodes, roundoff)
        elif j in signs:
            others = tuple(k for k in signs if k != j)
            left = 16 * np.finfo(float).eps * np.einsum("bii->bi", G)
            left = left if roundoff is None else np.maximum(left, roundoff)
            boundary = sign_moment(_condition(G, j), tuple(rest), others, nodes, left)
            total += 2 * _divide(G[:, i, j], np.sqrt(2 * np.pi * G[:, j, j])) * boundary
    return total


def _parallel(G: np.ndarray, i: int, j: int, roundoff: np.ndarray | None) -> np.ndarray:
    """Whether z_i and z_j are one variable up to what rounding left of 1 - ρ²; not where one of them vanishes."""
    sine_squared = _sine_squared(G, i, j)
    alive = (G[:, i, i] > 0) & (G[:, j, j] > 0)
    allowed = np.zeros(len(G))
    if roundoff is not None:
        allowed = _divide(roundoff[:, i], G[:, i, i]) + _divide(roundoff[:, j], G[:, j, j])
    return alive & (sine_squared <= allowed)


def _merged_moment(G, powers, signs, nodes, roundoff, i: int, j: int) -> np.ndarray:
    """`sign_moment` where z_j = c z_i."""
    c = G[:, i, j] / G[:, i, i]
    merged = list(powers)
    merged[i] += merged[j]
    merged[j] = 0
    factor = c ** powers[j] * (np.sign(c) if j in signs else 1.0)
    kept = set(signs) ^ ({i, j} & set(signs) if {i, j} <= set(signs) else {i, j} if j in signs else set())
    return factor * sign_moment(G, tuple(merged), tuple(sorted(kept)), nodes, roundoff)


def _signs(G: np.ndarray, signs: tuple[int, ...], nodes: int) -> np.ndarray:
    if not signs:
        return np.ones(len(G))
    if len(signs) == 2:
        return 2 / np.pi * np.arctan2(_correlation(G, *signs), np.sqrt(_sine_squared(G, *signs)))
    return _four_signs(G, signs, nodes)


def _four_signs(G: np.ndarray, signs: tuple[int, ...], nodes: int) -> np.ndarray:
    """E[s1 s2 s3 s4] = ∫_0^1 dt Σ_{a<b} R_ab · 4 E[δ(z_a) δ(z_b) s_c s_d] at correlations t R; t = sin φ tames t → 1."""
    R = np.stack([[_correlation(G, i, j) for j in signs] for i in signs]).transpose(2, 0, 1)
    x, w = np.polynomial.legendre.leggauss(nodes)
    phi = (x + 1) * np.pi / 4
    t = np.sin(phi)[:, None]
    total = np.zeros(len(G))
    for a, b, c, d in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2), (1, 2, 0, 3), (1, 3, 0, 2), (2, 3, 0, 1)):
        r = t * R[:, a, b]
        det = 1 - r * r

        def given(e, f, a=a, b=b, r=r, det=det):
            ea, eb, fa, fb = t * R[:, e, a], t * R[:, e, b], t * R[:, f, a], t * R[:, f, b]
            own = 1.0 if e == f else t * R[:, e, f]
            return own - (ea * fa + eb * fb - r * (ea * fb + eb * fa)) / det

        rho = np.clip(given(c, d) / np.sqrt(np.maximum(given(c, c) * given(d, d), 1e-300)), -1.0, 1.0)
        inner = R[:, a, b] * 4 / (2 * np.pi * np.sqrt(det)) * 2 / np.pi * np.arcsin(rho)
        total += np.einsum("p,pb->b", w * np.pi / 4 * np.cos(phi), inner)
    return total


def slot_moment(G, slopes, slot_to_sample, scale, primed, at_zero, nodes: int) -> np.ndarray:
    """⟨Π_slots σ or σ'⟩, where slot i sits on z_i = scale_i × (distinct sample slot_to_sample[i]).

    Args:
        G: (B, R, R), covariance of the R distinct, pairwise non-parallel samples.
        slopes: (σ'(z<0), σ'(z>0)).
        slot_to_sample, primed: four entries each, the same for the whole batch.
        scale: (B, 4), positive or negative.
        at_zero: the value of σ'(0), used for samples that vanish identically.
        nodes: of the four-sign integral.
    """
    p, q = (slopes[1] + slopes[0]) / 2, (slopes[1] - slopes[0]) / 2
    B, R = G.shape[:2]
    even, odd = [np.ones(B) for _ in range(R)], [np.zeros(B) for _ in range(R)]
    powers = [0] * R
    for slot, sample in enumerate(slot_to_sample):
        side = q * np.sign(scale[:, slot])
        even[sample], odd[sample] = (
            p * even[sample] + side * odd[sample],
            p * odd[sample] + side * even[sample],
        )
        zero = G[:, sample, sample] == 0
        if primed[slot]:
            even[sample] = np.where(
                zero,
                at_zero ** sum(primed[s] for s in range(slot + 1) if slot_to_sample[s] == sample),
                even[sample],
            )
        else:
            powers[sample] += 1
            even[sample], odd[sample] = even[sample] * scale[:, slot], odd[sample] * scale[:, slot]
            even[sample] = np.where(zero, 0.0, even[sample])
        odd[sample] = np.where(zero, 0.0, odd[sample])
    total = np.zeros(B)
    for mask in range(2**R):
        signs = tuple(r for r in range(R) if mask >> r & 1)
        if (sum(powers) + len(signs)) % 2:
            continue
        weight = np.prod([odd[r] if mask >> r & 1 else even[r] for r in range(R)], axis=0)
        if np.any(weight):
            total += weight * sign_moment(G, tuple(powers), signs, nodes)
    return total
