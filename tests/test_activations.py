"""The registry's activations and their derivatives against mpmath."""

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from ntkflow._gaussian.rules import evaluate
from ntkflow.activations import _REGISTRY, activation

mp: Any = mpmath.mp  # its functions are attached at run time
EXACT = {
    "tanh": mp.tanh,
    "erf": mp.erf,
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "swish": lambda z: z / (1 + mp.exp(-z)),
    "gelu": lambda z: z * mp.ncdf(z),
    "gelu_tanh": lambda z: z / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (z + mp.mpf(0.044715) * z**3))),
    "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
    "logsigmoid": lambda z: -mp.log1p(mp.exp(-z)),
    "tanhshrink": lambda z: z - mp.tanh(z),
}
POINTS = np.concatenate([np.linspace(-30, 30, 41), [0.7, -2.3, 1e-3, -1e-5, 1e-8]])


@pytest.mark.parametrize("name", EXACT)
def test_five_derivatives_to_the_last_digits(name):
    with mp.workdps(60):
        exact = np.array([mp.taylor(EXACT[name], mp.mpf(z), 5) for z in POINTS]).T
        exact = np.array([[float(mp.factorial(n) * x) for x in row] for n, row in enumerate(exact)])
    found = evaluate(activation(name), POINTS, 5)
    near = np.abs(POINTS) < 3
    assert np.all(np.abs(found - exact)[:, near] < 1e-15 * np.abs(exact).max(axis=1, keepdims=True))
    # Where a derivative is small next to its maximum, it is as exact for itself: nothing cancels in the tails.
    far = ~near & (np.abs(exact) > 1e-300)
    assert np.all(np.abs(found - exact)[far] < 1e-12 * np.abs(exact)[far])


@pytest.mark.parametrize("name", sorted(_REGISTRY))
def test_float32_stays_float32(name):
    """Where float64 is allowed too, as in the package's own programs."""
    with jax.enable_x64(True):
        z = jnp.linspace(-2, 2, 5, dtype=jnp.float32)
        assert activation(name)(z).dtype == jnp.float32


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "silu", "gelu"])
def test_they_can_be_differentiated_in_reverse_and_in_float32(name):
    sigma = activation(name)
    z = jnp.asarray(np.linspace(-4, 4, 9), jnp.float32)
    reverse = jax.vmap(jax.grad(sigma.function))(z)
    assert reverse.dtype == jnp.float32
    assert np.allclose(reverse, evaluate(sigma, np.asarray(z), 1)[1], rtol=1e-5, atol=1e-6)
