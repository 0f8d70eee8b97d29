"""One network of blocks: the forward and backward equations against the definition by autodiff, and against a network written out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled_blocks import forward as forward_by_hand

import ntkflow
from ntkflow import Block, Dense, Network, Stage, finite
from ntkflow.errors import ParameterError, SpecError

NORM: dict[str, Any] = {"eps": 0.1, "lambda_g": 0.6, "lambda_beta": 0.4}
WEIGHTS: dict[str, Any] = {"C_b": 0.3, "C_W": 1.2, "lambda_b": 0.3, "lambda_W": 0.7}
KINDS = {
    "residual": Block(Stage("tanh", **WEIGHTS), gamma=0.8),
    "block": Block([Stage("gelu", width=9, **WEIGHTS), Stage("relu", **WEIGHTS)], gamma=-0.6),
    "three stages": Block(
        [Stage("linear", "layer", width=4, **NORM, **WEIGHTS), Stage("gelu", width=3, **WEIGHTS), Stage("sin", "rms", **NORM, **WEIGHTS)], gamma=1.1,
    ),
    "pre-activation rms": Block(Stage("tanh", "rms", **NORM, **WEIGHTS), gamma=0.7),
    "pre-activation layer": Block(Stage("gelu", "layer", **NORM, **WEIGHTS), gamma=0.7),
    "norm without a skip": Block(Stage("tanh", "layer", **NORM, **WEIGHTS)),
    "stages without a skip": Block([Stage("tanh", width=5, **WEIGHTS), Stage("tanh", "rms", **NORM, **WEIGHTS)]),
}  # fmt: skip


@pytest.fixture
def eager():
    """Nothing is compiled: of small arrays most of the time would go there."""
    with jax.disable_jit():
        yield


def network(block: Block, width: int = 6) -> Network:
    layers = [Dense(0.2, 1.1, 0.4, 0.9), block, block, Block(Stage("gelu", "layer", **NORM, **WEIGHTS))]
    return Network((5, width, width, width, 3), layers)


def moved(net: Network, seed: int):
    """Parameters of a network that is no longer at initialisation: gains are not 1, nor biases 0."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape), finite.init(net, seed))


def inputs(seed: int, N: int) -> np.ndarray:
    return np.random.default_rng(100 + seed).normal(size=(N, 5))


def close(a, b, tolerance=1e-12):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


@pytest.mark.parametrize("kind", KINDS)
def test_three_roads_to_the_ntk(kind, eager):
    """Backward, forward and definition agree to 1e-12 above the embedding, on X × X2 and on X × X; so do traces, pairs, contributions and neurons."""
    net = network(KINDS[kind])
    params, X, X2 = moved(net, 1), inputs(1, 4), inputs(2, 3)
    every = finite.ntk_layers(net, params, X, X2)
    pairs = np.array([[0, 2], [3, 1]])
    for layer in (2, 3, 4):
        definition = finite.ntk_by_definition(net, params, X, X2, layer=layer)
        assert close(finite.ntk(net, params, X, X2, layer=layer), definition)
        assert close(every[layer - 1], definition)
        trace = np.einsum("iiab->ab", definition) / net.widths[layer]
        assert close(finite.ntk_trace(net, params, X, X2, layer=layer), trace)
        of_pairs = finite.ntk(net, params, X, X2, layer=layer, pairs=pairs, neurons=[0, 2])
        assert close(of_pairs, definition[np.ix_([0, 2], [0, 2])][:, :, pairs[:, 0], pairs[:, 1]])
        bias, weight = finite.ntk_contributions(net, params, X, X2, layer=layer)
        assert len(bias) == len(weight) == layer
        assert close(bias.sum(0) + weight.sum(0), definition)
        same = finite.ntk_by_definition(net, params, X, layer=layer)
        assert close(finite.ntk(net, params, X, layer=layer), same)


def test_compiled_as_it_is_not():
    net = network(KINDS["three stages"])
    params, X, X2 = moved(net, 1), inputs(1, 4), inputs(2, 3)
    compiled = finite.ntk(net, params, X, X2), finite.ntk_layers(net, params, X, X2)[-1]
    with jax.disable_jit():
        assert all(close(H, finite.ntk(net, params, X, X2)) for H in compiled)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_equation(kind):
    """Against a network that is written out in `sampled_blocks`, for all but the read-out."""
    net = network(KINDS[kind])
    params, X = moved(net, 2), inputs(3, 4)
    values = [tuple(params[0]), *[[(*s, None, None)[:4] for s in block] for block in params[1:-1]]]
    with jax.enable_x64(True):
        by_hand = forward_by_hand(net, values, jnp.asarray(X))
    assert close(finite.forward(net, params, X)[-2], by_hand)


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_are_those_of_their_parameters(kind, eager):
    """With all λ's 0 but those of one layer's biases, or of its weights, the NTK is their contribution: biases of norms count among biases, gains among weights."""
    net, depth = network(KINDS[kind]), 4
    params, X = moved(net, 3), inputs(4, 2)
    bias, weight = finite.ntk_contributions(net, params, X)
    zero = jax.tree.map(lambda _: 0.0, finite.tensorial(net))
    rates = finite.tensorial(net)
    for parts, names in ((bias, ("bias", "beta")), (weight, ("weight", "gain"))):
        for ell in range(depth):
            chosen = {
                name: tuple(
                    (getattr(rates, name) if i == ell else getattr(zero, name))[i] for i in range(depth)
                )
                for name in names
            }
            alone = finite.LearningRates(**{**vars(zero), **chosen})
            assert close(parts[ell], finite.ntk_by_definition(net, params, X, tensor=alone))


@pytest.mark.parametrize("kind", KINDS)
def test_jacobians_and_interlayer_ntks(kind, eager):
    net = network(KINDS[kind])
    params, X, X2 = moved(net, 4), inputs(5, 3), inputs(6, 2)

    def jacobian(layer, X):
        with jax.enable_x64(True):
            J = jax.jacrev(lambda p: ntkflow.finite.preactivations.preactivations(net, p, X)[layer - 1])(
                params
            )
        return J

    with jax.enable_x64(True):
        X, X2 = jnp.asarray(X), jnp.asarray(X2)
        rates = finite.tensorial(net)
        each = [rate for i, p in enumerate(params) for rate in rates.of_parameters(i, p)]
        for first, second in ((2, 3), (4, 2), (1, 4), (3, 3)):
            between = sum(
                rate * jnp.einsum("aip,bjp->ijab", a.reshape(*a.shape[:2], -1), b.reshape(*b.shape[:2], -1))
                for rate, a, b in zip(
                    each, jax.tree.leaves(jacobian(first, X)), jax.tree.leaves(jacobian(second, X2)), strict=True
                )
            )  # fmt: skip
            assert close(finite.interlayer_ntk(net, params, X, X2, layers=(first, second)), between)
        z = finite.forward(net, params, X)[1]

        def above(z):
            z = net.layers[2].forward(params[2], z)
            return net.layers[3].forward(params[3], z)

        by_autodiff = jnp.stack([jax.jacrev(above)(z[a : a + 1])[0, :, 0] for a in range(len(z))])
    assert close(finite.jacobian(net, params, X, 4, 2), by_autodiff)


def test_steps_and_training():
    """The loss falls, a small step changes it as the NTK says, and a step is -η λ dL/dθ of every parameter."""
    net = network(KINDS["three stages"])
    params, X, y = moved(net, 5), inputs(7, 6), np.random.default_rng(8).normal(size=(6, 3))
    predicted = float(finite.predicted_loss_change(net, params, X, y, finite.mse, 1e-6))
    after = finite.gradient_step(net, params, X, y, finite.mse, 1e-6)
    losses = [float(finite.mse(finite.forward(net, p, X)[-1], y)) for p in (params, after)]
    assert abs(losses[1] - losses[0] - predicted) < 1e-4 * abs(predicted)
    trained, history = finite.train(net, params, X, y, finite.mse, 0.02, 60)
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert jax.tree.structure(trained) == jax.tree.structure(params)
    with jax.enable_x64(True):
        gradient = jax.grad(
            lambda p: finite.mse(ntkflow.finite.preactivations.preactivations(net, p, jnp.asarray(X))[-1], y)
        )(params)
    stage, before, of_stage = net.layers[1].stages[0], params[1][0], gradient[1][0]
    one_step = finite.gradient_step(net, params, X, y, finite.mse, 0.1)[1][0]
    for name, rate in (("W", 0.7 / 6), ("b", 0.3), ("g", stage.lambda_g), ("beta", stage.lambda_beta)):
        assert close(
            getattr(one_step, name), getattr(before, name) - 0.1 * rate * np.asarray(getattr(of_stage, name))
        )


def test_derivatives_of_the_ntk(eager):
    """dĤ of a network of blocks is the change of a velocity along a gradient: nested derivatives against differences of the definition."""
    net = network(KINDS["pre-activation rms"], width=3)
    params, X = moved(net, 6), inputs(9, 2)
    derivatives = finite.ntk_derivatives(net, params, X, neurons=[0])
    rates, tree = finite.tensorial(net), jax.tree.structure(params)
    each = tree.unflatten([r for i, p in enumerate(params) for r in rates.of_parameters(i, p)])
    with jax.enable_x64(True):

        def z(p, a):
            return ntkflow.finite.preactivations.preactivations(net, p, jnp.asarray(X))[-1][a, 0]

        def along(p, a):
            return jax.tree.map(lambda rate, g: rate * g, each, jax.grad(z)(p, a))

        def inner(p):
            return sum(
                jnp.vdot(g, v)
                for g, v in zip(
                    jax.tree.leaves(jax.grad(z)(p, 0)), jax.tree.leaves(along(params, 1)), strict=True
                )
            )

        h = 1e-5
        changed = [
            inner(jax.tree.map(lambda x, v, s=sign: x + s * h * v, params, along(params, 0)))
            for sign in (1, -1)
        ]
    assert abs(derivatives.dH[0, 0, 0, 0, 1, 0] - (changed[0] - changed[1]) / (2 * h)) < 1e-7
    with pytest.raises(SpecError, match="dense layers"):
        finite.ntk_derivatives_layers(net, params, X)


def test_a_block_of_one_stage_is_a_dense_layer():
    """The same network is drawn, and all its numbers are the same to 1e-13."""
    mlp = ntkflow.MLP((5, 7, 6, 3), ["tanh", "gelu"], [0.1, 0.2, 0.3], [1.1, 1.2, 1.3], 0.4, 0.9)
    stages = [Block(Stage(dense.activation or "linear", C_b=dense.C_b, C_W=dense.C_W, lambda_b=0.4, lambda_W=0.9)) for dense in mlp.layers[1:]]  # fmt: skip
    net = Network(mlp.widths, [mlp.layers[0], *stages])
    X, params, of_blocks = inputs(10, 3), finite.init(mlp, 7), finite.init(net, 7)
    for of_layer, of_block in zip(params, of_blocks, strict=True):
        for a, b in zip(jax.tree.leaves(of_layer), jax.tree.leaves(of_block), strict=True):
            assert np.array_equal(a, b)
    assert close(finite.ntk(net, of_blocks, X), finite.ntk(mlp, params, X), 1e-13)
    assert close(finite.ntk(net, of_blocks, X, rates=finite.plain(net)), finite.ntk(mlp, params, X, rates=finite.plain(mlp)), 1e-13)  # fmt: skip


def test_drawn_variances():
    """Of 4096 weights and biases of one stage, 5 standard errors: false alarm below 1e-5."""
    net = Network((64, 64, 64, 64), [Dense(), Block([Stage("tanh", width=64, **WEIGHTS), Stage("tanh", "rms", **WEIGHTS)], 1.0), Block(Stage("relu", **WEIGHTS))])  # fmt: skip
    first, second = finite.init(net, 0)[1]
    for stage in (first, second):
        assert abs(np.var(stage.W) * 64 / 1.2 - 1) < 5 * np.sqrt(2 / 4096)
        assert abs(np.var(stage.b) / 0.3 - 1) < 5 * np.sqrt(2 / 64)
    assert not np.allclose(first.W, second.W)
    assert first.g is None and np.all(second.g == 1) and np.all(second.beta == 0)


def test_one_neuron_one_sample_equal_samples():
    net = Network((5, 1, 1, 1), [Dense(), Block(Stage("tanh", C_W=0.5), gamma=0.8), Block(Stage("relu"))])
    params = finite.init(net, 0)
    assert finite.ntk(net, params, inputs(11, 1)).shape == (1, 1, 1, 1)
    net = network(KINDS["pre-activation layer"])
    params, X = moved(net, 7), inputs(12, 1)
    H = finite.ntk(net, params, np.concatenate([X, X]))
    assert np.abs(H - H[:, :, :1, :1]).max() < 1e-12 * np.abs(H).max()


def test_single_precision_stays_single():
    net = network(KINDS["three stages"])
    params = finite.init(net, 0, np.float32)
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    H = finite.ntk(net, params, inputs(13, 2))
    assert H.dtype == np.float32
    double = jax.tree.map(lambda x: np.asarray(x, float), params)
    assert close(H, finite.ntk(net, double, inputs(13, 2)), 1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:1] + (p[1][:1],) + p[2:], "layer 2: parameters of a block must be a tuple of 3 StageParameters"),
        (lambda p: p[:1] + ((p[1][0]._replace(g=None), *p[1][1:]),) + p[2:], "layer 2, stage 1: parameters must be a tuple .W, b, g, beta."),
        (lambda p: p[:1] + ((p[1][0]._replace(beta=np.zeros(7)), *p[1][1:]),) + p[2:], r"layer 2, stage 1: beta must have shape \(6,\), not \(7,\)"),
        (lambda p: p[:1] + ((p[1][0]._replace(W=np.full((4, 6), np.nan)), *p[1][1:]),) + p[2:], "layer 2, stage 1: W is not finite"),
        (lambda p: p[:1] + ((p[1][0]._replace(W=np.zeros((4, 6), np.float32)), *p[1][1:]),) + p[2:], "layer 2, stage 1: W is float32, but the first layer is float64"),
        (lambda p: p[:-1], "a tuple of 4 layers"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit(change, message):
    net = network(KINDS["three stages"])
    with pytest.raises(ParameterError, match=message):
        finite.forward(net, change(finite.init(net, 0)), inputs(14, 2))


def test_rates_that_do_not_fit():
    net = network(KINDS["residual"])
    with pytest.raises(ParameterError, match="LearningRates of 4 layers"):
        finite.ntk(
            net, finite.init(net, 0), inputs(15, 2), rates=finite.LearningRates((1.0,) * 4, (1.0,) * 4)
        )
