"""Moments of piecewise-linear σ at forty digits, by another road than the package's.

Covariances are conditioned one z = 0 after another, on masks of signs; the moment of four signs grows all
correlations at once.
"""

import functools
import itertools

import mpmath as mp

DIGITS = 40


def moment(G, slopes, primed):
    """⟨Π σ^(p_i)(z_i)⟩ of a non-singular covariance G, with σ'(z<0), σ'(z>0)."""
    with mp.workdps(DIGITS):
        p, q = (mp.mpf(slopes[1]) + slopes[0]) / 2, (mp.mpf(slopes[1]) - slopes[0]) / 2
        n, total = len(primed), mp.mpf(0)
        G = tuple(tuple(mp.mpf(float(x)) for x in row) for row in G)
        powers = tuple(1 - x for x in primed)
        for mask in itertools.product((0, 1), repeat=n):
            signs = tuple(i for i in range(n) if mask[i])
            weight = p ** (n - len(signs)) * q ** len(signs)
            if (sum(powers) + len(signs)) % 2 == 0 and weight:
                total += weight * sign_moment(G, powers, signs)
        return total


@functools.lru_cache(maxsize=4096)
def sign_moment(G, powers, signs):
    i = next((k for k, m in enumerate(powers) if m), None)
    if i is None:
        return sign_product(G, signs)
    rest = tuple(m - (k == i) for k, m in enumerate(powers))
    total = mp.mpf(0)
    for j, m in enumerate(rest):
        if m:
            total += m * G[i][j] * sign_moment(G, tuple(x - (k == j) for k, x in enumerate(rest)), signs)
        elif j in signs:
            others = tuple(k for k in signs if k != j)
            boundary = sign_moment(conditioned(G, j), rest, others)
            total += 2 * G[i][j] / mp.sqrt(2 * mp.pi * G[j][j]) * boundary
    return total


def conditioned(G, j):
    n = range(len(G))
    return tuple(
        tuple(G[a][b] - G[a][j] * G[b][j] / G[j][j] if j not in (a, b) else mp.mpf(0) for b in n) for a in n
    )


def correlation(G, a, b):
    return G[a][b] / mp.sqrt(G[a][a] * G[b][b])


def sign_product(G, signs):
    if len(signs) == 0:
        return mp.mpf(1)
    if len(signs) == 2:
        return 2 / mp.pi * mp.asin(correlation(G, *signs))

    def slope(t):
        R = [[mp.mpf(1) if a == b else t * correlation(G, a, b) for b in signs] for a in signs]
        total = mp.mpf(0)
        for a, b in itertools.combinations(range(4), 2):
            c, d = (k for k in range(4) if k not in (a, b))
            given = conditioned(conditioned(R, a), b)
            rate = correlation(G, signs[a], signs[b]) * 4 / (2 * mp.pi * mp.sqrt(1 - R[a][b] ** 2))
            total += rate * 2 / mp.pi * mp.asin(correlation(given, c, d))
        return total

    def towards_one(x):
        # t = tanh x: the branch points next to t = 1 move to Im x = π/2.
        return slope(mp.tanh(x)) * mp.sech(x) ** 2

    with mp.extradps(15):
        return mp.quad(towards_one, [0, 1, 2, 4, 6, 8, 10, 13, 16, 20, 25, 30])


def planar_moment(angles, radii, slopes, factors):
    """⟨Π_f σ^(order)(z_i)⟩ over factors f = (i, order), z_i = radii_i r cos(φ - angles_i), by wedges in φ."""
    with mp.workdps(30):
        cuts = sorted({(mp.mpf(a) + mp.pi / 2 + k * mp.pi) % (2 * mp.pi) for a in angles for k in (0, 1)})
        cuts = [*cuts, cuts[0] + 2 * mp.pi]
        degree = sum(order == 0 for _, order in factors)

        def integrand(phi):
            total = mp.mpf(1)
            for i, order in factors:
                z = mp.mpf(radii[i]) * mp.cos(phi - mp.mpf(angles[i]))
                slope = mp.mpf(slopes[1] if z > 0 else slopes[0])
                total *= slope if order else slope * z
            return total

        radial = mp.mpf(2) ** (mp.mpf(degree) / 2) * mp.gamma(mp.mpf(degree) / 2 + 1)
        return radial * mp.quad(integrand, cuts) / (2 * mp.pi)
