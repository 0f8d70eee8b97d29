"""Equinox, Flax and Optax: the same outputs both ways, the same parameters after ten steps."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow
from ntkflow import Block, Network, Stage, finite

eqx = pytest.importorskip("equinox")
linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")
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
    with pytest.raises(ntkflow.errors.InteropError, match="final"):
        equinox_interop.from_mlp(model)
    mlp = ntkflow.MLP((4, 5, 6, 2), "tanh")
    with pytest.raises(ntkflow.errors.InteropError, match="one hidden width"):
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
    with pytest.raises(ntkflow.errors.InteropError, match="Conv_0"):
        flax_interop.from_variables({"params": {"Conv_0": {}}}, "tanh")
    with pytest.raises(ntkflow.errors.InteropError, match="kernel"):
        flax_interop.from_variables({"params": {"Dense_0": {}}}, "tanh")
    with pytest.raises(ntkflow.errors.InteropError, match="dictionary"):
        flax_interop.from_variables([1, 2], "tanh")  # pyright: ignore[reportArgumentType]


def as_models():
    """The same layers in each library: (3, 200, 2) with relu, the second without biases."""
    modules = [
        linen.Dense(200),
        linen.relu,
        linen.Dropout(0.1, deterministic=True),
        linen.Dense(200, use_bias=False),
    ]
    module = linen.Sequential([*modules, linen.gelu, linen.Dense(2)])
    yield (module, module.init(jax.random.key(0), jnp.ones((1, 30))))
    rngs = nnx.Rngs(0)
    yield nnx.Sequential(
        nnx.Linear(30, 200, rngs=rngs), nnx.relu, nnx.Linear(200, 200, use_bias=False, rngs=rngs), nnx.gelu, nnx.Linear(200, 2, rngs=rngs)
    )  # fmt: skip


@pytest.mark.parametrize("library", [0, 1], ids=["linen", "nnx"])
def test_flax_models_are_networks(library):
    with pytest.warns(UserWarning, match="truncated Gaussian"):
        mlp = ntkflow.as_mlp(list(as_models())[library])
    assert mlp.widths == (30, 200, 200, 2) and [a.name for a in mlp.activation] == ["relu", "gelu_tanh"]
    assert mlp.C_W == (1, 1, 1) and mlp.C_b == (0, 0, 0)
    assert mlp.lambda_W == (30, 200, 200) and mlp.lambda_b == (1, 0, 1)


def test_equinox_models_are_networks():
    model = eqx.nn.MLP(30, 2, 100, 2, activation=jax.nn.gelu, key=jax.random.key(0))
    with pytest.warns(UserWarning, match="uniform"):
        mlp = ntkflow.as_mlp(model)
    assert mlp.widths == (30, 100, 100, 2) and [a.name for a in mlp.activation] == ["gelu_tanh"] * 2
    assert mlp.C_W == (1 / 3,) * 3 and np.allclose(mlp.C_b, (1 / 90, 1 / 300, 1 / 300), rtol=1e-14)


def with_norms():
    """The same network in each library: LayerNorm and ReLU, RMSNorm without a gain, RMSNorm."""
    module = linen.Sequential([
        linen.Dense(200), linen.LayerNorm(epsilon=1e-5), linen.relu, linen.Dense(200), linen.RMSNorm(epsilon=0.1, use_scale=False), linen.Dense(200),
        linen.RMSNorm(epsilon=1e-6), linen.Dense(2),
    ])  # fmt: skip
    yield module, module.init(jax.random.key(0), jnp.ones((1, 30)))
    rngs = nnx.Rngs(0)
    linears = [nnx.Linear(30, 200, rngs=rngs), *(nnx.Linear(200, n, rngs=rngs) for n in (200, 200, 2))]
    norms = [
        nnx.LayerNorm(200, epsilon=1e-5, rngs=rngs), nnx.RMSNorm(200, epsilon=0.1, use_scale=False, rngs=rngs), nnx.RMSNorm(200, rngs=rngs),
    ]  # fmt: skip
    yield nnx.Sequential(
        linears[0], norms[0], nnx.relu, linears[1], norms[1], linears[2], norms[2], linears[3]
    )
    keys = jax.random.split(jax.random.key(0), 4)
    linears = [eqx.nn.Linear(*shape, key=key) for shape, key in zip(((30, 200), (200, 200), (200, 200), (200, 2)), keys, strict=True)]  # fmt: skip
    first = eqx.nn.Sequential([linears[0], eqx.nn.LayerNorm(200), eqx.nn.Lambda(jax.nn.relu), linears[1]])
    norms = eqx.nn.RMSNorm(200, 0.1, False, False), eqx.nn.RMSNorm(200, 1e-6, use_bias=False)
    yield eqx.nn.Sequential([first, eqx.nn.Identity(), norms[0], linears[2], norms[1], linears[3]])


@pytest.mark.parametrize("library", [0, 1, 2], ids=["linen", "nnx", "equinox"])
@pytest.mark.filterwarnings("ignore:the weights of")
def test_models_with_norms_are_networks_of_blocks(library):
    network = ntkflow.as_network(list(with_norms())[library])
    assert isinstance(network, Network) and network.widths == (30, 200, 200, 200, 2)
    C_W, C_b = (1 / 3, 1 / 3) if library == 2 else (1.0, 0.0)
    rates: Any = {"C_b": C_b / 200, "C_W": C_W, "lambda_W": 200.0}
    assert network.layers[0] == ntkflow.Dense(C_b / 30, C_W, 1.0, 30.0)
    assert network.blocks == (
        Block(Stage("relu", "layer", **rates, eps=1e-5, lambda_g=1.0, lambda_beta=1.0)),
        Block(Stage("linear", "rms", **rates, eps=0.1)),
        Block(Stage("linear", "rms", **rates, eps=1e-6, lambda_g=1.0)),
    )


def test_gains_that_are_not_one_are_said():
    model: Any = list(with_norms())[1]
    model.layers[1].scale[...] *= 0.5
    with pytest.raises(ntkflow.errors.InteropError, match=r"layers\[1\]: the gain of its norm is 0.5"):
        ntkflow.as_network(model)


def test_equinox_sequential_is_drawn():
    keys = jax.random.split(jax.random.key(0), 2)
    inner = eqx.nn.Sequential([eqx.nn.Linear(4, 6, key=keys[0]), eqx.nn.Lambda(jnp.tanh)])
    model = eqx.nn.Sequential([inner, eqx.nn.Linear(6, 2, use_bias=False, key=keys[1])])
    mlp = ntkflow.MLP((4, 6, 2), "tanh", C_W=1.5)
    found: Any = equinox_interop.drawn(model, mlp, jax.random.key(1))
    expected = finite.forward(mlp, finite.init(mlp, jax.random.key(1)), X)[-1]
    assert np.allclose(jax.vmap(found)(jnp.asarray(X, jnp.float32)), expected, atol=1e-5)


LINEAR = eqx.nn.Linear(3, 3, key=jax.random.key(0))


def sequential(*modules):
    return eqx.nn.Sequential(modules)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: linen.Dense(3), r"pass \(module, variables\)"),
        (lambda: (Dense(), {}), "of linen modules a linen.Sequential is read.*from_variables"),
        (lambda: (linen.Sequential([linen.Dense(3)]), {}), "layers_0 .Dense.*no kernel"),
        (
            lambda: (linen.Sequential([linen.BatchNorm()]), {}),
            "layers_0 .BatchNorm.*supported are.*write a network with skips",
        ),
        (lambda: (linen.Sequential([linen.Dropout(0.5)]), {}), "layers_0 .Dropout.*deterministic=True"),
        (lambda: (linen.Sequential([jnp.tanh]), {}), "layers_0: it comes before the first layer"),
        (
            lambda: nnx.Sequential(nnx.Linear(3, 3, rngs=nnx.Rngs(0)), jnp.tanh),
            "ends with a function.*logits",
        ),
        (lambda: nnx.Sequential(nnx.Linear(3, 3, rngs=nnx.Rngs(0)), jnp.tanh, jnp.sin), "two functions"),
        (
            lambda: nnx.Sequential(nnx.Linear(3, 3, rngs=nnx.Rngs(0)), jax.nn.softmax),
            r"layers\[1\]: .*softmax",
        ),
        (lambda: nnx.Linear(3, 3, rngs=nnx.Rngs(0)), "an nnx.Sequential is read"),
        (lambda: eqx.nn.Linear(3, 3, key=jax.random.key(0)), "expected an equinox.nn.MLP or .*, not Linear"),
        (lambda: eqx.nn.MLP("scalar", 1, 3, 1, key=jax.random.key(0)), "use 1"),
        (lambda: sequential(eqx.nn.Linear("scalar", 3, key=jax.random.key(0))), "use 1"),
        (
            lambda: sequential(eqx.nn.GRUCell(3, 3, key=jax.random.key(0))),
            r"layers\[0\] .GRUCell.*with skips",
        ),
        (
            lambda: sequential(LINEAR, eqx.nn.Sequential([eqx.nn.Dropout()])),
            r"layers\[1\].layers\[0\] .Dropout.*inference_mode",
        ),
        (lambda: sequential(LINEAR, eqx.nn.LayerNorm((3, 3))), "normalises over 2 axes"),
        (lambda: sequential(LINEAR, eqx.nn.LayerNorm(3), LINEAR), "the model has norms, and this takes"),
        (lambda: sequential(LINEAR, eqx.nn.LayerNorm(3)), "the model ends with a norm"),
        (lambda: sequential(LINEAR, eqx.nn.LayerNorm(3), eqx.nn.RMSNorm(3), LINEAR), "two norms"),
        (
            lambda: sequential(LINEAR, eqx.nn.Lambda(jnp.tanh), eqx.nn.RMSNorm(3), LINEAR),
            "a norm comes before",
        ),
        (lambda: sequential(eqx.nn.LayerNorm(3), LINEAR), r"layers\[0\]: it comes before the first layer"),
        (
            lambda: nnx.Sequential(
                nnx.Linear(3, 3, rngs=nnx.Rngs(0)), nnx.LayerNorm(3, reduction_axes=(0, 1), rngs=nnx.Rngs(0))
            ),
            "other axes than the last",
        ),
    ],
)
def test_refusals_of_models(make, words):
    with pytest.raises(ntkflow.errors.InteropError, match=words):
        ntkflow.as_mlp(make())
    model = eqx.nn.MLP(3, 2, 5, 1, key=jax.random.key(0))
    with pytest.raises(ntkflow.errors.InteropError, match="torch model only"):
        ntkflow.as_mlp(model, optax.sgd(0.1))


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

        optimizer = optax.chain(
            scale_by_learning_rate_tensor(RATES["lambda_b"], RATES["lambda_W"], axis), optax.sgd(0.2)
        )
        params = jax.tree.map(jnp.asarray, params)
        state = optimizer.init(params)
        for _ in range(10):
            gradient = jax.grad(lambda p: finite.mse(apply(p), jnp.asarray(y)))(params)
            updates, state = optimizer.update(gradient, state)
            params = optax.apply_updates(params, updates)
        found = params if library == "ours" else flax_interop.from_variables(params, "tanh")[1]
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a.W, b.W, rtol=1e-11) and np.allclose(a.b, b.b, rtol=1e-11)
    with pytest.raises(ntkflow.errors.InteropError, match="axes"):
        scale_by_learning_rate_tensor().init({"kernel": np.zeros((3, 3, 2, 2))})
    with pytest.raises(ntkflow.errors.InteropError, match="fan_in_axis"):
        scale_by_learning_rate_tensor(fan_in_axis=2)


def test_modules_are_there_without_an_import_of_their_own():
    code = "import sys, ntkflow; ntkflow.interop.optax.scale_by_learning_rate_tensor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
