"""Who feeds whom, and the closed recursions of deep linear networks."""

import jax
import numpy as np
import pytest

import ntkflow
from ntkflow._gaussian import FINE, expectations
from ntkflow._recursions import TENSORS, Tensors, TensorSets, first_layer, flowing
from ntkflow.network.dense import Dense
from ntkflow.network.layer import packed_tensors

# THEORY: V with V; D with V, D; F with F; B with B; A with V, D, A; the means' corrections with all they read.
# TRAINING: P with P, B; Q with Q, F; R with R, P, B; S with S, B; T with T, F, Q; U with U.
FEEDS = {
    "G1": {"G1", "H1"},
    "H1": {"H1"},
    "V": {"V", "D", "A", "G1", "H1"},
    "D": {"D", "A", "H1"},
    "F": {"F", "H1", "Q", "T"},
    "A": {"A"},
    "B": {"B", "P", "R", "S"},
    "P": {"P", "R"},
    "Q": {"Q", "T"},
    "R": {"R"},
    "S": {"S"},
    "T": {"T"},
    "U": {"U"},
}


@pytest.mark.parametrize("name", FEEDS)
def test_who_mixes_with_whom(name):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 4))
    G, H = z @ z.T / 4, z @ z.T / 3 + 1
    ratio = np.full((3, 3), np.nan)
    np.fill_diagonal(ratio, 1.0)
    sets = TensorSets(np.arange(3)[:, None], 3, flowing(training=True, kinked=False))
    e = expectations(ntkflow.activations.activation("tanh"), G, ratio, sets, FINE)
    layer = Dense(0.1, 1.3, 0.7, 1.1, None)
    zero = first_layer(sets.names, 3, 1)
    alone = Tensors(zero | {name: rng.normal(size=zero[name].shape)})
    with jax.enable_x64(True):
        without, with_it = (
            packed_tensors(layer, 0.8, e, H, sets.sets, sets.rows, t, moments=sets.moments)
            for t in (zero, alone)
        )
    changed = {other for other in FEEDS if not np.array_equal(without[other], with_it[other])}
    assert changed == FEEDS[name]


@pytest.mark.parametrize("name", TENSORS)
def test_packing_keeps_every_component(name):
    """One component of each orbit: their numbers follow from Burnside's lemma; unpacked, a symmetric tensor is as it was."""
    rng = np.random.default_rng(0)
    k = 3
    generators = TENSORS[name].generators
    group = {tuple(range(len(generators[0])))}
    while len(group) < len(group := group | {tuple(g[i] for i in h) for g in group for h in generators}):
        pass
    tensor = rng.normal(size=(k,) * len(generators[0]) + (2,))
    tensor = np.asarray(sum(tensor.transpose(*g, len(g)) for g in group))
    packed = TENSORS[name].pack(tensor)
    fixed = [sum(c == tuple(c[i] for i in g) for c in np.ndindex(tensor.shape[:-1])) for g in group]
    assert len(packed) == sum(fixed) / len(group)
    assert np.allclose(TENSORS[name].unpack(packed, k), tensor, rtol=1e-14)


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
