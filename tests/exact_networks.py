"""The tensors of up to four samples through piecewise-linear networks, in 200 digits.

By the recursions on expectations that share nothing with `ntkflow._gaussian`: moments by Stein's identity with one z after the other
conditioned to 0, derivatives from ⟨σ'σ'⟩'s arcsine. Nothing cancels short of the digits, and the separate J's may be as large as
they like. Samples that are multiples of each other, to the last bit, are one variable; zero ones are none.
"""

import functools
import itertools
import math
from fractions import Fraction

import numpy as np
from gmpy2 import gmpy2
from mpmath import mp
from mpmath.calculus.quadrature import GaussLegendre

from ntkflow._gaussian.piecewise_linear import at_zero
from ntkflow._gaussian.requests import orders_of
from ntkflow._gaussian.sample_sets import OnSets
from ntkflow._recursions import Hyperparameters, Tensors, declarations, flowing, moments_of, step

INITIAL = flowing(training=False, kinked=True)

mpfr = gmpy2.mpfr
DIGITS = 200
_OWN = mpfr("1e-80")
_DEGREE = 5  # 48 nodes to each factor of two in the distance from a singular metric
_LEAST = 80  # of those factors: what is left out is below 2^-160


def exact_flow(mlp, X):
    """One dict of float arrays G, H (N, N), G1, H1 and the tensors for each layer; X (N, n_0), N ≤ 4, taken as exact."""
    with gmpy2.context(gmpy2.get_context(), precision=int(3.33 * DIGITS)):
        ratios = _ratios(mlp, np.asarray(X, float))
        exact = np.array([[mpfr(float(x)) for x in row] for row in X])
        return flow_of_samples(
            mlp, exact, mpfr, lambda activation, G, H: _Expectations(activation, G, next(ratios)).on_set(H)
        )


def flow_of_samples(mlp, X, number, expectations):
    """The same for any activation: layer after layer by `recursions.step`.

    Args:
        X: (N, n_0), of `number`s.
        number: what to compute with.
        expectations: activation, G, H -> OnSets, of one set.
    """
    product = X @ X.T / mlp.widths[0]
    G = number(mlp.C_b[0]) + number(mlp.C_W[0]) * product
    H = number(mlp.lambda_b[0]) + number(mlp.lambda_W[0]) * product
    N = len(X)
    t = Tensors(
        {tensor.name: np.full((N,) * tensor.rank + (1,), number(0)) for tensor in declarations(INITIAL)}
    )
    layers = [_floats(G, H, t)]
    for ell in range(1, mlp.depth):
        h = Hyperparameters(
            *(number(getattr(mlp, key)[ell]) for key in ("C_b", "C_W", "lambda_b", "lambda_W")),
            r=number(mlp.widths[ell]) / mlp.widths[ell - 1],
        )
        e = expectations(mlp.activation[ell - 1], G, H)
        t = step(h, e, t)
        G, H = (
            h.C_b + h.C_W * e.Phi[..., 0],
            (h.lambda_b + h.lambda_W * e.Phi[..., 0] + h.C_W * e.dPhi[..., 0] * H),
        )
        layers.append(_floats(G, H, t))
    return layers


def _floats(G, H, t):
    tables = {"G": G, "H": H} | {name: x[..., 0] for name, x in t.items()}
    return {name: x.astype(float) for name, x in tables.items()}


def _number(c):
    return mpfr(c.numerator) / c.denominator


def _multiples(X):
    """For each row, the first one that it is an exact multiple of and that multiple."""
    rows = [[Fraction(float(x)) for x in row] for row in X]

    def multiple(row, other):
        at = next((i for i, x in enumerate(other) if x), None)
        if at is None or not any(row):
            return Fraction(1) if row == other else None
        c = row[at] / other[at]
        return c if c and all(y == c * x for x, y in zip(other, row, strict=True)) else None

    return [
        next((a, c) for a in range(b + 1) if (c := multiple(row, rows[a])) is not None)
        for b, row in enumerate(rows)
    ]


def _ratios(mlp, X):
    """Of each layer but the last: for each sample the first one, a, with z = c z_a exactly, and c."""
    lines, factors = zip(*_multiples(X), strict=True)
    for activation, C_b in zip([None, *mlp.activation], mlp.C_b, strict=True):
        if activation is not None:
            left, right = activation.slopes
            # σ(cz) = |c| σ(±z), and ±σ(z) where σ is even or odd.
            even, odd = left == -right, left == right
            lines = [(line, c > 0 or even or odd) for line, c in zip(lines, factors, strict=True)]
            factors = [c if odd else abs(c) for c in factors]
        if C_b > 0:
            lines = list(zip(lines, factors, strict=True))
        firsts = [lines.index(line) for line in lines]
        yield [(a, c / factors[a]) for a, c in zip(firsts, factors, strict=True)]


class _Expectations:
    """Those of one layer for σ(z) = z (p + q sgn z); a: a sample, v: a variable, which is the first sample on a line."""

    def __init__(self, activation, G, ratio):
        left, right = map(mpfr, activation.slopes)
        self.p, self.q = (right + left) / 2, (right - left) / 2
        self.at_zero = mpfr(at_zero(activation))
        self.alive = [g > 0 for g in np.diag(G)]
        self.variable, self.factor = zip(*((v, _number(c)) for v, c in ratio), strict=True)
        # A variance of each variable's own, too small to matter: no conditional one is then 0.
        same = np.equal.outer(self.variable, self.variable)
        self.G = G + np.where(
            same, np.multiply.outer(self.factor, self.factor) * np.diag(G)[list(self.variable)] * _OWN, 0
        )
        self.moment = functools.cache(self._moment)
        self.signed = functools.cache(self._signed)
        self.covariance = functools.cache(self._covariance)
        self.four_signs = functools.cache(self._four_signs)

    def on_set(self, H):
        N = range(len(self.G))
        Phi, dPhi = (
            np.array([[self.moment(((a, o), (b, o)) if a <= b else ((b, o), (a, o))) for b in N] for a in N])
            for o in (0, 1)
        )
        tables = [[self._pair(a, b, dPhi[a, b]) for b in N] for a in N]
        return OnSets(
            H=H[..., None], Phi=Phi[..., None], dPhi=dPhi[..., None],
            **{
                name: np.moveaxis(np.array([[tables[a][b][name] for b in N] for a in N]), 2, 0)[..., None]
                for name in tables[0][0]
            },
            **{word: self._fours(orders_of(word)) for word in moments_of(INITIAL)},
        )  # fmt: skip

    def _pair(self, a, b, dPhi):
        """Derivatives of σσ, σ'σ' and σσ' by how many are taken at b."""
        zero, p, q = mpfr(0), self.p, self.q
        x, y, c = self.G[a, a], self.G[b, b], self.G[a, b]
        tables = {
            "J_ss": [zero, dPhi, zero], "J_dd": [zero] * 3, "K_sd": [dPhi, zero], "Q_ss": [zero] * 5, "Q_dd": [zero] * 5
        }  # fmt: skip
        if not q or not (self.alive[a] and self.alive[b]):
            return tables
        if self.variable[a] == self.variable[b]:
            # The total derivatives, in the place of those by a.
            ratio = self.factor[b] / self.factor[a]
            total = p * p + (q * q if ratio > 0 else -q * q)
            return tables | {"J_ss": [2 * ratio * total, zero, zero], "K_sd": [total, zero]}
        D, k = gmpy2.sqrt(x * y - c * c), 2 * q * q / gmpy2.const_pi()
        dd = [-k * c / (x * D), k / D, -k * c / (y * D)]

        def fourth(x, y):
            return 2 * k * (y / (2 * D * x) - D / x**2)

        def sixth(x, y):
            return 2 * k * c * (1 / (x**2 * D) + y / (2 * x * D**3))

        return {
            "J_ss": [k * D / x, dPhi, k * D / y],
            "J_dd": dd,
            "K_sd": [dPhi, k * D / y],
            "Q_ss": [fourth(x, y), *dd, fourth(y, x)],
            "Q_dd": [sixth(x, y), -k * y / D**3, k * c / D**3, -k * x / D**3, sixth(y, x)],
        }

    def _fours(self, primes):
        N = len(self.G)
        out = np.empty((N,) * 4 + (1,), object)
        for slots in np.ndindex((N,) * 4):
            out[slots] = self.moment(tuple(sorted(zip(slots, primes, strict=True))))
        return out

    def _moment(self, factors):
        """⟨Π σ^(o)(z_a)⟩ over (a, o) of `factors`."""
        weight, powers, sides = mpfr(1), {}, {}
        for a, o in factors:
            if not self.alive[a]:
                weight *= self.at_zero if o else 0
                continue
            v, c = self.variable[a], self.factor[a]
            even, odd = sides.get(v, (mpfr(1), mpfr(0)))
            p, q = self.p, self.q if c > 0 else -self.q
            sides[v] = p * even + q * odd, p * odd + q * even
            powers[v] = powers.get(v, 0) + 1 - o
            weight *= mpfr(1) if o else c
        if not weight:
            return weight
        variables = tuple(sorted(sides))
        total = mpfr(0)
        for mask in itertools.product((0, 1), repeat=len(variables)):
            share = math.prod((sides[v][odd] for v, odd in zip(variables, mask, strict=True)), start=mpfr(1))
            signs = tuple(v for v, odd in zip(variables, mask, strict=True) if odd)
            if share and (sum(powers.values()) + len(signs)) % 2 == 0:
                total += share * self.signed((), tuple((v, powers[v]) for v in variables if powers[v]), signs)
        return weight * total

    def _covariance(self, given):
        """Given that these variables are 0."""
        if not given:
            return self.G
        G, v = self.covariance(given[:-1]), given[-1]
        return G - np.multiply.outer(G[:, v], G[v]) / G[v, v]

    def _signed(self, given, powers, signs):
        """⟨Π z_v^m Π sgn z_v⟩ given that some variables are 0."""
        if not powers:
            return self._sign_product(given, signs)
        G = self.covariance(given)
        (i, m), *others = powers
        rest = dict([(i, m - 1), *others] if m > 1 else others)
        total = mpfr(0)
        for j, n in rest.items():
            lower = {**rest, j: n - 1}
            total += n * G[i, j] * self.signed(given, tuple((k, m) for k, m in lower.items() if m), signs)
        for j in signs:
            if j not in rest:
                edge = 2 * G[i, j] / gmpy2.sqrt(2 * gmpy2.const_pi() * G[j, j])
                left = tuple(k for k in signs if k != j)
                total += edge * self.signed(tuple(sorted((*given, j))), tuple(rest.items()), left)
        return total

    def _sign_product(self, given, signs):
        if len(signs) == 4:
            return self.four_signs(signs)
        if not signs:
            return mpfr(1)
        a, b = signs
        G = self.covariance(given)
        angle = gmpy2.atan2(G[a, b], gmpy2.sqrt(max(G[a, a] * G[b, b] - G[a, b] ** 2, mpfr(0))))
        return 2 / gmpy2.const_pi() * angle

    def _four_signs(self, signs):
        """⟨sgn sgn sgn sgn⟩, all correlations growing together: t = 1 - u², and next to u = 0 ever smaller parts."""
        s = [gmpy2.sqrt(self.G[v, v]) for v in signs]
        r = {
            (i, j): self.G[signs[i], signs[j]] / (s[i] * s[j]) for i, j in itertools.combinations(range(4), 2)
        }
        quads = [
            [r[min(i, j), max(i, j)] for i, j in ((a, b), (a, c), (a, d), (b, c), (b, d), (c, d))]
            for a, b in itertools.combinations(range(4), 2)
            for c, d in [[k for k in range(4) if k not in (a, b)]]
        ]

        def slope(u):
            t, total = 1 - u * u, mpfr(0)
            for quad in quads:
                ab, ac, ad, bc, bd, cd = (t * x for x in quad)
                left = 1 - ab * ab
                cross = cd * left - (ac * ad + bc * bd - ab * (ac * bd + ad * bc))
                c, d = (left - (x * x + y * y - 2 * ab * x * y) for x, y in ((ac, bc), (ad, bd)))
                root = gmpy2.sqrt(max(c * d - cross * cross, mpfr(0)))
                total += quad[0] * gmpy2.atan2(cross, root) / gmpy2.sqrt(left)
            return 2 * u * total

        # The integrand's branch points are farther from u = 0 than half the root of the correlations' determinant.
        parts = min(_LEAST, 2 - gmpy2.get_exp(max(_determinant(r), mpfr(2) ** -400)) // 2)
        ends = [mpfr(0), *(mpfr(2) ** -k for k in range(parts, -1, -1))]
        total = mpfr(0)
        for low, high in itertools.pairwise(ends):
            half = (high - low) / 2
            total += half * sum(
                w * slope(low + half * (1 + x)) for x, w in _nodes(gmpy2.get_context().precision)
            )
        return 4 / gmpy2.const_pi() ** 2 * total


def _determinant(r):
    ab, ac, ad, bc, bd, cd = (r[pair] for pair in itertools.combinations(range(4), 2))
    return (
        1 - ab**2 - ac**2 - ad**2 - bc**2 - bd**2 - cd**2
        + (ab * cd) ** 2 + (ac * bd) ** 2 + (ad * bc) ** 2
        + 2 * (ab * ac * bc + ab * ad * bd + ac * ad * cd + bc * bd * cd)
        - 2 * (ab * ac * bd * cd + ab * ad * bc * cd + ac * ad * bc * bd)
    )  # fmt: skip


@functools.cache
def _nodes(bits):
    """Gauss-Legendre nodes and weights on [-1, 1]."""
    with mp.workprec(bits):
        nodes = GaussLegendre(mp).calc_nodes(_DEGREE, bits)
        return [(mpfr(mp.nstr(x, bits // 3)), mpfr(mp.nstr(w, bits // 3))) for x, w in nodes]
