"""A recipe in Equinox and Flax models: what is drawn, one step of Optax, and what is refused."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sampled_recipes
from scipy.stats import chi2

import ntkflow
from ntkflow import finite
from ntkflow.errors import InteropError, ParameterError, SpecError

eqx = pytest.importorskip("equinox")
linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")
optax = pytest.importorskip("optax")
from ntkflow.interop.equinox import from_mlp

X = sampled_recipes.inputs()[:6]


def equinox_model(**arguments) -> Any:
    arguments = {"activation": jnp.tanh, "key": jax.random.key(1), **arguments}
    return eqx.nn.MLP(64, 10, 32, 2, **arguments)


@functools.cache
def recipe(activation):
    return ntkflow.tune(equinox_model(activation=activation), X)


def linen_model(activation=jnp.tanh) -> Any:
    module = linen.Sequential(
        [linen.Dense(32), activation, linen.Dropout(0.1, deterministic=True), linen.Dense(32), activation, linen.Dense(10)]
    )  # fmt: skip
    return module, module.init(jax.random.key(1), jnp.ones((1, 64)))


def nnx_model(activation=jnp.tanh) -> Any:
    rngs = nnx.Rngs(1)
    return nnx.Sequential(
        nnx.Linear(64, 32, rngs=rngs), activation, nnx.Linear(32, 32, rngs=rngs), activation, nnx.Linear(32, 10, rngs=rngs)
    )  # fmt: skip


def equinox_layers(model):
    return [(layer.weight, layer.bias) for layer in model.layers]


def linen_layers(variables):
    layers = variables["params"]
    return [(layers[name]["kernel"].T, layers[name]["bias"]) for name in ("layers_0", "layers_3", "layers_5")]


def nnx_layers(model):
    return [(item.kernel[...].T, item.bias[...]) for item in model.layers if isinstance(item, nnx.Linear)]


LIBRARIES = pytest.mark.parametrize(
    ("make", "layers_of"),
    [(equinox_model, equinox_layers), (linen_model, linen_layers), (nnx_model, nnx_layers)],
    ids=["equinox", "linen", "nnx"],
)


@LIBRARIES
def test_what_is_drawn(make, layers_of):
    """Variances by χ² at 1e-6 for each weight and bias: false alarms below 2e-5 in all; the model itself stays as it is."""
    model = make(activation=jax.nn.silu)
    tuned = recipe(jax.nn.silu)
    variables = model[1] if isinstance(model, tuple) else model
    before = [np.array(x) for pair in layers_of(variables) for x in pair]
    drawn = layers_of(tuned.drawn(model, jax.random.key(5)))
    assert all(np.array_equal(x, y) for x, y in zip(before, (x for pair in layers_of(variables) for x in pair), strict=True))  # fmt: skip
    for (W, b), C_b, C_W in zip(drawn, tuned.mlp.C_b, tuned.mlp.C_W, strict=True):
        assert W.dtype == b.dtype == jnp.float32
        for x, variance in ((W, C_W / W.shape[1]), (b, C_b)):
            assert variance > 0
            square = float(np.sum(np.asarray(x, float) ** 2)) / variance
            assert min(chi2.cdf(square, x.size), chi2.sf(square, x.size)) > 5e-7
    expected = finite.init(tuned.mlp, 5)
    for layer, other in zip(drawn, expected, strict=True):
        assert all(np.allclose(x, y, rtol=1e-6) for x, y in zip(layer, other, strict=True))
    other_seed = layers_of(tuned.drawn(model, 6))
    assert not np.any(np.isclose(other_seed[0][0], drawn[0][0], rtol=1e-6))


def step_of_equinox(model, y):
    tuned = recipe(jnp.tanh)
    model = tuned.drawn(model, 0)

    def loss(model):
        return finite.cross_entropy(jax.vmap(model)(jnp.asarray(X, jnp.float32)), y)

    gradient = eqx.filter_grad(loss)(model)
    transformation = tuned.optax()
    updates, _ = transformation.update(gradient, transformation.init(eqx.filter(model, eqx.is_array)))
    return tuned, model, eqx.apply_updates(model, updates)


def step_of_linen(model, y):
    module, _ = model
    tuned = recipe(jnp.tanh)
    variables = tuned.drawn(model, 0)

    def loss(variables):
        return finite.cross_entropy(module.apply(variables, jnp.asarray(X, jnp.float32)), y)

    transformation = tuned.optax(fan_in_axis=0)
    updates, _ = transformation.update(jax.grad(loss)(variables), transformation.init(variables))
    return tuned, variables, optax.apply_updates(variables, updates)


def step_of_nnx(model, y):
    tuned = recipe(jnp.tanh)
    start = tuned.drawn(model, 0)
    model = nnx.clone(start)
    optimizer = nnx.Optimizer(model, tuned.optax(fan_in_axis=0), wrt=nnx.Param)
    gradient = nnx.grad(lambda model: finite.cross_entropy(model(jnp.asarray(X, jnp.float32)), y))(model)
    optimizer.update(model, gradient)
    return tuned, start, model


@pytest.mark.parametrize(
    ("make", "step", "layers_of"),
    [
        (equinox_model, step_of_equinox, equinox_layers),
        (linen_model, step_of_linen, linen_layers),
        (nnx_model, step_of_nnx, nnx_layers),
    ],
    ids=["equinox", "linen", "nnx"],
)
def test_one_step_of_optax(make, step, layers_of, rng):
    """The same parameters as after `finite.gradient_step`, to 1e-6."""
    y = rng.integers(10, size=len(X))
    tuned, before, after = step(make(), y)
    params = tuple(finite.LayerParameters(np.asarray(W), np.asarray(b)) for W, b in layers_of(before))
    expected = finite.gradient_step(tuned.mlp, params, X, y, finite.cross_entropy, tuned.eta)
    for (W, b), layer, start in zip(layers_of(after), expected, params, strict=True):
        assert np.allclose(W, layer.W, rtol=0, atol=1e-6) and np.allclose(b, layer.b, rtol=0, atol=1e-6)
        assert np.abs(layer.W - start.W).max() > 1e-4


def test_precision_and_what_is_no_parameter_are_kept():
    with jax.enable_x64(True):
        double = equinox_model(dtype=jnp.float64)
    tuned = recipe(jnp.tanh)
    drawn = tuned.drawn(double, 0)
    assert drawn.layers[0].weight.dtype == np.float64 and jax.tree.structure(drawn) == jax.tree.structure(
        double
    )
    for ours, theirs in zip(finite.init(tuned.mlp, 0), from_mlp(drawn)[1], strict=True):
        assert np.array_equal(ours.W, theirs.W) and np.array_equal(ours.b, theirs.b)
    assert tuned.drawn(equinox_model(dtype=jnp.bfloat16), 0).layers[1].weight.dtype == jnp.bfloat16
    module, variables = linen_model()
    bare = tuned.drawn((module, variables["params"]), 0)
    assert jax.tree.structure(bare) == jax.tree.structure(variables["params"])
    assert np.array_equal(bare["layers_3"]["kernel"], tuned.drawn((module, variables), 0)["params"]["layers_3"]["kernel"])  # fmt: skip


def test_layers_without_biases():
    model = equinox_model(use_bias=False)
    tuned = ntkflow.tune(model, X)
    drawn = tuned.drawn(model, 0)
    assert drawn.layers[0].bias is None and drawn.layers[0].weight.shape == (32, 64)
    without = equinox_model(activation=jax.nn.silu, use_bias=False)
    with pytest.raises(InteropError, match=r"layers\[0\]: it has no bias, and C_b = 0.5551 is to be drawn"):
        recipe(jax.nn.silu).drawn(without, 0)


def test_refusals():
    tuned = recipe(jnp.tanh)
    with pytest.raises(InteropError, match="64-32-32-10 and the activations relu, the recipe is for"):
        tuned.drawn(equinox_model(activation=jax.nn.relu), 0)
    with pytest.raises(
        InteropError, match="widths 64-32-10 and the activations tanh, the recipe is for 64-32-32-10, tanh"
    ):
        tuned.drawn(eqx.nn.MLP(64, 10, 32, 1, activation=jnp.tanh, key=jax.random.key(0)), 0)
    with pytest.raises(InteropError, match=r"pass \(module, variables\)"):
        tuned.drawn(linen_model()[0], 0)
    with pytest.raises(SpecError, match=r"finite.init\(recipe.mlp, key\)"):
        tuned.drawn(tuned.mlp, 0)
    with pytest.raises(SpecError, match="not list"):
        tuned.drawn([], 0)
    with pytest.raises(ParameterError, match="key"):
        tuned.drawn(equinox_model(), 0.5)
    linear = nnx.Linear(64, 64, rngs=nnx.Rngs(0))
    twice = nnx.Sequential(linear, jnp.tanh, linear, jnp.tanh, nnx.Linear(64, 10, rngs=nnx.Rngs(0)))
    of_twice = dataclasses.replace(tuned, mlp=ntkflow.MLP((64, 64, 64, 10), "tanh"))
    with pytest.raises(InteropError, match="called twice"):
        of_twice.drawn(twice, 0)


def test_torch_models_are_drawn_in_place():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))
    with pytest.raises(InteropError, match=r"drawn in place: recipe.apply_\(model\)"):
        recipe(jnp.tanh).drawn(model, 0)
