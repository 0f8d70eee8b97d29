"""P … U measured on sampled networks: against the forward equations, where theory is exact, and with planted errors."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import planted
import pytest
from command_line import within

import ntkflow
from ntkflow import finite
from ntkflow._comparison.verification import extrapolate, scaled
from ntkflow._recursions.tensors import TENSORS, Derivative
from ntkflow.errors import ComponentError, FileError, SpecError
from ntkflow.finite.parameters import LayerParameters
from ntkflow.sampling.derivatives import derivatives_on_layers

NAMES = ("P", "Q", "R", "S", "T", "U")
X = np.array([[1.0, 0.3, -0.8], [-0.2, 0.9, 0.7]])
RATES = {"C_b": 0.1, "C_W": 1.3, "lambda_b": 0.5}
MLP = ntkflow.MLP((3, 4, 4, 1), "tanh", **RATES)


def test_one_network():
    """Of layer 3 with the two neurons that are drawn beside its own, both estimators of dĤ z."""
    asked = tuple(Derivative("dH_z", neurons) for neurons in ((0, 1, 1, 0), (0, 0, 1, 1))) + tuple(
        Derivative(name, neurons) for name in ("ddH_I", "ddH_II") for neurons in ((0, 0, 1, 1), (0, 1, 0, 1))
    )
    seen = []

    def draw(which, shape):
        seen.append(np.asarray(jax.random.normal(keys[which], shape)))
        return seen[-1]

    with jax.enable_x64(True):
        key = jax.random.key(3)
        params = finite.init(MLP, key)
        direct, integrated = (
            derivatives_on_layers(MLP, asked, params, jnp.asarray(X), key, integrated)[2]
            for integrated in (False, True)
        )
        keys = jax.random.split(jax.random.fold_in(key, 2**32 - 1), (3, 2))[2]
        own = LayerParameters(*MLP.layers[2].draw(4, 2, draw))
    two = ntkflow.MLP((3, 4, 4, 2), "tanh", **RATES)

    def of(network):
        return finite.ntk_derivatives_layers(two, (*params[:2], network), X)[2]

    last = of(own)
    s, z = (
        np.tanh(finite.forward(two, (*params[:2], own), X)[1]),
        finite.forward(two, (*params[:2], own), X)[2],
    )
    assert len(seen) == 2 and np.array_equal(own.b, np.sqrt(0.1) * seen[1])
    for derivative, array, by_hand in zip(asked, direct, integrated, strict=True):
        expected = 0.0
        for i0, i1, i2, i3 in (derivative.neurons, tuple(1 - i for i in derivative.neurons)):
            if derivative.array != "dH_z":
                expected += getattr(last, derivative.array)[i0, i1, i2, i3] / 2
                continue
            assert np.allclose(derivative_z(last, z, derivative), array, rtol=1e-12, atol=1e-14)
            # dĤ is linear in these weights, of which each has the variance C_W / n.
            for k in range(4):
                W = np.array(own.W)
                W[i3] = np.eye(4)[k]
                expected += 1.3 / 4 * of(LayerParameters(W, own.b)).dH[i0, i1, i2][..., None] * s[:, k] / 2
        assert np.allclose(by_hand, expected, rtol=1e-12, atol=1e-14)


def derivative_z(last, z, derivative):
    pairs = (derivative.neurons, tuple(1 - i for i in derivative.neurons))
    return sum(last.dH[i0, i1, i2][..., None] * z[:, i3] for i0, i1, i2, i3 in pairs) / 2


@pytest.fixture(scope="module")
def at_two_widths():
    return [
        ntkflow.ensemble(mlp, X, 4000, seed, training=True)
        for seed, mlp in enumerate(scaled(MLP, (4, 8)))
    ]  # fmt: skip


def test_theory_and_sampling_agree(at_two_widths):
    """Layer 2 at any width and layer 3 extrapolated; a false alarm with probability 1e-3 each."""
    mlp = at_two_widths[-1].mlp
    flow = ntkflow.flow(mlp, X, training=True)
    verification = extrapolate(flow, at_two_widths)
    assert verification.agrees, verification.words
    assert {e.name for e in verification} >= set(NAMES)
    compared = {(d.layer, d.name): d for d in ntkflow.compare(flow, at_two_widths[-1])}
    for name in NAMES:
        assert compared[2, name].verdict == "noise" and compared[3, name].verdict in ("noise", "1/n"), name
        assert not at_two_widths[-1][1][name].any()


LOCAL = [
    "training.P: e.edds * e.H[a0, a1] * e.H[a0, a2]",
    "training.Q: omega_ds * e.H[a0, a2]",
    "training.R: omega_dd * e.H[a0, a2] * e.H[a0, a3]",
    "training.S: h.lambda_W * e.dddd",
    "training.T: omega_omega * e.H[a1, a2]",
    "training.U: local",
]


def test_large_planted_errors_are_seen(at_two_widths):
    """Each in the layer that it enters, at whatever width."""
    wrong = dict(planted.errors(("training",)))
    with contextlib.ExitStack() as stack:
        for label in LOCAL:
            stack.enter_context(wrong[label])
        flow = ntkflow.flow(at_two_widths[-1].mlp, X, training=True)
    bad = {(e.layer, e.name) for e in extrapolate(flow, at_two_widths) if not e.agrees}
    assert bad >= {(2, name) for name in NAMES}, bad
    assert not bad & {(layer, name) for layer in (1, 2, 3) for name in "GHVDFAB"}


def test_both_estimators_measure_the_same():
    """6 standard errors on some 200 numbers: a false alarm below 1e-6; gelu, unequal widths."""
    mlp = ntkflow.MLP((3, 3, 5, 2), "gelu", **RATES)
    a, b = (
        ntkflow.ensemble(mlp, X, 4000, seed, training=True, estimators=estimators)
        for seed, estimators in enumerate(("low-noise", "direct"))
    )
    for layer in (2, 3):
        for name in NAMES:
            error = np.hypot(a[layer].error(name), b[layer].error(name))
            assert np.all(np.abs(a[layer][name] - b[layer][name]) < 6 * error), (layer, name)


def test_stores(tmp_path):
    path = tmp_path / "run.zarr"
    settings = {"training": True, "block": 8, "components": [[0], [1]]}
    ntkflow.ensemble(MLP, X, 8, store=path, **settings)
    more = ntkflow.ensemble(MLP, X, 20, store=path, resume=True, **settings)
    again, whole = ntkflow.Ensemble.load(path), ntkflow.ensemble(MLP, X, 20, **settings)
    for name in NAMES:
        assert more[3][name].shape == (2, 1, 1, 1, 1)
        assert np.array_equal(more[3][name], again[3][name]) and more[3][name].any()
        assert np.allclose(more[3][name], whole[3][name], rtol=1e-10)
    with pytest.raises(FileError, match="another job|measures"):
        ntkflow.ensemble(MLP, X, 20, store=path, resume=True, block=8, components=[[0], [1]])


def test_what_is_not_offered():
    relu = ntkflow.MLP((3, 4, 4, 1), "relu", **RATES)
    with pytest.raises(SpecError, match="kink"):
        ntkflow.ensemble(relu, X, 10, training=True)
    with pytest.raises(ComponentError, match="training goes with"):
        ntkflow.ensemble(MLP, X, 10, training=True, components="mean")
    with pytest.raises(ComponentError, match="P"):
        ntkflow.ensemble(MLP, X, 10)[3].P  # noqa: B018


def test_one_sample_one_neuron_one_layer():
    shallow = ntkflow.ensemble(ntkflow.MLP((3, 2), [], **RATES), X, 4, training=True)
    assert not any(shallow[1][name].any() for name in NAMES)
    narrow = ntkflow.ensemble(ntkflow.MLP((3, 1, 1, 1), "tanh", **RATES), X[:1], 20, training=True)
    for layer in (2, 3):
        for name in NAMES:
            assert np.isfinite(narrow[layer][name]).all() and narrow[layer][name].any()
            assert np.isfinite(narrow[layer].error(name)).all()


def test_commands(tmp_path):
    (tmp_path / "net.toml").write_text(
        'widths = [3, 4, 4, 1]\nactivation = "tanh"\nC_b = 0.1\nC_W = 1.3\nlambda_b = 0.5\n'
    )
    np.save(tmp_path / "X.npy", X)
    data = ("net.toml", "--data", "X.npy", "--training")
    assert within(tmp_path, "flow", *data, "-o", "flow.zarr")[0] == 0
    assert "U" in within(tmp_path, "ensemble", *data, "--draws", "200", "-o", "run.zarr")[1]
    status, said, _ = within(tmp_path, "compare", "flow.zarr", "run.zarr")
    assert status == 0 and "agree" in said and "U" in said
    status, _, said = within(tmp_path, "flow", *data, "--components", "mean", "-o", "m.zarr")
    assert status == 2 and "training goes with" in said


def test_they_are_declared():
    assert {name for name, declared in TENSORS.items() if isinstance(declared.measured, Derivative)} == set(
        NAMES
    )
