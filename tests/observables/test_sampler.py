"""Draws of (z, Ĥ): their moments against the theory's, at 10⁵ draws."""

import numpy as np
import pytest
from numpy_networks import layers

import ntkflow
from ntkflow.observables import joint

X = np.random.default_rng(0).normal(size=(3, 5))
NEURONS, DRAWS = 4, 100_000


@pytest.fixture(scope="module", params=["tanh", "relu"])
def drawn(request):
    mlp = ntkflow.MLP((5, 128, 128, 128, 4), request.param, 0.1, 1.3, 0.7, 1.2)
    layer = ntkflow.flow(mlp, X)[3]
    p = joint(ntkflow.flow(mlp, X), 3)
    return layer, p.sample(3, NEURONS, DRAWS)


def check(values, expected, extra=0.0):
    """Mean over draws within 4 standard errors, and what is of the next order in 1/n."""
    error = values.std(axis=0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - expected) < 4.5 * error + extra)


def test_means_of_zz_and_of_the_ntk(drawn):
    layer, (z, H) = drawn
    n = layer.fan_in
    check(np.einsum("dia,dib->dab", z, z) / NEURONS, layer.G + layer.G1 / n, np.abs(layer.G).max() / n**2)
    check(np.einsum("diiab->dab", H) / NEURONS, layer.ntk_mean(), np.abs(layer.H).max() / n**2)
    check(H[:, 0, 1], 0)
    assert np.allclose(H, H.transpose(0, 2, 1, 4, 3), rtol=0, atol=1e-13)


def test_cumulants(drawn):
    """All components, averaged over all choices of neurons; c/n² of what the tensors are made of is allowed for."""
    layer, (z, H) = drawn
    n, m = layer.fan_in, NEURONS
    dH = H - layer.ntk_mean() * np.eye(m)[:, :, None, None]
    own = dH[:, range(m), range(m)]
    i, j = np.nonzero(~np.eye(m, dtype=bool))
    zz = np.einsum("dia,dib->diab", z, z) - (layer.G + layer.G1 / n)
    scale = {"V": np.abs(layer.G).max() ** 2, "D": np.abs(layer.G).max() * np.abs(layer.H).max()}
    scale["A"] = np.abs(layer.H).max() ** 2

    def over_pairs(a, b):
        total = np.einsum("dix->dx", a.reshape(len(a), m, -1))
        other = np.einsum("dix->dx", b.reshape(len(b), m, -1))
        same = np.einsum("dix,diy->dxy", a.reshape(len(a), m, -1), b.reshape(len(b), m, -1), optimize=True)
        return (np.einsum("dx,dy->dxy", total, other) - same) / (m * (m - 1))

    def square(tensor):
        return tensor.reshape(9, 9)

    check(over_pairs(zz, zz), square(layer.V) / n, 10 * scale["V"] / n**2)
    check(over_pairs(zz, own), square(layer.D) / n, 10 * scale["D"] / n**2)
    check(over_pairs(own, own), square(layer.A) / n, 10 * scale["A"] / n**2)
    F = np.einsum("dpa,dpb,dpce->dacbe", z[:, i], z[:, j], dH[:, i, j], optimize=True) / len(i)
    check(F, layer.F / n, 10 * scale["D"] / n**2)
    B = np.einsum("dpab,dpce->dacbe", dH[:, i, j], dH[:, i, j], optimize=True) / len(i)
    check(B, layer.B / n, 10 * scale["A"] / n**2)
    same = np.einsum("diab,dice->dabce", own, own, optimize=True) / m
    expected = layer.A + layer.B.transpose(0, 2, 1, 3) + layer.B.transpose(0, 2, 3, 1)
    check(same, expected / n, 10 * scale["A"] / n**2)
    with_z = np.einsum("dia,dib,dice->dabce", z, z, own, optimize=True) / m
    expected = layer.D + layer.F.transpose(0, 2, 1, 3) + layer.F.transpose(0, 2, 3, 1)
    check(with_z, expected / n, 10 * scale["D"] / n**2)


def test_a_function_of_both_agrees_with_real_networks():
    """max(z_0 Ĥ_00, z_1 Ĥ_01), which no cumulant gives: sampler and networks of one width."""
    mlp = ntkflow.MLP((5, 32, 32, 2), "tanh", 0.1, 1.3, 0.7, 1.2)
    z, H = joint(ntkflow.flow(mlp, X)).sample(0, 2, 100_000)
    real = [layers(mlp, X, 500, seed)[-1] for seed in range(10)]

    def values(z, H):
        return np.maximum(z[:, 0, 0] * H[:, 0, 0, 0, 1], z[:, 1, 1] * H[:, 0, 1, 0, 2])

    one, two = values(z, H), np.concatenate([values(z, H) for _, z, H in real])
    error = np.hypot(one.std() / np.sqrt(len(one)), two.std() / np.sqrt(len(two)))
    assert one.mean() == pytest.approx(two.mean(), abs=4 * error)
    assert one.std() == pytest.approx(two.std(), rel=0.05)


def test_same_key_same_draws_and_subsets_of_samples():
    mlp = ntkflow.MLP((5, 64, 64, 2), "relu", 0.1, 1.3)
    p = joint(ntkflow.flow(mlp, X))
    one, two = p.sample(5, 2, 10), p.sample(5, 2, 10)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    z, H = p.sample(5, 1, 10, samples=[2])
    assert z.shape == (10, 1, 1) and H.shape == (10, 1, 1, 1, 1)
    assert z.dtype == H.dtype == np.float64


def test_dependent_samples_stay_dependent():
    """A repeated input and, without biases, a multiple of one."""
    mlp = ntkflow.MLP((5, 64, 64, 2), "relu", 0.0, 1.3)
    flow = ntkflow.flow(mlp, np.vstack([X[:2], X[0], 2 * X[1]]))
    z, H = joint(flow).sample(0, 2, 200)
    assert np.allclose(z[:, :, 2], z[:, :, 0], atol=1e-10) and np.allclose(
        z[:, :, 3], 2 * z[:, :, 1], atol=1e-10
    )
    assert np.allclose(H[..., 2, :], H[..., 0, :], atol=1e-6)


def test_where_the_expansion_is_no_distribution():
    mlp = ntkflow.MLP((5, 2, 2, 2, 2, 2), "tanh", 0.1, 1.3)
    p = joint(ntkflow.flow(mlp, X))
    with pytest.warns(UserWarning, match="1/n is too large"):
        z, _ = p.sample(0, 2, 100)
    assert np.all(np.isfinite(z))
    found = p.validity(2)
    assert found.negative_mass > 0.01 and found.spread > 0.5
    assert "no probability distribution" in found.words
    wide = joint(ntkflow.flow(ntkflow.MLP((5, 500, 500, 2), "tanh", 0.1, 1.3), X)).validity()
    assert wide.negative_mass < 1e-4 and wide.missing < 1e-6 and "may be used" in wide.words
