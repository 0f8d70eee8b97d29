"""Who feeds whom, and the closed recursions of deep linear networks."""

import dataclasses

import numpy as np
import pytest

import ntkflow
from ntkflow.gaussian import FINE, SampleSets, expectations
from ntkflow.recursions import Hyperparameters, Tensors, step

# THEORY: V with V; D with V, D; F with F; B with B; A with V, D, A; and the means' corrections with all they read.
FEEDS = {
    "G1": {"G1", "H1"},
    "H1": {"H1"},
    "V": {"V", "D", "A", "G1", "H1"},
    "D": {"D", "A", "H1"},
    "F": {"F", "H1"},
    "A": {"A"},
    "B": {"B"},
}


@pytest.mark.parametrize("name", FEEDS)
def test_who_mixes_with_whom(name):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 4))
    G, H = z @ z.T / 4, z @ z.T / 3 + 1
    ratio = np.full((3, 3), np.nan)
    np.fill_diagonal(ratio, 1.0)
    sets = SampleSets(np.arange(3)[None], 3)
    e = expectations(ntkflow.activations.activation("tanh"), G, ratio, sets, FINE)
    h = Hyperparameters(0.1, 1.3, 0.7, 1.1, 0.8)
    zero = Tensors.first_layer(1, 3)
    alone = dataclasses.replace(zero, **{name: rng.normal(size=getattr(zero, name).shape)})
    without, with_it = step(h, e, G, H, zero, sets)[2], step(h, e, G, H, alone, sets)[2]
    changed = {
        other for other in FEEDS if not np.array_equal(getattr(without, other), getattr(with_it, other))
    }
    assert changed == FEEDS[name]


@pytest.mark.parametrize("N", [1, 3])
def test_deep_linear_networks(N):
    """σ = z: by hand, every derivative is 0 or 1 and every moment Isserlis', so each tensor has a closed recursion."""
    widths = (4, 9, 6, 13, 8, 3)
    rng = np.random.default_rng(1)
    keys = {key: rng.uniform(0.3, 1.4, 5).tolist() for key in ("C_b", "C_W", "lambda_b", "lambda_W")}
    X = rng.normal(size=(N, 4))
    flow = ntkflow.flow(ntkflow.MLP(widths, "linear", **keys), X)
    G, H = flow[1].G, flow[1].H
    V = D = F = A = B = np.zeros((N,) * 4)
    for layer in range(2, 6):
        b, C, l_b, l_W = (keys[key][layer - 1] for key in ("C_b", "C_W", "lambda_b", "lambda_W"))
        r = widths[layer - 1] / widths[layer - 2]
        two = np.einsum("ac,be->abce", G, G) + np.einsum("ae,bc->abce", G, G)
        V, D, F, A, B = (
            C**2 * (two + r * V),
            C * l_W * (two + r * V) + r * C**2 * D,
            C**2 * (np.einsum("ab,ce->acbe", G, H) + r * F),
            l_W**2 * (two + r * V) + r * C**2 * A + r * C * l_W * (D + D.transpose(2, 3, 0, 1)),
            C**2 * (np.einsum("ab,ce->acbe", H, H) + r * B),
        )
        G, H = b + C * G, l_b + l_W * G + C * H
        exact = {"G": G, "H": H, "V": V, "D": D, "F": F, "A": A, "B": B}
        for name, value in exact.items():
            assert np.abs(getattr(flow[layer], name) - value).max() < 1e-12 * np.abs(value).max(), (
                layer,
                name,
            )
        for name, scale in (("G1", G), ("H1", H)):
            assert np.abs(getattr(flow[layer], name)).max() < 1e-12 * np.abs(scale).max()
