"""Expectations of any function, against closed forms and against other dimensions' rules."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from ntkflow._gaussian.functions import Integration, expectation, whiten
from ntkflow.errors import ObservableError


def mean(f, G, labels=None, tolerance=1e-10, kinks=(0.0,)):
    G = np.array(G, float)
    v = whiten(G, np.zeros(len(G)) if labels is None else np.array(labels))
    found = expectation(lambda z, u: jnp.atleast_1d(f(z)), v, Integration(tolerance, kinks))
    return found.value[0], found.error[0]


@pytest.mark.parametrize("r", [0.3, -0.7, 0.99, 0.999999])
def test_arc_cosine_of_two_relus(r):
    value, error = mean(lambda z: jnp.maximum(z[0], 0) * jnp.maximum(z[1], 0), [[1, r], [r, 1]])
    angle = np.arccos(r)
    assert value == pytest.approx((np.sin(angle) + (np.pi - angle) * r) / (2 * np.pi), rel=1e-12)
    assert error < 1e-10


def test_sheppard_of_jumps():
    value, _ = mean(lambda z: 1.0 * ((z[0] > 0) & (z[1] > 0)), [[2, 1], [1, 3]])
    assert value == pytest.approx(0.25 + np.arcsin(1 / np.sqrt(6)) / (2 * np.pi), rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_characteristic_function(d):
    """⟨cos k·z⟩ = exp(-kᵀGk/2)."""
    rng = np.random.default_rng(d)
    A = rng.normal(size=(d, d + 1)) / np.sqrt(d)
    G, k = A @ A.T, rng.normal(size=d) / np.sqrt(d)
    value, error = mean(lambda z: jnp.cos(z @ k), G, tolerance=1e-9)
    assert abs(value - np.exp(-k @ G @ k / 2)) < 1e-10
    assert error < 1e-8


def test_independent_blocks_with_kinks():
    value, error = mean(
        lambda z: jnp.abs(z[0]) * jnp.abs(z[1]) * jnp.maximum(z[2], 0),
        [[1, 0, 0], [0, 4, 0], [0, 0, 9]],
        [0, 1, 2],
        1e-8,
    )
    assert value == pytest.approx(1 * 2 * 3 * (2 / np.pi) / np.sqrt(2 * np.pi), rel=1e-9)
    assert error < 1e-7


def equicorrelated(d, r):
    return np.eye(d) * (1 - r) + r


@pytest.mark.parametrize("r", [0.5, -0.4, 0.9, 0.999, 0.9999999])
def test_orthants_of_three_variables(r):
    value, error = mean(lambda z: jnp.prod(jnp.where(z > 0, 1.0, 0.0)), equicorrelated(3, r))
    assert value == pytest.approx(0.125 + 3 * np.arcsin(r) / (4 * np.pi), rel=1e-12)
    assert error < 1e-10


def nabeya(R):
    """⟨|z1 z2 z3|⟩ of unit variances, Nabeya 1951."""
    total = np.sqrt(np.linalg.det(R))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        mixed = R[i, j] + R[i, k] * R[j, k]
        partial = (R[i, j] - R[i, k] * R[j, k]) / np.sqrt((1 - R[i, k] ** 2) * (1 - R[j, k] ** 2))
        total += mixed * np.arcsin(partial)
    return (2 / np.pi) ** 1.5 * total


THREE = np.array([[1, 0.8, 0.2], [0.8, 1, -0.3], [0.2, -0.3, 1]])


def test_three_absolute_values():
    s = np.array([0.1, 1.0, 30.0])
    value, error = mean(lambda z: jnp.prod(jnp.abs(z)), THREE * np.outer(s, s))
    assert value == pytest.approx(s.prod() * nabeya(THREE), rel=1e-12)
    assert error < 1e-9 * value


def test_four_kinks_of_three_variables():
    """z4 = z1 + z2 + z3: where the first three are positive, it is."""
    A = np.vstack([np.eye(3), np.ones(3)])
    value, error = mean(
        lambda z: jnp.prod(jnp.maximum(z[:3], 0)) * jnp.where(z[3] > 0, 1.0, -1.0), A @ THREE @ A.T
    )
    exact, _ = mean(lambda z: jnp.prod(jnp.maximum(z, 0)), THREE)
    assert abs(value - exact) < error + 1e-13 < 1e-8


def test_orthants_of_four_variables():
    """Of five orthants in a symmetric position each is as likely, Steck 1962: ρ = 1/2 gives 1/(d + 1)."""
    value, error = mean(lambda z: jnp.prod(jnp.where(z > 0, 1.0, 0.0)), equicorrelated(4, 0.5))
    assert value == pytest.approx(0.2, rel=1e-11)
    assert error < 1e-8


@pytest.mark.filterwarnings("ignore:errors above")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_kinks_away_from_zero(d):
    """P(all z > κ) of equicorrelated variables, by the variable that they share."""
    r, kink = 0.7, 0.6
    t, w = np.polynomial.hermite_e.hermegauss(200)
    exact = w @ ndtr((np.sqrt(r) * t - kink) / np.sqrt(1 - r)) ** d / w.sum()
    f = lambda z: jnp.prod(jnp.where(z > kink, 1.0, 0.0))
    value, error = mean(f, equicorrelated(d, r), kinks=(0.0, kink))
    assert value == pytest.approx(exact, rel=1e-12)
    assert error < 1e-9
    value, error = mean(f, equicorrelated(d, r))
    assert abs(value - exact) < error, "a jump that is not declared"


@pytest.mark.parametrize("d", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:errors above")
def test_errors_of_kinks_that_are_not_declared(d):
    """Jumps and kinks of z_d at 200 places: no more than a twentieth of the errors is larger than estimated, none by much."""
    at = np.random.default_rng(0).uniform(0.05, 2.5, 200)
    v = whiten(equicorrelated(d, 0.3), np.zeros(d))
    for f, exact in (
        (lambda z: jnp.where(z > at, 1.0, 0.0), ndtr(-at)),
        (lambda z: jnp.maximum(z - at, 0), np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi) - at * ndtr(-at)),
    ):
        found = expectation(lambda z, u, f=f: f(z[-1]), v, Integration(1e-10))
        ratio = np.abs(found.value - exact) / found.error
        assert np.mean(ratio > 1) < 0.05
        assert ratio.max() < 4


def test_singular_metric_is_fewer_variables():
    value, error = mean(lambda z: z[0] ** 2 * z[1] * z[2], [[1, 2, 0], [2, 4, 0], [0, 0, 0]])
    assert value == 0
    value, error = mean(lambda z: z[0] ** 2 * z[1] ** 2 * z[2], [[1, 2, -1], [2, 4, -2], [-1, -2, 1]])
    assert abs(value) < 1e-10
    value, error = mean(lambda z: z[0] ** 2 * z[1] * z[2], [[1, 2, -1], [2, 4, -2], [-1, -2, 1]])
    assert value == pytest.approx(-6, rel=1e-12)
    assert error < 1e-9


def test_poor_accuracy_is_said():
    with pytest.warns(UserWarning, match=r"0.1 %"):
        value, error = mean(lambda z: jnp.sign(jnp.sin(300 * z[0] + 1)), [[1.0]])
    assert abs(value) < error


def test_where_it_is_not_finite():
    with pytest.raises(ObservableError, match=r"not finite at z = \(-"):
        mean(lambda z: jnp.log(z[0]), [[1.0]])
