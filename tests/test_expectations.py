"""Gaussian expectations against integrals done another way, and against their own derivatives."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placements import EVERY as PLACEMENTS
from placements import WORDS, by_order

from ntkflow._gaussian import COARSE, FINE, SampleSets, expectations, sample_sets
from ntkflow._gaussian.quadruples import four_sample_moments
from ntkflow._gaussian.rules import legendre
from ntkflow.activations import _REGISTRY, activation, kinked

METRIC = np.array([[1.3, 0.7, -0.4], [0.7, 0.8, 0.2], [-0.4, 0.2, 0.6]])
PARAMETERS = {
    "monomial": {"degree": 3},
    "polynomial": {"coefficients": [0.5, 1.0, -0.3, 0.2]},
    "leaky_relu": {"slope": 0.1},
}
# The quadratures here are cut at 0 alone.
ELSEWHERE = {"hardtanh", "relu6", "hardsigmoid", "hardswish", "softshrink"}
EVERY = [{"name": name} | PARAMETERS.get(name, {}) for name in sorted(set(_REGISTRY) - ELSEWHERE)] + [
    {"name": "elu", "alpha": 1.7}
]


def label(spec):
    return "-".join(map(str, spec.values())) if isinstance(spec, dict) else spec


def on(spec, G, rule=FINE, sets=None):
    ratio = np.full(G.shape, np.nan)
    np.fill_diagonal(ratio, 1.0)
    return expectations(activation(spec), G, ratio, sets, rule)


def fours(N):
    """Every set of four out of N samples."""
    return SampleSets(np.array(list(itertools.combinations(range(N), 4))).T, N, WORDS)


def on_sets(e, H, sets):
    with jax.enable_x64(True):
        e, H = jax.tree.map(jnp.asarray, (e, H))
        return jax.tree.map(np.asarray, sample_sets.on_sets(e, H, sets.sets, sets.rows, sets.moments))


def by_half_lines(f, g, G, nodes=80):
    """⟨f(z1) g(z2)⟩ with z2 integrated given z1, each range cut at 0 and where z2 = 0."""
    x, w = legendre(nodes, 1.0)
    s1 = np.sqrt(G[0, 0])
    left = np.sqrt(G[1, 1] - G[0, 1] ** 2 / G[0, 0])
    total = 0.0
    for side in (-1, 1):
        u, wu = side * 12 * x, 12 * w
        shift = G[0, 1] / s1 * u / left
        for low, high in (
            (-14.0 * np.ones_like(shift), np.clip(-shift, -14, 14)),
            (np.clip(-shift, -14, 14), 14.0),
        ):
            v = low[:, None] + (high - low)[:, None] * x
            inner = np.sum(
                (high - low)[:, None] * w * np.exp(-v * v / 2) * g(left * (v + shift[:, None])), axis=1
            )
            total += np.sum(wu * np.exp(-u * u / 2) * f(s1 * u) * inner)
    return total / (2 * np.pi)


@pytest.mark.parametrize("spec", EVERY, ids=label)
def test_pairs_against_nested_quadrature(spec):
    """Φ and Φ' to 1e-10 of √(⟨f²⟩⟨g²⟩), f' by JAX's own reverse mode."""
    e = on(spec, METRIC)
    with jax.enable_x64(True):
        f = activation(spec).function
        gradient = jax.vmap(jax.grad(f))

        def slope(z):
            return np.asarray(gradient(jnp.ravel(z))).reshape(z.shape)

        for i, j in ((0, 1), (0, 2), (1, 2)):
            block = METRIC[np.ix_([i, j], [i, j])]
            for table, h in ((e.Phi, lambda z: np.asarray(f(jnp.asarray(z)))), (e.dPhi, slope)):
                scale = np.sqrt(table[i, i] * table[j, j])
                assert abs(table[i, j] - by_half_lines(h, h, block)) < 1e-10 * scale


@pytest.mark.parametrize("spec", EVERY, ids=label)
def test_derivatives_are_those_with_respect_to_the_metric(spec):
    """Price's theorem: ∂⟨f⟩/∂G_12 = ⟨∂1∂2 f⟩ and ∂⟨f⟩/∂G_11 = ½ ⟨∂1² f⟩, by central differences of Φ and Φ'."""
    G, h = METRIC[:2, :2], 2e-3
    unit = {"a": np.diag([1.0, 0.0]), "c": np.diag([0.0, 1.0]), "b": np.array([[0.0, 1.0], [1.0, 0.0]])}

    def at(move):
        e = on(spec, G + move)
        return np.array([e.Phi[0, 1], e.dPhi[0, 1]])

    def first(x):
        return (8 * (at(h * unit[x]) - at(-h * unit[x])) - at(2 * h * unit[x]) + at(-2 * h * unit[x])) / (
            12 * h
        )

    def second(x, y):
        signs = [(p, q) for p in (-1, 1) for q in (-1, 1)]
        return sum(p * q * at(h * (p * unit[x] + q * unit[y])) for p, q in signs) / (4 * h * h)

    e = on(spec, G)
    J = np.stack([e.J_ss, e.J_dd])[:, :, 0, 1]
    Q = np.stack([e.Q_ss, e.Q_dd])[:, :, 0, 1]
    assert np.allclose(
        J, np.stack([2 * first("a"), first("b"), 2 * first("c")], axis=1), rtol=1e-7, atol=1e-8
    )
    expected = [
        4 * second("a", "a"),
        2 * second("a", "b"),
        second("b", "b"),
        2 * second("b", "c"),
        4 * second("c", "c"),
    ]
    assert np.allclose(Q, np.stack(expected, axis=1), rtol=2e-4, atol=2e-4 * (1 + np.abs(Q).max()))
    assert np.allclose(e.K_sd[:, 0, 1], [e.dPhi[0, 1], e.J_ss[2, 0, 1]], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "spec",
    [
        "relu",
        pytest.param("abs", marks=pytest.mark.slow),
        pytest.param({"name": "leaky_relu", "slope": -0.4}, marks=pytest.mark.slow),
    ],
    ids=label,
)
def test_two_methods_for_piecewise_linear(spec):
    """Closed forms against the rules for any kink: pairs to 1e-11, four samples to 1e-8, parallel and zero ones too."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(4, 6))
    G = z @ z.T / 6
    G = np.block([[G, 2 * G[:, :1], np.zeros((4, 1))], [2 * G[:1], 4 * G[:1, :1], 0.0], [np.zeros((1, 6))]])
    ratio = np.full(G.shape, np.nan)
    np.fill_diagonal(ratio, 1.0)
    ratio[0, 4], ratio[4, 0] = 2.0, 0.5
    sets = fours(6)
    exact = expectations(activation(spec), G, ratio, sets, FINE)
    general = expectations(dataclasses.replace(activation(spec), slopes=None), G, ratio, sets, FINE)
    for name in ("Phi", "dPhi", "J_ss", "J_dd", "K_sd", "Q_ss", "Q_dd"):
        a, b = getattr(exact, name), getattr(general, name)
        if a.ndim == 3:
            # A vanishing sample's own derivatives multiply tensors that vanish.
            a, b = a[..., :5, :5], b[..., :5, :5]
        assert np.abs(a - b).max() < 1e-11 * np.abs(a).max(), name
    exact, general = (on_sets(one, G, sets) for one in (exact, general))
    for name in ("ssss", "ssdd", "dddd"):
        a, b = getattr(exact, name), getattr(general, name)
        assert np.abs(a - b).max() < 1e-8 * np.abs(a).max(), name


@pytest.mark.parametrize("spec", ["relu", pytest.param("abs", marks=pytest.mark.slow)])
def test_two_methods_for_points_in_a_plane(spec):
    """Any four of five points in the plane: moments by the sign reductions and by the plane's own rule, to 1e-7."""
    z = np.random.default_rng(4).normal(size=(5, 2))
    G, ratio = z @ z.T, np.full((5, 5), np.nan)
    np.fill_diagonal(ratio, 1.0)
    sets = fours(5)
    exact = expectations(activation(spec), G, ratio, sets, FINE)
    general = expectations(dataclasses.replace(activation(spec), slopes=None), G, ratio, sets, FINE)
    exact, general = (on_sets(one, G, sets) for one in (exact, general))
    for name in ("ssss", "ssdd", "dddd"):
        a, b = getattr(exact, name), getattr(general, name)
        assert np.abs(a - b).max() < 1e-7 * np.abs(a).max(), name


def gaussian_polynomial_moment(G, powers):
    """E[Π z_i^{p_i}] by Isserlis."""
    if sum(powers) == 0:
        return 1.0
    if sum(powers) % 2:
        return 0.0
    i = next(k for k, p in enumerate(powers) if p)
    rest = list(powers)
    rest[i] -= 1
    total = 0.0
    for j, p in enumerate(rest):
        if p:
            lower = list(rest)
            lower[j] -= 1
            total += p * G[i, j] * gaussian_polynomial_moment(G, lower)
    return total


def test_four_samples_of_a_cubic_are_exact():
    """σ = z³ on four samples, on dependent ones and on a duplicate: Isserlis."""
    z = np.random.default_rng(2).normal(size=(4, 4))
    cubic = activation({"name": "monomial", "degree": 3})
    for points in (z, z[:, :2], z[[0, 1, 1, 2]]):
        G = points @ points.T / points.shape[1]
        moments = by_order(four_sample_moments(cubic, G[None], PLACEMENTS, FINE))[0]
        for primed in np.ndindex(2, 2, 2, 2):
            exact = 3 ** sum(primed) * gaussian_polynomial_moment(G, [3 - p for p in primed])
            size = 3 ** sum(primed) * np.prod(
                [
                    gaussian_polynomial_moment(G[i : i + 1, i : i + 1], [4 * (3 - p)]) ** 0.25
                    for i, p in enumerate(primed)
                ]
            )
            assert abs(moments[primed] - exact) < 1e-12 * size


@pytest.mark.parametrize("spec", ["tanh", "gelu", "sin", "softplus"])
def test_four_samples_do_not_depend_on_their_pairing(spec):
    z = np.random.default_rng(3).normal(size=(5, 4, 6))
    G = z @ z.transpose(0, 2, 1) / 6
    G[1, 3, :] = G[1, 2, :]
    G[1, :, 3] = G[1, :, 2]
    moments = by_order(four_sample_moments(activation(spec), G, PLACEMENTS, FINE))
    for order in ((0, 2, 1, 3), (3, 1, 2, 0), (1, 2, 3, 0)):
        again = by_order(four_sample_moments(activation(spec), G[:, order][:, :, order], PLACEMENTS, FINE))
        assert (
            np.abs(again - moments.transpose(0, *(1 + np.array(order)))).max() < 1e-12 * np.abs(moments).max()
        )


@settings(max_examples=15, deadline=None)
@given(st.floats(-3, 1.5), st.floats(-1, 1), st.sampled_from(["tanh", "erf", "gelu", "sigmoid", "elu"]))
def test_pairs_at_any_variance_and_correlation(log_variance, rho, spec):
    """Fine and coarse rules agree to 1e-10 of √(⟨f²⟩⟨g²⟩) from variance 1e-3 to 30, correlations through ±1."""
    v = 10.0**log_variance
    G = np.array([[v, rho * v], [rho * v, v]])
    fine, coarse = on(spec, G), on(spec, G, COARSE)
    for name in ("Phi", "dPhi"):
        a, b = getattr(fine, name), getattr(coarse, name)
        assert np.all(np.isfinite(a)) and np.abs(a - b).max() < 1e-10 * np.abs(a).max(), name


def test_callables_are_looked_at_for_a_kink():
    assert activation(jax.nn.relu).slopes == (0.0, 1.0)
    assert activation(lambda z: jnp.maximum(z, 0.2 * z)).slopes == pytest.approx((0.2, 1.0))
    assert activation(jax.nn.elu).kinked and activation(jax.nn.elu).slopes is None
    assert not activation(jnp.tanh).kinked
    assert not activation(jax.nn.gelu).kinked


@pytest.mark.parametrize(
    ("spec", "degree", "parity"),
    [
        ("linear", 1, -1),
        ("abs", 1, 1),
        ("leaky_relu", 1, 0),
        (lambda z: jax.nn.relu(z) ** 2, 2, 0),
        (lambda z: z * jnp.abs(z), 2, -1),
        (lambda z: jnp.abs(z) ** 1.5, 1.5, 1),
        ({"name": "monomial", "degree": 40}, 40, 1),
        ("tanh", None, -1),
        ("cos", None, 1),
        ("elu", None, 0),
        (kinked(lambda z: jnp.clip(z, -1.0, 1.0), at=(-1.0, 1.0)), None, -1),
        (lambda z: 0.0 * z, None, 1),
        (lambda z: jax.nn.relu(z) + 1e-6 * jax.nn.relu(z - 3.0), None, 0),
    ],
    ids=[
        "linear", "abs", "leaky_relu", "relu²", "z|z|", "|z|^1.5", "z^40", "tanh", "cos", "elu", "hard tanh", "zero", "nearly relu",
    ],
)  # fmt: skip
def test_degree_and_parity(spec, degree, parity):
    found = activation(spec)
    assert found.parity == parity
    assert found.degree == (None if degree is None else pytest.approx(degree, rel=1e-14))
