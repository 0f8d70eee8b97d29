"""The flow under jit, vmap and grad: the same numbers as `flow`, and derivatives that finite differences confirm."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow

X = np.random.default_rng(0).normal(size=(4, 5))
MLP = ntkflow.MLP((5, 20, 30, 2), "tanh", 0.1, 1.3, 0.7, 1.2)
NAMES = ("G", "H", "G1", "H1", "V", "D", "F", "A", "B")


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def objective(C_b, C_W, lambda_b, lambda_W, X, components="all", mlp=MLP):
    """Something of every tensor of the last layer."""
    mlp = mlp.replace(C_b=C_b, C_W=C_W, lambda_b=lambda_b, lambda_W=lambda_W)
    last = ntkflow.traced_flow(mlp, X, components)[-1]
    return sum(jnp.sum(jnp.cos(jnp.arange(x.size).reshape(x.shape)) * x) for x in last.values.values())


FEW = [(0, 1, 3), (2, 0)]


@pytest.mark.parametrize(
    ("components", "activation"),
    [
        ("pairs", "tanh"),
        ("mean", "relu"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *(("all", a) for a in ("tanh", "relu")),
                *(("pairs", "relu"), ("mean", "tanh"), (FEW, "tanh"), (FEW, "relu")),
            )
        ),
    ],
)
def test_values_are_those_of_flow(components, activation):
    mlp = ntkflow.MLP(MLP.widths, activation, 0.1, 1.3, 0.7, 1.2)
    traced = jax.jit(lambda X: ntkflow.traced_flow(mlp, X, components))(X)
    for layer, exact in zip(traced, ntkflow.flow(mlp, X, components), strict=True):
        for name in NAMES[: 2 if components == "mean" else None]:
            a, b = np.asarray(getattr(layer, name)), getattr(exact, name)
            assert a.shape == b.shape
            assert np.allclose(a, b, rtol=0, atol=1e-12 * np.nanmax(np.abs(b), initial=1e-3), equal_nan=True)


@pytest.mark.parametrize(
    ("activation", "components", "widths"),
    [
        ("tanh", "pairs", (5, 20, 2)),
        ("relu", "mean", MLP.widths),
        *(
            pytest.param(*case, MLP.widths, marks=pytest.mark.slow)
            for case in (("tanh", "pairs"), ("tanh", "all"), ("relu", "all"))
        ),
    ],
)
def test_gradients_against_finite_differences(activation, components, widths):
    """Central differences, whose own error is about 1e-9."""
    mlp, L = ntkflow.MLP(widths, activation), len(widths) - 1
    at = (jnp.array([0.1, 0.2, 0.3][:L]), 1.3, 0.7, jnp.array([1.2, 0.9, 1.1][:L]), jnp.asarray(X))

    @jax.jit
    def value(*a):
        return objective(*a, components=components, mlp=mlp)

    found = jax.jit(jax.grad(value, argnums=tuple(range(5))))(*at)
    rng, step = np.random.default_rng(1), 1e-5
    for i, gradient in enumerate(found):
        direction = rng.normal(size=np.shape(gradient))
        there: list[Any] = list(at)
        back: list[Any] = list(at)
        there[i], back[i] = at[i] + step * direction, at[i] - step * direction
        expected = (value(*there) - value(*back)) / (2 * step)
        assert np.isclose(np.sum(gradient * direction), expected, rtol=1e-7, atol=1e-7), i


@pytest.mark.parametrize(
    "components", ["mean", *(pytest.param(c, marks=pytest.mark.slow) for c in ("pairs", "all"))]
)
@pytest.mark.parametrize(
    "activation", ["linear", *(pytest.param(a, marks=pytest.mark.slow) for a in ("gelu", "tanh"))]
)
def test_gradients_at_a_zero_input(activation, components):
    """Where its variance is 0 its roots have no derivative, but what a smooth σ makes of them has one."""
    mlp = ntkflow.MLP((5, 20, 2), activation, 0.0, 1.3)
    at = np.vstack([np.zeros(5), X[:2]])

    @jax.jit
    def value(C_b, X):
        return objective(C_b, 1.3, 0.7, 1.2, X, components, mlp)

    by_bias, by_input = jax.jit(jax.grad(value, argnums=(0, 1)))(0.0, at)
    # One-sided, C_b is never negative: right to step² times the third derivative.
    step = 1e-5
    forward = (4 * value(step, at) - 3 * value(0.0, at) - value(2 * step, at)) / (2 * step)
    assert np.isclose(by_bias, forward, rtol=1e-6)
    direction = np.random.default_rng(1).normal(size=at.shape) * [[1], [0], [0]]
    central = (value(0.0, at + step * direction) - value(0.0, at - step * direction)) / (2 * step)
    assert np.isclose(np.sum(by_input * direction), central, rtol=1e-6)


@pytest.mark.slow
def test_the_whole_flow_compiles():
    whole = jax.jit(lambda X, C_W: ntkflow.traced_flow(MLP.replace(C_W=C_W), X, "pairs")[-1].A)
    assert np.allclose(whole(X, 1.3), ntkflow.flow(MLP, X, "pairs")[-1].A, rtol=1e-11)


@pytest.mark.parametrize("compiled", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_vmap_over_a_hyperparameter(compiled):
    C_W = np.array([0.8, 1.0, 1.5])
    over = jax.vmap(lambda X, c: ntkflow.traced_flow(MLP.replace(C_W=c), X, "pairs")[-1].A, in_axes=(None, 0))
    many = (jax.jit(over) if compiled else over)(X, C_W)
    for c, A in zip(C_W, many, strict=True):
        one = ntkflow.MLP(MLP.widths, "tanh", 0.1, float(c), 0.7, 1.2)
        assert np.allclose(A, ntkflow.flow(one, X, "pairs")[-1].A, rtol=1e-11)


@pytest.mark.slow
def test_hyperparameters_can_be_optimised():
    """Newton's iteration for the C_W that keeps G of one sample as it is: tanh's fixed point at this variance."""
    mlp = ntkflow.MLP((5, 10, 10), "tanh", 0.0, 1.0)

    def drift(c):
        first, second = ntkflow.traced_flow(
            mlp.replace(C_W=jnp.stack([1.0 * jnp.ones(()), c])), X[:1], "mean"
        )
        return second.G[0, 0] - first.G[0, 0]

    c = 1.0
    for _ in range(6):
        c = c - drift(c) / jax.grad(drift)(c)
    fixed = ntkflow.flow(ntkflow.MLP((5, 10, 10), "tanh", 0.0, [1.0, float(c)]), X[:1], "mean")
    assert np.isclose(fixed[2].G, fixed[1].G, rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "components"),
    [([0, 1, 0, 2], "pairs"), pytest.param([0, 1, 0], "all", marks=pytest.mark.slow)],
)
def test_equal_inputs(rows, components):
    twice = jnp.asarray(X[rows])
    last = jax.jit(lambda X: ntkflow.traced_flow(MLP, X, components)[-1])(twice)
    exact = ntkflow.flow(MLP, np.asarray(twice), components)[-1]
    for name in NAMES:
        assert np.allclose(getattr(last, name), getattr(exact, name), rtol=1e-10, equal_nan=True), name


def test_a_network_is_a_tree_of_its_hyperparameters():
    """Compiled once for all values; its gradient is a network of gradients, as by each hyperparameter alone."""
    mlp = MLP.replace(activation="relu")
    value = jax.jit(lambda mlp: jnp.sum(ntkflow.traced_flow(mlp, X, "mean")[-1].H))
    for network in (mlp, mlp.replace(C_W=0.7)):
        assert np.isclose(value(network), ntkflow.flow(network, X, "mean")[-1].H.sum(), rtol=1e-12)
    gradient = jax.grad(value)(mlp)
    assert gradient.widths == mlp.widths
    by_C_W = jax.grad(lambda c: value(mlp.replace(C_W=c)))(1.3)
    assert np.isclose(sum(gradient.C_W), by_C_W, rtol=1e-12)


def test_smallest_cases():
    for widths in ((5, 2), (5, 1, 1)):
        mlp = ntkflow.MLP(widths, "tanh", 0.1, 1.3)
        last = jax.jit(lambda X, mlp=mlp: ntkflow.traced_flow(mlp, X)[-1])(X[:1])
        exact = ntkflow.flow(mlp, X[:1])[-1]
        assert all(np.allclose(getattr(last, name), getattr(exact, name), rtol=1e-12) for name in NAMES)


def test_refusals():
    with jax.enable_x64(False), pytest.raises(ntkflow.errors.DataError, match="x64"):
        ntkflow.traced_flow(MLP, X)
    with pytest.raises(ntkflow.errors.ActivationError, match="kink"):
        ntkflow.traced_flow(ntkflow.MLP((5, 4, 2), "elu"), X)
    with pytest.raises(ntkflow.errors.SpecError, match="C_W: a list needs one entry per layer, 3, not 2"):
        jax.jit(lambda C_W: ntkflow.traced_flow(MLP.replace(C_W=C_W), X))(np.ones(2))
    with pytest.raises(ntkflow.errors.ComponentError, match="V is not held; held are G, H"):
        ntkflow.traced_flow(MLP, X, "mean")[2].V  # noqa: B018
    with pytest.raises(IndexError, match="layers are 1 … 3"):
        ntkflow.traced_flow(MLP, X, "mean")[0]
    with pytest.raises(ntkflow.errors.DataError, match="shape"):
        ntkflow.traced_flow(MLP, X[:, :2])


@pytest.mark.parametrize("components", ["pairs", "mean"])
def test_a_flow_of_traced_hyperparameters_names_what_to_use(components):
    mlp, X = ntkflow.MLP((3, 8, 2), "tanh"), np.ones((2, 3))
    with pytest.raises(
        ntkflow.errors.DataError, match="hyperparameters are traced by JAX; .* use ntkflow.traced_flow"
    ):
        jax.jit(lambda C_W: ntkflow.flow(mlp.replace(C_W=C_W), X, components)[2].G)(1.0)
