"""One network and its training in three parameterisations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow
from ntkflow import finite, parameterisation

MLP = ntkflow.MLP((4, 9, 6, 2), "tanh", [0.1, 0.2, 0.3], [1.1, 1.2, 1.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9])
X, Y = np.random.default_rng(0).normal(size=(5, 4)), np.random.default_rng(1).normal(size=(5, 2))


def test_training_is_the_same_in_the_ntk_parameterisation():
    """Ten steps of gradient descent on ω and β give the same function as ten of ours on W and b."""
    groups = parameterisation.ntk_parameterisation(MLP, eta=0.2)
    start = finite.init(MLP, 0)
    with jax.enable_x64(True):
        params = [
            (jnp.asarray(W) * np.sqrt(W.shape[1]) / g.sigma_w, jnp.asarray(b) / g.sigma_b)
            for (W, b), g in zip(start, groups, strict=True)
        ]

        def outputs(params):
            z = jnp.asarray(X)
            for k, ((omega, beta), g) in enumerate(zip(params, groups, strict=True)):
                z = (z if k == 0 else jnp.tanh(z)) @ omega.T * g.sigma_w / np.sqrt(
                    omega.shape[1]
                ) + g.sigma_b * beta
            return z

        gradient_at = jax.jit(jax.grad(lambda p: finite.mse(outputs(p), jnp.asarray(Y))))
        for _ in range(10):
            gradient = gradient_at(params)
            params = [
                (omega - g.weight_rate * d_omega, beta - g.bias_rate * d_beta)
                for (omega, beta), (d_omega, d_beta), g in zip(params, gradient, groups, strict=True)
            ]
        theirs = np.asarray(outputs(params))
    ours, _ = finite.train(MLP, start, X, Y, finite.mse, 0.2, 10)
    assert np.allclose(finite.forward(MLP, ours, X)[-1], theirs, rtol=1e-11)


@pytest.mark.parametrize("there, back", [
    (parameterisation.standard, parameterisation.from_standard),
    (parameterisation.ntk_parameterisation, parameterisation.from_ntk_parameterisation),
])  # fmt: skip
def test_round_trips(there, back):
    again = back(MLP.widths, "tanh", there(MLP, eta=0.3), eta=0.3)
    for name in ("C_b", "C_W", "lambda_b", "lambda_W"):
        assert getattr(again, name) == pytest.approx(getattr(MLP, name), rel=1e-14)


def test_a_trained_bias_of_no_variance_has_no_ntk_parameterisation():
    with pytest.raises(ntkflow.errors.SpecError, match="layer 1: C_b"):
        parameterisation.ntk_parameterisation(ntkflow.MLP((4, 5, 2), C_b=0.0))


def test_no_learning_rate_has_no_parameterisation():
    for convert in (parameterisation.standard, parameterisation.ntk_parameterisation):
        with pytest.raises(ntkflow.errors.SpecError, match="eta"):
            convert(MLP, eta=0.0)
    with pytest.raises(ntkflow.errors.SpecError, match="eta"):
        parameterisation.from_standard(MLP.widths, "tanh", parameterisation.standard(MLP), eta=-1.0)
