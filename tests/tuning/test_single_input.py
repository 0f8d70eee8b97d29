"""Averages of one input against closed forms and mpmath, over fourteen decades of K."""

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from ntkflow.activations import Activation, activation
from ntkflow.errors import ActivationError, DataError
from ntkflow.tuning import largest_variance, single_input

mp: Any = mpmath.mp  # its functions are attached at run time
K = np.logspace(-8, 6, 15)


def undeclared(function, name="f"):
    return Activation(name, function, registered=False)


@pytest.mark.parametrize("degree", [1, 2, 3, 5, 10])
def test_monomials(degree):
    """⟨z^2p⟩ = (2p - 1)!! K^p."""
    averages = single_input(activation({"name": "monomial", "degree": degree}), K)
    g, slope = (float(mp.fac2(2 * p - 1)) for p in (degree, degree - 1))
    assert np.allclose(averages.g, g * K**degree, rtol=1e-13, atol=0)
    assert np.allclose(averages.g_prime, degree * g * K ** (degree - 1), rtol=1e-13, atol=0)
    assert np.allclose(averages.slope_squared, degree**2 * slope * K ** (degree - 1), rtol=1e-13, atol=0)


def test_sin_at_every_variance():
    averages = single_input(activation("sin"), K)
    assert np.allclose(averages.g, -np.expm1(-2 * K) / 2, rtol=1e-13, atol=0)
    assert np.allclose(averages.slope_squared, (1 + np.exp(-2 * K)) / 2, rtol=1e-13, atol=0)
    # g' is e^-2K, small next to |zσσ'| / K of order 1/√K.
    assert np.allclose(averages.g_prime, np.exp(-2 * K), rtol=1e-13, atol=1e-13)
    assert np.all(np.abs(averages.g_second + 2 * np.exp(-2 * K)) < 1e-14 / K)


def test_exp_where_the_gaussian_is_outgrown():
    """⟨σσ⟩ comes from z around 2 K, many standard deviations away."""
    variances = np.array([1e-8, 1.0, 50.0])
    averages = single_input(activation("exp"), variances)
    for found, factor in ((averages.g, 1), (averages.g_prime, 2), (averages.slope_squared, 1)):
        assert np.allclose(found, factor * np.exp(2 * variances), rtol=1e-12, atol=0)
    with pytest.raises(DataError, match=r"K = 1000: activation exp can be integrated for K up to 79\.4 only"):
        single_input(activation("exp"), [1.0, 1e3])


def test_erf():
    averages = single_input(activation("erf"), K)
    assert np.allclose(averages.g, 2 / np.pi * np.arcsin(2 * K / (1 + 2 * K)), rtol=1e-12, atol=0)
    assert np.allclose(averages.slope_squared, 4 / np.pi / np.sqrt(1 + 4 * K), rtol=1e-13, atol=0)
    assert np.allclose(averages.g_prime, 4 / np.pi / (1 + 2 * K) / np.sqrt(1 + 4 * K), rtol=1e-12, atol=0)


def test_kinks_that_nobody_declared():
    """relu(z - a): ⟨σ'σ'⟩ = g' = P(z > a), at places between, next to and at the edges of the panels."""
    for place in (0.3712, 1.0, 1.0003, 1.0 + 1e-7, -2.6, 8e-3):
        averages = single_input(undeclared(lambda z, a=place: jnp.maximum(z - a, 0.0)), K[K > place**2 / 30])
        s = np.sqrt(averages.K)
        probability = np.array([float(mp.ncdf(-place / x)) for x in s])
        density = np.exp(-(place**2) / (2 * averages.K)) / np.sqrt(2 * np.pi)
        g = (averages.K + place**2) * probability - place * s * density
        assert np.allclose(averages.slope_squared, probability, rtol=1e-11, atol=0)
        assert np.allclose(averages.g_prime, probability, rtol=1e-11, atol=0)
        assert np.allclose(averages.g, g, rtol=1e-11, atol=1e-12 * place**2)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "gelu"])
def test_against_mpmath(name):
    sigma = {
        "tanh": mp.tanh,
        "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
        "softplus": lambda z: mp.log1p(mp.exp(z)),
        "gelu": lambda z: z * mp.ncdf(z),
    }[name]
    variances = np.array([1e-8, 0.4, 30.0, 1e6])
    averages = single_input(activation(name), variances)
    with mp.workdps(25):
        for i, variance in enumerate(variances):
            k = mp.mpf(float(variance))
            s = mp.sqrt(k)
            cuts = sorted(
                {x * s for x in range(-14, 15, 2)} | {x for x in (-40, -5, 5, 40) if abs(x) < 14 * s}
            )

            def mean(f, cuts=cuts, k=k):
                return mp.quad(lambda z: f(z) * mp.exp(-z * z / (2 * k)), cuts) / mp.sqrt(2 * mp.pi * k)

            # g' by another road than z σ σ': σσ (z² - K) / 2K², less a constant that averages to nothing.
            start = sigma(mp.mpf(0)) ** 2
            g_prime = mean(lambda z, k=k, c=start: (sigma(z) ** 2 - c) * (z * z - k)) / (2 * k * k)
            slope = mean(lambda z: mp.diff(sigma, z) ** 2)
            assert abs(averages.g[i] / mean(lambda z: sigma(z) ** 2) - 1) < 1e-12
            assert abs(averages.g_prime[i] / g_prime - 1) < 1e-11
            assert abs(averages.slope_squared[i] / slope - 1) < 1e-12


def test_next_to_nothing_and_at_zero():
    """elu is z + O(z²) above and below 0, so that g = K + O(K^{3/2})."""
    averages = single_input(activation("elu"), [0.0, 1e-300, 1e-20])
    assert np.allclose(averages.g, [0.0, 1e-300, 1e-20], rtol=1e-9, atol=0)
    assert np.allclose(averages.g_prime, 1, rtol=1e-9)
    assert np.allclose(averages.slope_squared, 1, rtol=1e-9)


def test_shapes_are_those_of_K():
    for name in ("tanh", "relu"):
        assert single_input(activation(name), 0.3).g.shape == ()
        assert single_input(activation(name), np.full((2, 0), 1.0)).g_prime.shape == (2, 0)
        many = single_input(activation(name), np.linspace(0.1, 3.0, 6).reshape(2, 3))
        alone = single_input(activation(name), many.K[1, 2])
        assert np.allclose(many.slope_squared[1, 2], alone.slope_squared, rtol=1e-14)


def test_declared_kinks_far_away_change_nothing():
    far = Activation("f", jnp.tanh, kinks=(-1e9, 3.7, 1e12), registered=False)
    assert largest_variance(far) == largest_variance(undeclared(jnp.tanh))
    assert single_input(far, 1.3).g == pytest.approx(
        float(single_input(activation("tanh"), 1.3).g), rel=1e-14
    )


@pytest.mark.parametrize("variances", [-1.0, [1.0, np.nan], np.inf])
def test_variances_that_are_none(variances):
    with pytest.raises(DataError, match="K must be finite variances"):
        single_input(activation("tanh"), variances)


def test_straight_pieces_need_no_integral():
    averages = single_input(activation({"name": "leaky_relu", "slope": 0.5}), [2.0, 1e30])
    assert np.array_equal(averages.g, [1.25, 0.625 * 1e30])
    assert largest_variance(activation("relu")) == np.inf


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: jnp.where(z > 1, 1.0, 0.0) * z, "near 1: it jumps"),
        (lambda z: z + jnp.where(z > 1.3712, 1e-6, 0.0), "near 1.3712[0-9]*: it jumps there, or"),
        (lambda z: jnp.sqrt(jnp.abs(z - 1)), "near 1: its derivative is not finite"),
        (lambda z: jnp.cbrt(z - 0.3), "near 0.3: its derivative is not finite"),
        (lambda z: jnp.log(z + 2), "or its square is not finite near -"),
        (lambda z: jnp.tanh(z.astype(jnp.float32)).astype(z.dtype), "varies too fast, or its values"),
        (lambda z: jnp.sin(1e6 * z), "varies too fast, or its values"),
    ],
)
def test_functions_that_are_refused(function, message):
    with pytest.raises(ActivationError, match=message):
        single_input(undeclared(function), 1.0)


def test_a_derivative_that_is_not_that_of_the_values():
    straight_through = undeclared(lambda z: jnp.tanh(z) + z - jax.lax.stop_gradient(z))
    with pytest.raises(ActivationError, match="its derivative by JAX is not that of its values"):
        single_input(straight_through, 1.0)
