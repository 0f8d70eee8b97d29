"""Equinox, Flax and Optax: the same outputs both ways, the same parameters after ten steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow
from ntkflow import finite

eqx = pytest.importorskip("equinox")
linen = pytest.importorskip("flax.linen")
optax = pytest.importorskip("optax")
from ntkflow.interop import equinox as equinox_interop
from ntkflow.interop import flax as flax_interop
from ntkflow.interop.optax import scale_by_learning_rate_tensor

X = np.random.default_rng(0).normal(size=(5, 4))
RATES = {"lambda_b": 0.7, "lambda_W": 1.3}


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x):
        for n in (7, 6):
            x = jnp.tanh(linen.Dense(n, param_dtype=jnp.float64)(x))
        return linen.Dense(2, param_dtype=jnp.float64)(x)


@pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh, jnp.sin])
@pytest.mark.parametrize("depth", [0, 2])
def test_equinox(activation, depth):
    with jax.enable_x64(True):
        model = eqx.nn.MLP(4, 2, 6, depth, activation=activation, key=jax.random.key(0), dtype=jnp.float64)
        theirs = np.asarray(jax.vmap(model)(jnp.asarray(X)))
    mlp, params = equinox_interop.from_mlp(model, **RATES)
    assert np.allclose(finite.forward(mlp, params, X)[-1], theirs, rtol=1e-12)
    back = equinox_interop.to_mlp(mlp, params)
    with jax.enable_x64(True):
        assert np.allclose(jax.vmap(back)(jnp.asarray(X)), theirs, rtol=1e-12)


def test_equinox_refusals():
    model = eqx.nn.MLP(4, 2, 6, 1, final_activation=jnp.tanh, key=jax.random.key(0))
    with pytest.raises(ntkflow.InteropError, match="final"):
        equinox_interop.from_mlp(model)
    mlp = ntkflow.MLP((4, 5, 6, 2), "tanh")
    with pytest.raises(ntkflow.InteropError, match="one hidden width"):
        equinox_interop.to_mlp(mlp, finite.init(mlp, 0))


def test_flax():
    with jax.enable_x64(True):
        variables = Dense().init(jax.random.key(0), jnp.asarray(X))
        theirs = np.asarray(Dense().apply(variables, jnp.asarray(X)))
    mlp, params = flax_interop.from_variables(variables, "tanh")
    assert mlp.widths == (4, 7, 6, 2)
    assert np.allclose(finite.forward(mlp, params, X)[-1], theirs, rtol=1e-12)
    with jax.enable_x64(True):
        assert np.allclose(
            Dense().apply(flax_interop.to_variables(mlp, params), jnp.asarray(X)), theirs, rtol=1e-12
        )
    with pytest.raises(ntkflow.InteropError, match="Conv_0"):
        flax_interop.from_variables({"params": {"Conv_0": {}}}, "tanh")
    with pytest.raises(ntkflow.InteropError, match="kernel"):
        flax_interop.from_variables({"params": {"Dense_0": {}}}, "tanh")
    with pytest.raises(ntkflow.InteropError, match="dictionary"):
        flax_interop.from_variables([1, 2], "tanh")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("library", ["ours", "flax"])
def test_ten_steps_of_optax(library):
    mlp = ntkflow.MLP((4, 7, 6, 2), "tanh", 0.1, 1.2, **RATES)
    start, y = finite.init(mlp, 0), np.random.default_rng(1).normal(size=(5, 2))
    expected, _ = finite.train(mlp, start, X, y, finite.mse, 0.2, 10)
    with jax.enable_x64(True):
        if library == "ours":
            params, apply, axis = start, lambda p: finite.forward(mlp, p, jnp.asarray(X))[-1], 1
        else:
            params, axis = flax_interop.to_variables(mlp, start), 0

            def apply(p):
                return Dense().apply(p, jnp.asarray(X))

        optimizer = optax.chain(scale_by_learning_rate_tensor(**RATES, fan_in_axis=axis), optax.sgd(0.2))
        params = jax.tree.map(jnp.asarray, params)
        state = optimizer.init(params)
        for _ in range(10):
            gradient = jax.grad(lambda p: finite.mse(apply(p), jnp.asarray(y)))(params)
            updates, state = optimizer.update(gradient, state)
            params = optax.apply_updates(params, updates)
        found = params if library == "ours" else flax_interop.from_variables(params, "tanh")[1]
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a.W, b.W, rtol=1e-11) and np.allclose(a.b, b.b, rtol=1e-11)
    with pytest.raises(ntkflow.InteropError, match="axes"):
        scale_by_learning_rate_tensor().init({"kernel": np.zeros((3, 3, 2, 2))})
    with pytest.raises(ntkflow.InteropError, match="fan_in_axis"):
        scale_by_learning_rate_tensor(fan_in_axis=2)
