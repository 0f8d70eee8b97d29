"""A layer is an object: one that the package does not have, in one file outside of it, flows through all of it."""

import jax
import numpy as np
import pytest
from toy_layer import Scale

import ntkflow
from ntkflow import finite
from ntkflow._gaussian.traced import traced_expectations
from ntkflow._recursions import TENSORS
from ntkflow.network import Dense, Network

GAMMA = 0.7
WIDTHS = (4, 24, 24, 3)


def network(activation, gamma=GAMMA):
    """A dense layer, z' = γ z, and a dense layer on top."""
    σ = ntkflow.activations.activation(activation)
    return Network(WIDTHS, [Dense(0.1, 1.5, 0.5, 1.0, None), Scale(gamma), Dense(0.1, 1.5, 0.7, 0.9, σ)])


def without(activation, gamma=GAMMA):
    """The same MLP: γ² goes into the first layer's C_b, C_W and λ's."""
    C_b, C_W, lambda_b, lambda_W = (
        (x * gamma**2, y) for x, y in ((0.1, 0.1), (1.5, 1.5), (0.5, 0.7), (1.0, 0.9))
    )
    return ntkflow.MLP((4, 24, 3), activation, C_b, C_W, lambda_b, lambda_W)


@pytest.fixture
def X(rng):
    return rng.normal(size=(3, 4))


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("components", ["all", "pairs", "mean", [[0, 1, 2], [2, 0]]])
def test_it_flows(X, activation, components):
    flow, same = (
        ntkflow.flow(network(activation), X, components),
        ntkflow.flow(without(activation), X, components),
    )
    names = ("G", "H", *(name for name in TENSORS if name in flow[2].values))
    for layer, other in ((flow[2], same[1]), (flow[3], same[2])):
        for name in names:
            scale = max(np.nanmax(np.abs(other[name])), 1e-12)
            assert np.nanmax(np.abs(layer[name] - other[name])) < 1e-12 * scale, (layer.layer, name)
            assert layer.error(name).shape == layer[name].shape
    for part, other in ((flow[3].weight_contributions, same[2].weight_contributions), (flow[3].bias_contributions, same[2].bias_contributions)):  # fmt: skip
        assert np.allclose(part[[0, 2]], other, rtol=1e-13, atol=0) and not part[1].any()
    assert "Scale" in repr(flow) and flow.table() is not None


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_traced_means_integrate_no_quadruple(X, activation, monkeypatch):
    asked = []

    def expectations(activation, G, sets):
        asked.append((sets.moments, len(sets.quadruples)))
        return traced_expectations(activation, G, sets)

    monkeypatch.setattr("ntkflow._theory.traced.traced_expectations", expectations)
    with jax.enable_x64(True):
        means = ntkflow.traced_flow(network(activation), X, "mean")
    assert asked == [((), 0)]
    assert np.allclose(means[3].H, ntkflow.flow(network(activation), X, "mean")[3].H, rtol=1e-10, atol=0)


def test_tensors_behind_another_layer(X):
    """Between two dense layers with an activation: T' = r γ^rank T of tensors that are not zero."""
    σ = ntkflow.activations.activation("tanh")
    dense = Dense(0.1, 1.5, 0.7, 0.9, σ)
    flow = ntkflow.flow(
        Network((4, 16, 24, 24, 3), [Dense(0.1, 1.5, 0.5, 1.0, None), dense, Scale(GAMMA), dense]),
        X,
        training=True,
    )
    for name, declared in TENSORS.items():
        if declared.streams:
            continue
        expected = 24 / 16 * GAMMA**declared.rank * flow[2][name]
        assert np.allclose(flow[3][name], expected, rtol=1e-13, atol=0), name
        if name not in ("G1", "H1"):
            assert flow[3][name].any()


def test_it_is_traced_and_differentiated(X):
    with jax.enable_x64(True):
        traced = ntkflow.traced_flow(network("gelu"), X)
        flow = ntkflow.flow(network("gelu"), X)
        assert np.allclose(traced[3].V, flow[3].V, rtol=1e-11, atol=1e-14)
        means = ntkflow.traced_flow(network("gelu"), X, "mean")
        assert np.array_equal(means[3].H, traced[3].H) and list(means[3].values) == ["G", "H"]
        slope = jax.grad(lambda gamma: ntkflow.traced_flow(network("gelu", gamma), X, "pairs")[3].G[0, 1])(
            GAMMA
        )
        high, low = (ntkflow.flow(network("gelu", GAMMA + h), X, "mean")[3].G[0, 1] for h in (1e-5, -1e-5))
        assert np.isclose(slope, (high - low) / 2e-5, rtol=1e-8)


def test_one_network(X):
    mlp = network("gelu")
    params = finite.init(mlp, 3)
    assert params[1].W.shape == (0, 0)
    z = finite.forward(mlp, params, X)
    assert np.allclose(z[1], GAMMA * z[0], rtol=1e-15, atol=0)
    by_definition = finite.ntk_by_definition(mlp, params, X)
    assert np.allclose(finite.ntk(mlp, params, X), by_definition, rtol=1e-12, atol=1e-13)
    assert np.allclose(finite.ntk_layers(mlp, params, X)[2], by_definition, rtol=1e-12, atol=1e-13)
    middle = finite.ntk(mlp, params, X, layer=2, neurons=[0, 5])
    assert np.allclose(middle, finite.ntk_by_definition(mlp, params, X, layer=2)[np.ix_([0, 5], [0, 5])], rtol=1e-12, atol=1e-13)  # fmt: skip
    bias, weight = finite.ntk_contributions(mlp, params, X)
    assert np.allclose(bias.sum(axis=0) + weight.sum(axis=0), by_definition, rtol=1e-12, atol=1e-13)
    assert not bias[1].any() and not weight[1].any()


@pytest.mark.parametrize("estimators", ["low-noise", "direct"])
@pytest.mark.parametrize("components", ["all", "mean"])
def test_sampled_networks(tmp_path, X, estimators, components):
    """Fixed seed; false alarm 1e-3."""
    measured = ntkflow.ensemble(
        network("tanh"), X, 400, components=components, estimators=estimators, store=tmp_path / "store.zarr"
    )
    comparison = ntkflow.compare(ntkflow.flow(network("tanh"), X, components), measured)
    assert {d.layer for d in comparison} == {1, 2, 3} and comparison.agrees


def test_a_planted_error_is_seen(X, monkeypatch):
    """Fixed seed: H' = γ H in the place of γ² H."""
    measured = ntkflow.ensemble(network("tanh"), X, 400)
    monkeypatch.setattr(Scale, "means", lambda self, e, G, H: (self.gamma**2 * G, self.gamma * H))
    assert not ntkflow.compare(ntkflow.flow(network("tanh"), X), measured).agrees


def test_what_networks_are_refused():
    inputs, σ = Dense(0.0, 1.0, 1.0, 1.0, None), ntkflow.activations.activation("tanh")
    dense = Dense(0.0, 1.0, 1.0, 1.0, σ)
    for widths, layers, message in (
        ((4, 3, 2), [inputs], "1 layers has one width more, not 3"),
        ((4, 3), [Scale(1.0)], "the first layer reads the inputs"),
        ((4, 3), [dense], "the first layer reads the inputs"),
        ((4, 3, 2), [inputs, inputs], "layer 2: a Dense above the first needs an activation"),
        ((4, 3, 2), [inputs, Scale(1.0)], "as many neurons as z, 3, not 2"),
        ((4, 0), [inputs], "every width must be a whole number"),
    ):
        with pytest.raises(ntkflow.errors.SpecError, match=message):
            Network(widths, layers)


def test_what_takes_an_mlp_alone_says_so(tmp_path, X):
    mlp = network("tanh")
    flow = ntkflow.flow(mlp, X, "pairs")
    flow.save(tmp_path / "flow.nc")
    for call, error, message in (
        (lambda: ntkflow.Flow.load(tmp_path / "flow.nc"), ntkflow.errors.FileError, "the file is of a Network"),
        (lambda: ntkflow.flow(mlp, X, store=tmp_path / "s.zarr"), ntkflow.errors.SpecError, "a store holds the flow of an MLP"),
        (lambda: ntkflow.output_ntk(mlp, X), ntkflow.errors.SpecError, "of other layers flow, traced_flow"),
        (lambda: ntkflow.store_kernels(mlp, X, tmp_path / "k.zarr"), ntkflow.errors.SpecError, "of other layers"),
        (lambda: flow[3].eigenvalue_std(), ntkflow.errors.ComponentError, "needs dense layers"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()
    assert "0x" not in repr(flow) and "activation='tanh'" in repr(flow)


@pytest.mark.parametrize("components", ["pairs", "mean"])
def test_dense_layers_alone_are_the_mlp(X, components):
    mlp = ntkflow.MLP((4, 8, 6, 2), ["relu", "tanh"], 0.1, 1.3, 0.7, 0.9)
    for layer, same in zip(ntkflow.flow(Network(mlp.widths, mlp.layers), X, components), ntkflow.flow(mlp, X, components), strict=True):  # fmt: skip
        for name in same.values:
            assert np.array_equal(layer[name], same[name]), name
            assert np.array_equal(layer.error(name), same.error(name)), name
