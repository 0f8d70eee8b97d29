"""The tensors of two samples in 70 digits, through activations that are straight between kinks anywhere.

⟨f(z1) g(z2)⟩ is an integral over z1, cut where z1 and where z2 typically has a kink, of closed forms in z2. Second and higher
derivatives of σ are δ's and theirs: derivatives, taken numerically, of the density of z1 and z2 at the kinks.
"""

import functools
import itertools
from typing import Any

import mpmath
import numpy as np
from exact_networks import flow_of_samples
from mpmath.calculus.quadrature import GaussLegendre

from ntkflow._gaussian.requests import orders_of
from ntkflow._gaussian.rules import evaluate
from ntkflow._gaussian.sample_sets import OnSets, factors
from ntkflow._gaussian.series_integrals import DERIVATIVES
from ntkflow._recursions import flowing, moments_of
from ntkflow.activations import beside

INITIAL = flowing(training=False, kinked=True)

mp: Any = mpmath.mp  # its functions are attached at run time
mpf: Any = mpmath.mpf
DIGITS = 70
_REACH = 18  # exp(-18² / 2) = 5e-71
_DEGREE = 5  # 48 nodes on a part


def exact_flow_of_pieces(mlp, X):
    """`flow_of_samples`, for a pair, of a network whose activations are straight between their kinks."""
    with mp.workdps(DIGITS):
        exact = np.array([[mpf(float(x)) for x in row] for row in X])
        return flow_of_samples(mlp, exact, mpf, lambda activation, G, H: _Pieces(activation).on_pair(G, H))


class _Pieces:
    """σ(z) = a + b z on each piece: `lines`, from below; `jumps` of b at the kinks."""

    def __init__(self, activation):
        below, above = (evaluate(activation, side, 1) for side in beside(np.array(activation.kinks)))
        slopes = [below[1, 0], *above[1]]
        self.kinks = [mpf(k) for k in activation.kinks]
        self.jumps = [mpf(b) - mpf(a) for a, b in itertools.pairwise(slopes)]
        constant = mpf(below[0, 0]) - mpf(slopes[0]) * self.kinks[0]
        self.lines = [(constant, mpf(slopes[0]))]
        for kink, jump in zip(self.kinks, self.jumps, strict=True):
            constant -= jump * kink
            self.lines.append((constant, self.lines[-1][1] + jump))
        self.ends = [-mp.inf, *self.kinks, mp.inf]

    def polynomials(self, orders):
        """Coefficients of Π σ^(p) over p in `orders`, on each piece."""
        return [_product([(a, b) if p == 0 else (b,) for p in orders]) for a, b in self.lines]

    def on_pair(self, G, H) -> OnSets:
        (a, c), (_, b) = G
        ordinary = self._ordinary(a, c, b)

        def moment(i, f, j, g):
            if i == j:
                return self._alone(G[i, i], tuple(f) + tuple(g), 0)
            f, g = tuple(sorted(f)), tuple(sorted(g))
            return ordinary[f, g] if i == 0 else ordinary[g, f]

        def table(p, q, order):
            """All derivatives, by how many are taken at the second sample; on the diagonal the total derivative, first."""
            out = np.full((order + 1, 2, 2), mpf(0))
            for i in range(2):
                out[0, i, i] = self._alone(G[i, i], (p, q), order)
                own, other = G[i, i], G[1 - i, 1 - i]
                for m in range(order + 1):
                    first, second = p + order - m, q + m
                    if max(first, second) <= 1:
                        value = moment(i, (first,), 1 - i, (second,))
                    elif first >= 2:
                        value = self._against_delta(first, second, own, c, other)
                    else:
                        value = self._against_delta(second, first, other, c, own)
                    out[m, i, 1 - i] = value
            return out[..., None]

        def four(primes):
            out = np.empty((2, 2, 2, 2, 1), object)
            for slots in np.ndindex(2, 2, 2, 2):
                (i, f), (j, g) = [*factors(slots, primes).items(), (slots[0], ())][:2]
                out[slots] = moment(i, f, j, g)
            return out

        Phi, dPhi = (
            np.array([[moment(i, (p,), j, (p,)) for j in range(2)] for i in range(2)]) for p in (0, 1)
        )
        return OnSets(
            H=H[..., None], Phi=Phi[..., None], dPhi=dPhi[..., None],
            **{name: table(*which) for name, which in DERIVATIVES.items()},
            **{word: four(orders_of(word)) for word in moments_of(INITIAL)},
        )  # fmt: skip

    @functools.cache  # noqa: B019
    def _alone(self, v, orders, n):
        """⟨(Π σ^(p))^(n)⟩ on one sample: ⟨Π σ^(p) · He_n(z/s)⟩ / sⁿ."""
        total = mpf(0)
        hermite = [x / mp.sqrt(v) ** k for k, x in enumerate(_HERMITE[n])]
        for polynomial, low, high in zip(self.polynomials(orders), self.ends, self.ends[1:], strict=False):
            whole = _product([polynomial, hermite])
            total += _dot(whole, _truncated(mpf(0), v, low, high, len(whole)))
        return total / mp.sqrt(v) ** n

    def _ordinary(self, a, c, b):
        """⟨f(z1) g(z2)⟩ for every f and g of up to four σ's and σ''s together."""
        products = [
            tuple(sorted(x)) for n in range(4) for x in itertools.combinations_with_replacement((0, 1), n)
        ]
        total = {(f, g): mpf(0) for f in products for g in products if len(f) + len(g) <= 4}
        slope, left = c / a, b - c * c / a
        s, width = mp.sqrt(a), mp.sqrt(left)
        at = {f: self.polynomials(f) for f in products}
        for x, weight in self._nodes(s, slope, width):
            piece = sum(x > k for k in self.kinks)
            moments = [
                _truncated(slope * x, left, low, high, 4) for low, high in itertools.pairwise(self.ends)
            ]
            second = {g: sum(_dot(p, m) for p, m in zip(at[g], moments, strict=True)) for g in products}
            weight *= mp.exp(-x * x / (2 * a)) / (s * mp.sqrt(2 * mp.pi))
            first = {f: weight * mp.polyval(at[f][piece][::-1], x) for f in products}
            for f, g in total:
                total[f, g] += first[f] * second[g]
        return total

    def _nodes(self, s, slope, width):
        cuts = {k * s for k in range(-_REACH, _REACH + 1, 2)} | set(self.kinks)
        if slope:
            smeared = width / abs(slope)
            cuts |= {k / slope + m * smeared for k in self.kinks for m in range(-18, 19, 3)}
        cuts = sorted(x for x in cuts if abs(x) <= _REACH * s)
        nodes = _legendre(mp.prec)
        for low, high in itertools.pairwise(cuts):
            for x, w in nodes:
                yield (low + high) / 2 + (high - low) / 2 * x, w * (high - low) / 2

    def _against_delta(self, first, second, own, c, other):
        """⟨σ^(first)(z1) σ^(second)(z2)⟩, first ≥ 2, z1 of variance `own`."""
        slope, left = c / own, other - c * c / own

        def density(x):
            return mp.exp(-x * x / (2 * own)) / mp.sqrt(2 * mp.pi * own)

        def given(x):
            """⟨σ^(second)(z2)⟩ for z1 = x."""
            return sum(
                _dot(p, _truncated(slope * x, left, low, high, 2))
                for p, low, high in zip(self.polynomials((second,)), self.ends, self.ends[1:], strict=False)
            )

        def together(x, y):
            return density(x) * mp.exp(-((y - slope * x) ** 2) / (2 * left)) / mp.sqrt(2 * mp.pi * left)

        total, n = mpf(0), first - 2
        for kink, jump in zip(self.kinks, self.jumps, strict=True):
            if second < 2:
                total += jump * (-1) ** n * mp.diff(lambda x: density(x) * given(x), kink, n)
                continue
            m = second - 2
            for other_kink, other_jump in zip(self.kinks, self.jumps, strict=True):
                derivative = (
                    mp.diff(together, (kink, other_kink), (n, m)) if n + m else together(kink, other_kink)
                )
                total += jump * other_jump * (-1) ** (n + m) * derivative
        return total


_HERMITE = {0: [1], 1: [0, 1], 2: [-1, 0, 1], 4: [3, 0, -6, 0, 1]}


@functools.cache
def _legendre(prec):
    return GaussLegendre(mp).calc_nodes(_DEGREE, prec)


def _product(polynomials):
    return list(functools.reduce(np.convolve, polynomials, [mpf(1)]))


def _dot(p, m):
    return sum((x * y for x, y in zip(p, m, strict=False)), mpf(0))


def _truncated(mean, v, low, high, count):
    """⟨z^k 1(low < z < high)⟩ for z ~ N(mean, v), k < count."""
    s = mp.sqrt(v)

    def tail(x):
        return mp.ncdf((mean - x) / s) if abs(x) != mp.inf else mpf(x < 0)

    def density(x, k):
        return (
            x**k * mp.exp(-((x - mean) ** 2) / (2 * v)) / (s * mp.sqrt(2 * mp.pi))
            if abs(x) != mp.inf
            else mpf(0)
        )

    out = [tail(low) - tail(high)]
    for k in range(1, count):
        out.append(
            mean * out[-1]
            + (k - 1) * v * (out[-2] if k > 1 else 0)
            - v * (density(high, k - 1) - density(low, k - 1))
        )
    return out
