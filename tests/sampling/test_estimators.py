"""Estimators against their definitions by hand, exact cases, each other, and their own error bars."""

import itertools
from typing import Any

import jax
import networks_by_hand
import numpy as np
import pytest

import ntkflow
from ntkflow import finite

RATES: dict[str, Any] = {"C_b": 0.2, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.3}
X = np.random.default_rng(0).normal(size=(3, 5))
TENSORS = ("V", "D", "F", "A", "B")


def worst_z(a, b, a_err, b_err: np.ndarray | float = 0.0):
    return np.nanmax(np.abs(a - b) / (np.hypot(a_err, b_err) + 1e-12))


@pytest.mark.parametrize("activation", ["tanh", pytest.param("relu", marks=pytest.mark.slow)])
def test_direct_estimates_are_the_definitions(activation):
    """Five draws: the same numbers as loops over neurons give, to round-off."""
    mlp = ntkflow.MLP((5, 4, 3, 2), activation, **RATES)
    draws = 5
    by_hand = [networks_by_hand.direct(mlp, X, 3, draw) for draw in range(draws)]
    found = ntkflow.ensemble(mlp, X, draws, seed=3, estimators="direct")
    for layer in (1, 2, 3):
        one = [draw[layer - 1] for draw in by_hand]
        mean = {name: np.mean([d[name] for d in one], axis=0) for name in one[0]}
        zz, own = np.array([d["G"] for d in one]), np.array([d["own"] for d in one])

        def unbiased(p, q):
            """Of the product of two means: the average over pairs of different draws."""
            return sum(np.multiply.outer(p[a], q[b]) for a, b in itertools.permutations(range(draws), 2)) / (
                draws * (draws - 1)
            )

        n = mlp.widths[layer - 1]
        expected = {
            "G": mean["G"],
            "H": mean["H"],
            "V": n * (mean["V"] - unbiased(zz, zz)),
            "D": n * (mean["D"] - unbiased(zz, own)),
            "A": n * (mean["A"] - unbiased(own, own)),
            "F": n * mean["F"],
            "B": n * mean["B"],
        }
        scale = max(np.abs(mean["A"]).max(), np.abs(mean["V"]).max())
        for name, value in expected.items():
            assert np.allclose(getattr(found[layer], name), value, rtol=1e-11, atol=1e-11 * scale), (
                layer,
                name,
            )


@pytest.mark.parametrize("activation", [pytest.param("tanh", marks=pytest.mark.slow), "relu"])
def test_low_noise_estimates_are_their_formulas(activation):
    mlp = ntkflow.MLP((5, 4, 3, 2), activation, **RATES)
    draws = 5
    by_hand = [networks_by_hand.low_noise(mlp, X, 3, draw) for draw in range(draws)]
    found = ntkflow.ensemble(mlp, X, draws, seed=3)
    for layer in (2, 3):
        one = {name: np.array([d[layer - 2][name] for d in by_hand]) for name in "GHFB"}
        n = mlp.widths[layer - 1]
        G, H = (one[name] - one[name].mean(axis=0) for name in "GH")

        def covariance(p, q, n=n):
            return n * np.einsum("dab,dce->abce", p, q) / (draws - 1)

        expected = {name: value.mean(axis=0) for name, value in one.items()}
        expected |= {"V": covariance(G, G), "D": covariance(G, H), "A": covariance(H, H)}
        for name, value in expected.items():
            assert np.allclose(getattr(found[layer], name), value, rtol=1e-11, atol=1e-11), (layer, name)
    assert np.array_equal(found[1].G, ntkflow.flow(mlp, X)[1].G) and not np.any(found[1].error("G"))


@pytest.mark.parametrize(
    ("activation", "estimators"),
    [
        ("sin", "low-noise"),
        ("relu", "direct"),
        pytest.param("sin", "direct", marks=pytest.mark.slow),
        pytest.param("relu", "low-noise", marks=pytest.mark.slow),
    ],
)
def test_layer_two_is_exact_at_any_width(activation, estimators):
    """6 standard errors on some 500 numbers: a false alarm below 1e-6."""
    mlp = ntkflow.MLP((5, 4, 3), activation, **RATES)
    flow, found = ntkflow.flow(mlp, X), ntkflow.ensemble(mlp, X, 40_000, estimators=estimators)
    for name in ("G", "H", *TENSORS):
        assert worst_z(getattr(found[2], name), getattr(flow[2], name), found[2].error(name)) < 6, name


@pytest.mark.slow
def test_direct_and_low_noise_measure_the_same():
    """At width 4, where the theory does not hold: 6 standard errors on some 1500 numbers, a false alarm below 1e-5."""
    mlp = ntkflow.MLP((5, 4, 6, 4, 3), "tanh", **RATES)
    a, b = (
        ntkflow.ensemble(mlp, X, 40_000, seed, estimators=e) for seed, e in enumerate(("low-noise", "direct"))
    )
    for layer in range(2, 5):
        for name in ("G", "H", *TENSORS):
            z = worst_z(
                getattr(a[layer], name), getattr(b[layer], name), a[layer].error(name), b[layer].error(name)
            )
            assert z < 6, (layer, name)
        assert worst_z(b[layer].zH, 0.0, b[layer].error("zH")) < 6


@pytest.mark.slow
@pytest.mark.parametrize("estimators", ["low-noise", "direct"])
def test_estimates_are_unbiased_and_their_errors_cover(estimators):
    """500 ensembles of 100 networks: the 1σ interval covers 68 % (sd 2 % a component, averaged over many); a tenth of them
    of 5 networks each: no bias, 5 standard errors."""
    mlp = ntkflow.MLP((5, 8, 8, 4), "tanh", **RATES)
    truth = ntkflow.ensemble(mlp, X, 50_000, 10**6, estimators=estimators)[3]
    ensembles = [ntkflow.ensemble(mlp, X, 100, seed, estimators=estimators)[3] for seed in range(500)]
    for name in ("G", "H", *TENSORS):
        values, errors = np.array([e[name] for e in ensembles]), np.array([e.error(name) for e in ensembles])
        covered = np.abs(values - getattr(truth, name)) <= np.hypot(errors, truth.error(name))
        assert 0.60 < covered.mean() < 0.74, (name, covered.mean())
    small = [ntkflow.ensemble(mlp, X, 5, 1000 + seed, estimators=estimators)[3] for seed in range(1000)]
    for name in TENSORS:
        values = np.array([getattr(e, name) for e in small])
        error = values.std(axis=0) / np.sqrt(len(values))
        assert worst_z(values.mean(axis=0), getattr(truth, name), error, truth.error(name)) < 5.5, name


@pytest.mark.slow
def test_adding_inputs_changes_nothing_old():
    mlp = ntkflow.MLP((5, 6, 6, 2), "gelu", **RATES)
    whole = ntkflow.ensemble(mlp, X, 64)
    for components in ("pairs", [(0, 2), (1,)], "mean"):
        part = ntkflow.ensemble(mlp, X, 64, components=components)
        held = ~np.isnan(part[3].H)
        assert np.allclose(part[3].H[held], whole[3].H[held], rtol=1e-13)
        if components != "mean":
            for name in TENSORS:
                assert np.isclose(
                    part[3].component(name, 0, 2, 2, 0), whole[3].component(name, 0, 2, 2, 0), rtol=1e-10
                )
    order = [2, 0, 1]
    permuted = ntkflow.ensemble(mlp, X[order], 64)
    for name in TENSORS:
        assert np.allclose(
            getattr(permuted[3], name), getattr(whole[3], name)[np.ix_(*[order] * 4)], rtol=1e-9, atol=1e-12
        )


@pytest.mark.slow
def test_singular_and_smallest_cases():
    """Duplicate, parallel and zero inputs, one sample, one layer, width 1."""
    rows = np.array([X[0], X[0], 2 * X[0], 0 * X[0]])
    found = ntkflow.ensemble(ntkflow.MLP((5, 4, 4, 2), "relu", C_W=2.0), rows, 50)
    assert np.allclose(found[3].A[0], found[3].A[1]) and np.allclose(found[3].G[2], 2 * found[3].G[0])
    assert not np.any(found[3].G[3])
    assert ntkflow.ensemble(ntkflow.MLP((5, 4, 2)), X[:1], 10)[2].V.shape == (1, 1, 1, 1)
    one_layer = ntkflow.ensemble(ntkflow.MLP((5, 2), **RATES), X, 10)
    assert len(one_layer) == 1 and np.array_equal(
        one_layer[1].H, ntkflow.flow(ntkflow.MLP((5, 2), **RATES), X)[1].H
    )
    narrow = ntkflow.ensemble(ntkflow.MLP((5, 1, 1), **RATES), X, 200)
    assert np.all(narrow[2].error("A") > 0)
    alone = ntkflow.ensemble(ntkflow.MLP((5, 3, 1), **RATES), X, 200, estimators="direct")
    assert np.all(np.isnan(alone[2].V)) and np.all(np.isfinite(alone[2].H))


def test_float32_networks():
    mlp = ntkflow.MLP((5, 8, 8, 2), "tanh", **RATES)
    single, double = (ntkflow.ensemble(mlp, X, 2000, dtype=dtype) for dtype in ("float32", "float64"))
    for name in ("G", "H", *TENSORS):
        assert (
            worst_z(
                getattr(single[3], name),
                getattr(double[3], name),
                single[3].error(name),
                double[3].error(name),
            )
            < 6
        )
    assert single[3].V.dtype == np.float64


PATTERNS = [
    p
    for p in itertools.product(range(4), repeat=4)
    if all(p[i] <= max(p[:i], default=-1) + 1 for i in range(4))
]


def test_neural_indices_of_layer_two():
    """PDLT (8.30), (8.36): all 15 patterns of equal and different neurons, on three different inputs; layer 2 is exact.

    6 standard errors on 45 numbers: a false alarm below 1e-7.
    """
    mlp = ntkflow.MLP((5, 3, 4), "tanh", **RATES)
    layer, n, draws = ntkflow.flow(mlp, X)[2], 3, 200_000

    def network(k):
        params = finite.init(mlp, ntkflow.sampling.draw_key(0, k))
        return finite.forward(mlp, params, X)[-1], finite.ntk(mlp, params, X)

    with jax.enable_x64(True):
        z, H = (np.asarray(x) for x in jax.jit(jax.vmap(network))(np.arange(draws)))
    a, b, c, d = 0, 1, 2, 1
    for i, j, k, m in PATTERNS:
        delta = np.equal.outer((i, j, k, m), (i, j, k, m)).astype(float)
        same_12_34, same_13_24, same_14_23 = (
            delta[0, 1] * delta[2, 3],
            delta[0, 2] * delta[1, 3],
            delta[0, 3] * delta[1, 2],
        )
        zz = z[:, a, i] * z[:, b, j]
        dH_12 = H[:, i, j, a, b] - delta[0, 1] * layer.H[a, b]
        dH_34 = H[:, k, m, c, d] - delta[2, 3] * layer.H[c, d]
        G = layer.G
        disconnected = (
            same_12_34 * G[a, b] * G[c, d] + same_13_24 * G[a, c] * G[b, d] + same_14_23 * G[a, d] * G[b, c]
        )
        for sampled, expected in (
            (
                zz * z[:, c, k] * z[:, d, m] - disconnected,
                same_12_34 * layer.V[a, b, c, d]
                + same_13_24 * layer.V[a, c, b, d]
                + same_14_23 * layer.V[a, d, b, c],
            ),
            (
                zz * dH_34,
                same_12_34 * layer.D[a, b, c, d]
                + same_13_24 * layer.F[a, c, b, d]
                + same_14_23 * layer.F[a, d, b, c],
            ),
            (
                dH_12 * dH_34,
                same_12_34 * layer.A[a, b, c, d]
                + same_13_24 * layer.B[a, c, b, d]
                + same_14_23 * layer.B[a, d, b, c],
            ),
        ):
            assert abs(sampled.mean() - expected / n) < 6 * sampled.std() / np.sqrt(draws), (i, j, k, m)


@pytest.mark.parametrize(
    "activation, widths",
    [
        pytest.param("tanh", (5, 3, 1), marks=pytest.mark.slow),
        pytest.param("tanh", (5, 6, 7, 5, 1), marks=pytest.mark.slow),
        pytest.param("relu", (5, 3, 2, 1), marks=pytest.mark.slow),
        ("sin", (5, 1)),
    ],
)
def test_networks_without_weights_have_the_same_ntk(activation, widths):
    """Against networks with weights, at widths below the number of samples, with equal ones: 6 standard errors."""
    mlp = ntkflow.MLP(widths, activation, **RATES)
    rows, draws = np.vstack([X, X[:1]]), 100_000
    with jax.enable_x64(True):
        H = np.asarray(
            jax.jit(
                jax.vmap(
                    lambda k: finite.ntk(mlp, finite.init(mlp, ntkflow.sampling.draw_key(0, k)), rows)[0, 0]
                )
            )(np.arange(draws))
        )
    found = ntkflow.output_ntk(mlp, rows, draws, seed=1)
    assert worst_z(H.mean(axis=0), found.mean, 2**0.5 * found.mean_err) < 6
    assert worst_z(H.var(axis=0), found.variance, 2**0.5 * found.variance_err) < 6
    assert np.allclose(found.mean[0], found.mean[3], rtol=1e-6)
    again = ntkflow.output_ntk(mlp, rows, 1000, seed=1, dtype="float32")
    assert np.all(np.abs(again.mean - found.mean) < 6 * again.mean_err + 1e-4)
