"""Piecewise-linear σ at every angle and variance, against wedges in the plane and against forty digits."""

import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from exact_moments import moment, planar_moment
from hypothesis import example, given, settings
from hypothesis import strategies as st
from placements import EVERY, by_order

from ntkflow._gaussian import FINE
from ntkflow._gaussian.four_signs import quadrature
from ntkflow._gaussian.linear_pieces import pair_moment, pair_tables, slot_moments
from ntkflow._gaussian.nested import Nested
from ntkflow._gaussian.piecewise_linear import PiecewiseLinear
from ntkflow._gaussian.rules import legendre
from ntkflow.activations import activation

SLOPES = (-0.3, 1.0)
DISTINCT = (0, 1, 2, 3)
PRODUCTS = [
    (f, g)
    for n in range(5)
    for f in itertools.combinations_with_replacement((0, 1), n)
    for g in itertools.combinations_with_replacement((0, 1), 4 - n)
] + [((0,), (0,)), ((1,), (1,))]
variances = st.floats(-6, 3).map(lambda x: 10.0**x)
correlations = st.one_of(
    st.floats(-1, 1),
    st.tuples(st.sampled_from((-1.0, 1.0)), st.floats(1, 12)).map(lambda x: x[0] * (1 - 10.0 ** -x[1])),
    st.sampled_from((-1 + 1e-12, 0.0, 1 - 1e-12)),
)
compiled = jax.jit(slot_moments, static_argnums=(0, 1))


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def metric(points):
    return points @ points.T


def on_class(points, spec, nodes=FINE):
    """With every parallel pair of points told."""
    G = metric(points)
    s = np.sqrt(np.diag(G))
    rho = G / np.maximum(np.outer(s, s), 1e-300)
    parallel = (np.abs(rho) > 1 - 1e-13) | (np.eye(len(G)) > 0)
    ratio = np.where(
        parallel, np.where(np.eye(len(G)) > 0, 1.0, np.sign(rho) * s / np.maximum(s[:, None], 1e-300)), np.nan
    )
    return PiecewiseLinear(activation(spec), G, ratio, nodes)


def size(primed, G):
    return np.prod(np.sqrt(np.diag(G)) ** (1 - np.array(primed)))


def exact_angle(a, b, c):
    """Between the samples of exactly these floats."""
    with mp.workdps(60):
        cosine = mp.mpf(b) / mp.sqrt(mp.mpf(a) * mp.mpf(c))
        return mp.acos(max(mp.mpf(-1), min(mp.mpf(1), cosine)))


@settings(max_examples=40, deadline=None)
@given(variances, variances, correlations, st.sampled_from(PRODUCTS))
def test_pair_products_against_wedges(a, c, rho, product):
    """Every product to 1e-12 of its scale."""
    f, g = product
    b = rho * np.sqrt(a * c)
    found = float(pair_moment(f, g, SLOPES, 0.0, a, b, c))
    factors = [(0, i) for i in f] + [(1, i) for i in g]
    exact = planar_moment([0, exact_angle(a, b, c)], [mp.sqrt(a), mp.sqrt(c)], SLOPES, factors)
    scale = np.sqrt(a) ** f.count(0) * np.sqrt(c) ** g.count(0)
    assert abs(found - float(exact)) < 1e-12 * scale


@settings(max_examples=12, deadline=None)
@given(variances, variances, correlations)
@example(0.04980416061248411, 10.0**-4.625, 0.999999999999)  # 1 - ρ² there needs what rounding of sums takes
def test_tables_are_derivatives_by_the_metric(a, c, rho):
    """Price's theorem, ∂1² = 2 ∂/∂g11 and ∂1∂2 = ∂/∂g12, at 120 digits on the exact floats, to 1e-12."""
    b = float(rho * np.sqrt(a * c))
    found = jax.tree.map(float, pair_tables(SLOPES, 0.0, a, b, c))
    with mp.workdps(120):
        at = mp.mpf(a), mp.mpf(b), mp.mpf(c)
        if at[1] ** 2 >= at[0] * at[2]:
            return
        p, q = (mp.mpf(SLOPES[1]) + mp.mpf(SLOPES[0])) / 2, (mp.mpf(SLOPES[1]) - mp.mpf(SLOPES[0])) / 2

        def arc(x, y, z):
            return mp.asin(y / mp.sqrt(x * z))

        functions = {
            "ss": lambda x, y, z: p * p * y + q * q * 2 / mp.pi * (mp.sqrt(x * z - y * y) + y * arc(x, y, z)),
            "dd": lambda x, y, z: p * p + q * q * 2 / mp.pi * arc(x, y, z),
        }
        counts = {
            2: [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
            4: [(2, 0, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1), (0, 0, 2)],
        }
        for name, order in (("J_ss", 2), ("J_dd", 2), ("Q_ss", 4), ("Q_dd", 4)):
            for m, count in enumerate(counts[order]):
                exact = mp.diff(functions[name[2:]], at, count)
                exact *= 2 ** (count[0] + count[2])
                power = 1 if name[2:] == "ss" else 0
                natural = np.sqrt(a) ** (power - order + m) * np.sqrt(c) ** (power - m)
                assert abs(found[name][m] - float(exact)) < 1e-12 * (abs(float(exact)) + natural), (name, m)
        assert found["Phi"] == pytest.approx(float(functions["ss"](*at)), abs=1e-13 * np.sqrt(a * c))
    assert found["K_sd"] == [found["dPhi"], found["J_ss"][2]]


@pytest.mark.parametrize("f, g", PRODUCTS)
def test_exact_angles(f, g):
    """At ρ = 0 products factorise; at ρ = ±1 they are those of one variable; on a zero sample σ' is JAX's."""
    above, below = (
        [np.prod([s if i else s * x for i in h]) for s, x in zip(SLOPES[::-1], (1.0, -1.0), strict=True)]
        for h in (f, g)
    )
    means = {}
    for sign in (1, -1):
        m = f.count(0) + g.count(0)
        half = 2 ** (m / 2 - 1) * float(mp.gamma((m + 1) / 2)) / np.sqrt(np.pi)
        means[sign] = half * (above[0] * below[::sign][0] + above[1] * below[::sign][1])
    for sign, mean in means.items():
        c = 1.7 * sign
        weight = 1.7 ** g.count(0)
        assert float(pair_moment(f, g, SLOPES, 0.0, 1.0, c, 1.7**2, float(sign))) == pytest.approx(
            mean * weight, abs=1e-14
        )
    alone = [float(pair_moment(h, (), SLOPES, 0.0, 1.0, 0.0, 1.0)) for h in (f, g)]
    assert float(pair_moment(f, g, SLOPES, 0.0, 1.0, 0.0, 1.0)) == pytest.approx(np.prod(alone), abs=1e-15)
    resting = 0.0 if 0 in g else 0.25 ** len(g)
    assert float(pair_moment(f, g, SLOPES, 0.25, 1.0, 0.0, 0.0)) == pytest.approx(
        alone[0] * resting, abs=1e-15
    )


@jax.jit
def every_gradient(*at):
    products = [
        jax.grad(lambda *g, n=n: pair_moment((n,), (n,), SLOPES, 0.0, *g), (0, 1, 2))(*at) for n in (0, 1)
    ]
    return products, jax.jacrev(lambda *g: pair_tables(SLOPES, 0.0, *g), (0, 1, 2))(*at)


@settings(max_examples=30, deadline=None)
@given(variances, variances, st.floats(-0.99, 0.99))
def test_gradients_are_prices(a, c, rho):
    """∂/∂g12 of ⟨σσ⟩ is ⟨σ'σ'⟩, and the tables are each other's derivatives."""
    at = a, float(rho * np.sqrt(a * c)), c
    tables = jax.tree.map(float, pair_tables(SLOPES, 0.0, *at))
    products, slopes = jax.tree.map(float, every_gradient(*at))
    factors = np.array([2, 1, 2])
    for name, first in zip(("ss", "dd"), products, strict=True):
        J, Q = tables[f"J_{name}"], tables[f"Q_{name}"]
        # Where a derivative passes through 0, in its natural unit.
        natural = np.array([np.sqrt(a) ** (m - 2) * np.sqrt(c) ** -m for m in range(3)]) * np.sqrt(a * c) ** (
            name == "ss"
        )
        assert np.all(np.abs(factors * first - J) < 1e-11 * (np.abs(J) + natural))
        for m in range(3):
            second, expected = factors * slopes[f"J_{name}"][m], np.array(Q[m : m + 3])
            unit = natural[m] * np.array([1 / a, 1 / np.sqrt(a * c), 1 / c])
            assert np.all(np.abs(second - expected) < 1e-10 * (np.abs(expected) + unit))


@pytest.mark.parametrize(
    "a, b, c", [(1, 1, 1), (1, -2, 4), (0, 0, 1), (0, 0, 0), (1e-6, 3e-2 * (1 - 1e-12), 1e3)]
)
def test_derivatives_are_finite_where_samples_coincide(a, b, c):
    at = tuple(map(float, (a, b, c)))
    for f, g in (((0, 0), (1, 1)), *PRODUCTS[-2:]):
        second = jax.jit(jax.hessian(lambda *x: pair_moment(f, g, SLOPES, 0.0, *x), (0, 1, 2)))(*at)  # noqa: B023
        assert np.all(np.isfinite(second))
    tables = jax.jit(jax.jacrev(lambda *x: pair_tables(SLOPES, 0.0, *x), (0, 1, 2)))(*at)
    assert all(np.isfinite(x) for x in jax.tree.leaves(tables))
    if (a, b) == (1, 1):
        # From inside, ∂⟨σσ⟩/∂g12 = ⟨σ'σ'⟩.
        slope = jax.grad(lambda x: pair_moment((0,), (0,), SLOPES, 0.0, 1.0, x, 1.0))(1.0)
        assert float(slope) == pytest.approx((1 + 0.09) / 2, rel=1e-14)


def by_orthants(G, slopes, nodes=26):
    """⟨Π σ^(p_i)(z_i)⟩ for every p by Gauss–Legendre on each orthant, where all is smooth."""
    P = np.linalg.inv(G)
    x, w = (np.multiply.outer(np.sqrt(np.diag(G)), y) for y in legendre(nodes, 8.0))
    total = np.zeros((2,) * 4)
    for signs in itertools.product((-1, 1), repeat=4):
        z = x * np.array(signs)[:, None]
        grid = np.ix_(*z)
        form = sum(P[i, j] * grid[i] * grid[j] for i in range(4) for j in range(4))
        density = np.exp(-form / 2)
        sides = [
            np.stack([slopes[s > 0] * zi * wi, slopes[s > 0] * wi])
            for s, zi, wi in zip(signs, z, w, strict=True)
        ]
        total += np.einsum("pi,qj,rk,sl,ijkl->pqrs", *sides, density, optimize=True)
    return total / (4 * np.pi**2 * np.sqrt(np.linalg.det(G)))


def test_four_samples_against_orthants():
    z = np.random.default_rng(0).normal(size=(4, 12))
    G = metric(z) / 12 + 0.2 * np.eye(4)
    found = by_order(np.asarray(compiled(DISTINCT, EVERY, SLOPES, 0.0, quadrature(64), G)))
    assert np.abs(found - by_orthants(G, SLOPES)).max() < 1e-10


NEARLY_SINGULAR = {
    "all close": lambda z: z[0] + 1e-3 * z,
    "two close pairs": lambda z: np.stack([z[0], z[0] + 1e-3 * z[1], -z[3] + 1e-3 * z[2], z[3]]),
    "nearly in a plane": lambda z: z * np.array([1, 1, 1e-3, 1e-3]),
    "nearly in three dimensions": lambda z: z * np.array([1, 1, 1, 1e-5]),
    "three nearly in a plane": lambda z: z * np.array([[1, 1, 1e-4, 1e-4]] * 3 + [[1] * 4]),
}


@pytest.mark.parametrize(
    "kind",
    [next(iter(NEARLY_SINGULAR)), *(pytest.param(k, marks=pytest.mark.slow) for k in [*NEARLY_SINGULAR][1:])],
)
def test_four_samples_of_a_nearly_singular_metric(kind):
    """Against forty digits: 1e-12 at correlations of 1 - 1e-6, variances from 1e-3 to 10."""
    z = NEARLY_SINGULAR[kind](np.random.default_rng(1).normal(size=(4, 4)))
    z *= (np.array([1e-3, 0.1, 1.0, 10.0]) ** 0.5 / np.linalg.norm(z, axis=1))[:, None]
    G = metric(z)
    found = by_order(np.asarray(compiled(DISTINCT, EVERY, SLOPES, 0.0, quadrature(64), G)))
    for primed in ((0, 0, 0, 0), (0, 0, 1, 1), (1, 0, 1, 0), (0, 1, 1, 1), (1, 1, 1, 1)):
        assert abs(found[primed] - float(moment(G, SLOPES, primed))) < 1e-12 * size(primed, G), primed


def test_four_signs_estimate_their_error():
    """Too few nodes: the difference from still fewer is no less than a third of the error."""
    z = np.random.default_rng(2).normal(size=(4, 4))
    for kind, points in NEARLY_SINGULAR.items():
        x = points(z)
        G = metric(x / np.linalg.norm(x, axis=1)[:, None])
        exact, some, fewer = (
            float(compiled(DISTINCT, EVERY, (-1.0, 1.0), 0.0, quadrature(n), G)[-1]) for n in (64, 16, 15)
        )
        assert abs(some - exact) < 3 * abs(some - fewer) + 1e-13, kind


@pytest.mark.slow
@pytest.mark.parametrize("spread", [3.0, 1e-2])
def test_points_in_a_plane(spread):
    """Any quadruples of seven points in the plane, multiples and opposites among them: by wedges, to 1e-11."""
    rng = np.random.default_rng(3)
    angles = np.concatenate([spread * np.linspace(0, 1, 4) ** 1.3, [0.0, np.pi, 0.0]])
    angles[6] = angles[1] + np.pi
    radii = np.array([1.0, 0.3, 2.0, 1.4, 2.5, 0.7, 3.0])
    points = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    integrals = on_class(points, {"name": "leaky_relu", "slope": -0.3})
    samples = np.concatenate(
        [rng.integers(0, 7, (12, 4)), [[0, 1, 2, 3], [0, 4, 1, 6], [5, 1, 0, 4], [3, 3, 3, 3]]]
    )
    found = by_order(integrals.moments(samples, EVERY))
    for row, values in zip(samples, found, strict=True):
        for primed in [EVERY[i] for i in rng.integers(0, 16, 3)]:
            exact = planar_moment(angles, radii, SLOPES, list(zip(row.tolist(), primed, strict=True)))
            assert abs(values[primed] - float(exact)) < 1e-11 * np.prod(
                radii[row] ** (1 - np.array(primed))
            ), (row, primed)


@pytest.mark.parametrize(
    ("angle", "position"),
    [(1e-6, 3), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1e-3, 1), (1e-5, 2)))],
)
def test_nearly_parallel_samples_in_a_plane(angle, position):
    """The metric tells their distance only to a share eps / angle² of it, but moments to eps / angle."""
    angles = np.insert([0.0, 0.9, 2.3], position, angle)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    integrals = on_class(points, {"name": "leaky_relu", "slope": -0.3})
    for slots in ((0, 1, 2, 3), (0, 0, position, 2), (0, position, position, 2)):
        found = by_order(integrals.moments(np.array([slots]), EVERY))[0]
        for primed in EVERY:
            exact = planar_moment(angles, np.ones(4), SLOPES, list(zip(slots, primed, strict=True)))
            assert abs(found[primed] - float(exact)) < 1e-12 + 3e-15 / angle, (slots, primed)


def test_nearly_parallel_samples_of_a_singular_metric():
    """In three dimensions, against a cubature in the points' own coordinates."""
    points = np.random.default_rng(10).normal(size=(4, 3))
    points[1] = -2 * points[0] + 1e-6 * points[1]
    cubature = Nested(points, (0.0,), 12.0)
    for slots in ((0, 1, 2, 3), (0, 0, 1, 2)):
        found = by_order(on_class(points, "relu").moments(np.array([slots]), EVERY))[0]
        expected = np.zeros((2,) * 4)
        for u, weights in cubature.pieces(60):
            z = points[list(slots)] @ u.T
            expected += np.einsum("pi,qi,ri,si,i->pqrs", *np.stack([z * (z > 0), z > 0], axis=1), weights)
        scale = np.array([size(primed, metric(points[list(slots)])) for primed in EVERY]).reshape(
            expected.shape
        )
        assert np.all(np.abs(found - expected) < 1e-9 * scale), slots


@pytest.mark.slow
def test_placements_of_the_slots():
    """`moments` and `pair` on quadruples of one to four samples in any order; blocks that are not full."""
    z = np.random.default_rng(5).normal(size=(5, 7))
    z[4] = -2 * z[1]
    integrals = on_class(z, "relu")
    samples = np.array(list(itertools.product(range(5), repeat=4)))
    every = integrals.moments(samples, EVERY).reshape(5, 5, 5, 5, 2, 2, 2, 2)
    for order in ((1, 0, 2, 3), (2, 3, 0, 1), (3, 0, 1, 2)):
        moved = every.transpose(*order, *(4 + np.array(order)))
        assert np.abs(moved - every).max() < 1e-14 * np.abs(every).max()
    a, b = np.indices((5, 5))
    for f, g in PRODUCTS[:-2]:
        slots = np.stack([a] * len(f) + [b] * len(g), axis=-1).reshape(-1, 4)
        primed = (*f, *g)
        expected = integrals.moments(slots, EVERY)[:, EVERY.index(primed)].reshape(5, 5)
        assert np.abs(integrals.pair(f, g) - expected).max() < 1e-13 * np.abs(expected).max(), primed


def test_homogeneity():
    z = np.random.default_rng(6).normal(size=(4, 6))
    c = np.array([1e-3, 30.0, 1.0, 0.02])
    plain, scaled = on_class(z, "relu"), on_class(c[:, None] * z, "relu")
    first, second = (by_order(x.moments(np.array([[0, 1, 2, 3]]), EVERY))[0] for x in (plain, scaled))
    for primed in EVERY:
        assert second[primed] == pytest.approx(
            first[primed] * np.prod(c ** (1 - np.array(primed))), rel=1e-11
        )
    assert np.allclose(scaled.pair((0, 0), (1, 1)), plain.pair((0, 0), (1, 1)) * c[:, None] ** 2, rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [(0, 0, 1, 2), (0, 1, 2, 3)])
def test_gradients_on_more_samples(pattern):
    """First and second derivatives by the metric against central differences."""
    n = max(pattern) + 1
    z = np.random.default_rng(7).normal(size=(n, 12))
    G = metric(z) / 12 + 0.2 * np.eye(n)
    direction = 0.1 * metric(np.random.default_rng(8).normal(size=(n, 4)))
    nodes = quadrature(64) if n == 4 else None

    def along(t):
        return slot_moments(pattern, EVERY, SLOPES, 0.0, nodes, G + t * direction)

    first, second = jax.jit(jax.jacfwd(along)), jax.jit(jax.jacfwd(jax.jacfwd(along)))
    reverse = jax.jit(jax.grad(lambda t: jnp.sum(along(t))))
    h = 1e-3
    for f, slope in ((jax.jit(along), first), (first, second)):
        near, far = f(h) - f(-h), f(2 * h) - f(-2 * h)
        assert np.abs((8 * near - far) / (12 * h) - slope(0.0)).max() < 1e-9
    assert float(reverse(0.0)) == pytest.approx(float(jnp.sum(first(0.0))), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [2, 3])
def test_gradients_of_dependent_samples(columns):
    """Where the metric is singular: finite, and those of a metric next to it, but for ⟨σ'σ'σ'σ'⟩: its derivative jumps."""
    z = np.random.default_rng(9).normal(size=(4, columns))
    gradient = jax.jit(jax.jacrev(lambda G: slot_moments(DISTINCT, EVERY, SLOPES, 0.0, quadrature(64), G)))
    here, next_to = gradient(metric(z)), gradient(metric(z) + 1e-13 * np.eye(4))
    assert np.all(np.isfinite(here))
    for primed, gradient_here, gradient_next_to in zip(EVERY[:-1], here, next_to, strict=False):
        change = np.abs(gradient_here - gradient_next_to)
        assert change.max() < 1e-3 * np.abs(gradient_here).max(), primed


_MOMENTS = """
import hashlib
import itertools
import numpy as np
from ntkflow._gaussian import FINE
from ntkflow._gaussian.piecewise_linear import PiecewiseLinear
from ntkflow._gaussian.requests import placements
from ntkflow._recursions import flowing, moments_of
from ntkflow.activations import activation

rng = np.random.default_rng(5)
asked = placements(moments_of(flowing(training=False, kinked=True)))
samples = np.array(list(itertools.combinations(range(10), 4)))
samples = np.concatenate([samples, samples[:, [0, 0, 1, 2]], samples[:, [0, 1, 1, 3]]])
total = hashlib.sha256()
for _ in range(4):
    X = rng.normal(size=(10, 4))
    integrals = PiecewiseLinear(activation("relu"), 0.1 + X @ X.T, np.where(np.eye(10) > 0, 1.0, np.nan), FINE)
    total.update(integrals.moments(samples, asked).tobytes())
print(total.hexdigest())
"""


def test_the_number_of_threads_does_not_round_another_way():
    """Stores of workers of one thread are bit for bit that of one process which has all cores."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _MOMENTS],
            env=os.environ | {"NPROC": threads, "JAX_ENABLE_COMPILATION_CACHE": "false"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1
