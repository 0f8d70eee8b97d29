"""Ensembles of networks of blocks: estimators against their definitions by hand, against a separate sampler, against the theory."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import networks_by_hand
import numpy as np
import pytest
import sampled_blocks

import ntkflow
from ntkflow import Block, Dense, Network, Stage, finite
from ntkflow.errors import SpecError
from ntkflow.sampling import draw_key

NORM: dict[str, Any] = {"eps": 0.1, "lambda_g": 0.6, "lambda_beta": 0.4}
WEIGHTS: dict[str, Any] = {"C_b": 0.06, "C_W": 0.8, "lambda_b": 0.3, "lambda_W": 0.7}
X = np.array([[1.0, 0.3, -0.8], [-0.2, 0.9, 0.7]])
DRAWS, SEED = 5, 3


def network(read_out: Stage, n: int = 4) -> Network:
    inner = Stage("linear", "rms", width=n + 1, **NORM, **WEIGHTS)
    block = Block([inner, Stage("tanh", **WEIGHTS)], gamma=0.7)
    return Network((3, n, n, 2), [Dense(0.1, 1.1, 0.4, 0.9), block, Block(read_out)])


NORMED = network(Stage("gelu", "layer", **NORM, **WEIGHTS))


def unbiased(p, q):
    """Of the product of two means: the average over pairs of different draws."""
    pairs = list(itertools.permutations(range(DRAWS), 2))
    return sum(np.multiply.outer(p[a], q[b]) for a, b in pairs) / len(pairs)


def test_direct_estimates_are_the_definitions():
    """Five draws: the same numbers as loops over neurons give, to round-off; n is the stream's width in every layer."""
    by_hand = [networks_by_hand.direct(NORMED, X, SEED, draw) for draw in range(DRAWS)]
    found = ntkflow.ensemble(NORMED, X, DRAWS, seed=SEED, estimators="direct")
    # What L takes off Ĥ: the mean of the 16 networks that a run begins with.
    near = ntkflow.ensemble(NORMED, X, 16, seed=SEED, estimators="direct")
    for layer in (2, 3):
        one = [draw[layer - 1] for draw in by_hand]
        mean = {name: np.mean([d[name] for d in one], axis=0) for name in one[0]}
        zz, own = np.array([d["G"] for d in one]), np.array([d["own"] for d in one])
        expected = {
            "G": mean["G"], "H": mean["H"],
            "V": 4 * (mean["V"] - unbiased(zz, zz)), "D": 4 * (mean["D"] - unbiased(zz, own)), "A": 4 * (mean["A"] - unbiased(own, own)),
            "F": 4 * mean["F"], "B": 4 * mean["B"], "K": 4 * mean["K"], "M": 4 * mean["M"],
            "L": 4 * (mean["L"] - np.multiply.outer(mean["z"], near[layer].H)),
        }  # fmt: skip
        for name, value in expected.items():
            assert np.allclose(found[layer][name], value, rtol=1e-10, atol=1e-11), (layer, name)
            assert name == "G" or not found[layer].errors or np.any(found[layer].error(name) > 0)


def test_low_noise_estimates_of_a_read_out_behind_a_norm():
    """The weights of the read-out are integrated out, Ĥ of what its norm makes of the stream comes from autodiff."""
    found, stage = ntkflow.ensemble(NORMED, X, DRAWS, seed=SEED)[-1], NORMED.layers[-1].stages[0]
    rows: dict[str, list] = {name: [] for name in "GHFB"}
    n, C_W = 4, stage.C_W
    for draw in range(DRAWS):
        params = finite.init(NORMED, draw_key(SEED, draw))
        z = finite.forward(NORMED, params, X)[-2]
        H = finite.ntk_by_definition(NORMED, params, X, layer=2)
        with jax.enable_x64(True):
            normed = lambda u: sampled_blocks.normed(u[None], stage)[0]
            y = np.stack([normed(jnp.asarray(u)) for u in z])
            N = np.stack([jax.jacrev(normed)(jnp.asarray(u)) for u in z])
            s = np.asarray(stage.activation.function(jnp.asarray(y)))
            d = np.asarray(jax.vmap(jax.vmap(jax.grad(stage.activation.function)))(jnp.asarray(y)))
        own = 0.4 + 0.6 * np.einsum("ai,bi->iab", y, y)
        of_y = np.einsum("aij,bkl,jlab->ikab", N, N, H) + np.einsum("iab,ij->ijab", own, np.eye(n))
        inner = np.einsum("ai,ijab,bj->ijab", d, of_y, d)
        rows["G"].append(stage.C_b + C_W * s @ s.T / n)
        rows["H"].append(
            stage.lambda_b + stage.lambda_W * s @ s.T / n + C_W * np.einsum("iiab->ab", inner) / n
        )
        rows["F"].append(C_W**2 / n * np.einsum("ai,ijcd,bj->acbd", s, inner, s))
        rows["B"].append(C_W**2 / n * np.einsum("ijab,ijcd->acbd", inner, inner))
    one = {name: np.array(values) for name, values in rows.items()}
    G, H = (one[name] - one[name].mean(axis=0) for name in "GH")
    covariance = lambda p, q: n * np.einsum("dab,dce->abce", p, q) / (DRAWS - 1)
    expected = {name: value.mean(axis=0) for name, value in one.items()}
    expected |= {"V": covariance(G, G), "D": covariance(G, H), "A": covariance(H, H)}
    for name, value in expected.items():
        assert np.allclose(found[name], value, rtol=1e-10, atol=1e-11), name
    assert not any(np.any(found[name]) for name in "KLM")


def test_means_alone_and_sets_are_those_of_all():
    whole = ntkflow.ensemble(NORMED, X, DRAWS, seed=SEED)
    means = ntkflow.ensemble(NORMED, X, DRAWS, seed=SEED, components="mean")
    direct = ntkflow.ensemble(NORMED, X, DRAWS, seed=SEED, estimators="direct")
    alone = ntkflow.ensemble(NORMED, X, DRAWS, seed=SEED, components=[[1], [0]])
    for layer in (1, 2, 3):
        other = (
            direct if layer == 3 else whole
        )  # a norm couples neurons: means alone are taken over the layer's own
        assert np.allclose(means[layer].H, other[layer].H, rtol=1e-12)
        assert np.allclose(means[layer].G, other[layer].G, rtol=1e-12)
        for name in ("V", "A", "K", "M"):
            diagonal = whole[layer][name][(1,) * whole[layer][name].ndim]
            assert np.allclose(alone[layer][name][0].ravel(), diagonal, rtol=1e-12, atol=1e-15), (layer, name)


def test_a_store_and_its_continuation(tmp_path):
    path = tmp_path / "blocks.zarr"
    ntkflow.ensemble(NORMED, X, 6, seed=1, block=3, store=path)
    went_on = ntkflow.ensemble(NORMED, X, 12, seed=1, block=3, store=path, resume=True)
    loaded = ntkflow.load(path)
    assert isinstance(loaded, ntkflow.Ensemble)
    assert loaded.draws == 12 and loaded.mlp.to_spec() == NORMED.to_spec()
    for name in ("H", "A", "K", "M"):
        assert np.array_equal(loaded[2][name], went_on[2][name])
    assert "K" in loaded.to_xarray() and loaded.table().row_count


def test_a_doubled_tensor_of_streams_is_seen():
    """K, L and M as predicted, and doubled, which a comparison with sampled networks must tell; false alarm 1e-3, fixed seed."""
    block = Block(Stage("relu", **WEIGHTS), gamma=0.8)
    net = Network((3, 16, 16, 2), [Dense(0.1, 1.1, 0.4, 0.9), block, Block(Stage("relu", **WEIGHTS))])
    flow = ntkflow.flow(net, X)
    drawn = ntkflow.ensemble(net, X, 20_000, seed=2)
    assert ntkflow.compare(flow, drawn).agrees
    for name in ("K", "L", "M"):
        table = flow[2].values
        right = table[name]
        table[name] = 2 * right
        differing = [d.name for d in ntkflow.compare(flow, drawn) if d.layer == 2 and d.verdict != "noise"]
        table[name] = right
        assert differing == [name]


def test_against_a_separate_sampler():
    """20,000 networks each: five standard errors of the difference, 5 tensors, 80 numbers; false alarm 5e-5."""
    net = network(Stage("gelu", **WEIGHTS), 8)
    found = ntkflow.ensemble(net, X, 20_000, seed=0)[-1]
    values, errors = sampled_blocks.measured(net, X, 20_000, 1, found.G, found.H)
    for name in ("V", "D", "A", "F", "B"):
        z = (found[name] - values[name]) / np.hypot(found.error(name), errors[name])
        assert np.abs(z).max() < 5, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [
        Block(Stage("relu", **WEIGHTS), gamma=0.8),
        Block(Stage("tanh", "rms", **NORM, **WEIGHTS), gamma=0.8),
        Block([Stage("linear", "layer", width=64, eps=0.1, **WEIGHTS), Stage("gelu", **WEIGHTS)], gamma=0.7),
    ],
    ids=["residual relu", "pre-activation rms tanh", "block with layer norm, gelu"],
)
def test_networks_of_three_widths_agree_with_the_theory(block):
    """`verify` on all tensors, K, L and M too: fixed seed, false alarm 1e-3 each."""
    net = Network(
        (3, 32, 32, 32, 2), [Dense(0.1, 1.1, 0.4, 0.9), block, block, Block(Stage("relu", **WEIGHTS))]
    )
    verification = ntkflow.verify(net, X, (16, 32, 64), 4000)
    assert verification.agrees, verification.words
    assert {"K", "L", "M"} <= {e.name for e in verification}


def test_streams_of_one_neuron_and_what_is_refused():
    with pytest.raises(SpecError, match="not on Block"):
        ntkflow.ensemble(NORMED, X, 3, training=True)
    narrow = Network((3, 1, 1, 1), [Dense(), Block(Stage("tanh"), gamma=0.5), Block(Stage("tanh"))])
    drawn = ntkflow.ensemble(narrow, X, 3)
    assert np.isnan(drawn[2].V).all() and np.isfinite(drawn[3].V).all()
