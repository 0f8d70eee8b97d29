"""Critical points: figures of the literature, and the definition on random functions by another quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import within
from random_functions import RandomFunction, random_function

import ntkflow
from ntkflow.activations import Activation
from ntkflow.errors import ActivationError
from ntkflow.tuning.critical_point import FixedPoint
from ntkflow.tuning.line_rule import line_rule


def mish(z):
    return z * jnp.tanh(jax.nn.softplus(z))


def gelu_by_tanh(z):
    return jax.nn.gelu(z, approximate=True)


def undeclared(function, kinks=()):
    """Without looking for a kink at 0 first, which takes seconds."""
    return Activation(getattr(function, "__name__", "f"), function, kinks=kinks, registered=False)


TO_ZERO = [
    ("tanh", 1.0, 1.0),
    ("sin", 1.0, 1.0),
    (undeclared(jnp.arctan), 1.0, 1.0),
    ("erf", np.pi / 4, 1.0),
    ("elu", 1.0, 2.0),
    (undeclared(jax.nn.celu), 1.0, 2.0),
    (undeclared(jax.nn.soft_sign), 1.0, 2.0),
    (undeclared(jax.nn.selu), 2 / (1.0507009873554805**2 * (1 + 1.6732632423543772**2)), 2.0),
]
HALF_STABLE = [
    ("gelu", 1.983058257, 0.172922391, 3.561552813, -1.44e-4, "above"),
    (undeclared(gelu_by_tanh), 1.982888240, 0.172895198, 3.556772845, -1.62e-4, "above"),
    ("silu", 1.988004678, 0.555143171, 14.32017362, 2.85e-6, "below"),
    ("swish", 1.988004678, 0.555143171, 14.32017362, 2.85e-6, "below"),
    (undeclared(mish), 2.013524070, 0.094521787, 1.670169132, 7.89e-3, "below"),
]


@pytest.mark.parametrize(
    ("sigma", "C_W"),
    [
        ("linear", 1.0),
        ("abs", 1.0),
        ("relu", 2.0),
        ({"name": "leaky_relu", "slope": 0.3}, 2 / 1.09),
        (undeclared(lambda z: jnp.maximum(z, 0.3 * z)), 2 / 1.09),
    ],
)
def test_scale_invariant(sigma, C_W):
    found = ntkflow.critical(sigma)
    assert (found.kind, found.C_b, found.K_star, found.p_0, found.p_perp) == (
        "scale-invariant",
        0.0,
        None,
        0,
        0,
    )
    assert found.C_W == pytest.approx(C_W, rel=1e-14)
    K = np.logspace(-6, 6, 13)
    assert np.allclose([found.chi_parallel(K), found.chi_perpendicular(K)], 1, rtol=1e-12)


def test_scale_invariant_ones_are_never_integrated():
    misses = line_rule.cache_info().misses
    assert "any K" in repr(ntkflow.critical("relu"))
    assert line_rule.cache_info().misses == misses


@pytest.mark.parametrize(("sigma", "C_W", "power"), TO_ZERO)
def test_K_falls_to_zero_as_a_power(sigma, C_W, power):
    found = ntkflow.critical(sigma)
    assert (found.kind, found.C_b, found.K_star, found.attracted) == ("K*=0", 0.0, 0.0, "above")
    assert found.C_W == pytest.approx(C_W, rel=1e-14)
    assert abs(found.chi_parallel(0.0) - 1) < 1e-10
    assert abs(found.chi_perpendicular(0.0) - 1) < 1e-10
    assert found.p_0 == pytest.approx(power, abs=0.01)
    assert found.p_perp == pytest.approx(power, abs=0.01)


def test_the_two_powers_differ_where_sigma_is_not_odd():
    """p_⊥ / p_0 = b_1 / a_1 of PDLT's Taylor expansion: σ_3/σ_1 + (σ_2/σ_1)² over σ_3/σ_1 + ¾ (σ_2/σ_1)²."""
    found = ntkflow.critical(undeclared(lambda z: jnp.sin(z + 0.6) - jnp.sin(0.6)))
    ratio = np.tan(0.6) ** 2
    assert found.p_0 == pytest.approx(1.0, abs=0.01)
    assert found.p_perp == pytest.approx((1 - ratio) / (1 - 0.75 * ratio), abs=0.01)


def test_slopes_are_of_the_flow_itself():
    """-d ln K/d ln ℓ between 4 and 8 layers of sin, whose flow is K' = (1 - e^-2K) / 2."""
    found = ntkflow.critical("sin")
    assert found.exponents is not None and found.point.knee is not None
    K = [found.point.knee]
    while len(K) < 8:
        K.append((1 - np.exp(-2 * K[-1])) / 2)
    assert found.exponents.depths[2] == 8
    assert found.exponents.slopes_0[2] == pytest.approx(np.log2(K[3] / K[7]), rel=1e-11)
    chi = (1 + np.exp(-2 * np.array(K))) / 2
    assert found.exponents.slopes_perp[2] == pytest.approx(-np.sum(np.log2(chi[3:7])), rel=1e-11)


def test_K_of_hard_tanh_stops_falling():
    found = ntkflow.critical(undeclared(jax.nn.hard_tanh))
    assert (found.kind, found.C_W) == ("K*=0", 1.0)
    assert found.exponents is not None and not found.exponents.settled
    assert np.all(np.diff(found.exponents.slopes_0) < 0)
    assert "no power of depth" in found.words


@pytest.mark.parametrize(("sigma", "C_W", "C_b", "K_star", "c", "side"), HALF_STABLE)
def test_half_stable(sigma, C_W, C_b, K_star, c, side):
    found = ntkflow.critical(sigma)
    assert (found.kind, found.attracted) == ("half-stable", side)
    assert found.C_W == pytest.approx(C_W, abs=6e-10)
    assert found.C_b == pytest.approx(C_b, abs=6e-10)
    assert found.K_star == pytest.approx(K_star, rel=3e-10)
    assert found.c == pytest.approx(c, rel=5e-3)
    assert abs(found.chi_parallel(found.K_star) - 1) < 1e-10
    assert abs(found.chi_perpendicular(found.K_star) - 1) < 1e-10
    assert found.p_0 == found.p_perp == 0


@pytest.mark.parametrize(
    ("sigma", "K", "one_minus_chi"),
    [  # by mpmath with 30 digits
        ("silu", 14.5931049905541, 7.5812766e-7),
        ("gelu", 3.03498143550973, 9.439762e-5),
        ("hardswish", 11.0316425782881, 0.0024570999),
    ],
)
def test_another_fixed_point_with_the_same_C_b_and_C_W(sigma, K, one_minus_chi):
    criticality = ntkflow.critical(sigma)
    (fixed_point,) = criticality.other_fixed_points
    assert fixed_point.K == pytest.approx(K, rel=1e-8)
    assert 1 - fixed_point.chi_parallel == pytest.approx(one_minus_chi, rel=1e-5)
    assert fixed_point.attracts
    side = "below" if K > criticality.K_star else "above"
    assert "The first layer must set it there, or next to it: C_W of layer 1" in criticality.words
    assert f"Nearby K flows to K* from {side}" in criticality.words
    assert f"another fixed point: K = {K:.5g}, which attracts (chi_parallel = 1 - " in criticality.words


def test_fixed_points_that_attract_and_repel():
    """1 - cos z + z²/10, whose g is in closed form."""

    def move(K):
        decay = np.exp(-K / 2)
        g = 1.5 - 2 * decay + decay**4 / 2 + (K - (K - K * K) * decay) / 5 + 3 * K * K / 100
        return criticality.C_b + criticality.C_W * g - K

    criticality = ntkflow.critical(undeclared(lambda z: 1 - jnp.cos(z) + z * z / 10))
    lower, upper = criticality.other_fixed_points
    assert lower.attracts and not upper.attracts
    assert move(0.999 * lower.K) > 0 > move(1.001 * lower.K)
    assert move(0.999 * upper.K) < 0 < move(1.001 * upper.K)
    for point in (lower, upper):
        K = point.K * np.array([1 - 1e-5, 1 + 1e-5])
        assert point.chi_parallel == pytest.approx(np.diff(move(K) + K)[0] / np.diff(K)[0], rel=1e-5)
    assert (
        "K = 0.64017, which attracts (chi_parallel = 0.879), and K = 18.349, which repels"
        in criticality.words
    )
    assert ntkflow.critical("mish").other_fixed_points == ntkflow.critical("tanh").other_fixed_points == ()


@pytest.mark.parametrize(
    ("sigma", "words"),
    [
        ("sigmoid", "sigmoid(z) - 0.5 is critical at K* = 0 with C_W = 16 and C_b = 0"),
        ("softplus", "chi_parallel exceeds chi_perpendicular at every K"),
        ("cos", "cos(z) - 1 is critical at K* = 1.2187557"),
        ("exp", "chi_parallel exceeds"),
        (undeclared(lambda z: jax.nn.relu(z) ** 2), "chi_parallel exceeds"),
        (undeclared(lambda z: jax.nn.relu(z) + 1), "(z) - 1 is critical at any K with C_W = 2"),
        (undeclared(lambda z: jax.nn.softplus(z) - np.log(2.0)), "K* = 0 is unstable: at C_W = 4"),
        (undeclared(lambda z: z + 1), "at every K, but K' = K would need C_b < 0"),
        (undeclared(lambda z: z * jnp.sin(jnp.log(jnp.abs(z) + 1e-300))), "no limits above and below 0"),
        (undeclared(lambda z: 1e-160 * jnp.tanh(z)), "sigma does not vary"),
        (undeclared(lambda z: 0 * z), "sigma does not vary"),
        (undeclared(lambda z: 0 * z + 3), "sigma does not vary"),
        (undeclared(lambda z: jnp.exp(-((z - 50) ** 2) / 2)), "chi_parallel is below"),
        (
            undeclared(lambda z: z * jnp.exp(z * z)),
            "sigma does not vary where preactivations are, or no more",
        ),
        (undeclared(lambda z: jnp.exp(2 * z) - 1), "K* = 0 is unstable: at C_W = 0.25"),
    ],
)
def test_none_says_why(sigma, words):
    found = ntkflow.critical(sigma)
    assert (found.kind, found.C_b, found.C_W, found.K_star, found.p_0) == ("none", None, None, None, None)
    assert words in found.words
    with pytest.raises(ActivationError, match="has no critical C_W"):
        found.chi_parallel(1.0)


def test_a_hinge_away_from_zero_is_critical_at_every_K():
    """relu(z - a): g' = ⟨σ'σ'⟩ at every K; of those with C_b > 0 the K next to 1 is taken."""
    found = ntkflow.critical(undeclared(lambda z: jax.nn.relu(z - 0.5)))
    assert (found.kind, found.K_star) == ("half-stable", 1.0)
    assert found.C_b == pytest.approx(0.3205388852, abs=1e-9)
    assert "any K* between" in found.words


def test_the_basin_of_zero_may_end():
    """z - z⁵/120 falls to 0 only from below the K at which K' = K again."""
    found = ntkflow.critical(undeclared(lambda z: z - z**5 / 120))
    K = np.array([0.9, 1.1]) * found.point.basin
    g = K - 30 * K**3 / 120 + 945 * K**5 / 120**2
    assert g[0] < K[0] and g[1] > K[1]
    assert "not from above" in found.words
    assert found.p_0 == pytest.approx(0.5, abs=0.01)


def check(function: RandomFunction, declared: bool, name: str) -> str:
    """The kind found, after its numbers are held against scipy's quadrature of their definition."""

    def sigma(z):
        return function.value(jnp, z)

    found = ntkflow.critical(
        Activation(name, sigma, kinks=tuple(function.kinks) if declared else (), registered=False)
    )
    if found.kind == "none":
        return found.kind
    assert found.C_b is not None and found.C_W is not None
    at_zero = function.value(np, 0.0)
    if found.kind == "half-stable":
        K = found.K_star
        assert K is not None and found.C_b >= 0
        g = function.average(lambda z: function.value(np, z) ** 2, K)
        slope_squared = function.average(lambda z: function.slope(z) ** 2, K)
        g_prime = function.average(
            lambda z: (function.value(np, z) ** 2 - at_zero**2) * (z * z - K) / (2 * K * K), K
        )
        assert abs(found.C_b + found.C_W * g - K) < 1e-10 * K, function
        assert abs(found.C_W * slope_squared - 1) < 1e-10, function
        assert abs(found.C_W * g_prime - 1) < 1e-10, function
        for fixed_point in found.other_fixed_points:
            check_fixed_point(function, found, fixed_point)
        return found.kind
    assert found.C_b == 0 and abs(at_zero) < 1e-12
    slopes = np.array([function.slope(-1e-12), function.slope(1e-12)])
    # JAX's derivative of tanh is rounded to 1e-16, however small it is.
    allowed = 1e-9 + 1e-14 / np.abs(slopes).max()
    assert abs(found.C_W * np.mean(slopes**2) - 1) < allowed, function
    basin = np.inf if found.point.basin is None else found.point.basin
    for K in (1e-3, 0.1, 10.0):
        growth = found.C_W * function.average(lambda z: function.value(np, z) ** 2, K) / K - 1
        if found.kind == "scale-invariant":
            assert abs(growth) < 1e-9, function
        elif K < 0.99 * basin:
            assert growth < 1e-9, function
    return found.kind


def check_fixed_point(function: RandomFunction, found: ntkflow.tuning.Criticality, point: FixedPoint):
    """It is one, and χ_∥ is the slope of K' there."""
    assert found.C_b is not None and found.C_W is not None
    K = point.K * np.array([1, 1 - 1e-4, 1 + 1e-4])
    mapped = found.C_b + found.C_W * np.array(
        [function.average(lambda z: function.value(np, z) ** 2, variance) for variance in K]
    )
    assert abs(mapped[0] / K[0] - 1) < 1e-10, function
    assert (mapped[2] - mapped[1]) / (K[2] - K[1]) == pytest.approx(point.chi_parallel, abs=1e-6), function


@pytest.mark.parametrize("part", [0, *(pytest.param(p, marks=pytest.mark.slow) for p in range(1, 40))])
def test_random_functions_meet_the_definition(part):
    """25 in each part, kinks declared in a quarter of them."""
    rng = np.random.default_rng([7, part])
    kinds = [check(random_function(rng), i % 4 == 0, f"random {part} {i}") for i in range(25)]
    assert kinds.count("K*=0") + kinds.count("half-stable") > 10


def test_a_torch_module():
    torch = pytest.importorskip("torch")
    assert ntkflow.critical(torch.nn.GELU()).K_star == ntkflow.critical("gelu").K_star
    assert ntkflow.critical(torch.nn.LeakyReLU(0.3)).C_W == pytest.approx(2 / 1.09)


def test_what_is_printed_is_short(tmp_path):
    for sigma in ("relu", "tanh", "gelu", "sigmoid"):
        lines = repr(ntkflow.critical(sigma)).splitlines()
        assert len(lines) <= 20 and max(map(len, lines)) <= 80
    status, out, _ = within(tmp_path, "critical", "gelu")
    assert status == 0 and "C_W = 1.983058257" in out
    status, _, err = within(tmp_path, "critical", "gelo")
    assert status == 2 and "activation 'gelo' is unknown" in err


def test_activations_with_parameters_on_the_command_line(tmp_path):
    """As a specification writes them, and as a module holds them."""
    status, out, _ = within(tmp_path, "critical", '{name = "leaky_relu", slope = 0.3}')
    assert status == 0 and "leaky_relu (slope = 0.3): scale-invariant" in out and "C_W = 1.834862385" in out
    (tmp_path / "shapes_of_mine.py").write_text(
        "import jax.numpy as jnp\nimport ntkflow\n"
        "def arctan(z):\n    return jnp.arctan(z)\n"
        "class Arctan:\n    def __call__(self, z):\n        return jnp.arctan(z)\n"
        'leaky = {"name": "leaky_relu", "slope": 0.3}\nnumber = 3\n'
        "def step(z):\n    return jnp.sign(z)\n"
    )
    for name, word in (("arctan", "C_W = 1 "), ("Arctan", "C_W = 1 "), ("leaky", "C_W = 1.834862385")):
        status, out, _ = within(tmp_path, "critical", f"shapes_of_mine:{name}")
        assert status == 0 and word in out, name


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{name = "elu", alfa = 0.5}', "did you mean 'alpha'?"),
        ('{name = "elu", alpha = "x"}', "alpha must be a finite number, not 'x'"),
        ("{name: elu}", '{name = "elu", alpha = 0.5}'),
        ("leaky_relu(0.3)", '{name = "elu", alpha = 0.5}'),
        ("no_such_module:sigma", "No module named 'no_such_module'"),
        ("shapes_of_yours:stepp", "did you mean 'step'?"),
        ("shapes_of_yours:step", "jumps"),
        ("shapes_of_yours:number", "not 3"),
        ("shapes_of_yours:Needs", "missing 1 required positional argument"),
    ],
)
def test_what_is_no_activation_on_the_command_line(tmp_path, text, word):
    (tmp_path / "shapes_of_yours.py").write_text(
        "import jax.numpy as jnp\nnumber = 3\ndef step(z):\n    return jnp.sign(z)\n"
        "class Needs:\n    def __init__(self, slope):\n        pass\n"
    )
    status, _, err = within(tmp_path, "critical", text)
    assert status == 2 and err.startswith("ntkflow: ") and err.count("\n") == 1 and word in err
