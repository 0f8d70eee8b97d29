"""The page's table of torch's activations: its numbers and reasons, read from the page, against torch's functions and SciPy's integrals."""

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from scipy.interpolate import CubicSpline

torch = pytest.importorskip("torch")
from torch import nn
from torch.nn.modules import activation as activations

import ntkflow
from ntkflow.errors import InteropError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "criticality.md").read_text(encoding="utf-8")
BLOCK = PAGE.partition("<!-- figures: torch_activations -->")[2].partition("<!-- end of figures -->")[0]
ROWS = [
    [cell.strip(" `") for cell in re.split(r" \|(?: |$)", line.removeprefix("| ").removesuffix(" |"))]
    for line in BLOCK.strip().splitlines()[2:]
]
KINKS = (-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0)  # of all of torch's activations
SATURATES = {"Hardtanh()": 1, "ReLU6()": 6, "Hardsigmoid() - 0.5": 3}
REACH = 13.0  # standard deviations


def rows(kind):
    return pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in ROWS if row[1] == kind])


def numbers(row):
    """C_W, C_b, K*."""
    return [float(cell) for cell in row[2:5] if cell != "any"]


class Sigma:
    """σ and σ' of a row by torch alone, and their averages."""

    def __init__(self, row):
        call, _, shift = row[0].partition(") ")
        self.module = eval(call.removesuffix(")") + ")", dict(vars(nn))).eval().double()
        self.shifted = shift != ""
        if self.shifted:
            assert float(shift.replace(" ", "")) == pytest.approx(-self.of_module(0.0), abs=1e-10)

    def of_module(self, z):
        with torch.no_grad():
            return self.module(torch.as_tensor(z, dtype=torch.float64)).numpy()

    def __call__(self, z):
        return self.of_module(z) - (self.of_module(0.0) if self.shifted else 0.0)

    def slope(self, z):
        z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(self.module(z).sum(), z)
        return slope.numpy()

    def average(self, function, K):
        """⟨function(z)⟩ over z ~ N(0, K) for an array of K, by the double exponential rule between kinks, 0 and powers of 4."""
        K = np.asarray(K, float)[..., None]
        sizes = 4.0 ** np.arange(-6, 6)
        edges = np.unique(np.concatenate([KINKS, sizes, -sizes])) / np.sqrt(K)
        edges = np.concatenate([0 * K - REACH, np.clip(edges, -REACH, REACH), 0 * K + REACH], axis=-1)

        def density(u, root_K):
            return function(u * root_K) * np.exp(-u * u / 2) / np.sqrt(2 * np.pi)

        pieces = scipy.integrate.tanhsinh(
            density, edges[..., :-1], edges[..., 1:], args=(np.sqrt(K),), rtol=1e-13, atol=1e-300, maxlevel=7
        )
        return pieces.integral.sum(-1)

    def g(self, K):
        return self.average(lambda z: self(z) ** 2, K)

    def g_prime(self, K):
        """By values of σ alone."""
        K = np.asarray(K, float)
        at_zero = self(0.0) ** 2
        z_squared = self.average(lambda z: (self(z) ** 2 - at_zero) * z * z, K)
        return (z_squared / K - self.g(K) + at_zero) / (2 * K)

    def slope_squared(self, K):
        return self.average(lambda z: self.slope(z) ** 2, K)


def excess(sigma, K):
    """h = χ_∥ / χ_⊥ - 1."""
    return sigma.g_prime(K) / sigma.slope_squared(K) - 1


def test_the_page_is_what_its_program_writes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    program = runpy.run_path(str(ROOT / "benchmarks" / "torch_activations.py"))
    assert program["torch_activations"]() == BLOCK


def test_every_activation_of_torch_has_a_row():
    assert {row[0].partition("(")[0] for row in ROWS} == set(activations.__all__)
    assert {row[1] for row in ROWS} == {
        "scale-invariant", "K*=0", "half-stable", "none", "jumps", "not elementwise",
    }  # fmt: skip


@rows("scale-invariant")
def test_scale_invariant(row):
    sigma, (C_W, C_b) = Sigma(row), numbers(row)
    K = np.logspace(-6, 6, 5)
    assert C_b == 0 and row[6:8] == ["0", "0"]
    assert np.allclose(C_W * sigma.g(K) / K, 1, rtol=1e-9)
    assert np.allclose(C_W * sigma.slope_squared(K), 1, rtol=1e-9)


@rows("K*=0")
def test_K_falls_to_zero(row):
    sigma, (C_W, C_b, K_star) = Sigma(row), numbers(row)
    assert (C_b, K_star, row[5], float(sigma(0.0))) == (0, 0, "above", 0)
    # torch's derivative of Hardsigmoid is 1/6 in float32, whatever the precision of z.
    rounding = 1e-7 if "Hardsigmoid" in row[0] else 2e-10
    assert C_W * np.mean(sigma.slope(np.array([-1e-13, 1e-13])) ** 2) == pytest.approx(1, abs=rounding)
    K = np.logspace(-2, 6, 9)
    loss = 1 - C_W * sigma.g(K) / K
    assert np.all(loss > -1e-9) and np.all(loss[K > 0.05] > 0) and np.all(np.diff(loss) > -1e-9)
    assert np.allclose([C_W * sigma.g_prime(1e-8), C_W * sigma.slope_squared(1e-8)], 1, atol=1e-3)


@rows("K*=0")
def test_powers(row):
    """With 1 - K'/K = a K^(1/p_0) next to 0 K falls as ℓ^(-p_0), and p_⊥ / p_0 is the limit of (1 - χ_⊥) / (1 - K'/K)."""
    if "no power" in row[8]:
        return check_no_power(row)
    sigma, (C_W, *_) = Sigma(row), numbers(row)
    K = np.array([1e-6, 4e-6])
    loss = 1 - C_W * sigma.g(K) / K
    p_0 = np.log(4) / np.log(loss[1] / loss[0])
    p_perp = p_0 * (1 - C_W * sigma.slope_squared(K[0])) / loss[0]
    assert [p_0, p_perp] == pytest.approx([float(row[6]), float(row[7])], abs=0.01)


def check_no_power(row):
    """The flow from a few layers to 2048 by tables of K'/K and χ_⊥: its powers fall, to those of the page."""
    assert row[6:8] == ["", ""]
    sigma, (C_W, *_) = Sigma(row), numbers(row)
    K = SATURATES[row[0]] ** 2 * np.logspace(-2, 1, 400)
    log_growth = CubicSpline(np.log(K), np.log(C_W * sigma.g(K) / K))
    log_chi = CubicSpline(np.log(K), np.log(C_W * sigma.slope_squared(K)))
    log_K, log_product = [np.log(K[-1])], [0.0]
    for _ in range(2047):
        log_product.append(log_product[-1] + log_chi(log_K[-1]))
        log_K.append(log_K[-1] + log_growth(log_K[-1]))
    depths = 2 ** np.arange(2, 12)
    p_0, p_perp = (-np.diff(np.array(x)[depths - 1]) / np.log(2) for x in (log_K, log_product))
    assert np.all(np.diff([p_0, p_perp]) < 0)
    (on_page,) = re.findall(r"no power .* are ([\d.]+) and ([\d.]+) at depth 2048, and fall", row[8])
    assert [p_0[-1], p_perp[-1]] == pytest.approx([float(p) for p in on_page], abs=0.006)


@rows("half-stable")
def test_half_stable(row):
    sigma, (C_W, C_b, K_star) = Sigma(row), numbers(row)
    assert C_b > 0 and row[6:8] == ["0", "0"]
    assert C_W * sigma.g_prime(K_star) == pytest.approx(1, abs=1e-9)
    assert C_W * sigma.slope_squared(K_star) == pytest.approx(1, abs=1e-9)
    assert C_b + C_W * sigma.g(K_star) == pytest.approx(K_star, rel=1e-9)
    if "any K*" in row[8]:
        K = np.logspace(-2, 5, 8)
        assert np.allclose(sigma.g_prime(K), sigma.slope_squared(K), rtol=1e-9)
        assert np.all(K - sigma.g(K) / sigma.slope_squared(K) > 0)
    else:
        bracket = (0.7 * K_star, 1.4 * K_star)
        exact: Any = scipy.optimize.brentq(lambda K: float(excess(sigma, K)), *bracket, xtol=1e-12)
        assert exact == pytest.approx(K_star, rel=1e-9)
        K_star = exact
    # K' - K next to K* is smaller than what ten digits of C_W make of it.
    C_W = 1 / sigma.slope_squared(K_star)
    K = K_star * np.array([0.995, 1.005])
    moves = C_W * (sigma.g(K) - sigma.g(K_star)) - (K - K_star)
    assert [moves[0] > 0, moves[1] < 0] == [row[5] == "below", row[5] == "above"]
    check_other_fixed_points(row, lambda K: C_W * (sigma.g(K) - sigma.g(K_star)) - (K - K_star))
    c = C_W / 2 * np.diff(sigma.g_prime(K)) / np.diff(K)
    assert c == pytest.approx(float(row[8].rpartition("c = ")[2]), rel=0.02)


def check_other_fixed_points(row, move):
    """K' - K changes its sign at those of the page, and nowhere else."""
    fixed_points = re.findall(r"K = ([\d.]+) (attracts|repels)", row[8])
    for K, word in fixed_points:
        below, above = move(float(K) * np.array([1 - 1e-4, 1 + 1e-4]))
        assert (below > 0 > above) if word == "attracts" else (below < 0 < above)
    signs = np.sign(move(np.logspace(-2.1, 4.9, 50)))
    assert np.count_nonzero(np.diff(signs)) == len(fixed_points)


@rows("none")
def test_none(row):
    sigma, reason = Sigma(row), row[8]
    h = excess(sigma, np.logspace(-3, 6, 46))
    assert np.all(h > 0) if "χ_∥ exceeds χ_⊥ at every K" in reason else np.all(h < 0)
    assert ("χ_∥ is below χ_⊥ at every K" in reason) == bool(h[0] < 0)
    # K = 0 is a fixed point with slopes there only where the page says that it is unstable.
    at_zero, slope = float(sigma(0.0)), float(sigma.slope(0.0))
    assert (at_zero == 0 and slope != 0) == ("K* = 0 is unstable" in reason)
    if "K* = 0 is unstable" in reason:
        (C_W,) = map(float, re.findall(r"C_W = ([\d.]+)", reason))
        K = np.array([1e-6, 1e-3])
        assert C_W * slope**2 == pytest.approx(1) and np.all(C_W * sigma.g(K) > K)


@rows("jumps")
def test_jumps(row):
    sigma = Sigma(row)
    ((both_sides, place),) = re.findall(r"at z = (±?)([\d.]+)", row[8])
    for sign in (1, -1) if both_sides else (1,):
        assert abs(np.diff(sigma(sign * float(place) + np.array([-1e-9, 1e-9])))) > 0.1


@rows("not elementwise")
def test_not_elementwise(row):
    """A change of one number changes what becomes of others, or there are fewer of them."""
    module = Sigma(row).module
    shape = (1, 4, 2, 2) if "2d" in row[0] else (4, 8)
    z = torch.linspace(-1, 1, 32 if len(shape) == 2 else 16, dtype=torch.float64)
    changed = z.clone()
    changed[0] += 1
    before, after = (applied(module, x.reshape(shape)) for x in (z, changed))
    assert before.shape != shape or torch.sum(before != after) > 1


def applied(module, z):
    return module(z, z, z)[0] if isinstance(module, nn.MultiheadAttention) else module(z)


def test_errors_name_the_module():
    with pytest.raises(InteropError, match=r"^activation \(Hardshrink\): it jumps at z = ±0.5"):
        ntkflow.critical(nn.Hardshrink())
