"""The tensors of two samples by the recursions on expectations that are independent of `ntkflow.gaussian`.

Through a piecewise-linear network in 80 digits, where nothing cancels short of them and the separate J's may be as large as they
like: moments by integrals over the angle in the plane, derivatives by Price's theorem from ⟨σ'σ'⟩'s arcsine. Through a smooth one
by the trapezoidal rule in the plane.
"""

import functools
import itertools
import math

import numpy as np
from mpmath import mp, mpf
from numpy.polynomial.hermite_e import hermeval

from ntkflow.gaussian.rules import evaluate
from ntkflow.gaussian.sample_sets import KINDS, OnSets, factors
from ntkflow.recursions import Hyperparameters, Tensors, step
from ntkflow.recursions.symmetry import SYMMETRIES

DIGITS = 80
_AT_ONCE = 2**14


def random_pair(rng):
    """Two inputs of two components, (2, 2): variances from 1e-6 to 1000 at C_W = 1, correlations through ±1 down to 1 - |ρ| = 1e-12."""
    variances = 10.0 ** rng.uniform(-6, 3, (2, 1))
    angle = 2 * math.asin(math.sqrt(10.0 ** rng.uniform(-12, 0) / 2))
    second = rng.choice([-1, 1]) * np.array([math.cos(angle), math.sin(angle)])
    return np.sqrt(2 * variances) * np.stack([[1.0, 0.0], second])


def exact_flow(mlp, X):
    """`flow_of_pair` of a piecewise-linear network, in 80 digits."""
    with mp.workdps(DIGITS):
        return flow_of_pair(mlp, X, mpf, lambda a, G, H: _expectations(G, H, *a.slopes))


def flow_of_pair(mlp, X, number, expectations):
    """One dict of float arrays G, H (2, 2), G1, H1 and the tensors for each layer; X (2, n_0), taken as exact.

    Args:
        number: what to compute with.
        expectations: activation, G, H -> OnSets, of one set.
    """
    X = np.array([[number(float(x)) for x in row] for row in X])
    product = X @ X.T / mlp.widths[0]
    G = number(mlp.C_b[0]) + number(mlp.C_W[0]) * product
    H = number(mlp.lambda_b[0]) + number(mlp.lambda_W[0]) * product
    t = Tensors(*(np.full((2,) * len(SYMMETRIES[n][0]) + (1,), number(0)) for n in Tensors._fields))
    layers = [_floats(G, H, t)]
    for ell in range(1, mlp.depth):
        h = Hyperparameters(
            *(number(getattr(mlp, key)[ell]) for key in ("C_b", "C_W", "lambda_b", "lambda_W")),
            number(mlp.widths[ell]) / mlp.widths[ell - 1],
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
    tables = {"G": G, "H": H} | {name: x[..., 0] for name, x in t._asdict().items()}
    return {name: x.astype(float) for name, x in tables.items()}


def _expectations(G, H, left, right) -> OnSets:
    p, q = (mpf(right) + mpf(left)) / 2, (mpf(right) - mpf(left)) / 2
    s = [mp.sqrt(G[i, i]) for i in range(2)]
    D = mp.sqrt(G[0, 0] * G[1, 1] - G[0, 1] ** 2)
    theta = mp.atan2(D, G[0, 1])

    half = mp.pi / 2
    corners = sorted([-half, half, theta - half, theta + half])
    wedges = list(itertools.pairwise([*corners, corners[0] + 2 * mp.pi]))

    @functools.cache
    def angular(m, n, first, second):
        """E[cos^m cos^n(· - θ) sgn^first sgn^second] over the angle."""
        total = mpf(0)
        for a, b in wedges:
            middle = (a + b) / 2
            sign = mp.sign(mp.cos(middle)) ** first * mp.sign(mp.cos(middle - theta)) ** second
            total += sign * (antiderivative(m, n, b) - antiderivative(m, n, a))
        return total / (2 * mp.pi)

    @functools.cache
    def antiderivative(m, n, x):
        total = mpf(0)
        for j, k in np.ndindex(m + 1, n + 1):
            wave, shift = m - 2 * j + n - 2 * k, (n - 2 * k) * theta
            wave_part = mp.sin(wave * x - shift) / wave if wave else x * mp.cos(shift)
            total += math.comb(m, j) * math.comb(n, k) * wave_part
        return total / 2 ** (m + n)

    def moment(i, f, j, g):
        """⟨Π σ^(p)(z_i) over p in f · the same over g at z_j⟩."""
        if i == j:
            f, g = f + g, ()
        parts = []
        for orders in (f, g):
            even, odd = mpf(1), mpf(0)
            for _ in orders:
                even, odd = p * even + q * odd, p * odd + q * even
            parts.append((orders.count(0), (even, odd)))
        (m, one), (n, two) = parts
        radial = mpf(2) ** (mpf(m + n) / 2) * mp.gamma(1 + mpf(m + n) / 2)
        if (i, j) == (1, 0):
            (m, one), (n, two), i, j = (n, two), (m, one), 0, 1
        if i == j == 1:
            (m, one), (n, two) = (n, two), (m, one)
        scale = s[0] ** m * s[1] ** n * radial
        return scale * sum(
            one[a] * two[b] * angular(m, n, a, b) for a in (0, 1) for b in (0, 1) if one[a] * two[b]
        )

    Phi = np.array([[moment(i, (0,), j, (0,)) for j in range(2)] for i in range(2)])
    dPhi = np.array([[moment(i, (1,), j, (1,)) for j in range(2)] for i in range(2)])
    k = 2 * q**2 / mp.pi
    total = p**2 + q**2

    def table(off, diagonal):
        """off(G11, G12, G22) of every derivative; on the diagonal the total derivative, first."""
        ab, ba = off(G[0, 0], G[0, 1], G[1, 1]), off(G[1, 1], G[0, 1], G[0, 0])
        rest = [mpf(0)] * (len(ab) - 1)
        own = [diagonal, *rest]
        return np.array([[[own[n], ab[n]], [ba[n], own[n]]] for n in range(len(ab))])[..., None]

    def ss(a, c, b):
        return [k * D / a, dPhi[0, 1], k * D / b]

    def dd(a, c, b):
        return [-k * c / (a * D), k / D, -k * c / (b * D)]

    def fourth_end(a, b):
        return 2 * k * (b / (2 * D * a) - D / a**2)

    def Q_ss(a, c, b):
        return [fourth_end(a, b), *dd(a, c, b), fourth_end(b, a)]

    def outermost(a, c, b):
        return 2 * k * c * (1 / (a**2 * D) + b / (2 * a * D**3))

    def Q_dd(a, c, b):
        return [outermost(a, c, b), -k * b / D**3, k * c / D**3, -k * a / D**3, outermost(b, c, a)]

    def four(primes):
        out = np.empty((2, 2, 2, 2, 1), object)
        for slots in np.ndindex(2, 2, 2, 2):
            placed = [*factors(slots, primes).items()]
            (i, f), (j, g) = [*placed, (placed[0][0], ())][:2]
            out[slots] = moment(i, tuple(f), j, tuple(g))
        return out

    return OnSets(
        H=H[..., None], Phi=Phi[..., None], dPhi=dPhi[..., None],
        J_ss=table(ss, 2 * total), J_dd=table(dd, mpf(0)), K_sd=table(lambda a, c, b: [dPhi[0, 1], k * D / b], total),
        Q_ss=table(Q_ss, mpf(0)), Q_dd=table(Q_dd, mpf(0)),
        **{kind: four(primes) for kind, primes in KINDS.items()},
    )  # fmt: skip


def smooth_flow(mlp, X):
    """`flow_of_pair` of a smooth network, by the trapezoidal rule: in extended precision but for σ."""
    return flow_of_pair(mlp, X, np.longdouble, _by_trapezoid)


def plane(v1, v2, c):
    """Points z1, z2 and weights for N(0, [[v1, c], [c, v2]]), whose step is well below the distance of a sigmoid's poles.

    In the sum and the difference of z1/s1 and z2/s2.
    """
    s1, s2 = math.sqrt(v1), math.sqrt(v2)
    rho = c / (s1 * s2)
    step = 0.18 / max(s1, s2, 1.0)
    x = step * np.arange(-int(9 / step), int(9 / step) + 1)
    square = x[:, None] ** 2 + x**2
    x, y = x[np.array(np.nonzero(square <= 81))]
    p, q = math.sqrt(max(1 + rho, 0) / 2) * x, math.sqrt(max(1 - rho, 0) / 2) * y
    return s1 * (p + q), s2 * (p - q), step * step / (2 * np.pi) * np.exp(-(x**2 + y**2) / 2)


def _by_trapezoid(activation, G, H) -> OnSets:
    points = plane(*G[[0, 1, 0], [0, 1, 1]].astype(float))
    # ⟨σ^(p)(z_a) σ^(q)(z_b)⟩ at [a, b, p, q], and ⟨Π_i σ^(p_i)(z_ai)⟩ at [a1 … a4] for each kind
    M = np.zeros((2, 2, 6, 6), np.longdouble)
    fours = {kind: np.zeros((2, 2, 2, 2, 1), np.longdouble) for kind in KINDS}
    for start in range(0, len(points[0]), _AT_ONCE):
        some = [x[start : start + _AT_ONCE] for x in points]
        # Filled up with weights of 0, so that σ is compiled once.
        *z, weight = (np.pad(x, (0, _AT_ONCE - len(x))) for x in some)
        f = np.moveaxis(evaluate(activation, np.array(z), 5), 0, 1)
        for a, b in np.ndindex(2, 2):
            M[a, b] += f[a] * weight @ f[b].T
        for kind, primes in KINDS.items():
            one, other = (
                np.array([f[a][p] * f[b][q] for a, b in np.ndindex(2, 2)])
                for p, q in (primes[:2], primes[2:])
            )
            fours[kind] += (one * weight @ other.T).reshape(2, 2, 2, 2, 1)

    def table(p, q, order):
        """All derivatives of `order` of σ^(p)(z_a) σ^(q)(z_b), by how many are taken at b."""
        stack = np.array([M[:, :, p + order - n, q + n] for n in range(order + 1)])
        for a in np.flatnonzero(np.diag(G) > 1):
            # They cancel, and σ has but 16 digits: the total one by Stein's identity stands at the first.
            stack[:, a, a] = 0
            stack[0, a, a] = _by_parts(activation, float(G[a, a]), p, q, order)
        return stack[..., None]

    return OnSets(
        H=H[..., None], Phi=table(0, 0, 0)[0], dPhi=table(1, 1, 0)[0],
        J_ss=table(0, 0, 2), J_dd=table(1, 1, 2), K_sd=table(0, 1, 1), Q_ss=table(0, 0, 4), Q_dd=table(1, 1, 4),
        **fours,
    )  # fmt: skip


def _by_parts(activation, variance, p, q, order):
    """⟨dⁿ/dzⁿ σ^(p)(z) σ^(q)(z)⟩, n = `order`, from σ^(p) and σ^(q)."""
    s = math.sqrt(variance)
    step = 0.18 / max(s, 1.0)
    u = step * np.arange(-int(12 / step), int(12 / step) + 1, dtype=np.longdouble)
    f = evaluate(activation, s * u.astype(float), max(p, q))
    weight = step / np.sqrt(2 * np.longdouble(np.pi)) * np.exp(-u * u / 2) * hermeval(u, [0] * order + [1])
    return np.sum(weight * f[p] * f[q]) / np.longdouble(s) ** order
