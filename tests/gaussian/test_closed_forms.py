"""Closed forms of ⟨σ1σ2⟩ and ⟨σ'1σ'2⟩ against mpmath: variances 1e-6 … 1e3, correlations up to ±1."""

import itertools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from ntkflow._gaussian.closed_forms import closed_form
from ntkflow.activations import activation

VARIANCES = (1e-6, 0.3, 1.0, 40.0, 1e3)
CORRELATIONS = (-1.0, -0.999999, -0.6, 0.0, 1e-9, 0.3, 0.95, 1 - 1e-10, 1.0)


def relu(a, c, b):
    """Cho and Saul 2009, by the angle between the inputs."""
    theta = mp.acos(c / mp.sqrt(a * b))
    return mp.sqrt(a * b) * (mp.sin(theta) + (mp.pi - theta) * mp.cos(theta)) / (2 * mp.pi), (
        mp.pi - theta
    ) / (2 * mp.pi)


def leaky(a, c, b):
    """z⁺ - slope (-z)⁺: four relu kernels."""
    slope = mp.mpf(0.1)
    same, opposite = relu(a, c, b), relu(a, -c, b)
    return (
        (1 + slope**2) * same[0] - 2 * slope * opposite[0],
        (1 + slope**2) * same[1] + 2 * slope * opposite[1],
    )


def erf(a, c, b):
    """Williams 1997."""
    product = (1 + 2 * a) * (1 + 2 * b)
    return 2 / mp.pi * mp.asin(2 * c / mp.sqrt(product)), 4 / mp.pi / mp.sqrt(product - 4 * c * c)


def series(f, a, c, b):
    """Σ_k c^k / k! ⟨f^(k)⟩_a ⟨f^(k)⟩_b, which ends for polynomials."""
    total = mp.mpf(0)
    for k in range(len(f)):
        total += c**k / mp.factorial(k) * moment(derivative(f, k), a) * moment(derivative(f, k), b)
    return total


def derivative(f, k):
    for _ in range(k):
        f = [n * x for n, x in enumerate(f)][1:]
    return f


def moment(f, a):
    return sum((x * mp.fac2(n - 1) * a ** (n // 2) for n, x in enumerate(f) if n % 2 == 0 and x), mp.mpf(0))


POLYNOMIAL = [0.5, 1.0, -0.3, 0.2, 0.1]
EXACT = {
    "relu": relu,
    "abs": lambda a, c, b: (
        2 * (relu(a, c, b)[0] + relu(a, -c, b)[0]),
        2 * (relu(a, c, b)[1] - relu(a, -c, b)[1]),
    ),
    "leaky_relu": leaky,
    "linear": lambda a, c, b: (c, mp.mpf(1)),
    "erf": erf,
    "sin": lambda a, c, b: (mp.exp(-(a + b) / 2) * mp.sinh(c), mp.exp(-(a + b) / 2) * mp.cosh(c)),
    "cos": lambda a, c, b: (mp.exp(-(a + b) / 2) * mp.cosh(c), mp.exp(-(a + b) / 2) * mp.sinh(c)),
    "monomial": lambda a, c, b: (series([0, 0, 0, 1], a, c, b), series([0, 0, 3], a, c, b)),
    "polynomial": lambda a, c, b: (
        series(POLYNOMIAL, a, c, b),
        series(derivative(POLYNOMIAL, 1), a, c, b),
    ),
}
SPECS = {
    "leaky_relu": {"name": "leaky_relu", "slope": 0.1},
    "monomial": {"name": "monomial", "degree": 3},
    "polynomial": {"name": "polynomial", "coefficients": POLYNOMIAL},
}


def ours(name: str, a, c, b):
    with jax.enable_x64(True):
        form = closed_form(activation(SPECS.get(name, name)))
        assert form is not None
        return [np.asarray(x) for x in jax.jit(form)(np.asarray(a), np.asarray(c), np.asarray(b))]


def pairs():
    """(a, c, b, sensitivity): where rounding of c itself moves an arcsine of the correlation, by up to that many ulps."""
    for a, b in itertools.product(VARIANCES, repeat=2):
        for rho in CORRELATIONS:
            if abs(rho) == 1:
                yield a, rho * a, a, 1.0
            else:
                yield a, rho * float(np.sqrt(a * b)), b, 1 / np.sqrt(1 - rho * rho)


@pytest.mark.parametrize("name", EXACT)
def test_against_closed_forms_in_many_digits(name):
    rows = list(pairs())
    a, c, b, sensitivity = np.array(rows).T
    found = ours(name, a, c, b)
    with mp.workdps(60):
        for n, row in enumerate(rows):
            x, y, z = map(mp.mpf, row[:3])
            exact, own1, own2 = EXACT[name](x, y, z), EXACT[name](x, x, x), EXACT[name](z, z, z)
            for values, value, one, two in zip(found, exact, own1, own2, strict=True):
                error = abs(mp.mpf(float(values[n])) - mp.re(value)) / mp.sqrt(one * two)
                # erf's ⟨σ'σ'⟩ varies with G11 G22 (1 - ρ²), in which rounding of c is G11 / 1e-16.
                steep = 1 + (min(row[0], row[2]) if name in ("erf", "sin", "cos") else 0.0)
                assert error < 4e-15 * (sensitivity[n] + steep), (name, row)


def quadrature(f, a, c, b):
    """E[f(z1) f(z2)], z2 = (c / a) z1 + w, on a fine grid in z1 and w: for smooth f and moderate variances."""
    u, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    z1 = np.sqrt(a) * u[:, None]
    z2 = c / a * z1 + np.sqrt(max(b - c * c / a, 0.0)) * u
    return float(weights @ (np.asarray(f(z1)) * np.asarray(f(z2))) @ weights)


@pytest.mark.parametrize("name", ["gelu", "exp", "erf", "sin"])
def test_against_quadrature(name):
    sigma = activation(name)
    for a, b, rho in itertools.product((1e-4, 0.2, 0.7), (0.05, 0.6), (-1.0, -0.7, 0.0, 0.4, 0.99, 1.0)):
        c = rho * np.sqrt(a * b)
        found = ours(name, a, c, b)
        with jax.enable_x64(True):
            slope = lambda z: sigma.derivatives(jnp.asarray(z), 1)[1]
            exact = [quadrature(lambda z: sigma(jnp.asarray(z)), a, c, b), quadrature(slope, a, c, b)]
        assert np.allclose(found, exact, rtol=1e-10, atol=1e-14), (a, b, rho)


def test_gelu_at_large_variance_is_relu():
    """σ(z) = z Φ(z): relu on the scale of z, up to corrections of the order of 1 / variance."""
    a, b = 1e8, 3e8
    c = 0.4 * np.sqrt(a * b)
    assert np.allclose(ours("gelu", a, c, b), ours("relu", a, c, b), rtol=1e-7)


@pytest.mark.parametrize("name", [*EXACT, "gelu", "exp"])
def test_price(name: str):
    """∂⟨σ1σ2⟩/∂G12 = ⟨σ'1σ'2⟩, by autodiff; finite at ρ = ±1 and at zero variance."""
    with jax.enable_x64(True):
        form = closed_form(activation(SPECS.get(name, name)))
        assert form is not None
        slope = jax.grad(lambda c, a, b: form(a, c, b)[0])
        for a, b, rho in itertools.product((0.1, 1.0), (0.5, 2.0), (-0.8, 0.0, 0.3)):
            c = rho * np.sqrt(a * b)
            assert np.allclose(slope(c, a, b), form(*map(jnp.asarray, (a, c, b)))[1], rtol=1e-12, atol=1e-14)
        everything = jax.jacobian(lambda x: jnp.stack(form(*x)))
        for edge in ([1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]):
            assert np.all(np.isfinite(everything(jnp.array(edge))))


def test_zero_variance():
    """σ(0) and σ'(0) take the place of what vanishes; relu has JAX's σ'(0) = 0."""
    for name in ("erf", "cos", "gelu", "exp", "polynomial"):
        sigma = activation(SPECS.get(name, name))
        with jax.enable_x64(True):
            at_zero = [float(d) for d in sigma.derivatives(jnp.zeros(()), 1)]
        assert np.allclose(ours(name, 0.0, 0.0, 0.0), np.square(at_zero), rtol=1e-14)
    assert np.allclose(ours("relu", 0.0, 0.0, 1.0), 0.0, atol=0)
    assert np.allclose(ours("abs", 0.0, 0.0, 0.0), [0.0, 1.0], atol=0)


def test_activations_without_a_closed_form():
    assert closed_form(activation("tanh")) is None
    assert closed_form(activation("elu")) is None
    assert closed_form(activation(lambda z: jnp.maximum(z, 0.0))) is not None
