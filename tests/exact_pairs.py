"""The tensors of two samples through smooth networks, by the recursions on expectations from the trapezoidal rule in the plane."""

import math

import numpy as np
from exact_networks import flow_of_samples
from numpy.polynomial.hermite_e import hermeval

from ntkflow._gaussian.requests import orders_of
from ntkflow._gaussian.rules import evaluate
from ntkflow._gaussian.sample_sets import OnSets
from ntkflow._recursions import flowing, moments_of

INITIAL = flowing(training=False, kinked=True)

_AT_ONCE = 2**14


def random_pair(rng):
    """Two inputs of two components, (2, 2): variances from 1e-6 to 1000 at C_W = 1, correlations through ±1 down to 1 - |ρ| = 1e-12."""
    variances = 10.0 ** rng.uniform(-6, 3, (2, 1))
    angle = 2 * math.asin(math.sqrt(10.0 ** rng.uniform(-12, 0) / 2))
    second = rng.choice([-1, 1]) * np.array([math.cos(angle), math.sin(angle)])
    return np.sqrt(2 * variances) * np.stack([[1.0, 0.0], second])


def smooth_flow(mlp, X):
    """`flow_of_samples` of a smooth network and a pair: in extended precision but for σ."""
    return flow_of_samples(mlp, np.asarray(X, np.longdouble), np.longdouble, _by_trapezoid)


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
    fours = {word: np.zeros((2, 2, 2, 2, 1), np.longdouble) for word in moments_of(INITIAL)}
    for start in range(0, len(points[0]), _AT_ONCE):
        some = [x[start : start + _AT_ONCE] for x in points]
        # Filled up with weights of 0, so that σ is compiled once.
        *z, weight = (np.pad(x, (0, _AT_ONCE - len(x))) for x in some)
        f = np.moveaxis(evaluate(activation, np.array(z), 5), 0, 1)
        for a, b in np.ndindex(2, 2):
            M[a, b] += f[a] * weight @ f[b].T
        for word, moment in fours.items():
            orders = orders_of(word)
            one, other = (
                np.array([f[a][p] * f[b][q] for a, b in np.ndindex(2, 2)])
                for p, q in (orders[:2], orders[2:])
            )
            moment += (one * weight @ other.T).reshape(2, 2, 2, 2, 1)

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
