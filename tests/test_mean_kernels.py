"""The infinite-width mean alone: against naive recursions, the golden numbers, and itself by other routes."""

import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from xarray.core.indexing import ExplicitlyIndexed

import ntkflow
from ntkflow._theory.mean_kernels import tiles as tiles_module
from ntkflow.network.parallel import parallel_inputs

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
rng = np.random.default_rng(5)
X = rng.normal(size=(7, 5))
ACTIVATIONS = ["relu", "abs", "erf", "gelu", "sin", "tanh", "softplus", "silu"]
SLOW = pytest.mark.slow


def network(activation, C_b=0.1, C_W=1.3, depth=4):
    C_W, lambda_b = [1.0, C_W, 0.9, C_W][:depth], [0.5, 1.0, 0.0, 2.0][:depth]
    return ntkflow.MLP((5, 9, 4, 6, 2)[: depth + 1], activation, C_b, C_W, lambda_b, 0.7)


def naive(mlp, X):
    """G and H of every layer by a plain cubature in polar coordinates: smooth but for kinks on z_i = 0, which it knows."""
    N = len(X)
    square = X @ X.T / X.shape[1]
    G, H = mlp.C_b[0] + mlp.C_W[0] * square, mlp.lambda_b[0] + mlp.lambda_W[0] * square
    found = [(G, H)]
    for ell, sigma in enumerate(mlp.activation, start=1):
        Phi, dPhi = np.empty((N, N)), np.empty((N, N))
        for i in range(N):
            for j in range(N):
                Phi[i, j], dPhi[i, j] = plane(sigma, G[i, i], G[i, j], G[j, j])
        H = mlp.lambda_b[ell] + mlp.lambda_W[ell] * Phi + mlp.C_W[ell] * dPhi * H
        G = mlp.C_b[ell] + mlp.C_W[ell] * Phi
        found.append((G, H))
    return found


def plane(sigma, a, c, b):
    phi = np.arccos(np.clip(c / np.sqrt(a * b), -1, 1))
    cuts = np.unique(np.mod([np.pi / 2, -np.pi / 2, phi + np.pi / 2, phi - np.pi / 2, 0.0], 2 * np.pi))
    cuts = np.append(cuts, cuts[0] + 2 * np.pi)
    x, w = np.polynomial.legendre.leggauss(60)
    theta = np.concatenate([(lo + hi + (hi - lo) * x) / 2 for lo, hi in itertools.pairwise(cuts)])
    weights = np.concatenate([(hi - lo) * w / 2 for lo, hi in itertools.pairwise(cuts)])
    r, r_weights = 5 + 5 * x, 5 * w * (5 + 5 * x) * np.exp(-((5 + 5 * x) ** 2) / 2) / (2 * np.pi)
    z1 = np.sqrt(a) * np.cos(theta)[:, None] * r
    z2 = np.sqrt(b) * np.cos(theta - phi)[:, None] * r
    with jax.enable_x64(True):
        one, two = (np.asarray(jnp.stack(sigma.derivatives(jnp.asarray(z), 1))) for z in (z1, z2))
    return np.einsum("ktr,ktr,t,r->k", one, two, weights, r_weights)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_against_naive_recursion(activation):
    mlp = network(activation)
    for layer, (G, H) in zip(ntkflow.flow(mlp, X[:3], "mean"), naive(mlp, X[:3]), strict=True):
        assert np.allclose(layer.G, G, rtol=1e-11, atol=1e-12)
        assert np.allclose(layer.H, H, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_numbers(path):
    case = json.loads(path.read_text())
    keys = ("widths", "activation", "C_b", "C_W", "lambda_b", "lambda_W")
    flow = ntkflow.flow(ntkflow.MLP(**{key: case[key] for key in keys}), case["X"], "mean")
    tolerance = max(1e-12, 5 * case["relative_error_estimate"])
    for layer, reference in zip(flow, case["layers"], strict=True):
        for name in ("G", "H"):
            expected = np.array(reference[name])
            assert np.abs(layer.values[name] - expected).max() <= tolerance * np.abs(expected).max()


SPECIAL = np.vstack([X, X[0], 2 * X[1], -X[2], X[3] + 1e-7 * X[4], np.zeros(5), np.zeros(5)])


@pytest.mark.filterwarnings("ignore:an input is zero", "ignore:errors above")
@pytest.mark.parametrize(
    "activation",
    [
        *("relu", "abs", "linear", "sin", "cos", {"name": "leaky_relu", "slope": -0.3}),
        *(pytest.param(activation, marks=SLOW) for activation in ("erf", "gelu", "tanh", "softplus", "silu")),
    ],
    ids=str,
)
@pytest.mark.parametrize("C_b", [0.0, 0.1])
def test_as_with_tensors(activation, C_b):
    """The same G, H and contributions as "pairs", on duplicates, parallel, opposite, nearly equal and zero inputs."""
    mlp = network(activation, C_b)
    for s, t in zip(ntkflow.flow(mlp, SPECIAL, "mean"), ntkflow.flow(mlp, SPECIAL, "pairs"), strict=True):
        for name in s.values:
            allowed = s.error(name) + t.error(name) + 1e-13 * np.abs(t.values[name]).max()
            assert np.all(np.abs(s.values[name] - t.values[name]) <= allowed), (s.layer, name)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "elu"])
def test_train_test_block(activation):
    mlp = network(activation)
    square, block = ntkflow.flow(mlp, X, "mean"), ntkflow.flow(mlp, X[:3], "mean", X2=X[1:])
    for s, t in zip(square, block, strict=True):
        for name in s.values:
            assert np.allclose(t.values[name], s.values[name][..., :3, 1:], rtol=1e-13, atol=1e-14), name
            assert t.error(name).shape == t.values[name].shape
    assert block[-1].component("H", 0, 5) == block[-1].H[0, 5]
    with pytest.raises(ntkflow.errors.ComponentError, match="samples"):
        block[-1].component("H", 4, 0)
    with pytest.raises(ntkflow.errors.ComponentError, match="X2"):
        ntkflow.flow(mlp, X, "pairs", X2=X)
    with pytest.raises(ntkflow.errors.DataError, match="X2 has 4 columns"):
        ntkflow.flow(mlp, X, "mean", X2=X[:, :4])


@pytest.mark.parametrize("activation", ["relu", "tanh", "erf"])
def test_tiles_change_nothing(monkeypatch, activation):
    """Nor do other inputs: blocks of 3 samples, of all, and of some of them."""
    mlp = network(activation)
    whole, fewer = ntkflow.flow(mlp, X, "mean"), ntkflow.flow(mlp, X[[5, 2]], "mean")
    monkeypatch.setattr(tiles_module, "SIDE", 3)
    for s, t, u in zip(whole, ntkflow.flow(mlp, X, "mean"), fewer, strict=True):
        for name in s.values:
            assert np.allclose(s.values[name], t.values[name], rtol=1e-13, atol=1e-14)
            assert np.allclose(
                s.values[name][..., [5, 2], :][..., [5, 2]], u.values[name], rtol=1e-13, atol=1e-14
            )


@pytest.mark.filterwarnings("ignore:errors above")
@pytest.mark.parametrize(
    "activation", ["tanh", pytest.param("sigmoid", marks=SLOW), pytest.param("erf", marks=SLOW)]
)
def test_steep_activations_and_close_inputs(activation):
    """Where the short series has not converged: variances up to 100, ρ up to 1 - 1e-6; erf's closed form tells how it should be."""
    sigma = activation
    if activation == "erf":
        sigma = lambda z: jax.scipy.special.erf(z)  # a callable: by series
    close = np.vstack([X[:2], X[0] + 1e-3 * X[1]])
    for C_W in (3.0, 30.0, 100.0):
        found = ntkflow.flow(ntkflow.MLP((5, 4, 4, 2), sigma, 0.1, C_W), close, "mean")
        exact = ntkflow.flow(ntkflow.MLP((5, 4, 4, 2), activation, 0.1, C_W), close, "pairs")
        if activation == "erf":
            exact = ntkflow.flow(ntkflow.MLP((5, 4, 4, 2), activation, 0.1, C_W), close, "mean")
        for s, t in zip(found, exact, strict=True):
            for name in ("G", "H"):
                error = np.abs(s.values[name] - t.values[name])
                assert np.all(error <= s.error(name) + t.error(name)), (C_W, s.layer, name)


def test_estimates_cover_errors():
    """Of ten networks' kernels in float64, against the same in many more digits."""
    import mpmath as mp

    covered, worst, ratio = [], 0.0, []
    for seed in range(10):
        draw = np.random.default_rng(seed)
        inputs = draw.normal(size=(6, 5))
        inputs[5] = inputs[4] + 10.0 ** -draw.integers(1, 6) * inputs[3]
        mlp = ntkflow.MLP(
            (5, 3, 3, 3, 2), "relu", float(draw.choice([0.0, 0.2])), float(draw.uniform(0.5, 4))
        )
        flow = ntkflow.flow(mlp, inputs, "mean")
        with mp.workdps(40):
            for layer, (G, H) in zip(flow, relu_in_many_digits(mp, mlp, inputs), strict=True):
                for name, exact in (("G", G), ("H", H)):
                    value, estimate = layer.values[name], layer.error(name)
                    error = np.array(
                        [
                            [float(abs(exact[i][j] - mp.mpf(float(value[i, j])))) for j in range(6)]
                            for i in range(6)
                        ]
                    )
                    covered.append(np.mean(error <= estimate))
                    worst = max(worst, float(np.max(error / estimate)))
                    ratio.append(np.median(estimate / np.maximum(error, 1e-14 * np.abs(value).max())))
    assert np.mean(covered) >= 0.99
    assert worst < 10
    assert np.median(ratio) < 100


def relu_in_many_digits(mp, mlp, X):
    rows = range(len(X))
    x = [[mp.mpf(float(value)) for value in row] for row in X]
    square = [[sum(p * q for p, q in zip(x[i], x[j], strict=True)) / len(x[0]) for j in rows] for i in rows]
    C_b, C_W = (mp.mpf(h[0]) for h in (mlp.C_b, mlp.C_W))
    G, H = [[C_b + C_W * s for s in row] for row in square], [[1 + s for s in row] for row in square]
    yield G, H
    for _ in mlp.activation:
        Phi, dPhi = ([[mp.mpf(0) for _ in rows] for _ in rows] for _ in range(2))
        for i in rows:
            for j in rows:
                size = mp.sqrt(G[i][i] * G[j][j])
                theta = mp.acos(G[i][j] / size) if i != j else mp.mpf(0)
                Phi[i][j] = size * (mp.sin(theta) + (mp.pi - theta) * mp.cos(theta)) / (2 * mp.pi)
                dPhi[i][j] = (mp.pi - theta) / (2 * mp.pi)
        H = [[1 + Phi[i][j] + C_W * dPhi[i][j] * H[i][j] for j in rows] for i in rows]
        G = [[C_b + C_W * Phi[i][j] for j in rows] for i in rows]
        yield G, H


@SLOW
@pytest.mark.parametrize(
    ("activation", "depth"),
    [("tanh", 3), *((a, 4) for a in ("tanh", "relu", "gelu"))],
)
def test_traced_kernels(activation, depth):
    """Equal to the flow's under jit; derivatives by C_W, C_b, λ and X as by finite differences, the diagonal's too."""
    mlp = network(activation, depth=depth)
    flow = ntkflow.flow(mlp, X, "mean")
    with jax.enable_x64(True):
        G, H = jax.jit(lambda x, y: ntkflow.kernels(mlp, x, y))(X[:3], X[3:])
        for ell in range(mlp.depth):
            assert np.allclose(G[ell], flow[ell + 1].G[:3, 3:], rtol=1e-12, atol=1e-14)
            assert np.allclose(H[ell], flow[ell + 1].H[:3, 3:], rtol=1e-12, atol=1e-14)

        def entries(C_W, C_b, lambda_W, x):
            G, H = ntkflow.kernels(mlp.replace(C_W=C_W, C_b=C_b, lambda_W=lambda_W), x)
            return G[-1, 0, 1] + H[-1, 0, 1] + 0.3 * H[-1, 2, 2]

        at = (jnp.array([1.0, 1.3, 0.9, 1.1][:depth]), jnp.array(0.1), jnp.array(0.7), jnp.asarray(X[:3]))
        found = jax.jit(jax.grad(entries, argnums=(0, 1, 2, 3)))(*at)
        value = jax.jit(entries)
        for argument, gradient in enumerate(found):
            direction = jax.random.normal(jax.random.key(1), gradient.shape)
            shifted = [
                value(*(a + h * direction if k == argument else a for k, a in enumerate(at)))
                for h in (1e-5, -1e-5)
            ]
            assert np.isclose((shifted[0] - shifted[1]) / 2e-5, jnp.sum(gradient * direction), rtol=1e-7)
        many = jax.vmap(lambda c: ntkflow.kernels(mlp.replace(C_b=c), X[:2])[1])(jnp.array([0.1, 0.2]))
        assert np.allclose(many[0, -1], flow[-1].H[:2, :2], rtol=1e-12)
    with pytest.raises(ntkflow.errors.DataError, match="float64"):
        ntkflow.kernels(mlp, X)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("test", [False, True])
def test_store(tmp_path, monkeypatch, activation, test):
    mlp, path = network(activation), tmp_path / "kernels.zarr"
    X2 = X[:4] if test else None
    flow = ntkflow.flow(mlp, X, "mean", X2=X2)
    monkeypatch.setattr(tiles_module, "SIDE", 2)
    steps = []
    stored = ntkflow.store_kernels(mlp, X, path, X2, tile=4, progress=lambda *step: steps.append(step[:2]))
    assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1] == (2 if test else 3)
    for layer in flow:
        one = stored.sel(layer=layer.layer)
        for name in ("G", "H"):
            assert np.allclose(one[name], layer.values[name], rtol=1e-13, atol=1e-14)
        scale = np.sqrt(np.multiply.outer(one.G_variance.values, one.G_variance2.values))
        assert np.allclose(float(one.G_relative_error) * scale, layer.error("G"), rtol=1e-6)
    assert isinstance(stored.G.variable._data, ExplicitlyIndexed)  # not read until asked for
    with pytest.raises(ntkflow.errors.FileError, match="exists"):
        ntkflow.store_kernels(mlp, X, path)
    last = ntkflow.store_kernels(mlp, X, path, X2, layers="last", overwrite=True)
    assert last.sizes["layer"] == 1 and np.allclose(last.H[0], flow[-1].H, rtol=1e-13)
    assert [p.name for p in tmp_path.iterdir()] == ["kernels.zarr"]


def test_stores_that_are_refused(tmp_path):
    for bad, error in (
        ({"path": tmp_path / "kernels.nc"}, ntkflow.errors.FileError),
        ({"layers": "first"}, ntkflow.errors.ComponentError),
        ({"tile": 0}, ntkflow.errors.ComponentError),
        ({"network": network("elu")}, ntkflow.errors.ActivationError),
        ({"network": ntkflow.MLP((5, 4, 2), "exp", C_W=1e9)}, ntkflow.errors.NonFiniteError),
    ):
        arguments: dict[str, Any] = {"network": network("relu"), "X": X, "path": tmp_path / "k.zarr"} | bad
        with pytest.raises(error):
            ntkflow.store_kernels(**arguments)
    assert not list(tmp_path.iterdir())
    ntkflow.flow(network("relu"), X, "mean").save(tmp_path / "flow.zarr")
    for path in ("flow.zarr", "none.zarr"):
        with pytest.raises(ntkflow.errors.FileError, match=path):
            ntkflow.open_kernels(tmp_path / path)


def test_files_hold_train_test_blocks(tmp_path):
    flow = ntkflow.flow(network("tanh"), X, "mean", X2=X[:2])
    for name in ("flow.nc", "flow.zarr"):
        flow.save(tmp_path / name)
        assert ntkflow.Flow.load(tmp_path / name).equals(flow)
    assert not flow.equals(ntkflow.flow(network("tanh"), X, "mean", X2=X[1:3]))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_smallest(activation):
    """One sample, one layer, width 1; and float32 inputs are taken as they are."""
    one = ntkflow.flow(ntkflow.MLP((5, 1), activation, 0.2, 3.0), X[:1], "mean")
    assert np.allclose(one[1].G, 0.2 + 3.0 * X[:1] @ X[:1].T / 5, rtol=1e-14)
    assert np.all(one[1].error("H") < 1e-14)
    narrow = ntkflow.flow(ntkflow.MLP((5, 1, 1), activation, 0.2, 3.0), X[:1], "mean")
    wide = ntkflow.flow(ntkflow.MLP((5, 10, 10), activation, 0.2, 3.0), X[:1], "mean")
    assert narrow[-1].H == wide[-1].H
    single = X.astype(np.float32)
    for s, t in zip(
        ntkflow.flow(network(activation), single, "mean"),
        ntkflow.flow(network(activation), single.astype(float), "mean"),
        strict=True,
    ):
        assert s.H.dtype == np.float64 and np.array_equal(s.H, t.H)


def test_parallel_inputs():
    first, c = parallel_inputs(SPECIAL, biased=False, tolerance=1e-13)
    assert first.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 10, 11, 11]
    assert np.allclose(c, [1, 1, 1, 1, 1, 1, 1, 1, 2, -1, 1, 1, 1], rtol=1e-12)
    assert parallel_inputs(SPECIAL, biased=True, tolerance=1e-13).label.tolist() == [
        *range(7),
        0,
        8,
        9,
        10,
        11,
        11,
    ]


def test_contributions_of_a_first_layer_without_weights():
    """At C_W = 0 weights still learn: λ_W x·x'/n_0 has a rounding error, which G does not tell."""
    mlp = ntkflow.MLP((5, 9, 2), "tanh", 1.0, (0.0, 1.0), 0.5, 0.7)
    layer = ntkflow.flow(mlp, X, "mean")[2]
    error = layer.error("weight_contributions")[0]
    assert np.all(error > 0)
    other = ntkflow.flow(mlp, X)[2]
    change = np.abs(layer.weight_contributions[0] - other.weight_contributions[0])
    assert np.all(change <= error + other.error("weight_contributions")[0])
