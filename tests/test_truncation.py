"""What cutting at 1/n costs, and the resummed sd: against exact networks, the recursion written out, sampled networks."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import truncation as campaign
from exact_fluctuations import exact_moments
from hypothesis import given
from hypothesis import strategies as st

import ntkflow
from ntkflow._report.digits import uncertain
from ntkflow._theory.truncation import estimated

SLOPES = {"relu": (0.0, 1.0), "abs": (-1.0, 1.0), "linear": (1.0, 1.0)}


def narrow(mlp, X, components="pairs"):
    """The flow of a network that may be too narrow for an expansion."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the network is too narrow")
        return ntkflow.flow(mlp, X, components)


@pytest.mark.parametrize(
    ("lambda_b", "leading", "resummed", "exact"), [(1.0, 2.06, 10.1, 13.21), (0.0, 3.36, 24.5, 30.8)]
)
def test_relu_network_as_deep_as_wide(lambda_b, leading, resummed, exact):
    x = np.ones(4)
    mlp = ntkflow.MLP((4, *[16] * 15, 1), "relu", 0.0, 2.0, lambda_b, 1.0)
    last = narrow(mlp, x[None])[-1]
    H = last.H[0, 0]
    mean, variance = exact_moments(mlp, x, SLOPES["relu"])[-1]
    assert mean == pytest.approx(H, rel=1e-12)
    assert variance / H**2 == pytest.approx(exact, rel=2e-3)
    assert last.ntk_variance(order=1)[0, 0] / H**2 == pytest.approx(leading, rel=5e-3)
    assert last.ntk_variance()[0, 0] / H**2 == pytest.approx(resummed, rel=5e-3)


def test_random_piecewise_linear_networks_against_exact_moments(rng):
    """With λ's, C's and widths that differ from layer to layer: estimates within a factor 3, the resummed sd four times as good."""
    ratios, errors = [], []
    for name in list(SLOPES) * 8:
        depth = int(rng.integers(4, 9))
        widths = (3, *rng.integers(6, 60, depth - 1).tolist(), 1)
        # One C_W of relu or abs for all layers would hide which layer's is taken.
        C_W = rng.uniform(0.7, 1.4, depth) * (2.0 if name == "relu" else 1.0)
        lambdas = rng.uniform(0.3, 2.0, (2, depth))
        mlp = ntkflow.MLP(widths, name, rng.uniform(0, 0.3, depth), C_W, *lambdas)
        x = rng.normal(size=3)
        flow = narrow(mlp, x[None])
        variance = exact_moments(mlp, x, SLOPES[name])[:, 1]
        assert flow[2].ntk_variance()[0, 0] == pytest.approx(variance[1], rel=1e-10)
        assert flow[2].truncation("ntk_std")[0, 0] < 1e-10 * flow[2].ntk_std()[0, 0]
        last = flow[-1]
        leading, resummed = (last.ntk_std(order=order)[0, 0] for order in (1, None))
        true = variance[-1] ** 0.5
        if 0.02 < abs(true / leading - 1) < 0.5:
            ratios.append(last.truncation("ntk_std", order=1)[0, 0] / abs(true - leading))
            errors.append((abs(true / leading - 1), abs(true - resummed) / leading))
    assert len(ratios) >= 15
    assert 1 / 3 < min(ratios) and max(ratios) < 3, ratios
    of_leading, of_resummed = np.median(errors, axis=0)
    assert of_resummed < of_leading / 4


@pytest.mark.parametrize("element", [(0, 0), (0, 1)])
def test_recursion_written_out(element):
    """The formulas for one element, from the tensors, with different C's, λ's and widths in every layer."""
    a, b = element
    X = np.random.default_rng(3).normal(size=(2, 4))
    C_b, C_W = [0.1, 0.2, 0.05, 0.3, 0.1], [1.2, 0.9, 1.3, 1.1, 1.4]
    lambda_b, lambda_W = [0.3, 1.0, 0.5, 0.2, 0.8], [1.5, 0.7, 1.0, 2.0, 0.6]
    mlp = ntkflow.MLP((4, 9, 14, 11, 17, 2), "tanh", C_b, C_W, lambda_b, lambda_W)
    flow = narrow(mlp, X, "all")

    def relative(s, a, b):
        """e, D̂, V̂, the spread v and h of one element."""
        n, G, H = s.fan_in, np.diag(s.G), s.H[a, b]
        e = (s.A[a, b, a, b] + s.B[a, a, b, b] + s.B[a, b, b, a]) / (n * H**2)
        D = sum(s.D[c, c, a, b] / (n * G[c] * H) for c in (a, b)) / 2
        V = sum(s.V[c, c, d, d] / (n * G[c] * G[d]) for c in (a, b) for d in (a, b)) / 4
        v = sum(s.V[c, c, c, c] / (n * G[c] ** 2) for c in (a, b)) / 2
        return e, D, V, v, s.H1[a, b] / (n * H)

    def resummed(mixed):
        elements = {(a, a), (a, b), (b, b)}
        y = {element: relative(flow[2], *element)[0] for element in elements}
        for below, here in itertools.pairwise(list(flow)[1:]):
            before = dict(y)
            ell = here.layer - 1
            for i, j in elements:
                H = here.H[i, j]
                e, D, V, _, _ = relative(below, i, j)
                o = lambda_W[ell] * (here.G[i, j] - C_b[ell]) / (C_W[ell] * H)
                f = 1 - o - lambda_b[ell] / H
                tau = f**2 * e + mixed * (2 * f * o * D + o**2 * V)
                across = (before[i, i] * before[j, j]) ** 0.5
                new = relative(here, i, j)[0] - tau
                y[i, j] = tau / e * before[i, j] + new * (1 + min(before[i, j], across))
        return y[a, b]

    last = flow[-1]
    e, _, _, v, h = relative(last, a, b)
    assert last.ntk_variance()[a, b] == pytest.approx((last.H[a, b] * (1 + h)) ** 2 * resummed(1), rel=1e-12)
    ratio = (resummed(0) / e) ** 0.5 * abs(1 + h)
    spread = max(relative(s, a, b)[3] for s in flow) - v
    leading = last.ntk_std(order=1)[a, b]
    of_leading = max(abs(ratio - 1), 0.75 * spread)
    assert last.truncation("ntk_std", order=1)[a, b] == pytest.approx(leading * of_leading, rel=1e-12)
    assert last.truncation("ntk_std")[a, b] == pytest.approx(leading * of_leading / 2, rel=1e-12)
    h_largest = max(abs(relative(s, a, b)[4]) for s in flow)
    assert last.truncation("ntk_mean")[a, b] == pytest.approx(abs(last.H[a, b]) * h_largest / 3, rel=1e-12)


def test_permuted_inputs_and_fewer_of_them(rng):
    X = rng.normal(size=(4, 3))
    mlp = ntkflow.MLP((3, 8, 8, 8, 2), "gelu", 0.1, 1.9)
    order = rng.permutation(4)
    whole, permuted = (narrow(mlp, x, "all")[-1] for x in (X, X[order]))
    pairs = narrow(mlp, X[:2], "pairs")[-1]
    for name in ("ntk_std", "ntk_mean", "ntk_variance", "G1", "H1", "V", "D", "F", "A", "B"):
        table = whole.truncation(name)
        axes = np.ix_(*[order] * table.ndim)
        assert np.allclose(permuted.truncation(name), table[axes], rtol=1e-6, atol=1e-9 * table.max()), name
        fewer = table[np.ix_(*[[0, 1]] * table.ndim)]
        assert np.allclose(
            pairs.truncation(name).reshape(fewer.shape), fewer, rtol=1e-6, atol=1e-9 * table.max()
        ), name
    for name in ("trace_std", "trace_mean", "eigenvalues", "eigenvalue_std"):
        assert np.allclose(permuted.truncation(name), whole.truncation(name), rtol=1e-6), name


@pytest.mark.parametrize(
    ("mlp", "X"),
    [
        (ntkflow.MLP((3, 8, 8, 8, 2), "relu", 0.0, 2.0), np.zeros((2, 3))),
        (ntkflow.MLP((3, 8, 8, 8, 2), "relu", 0.0, 2.0, 0.0), np.eye(3)[[0, 0, 1]] * [[1], [-1], [1]]),
        (ntkflow.MLP((3, 8, 8, 8, 2), "tanh", 0.1, 0.0), np.eye(3)),
        (ntkflow.MLP((1, 1, 1, 1), "tanh", 0.1, 1.5), np.ones((1, 1))),
        (ntkflow.MLP((3, 1), "relu", 0.1, 1.5), np.eye(3)),
        (ntkflow.MLP((3, 8, 8, 8, 1), "tanh", 0.0, 1.0, 0.0, 0.0), np.eye(3)[[0, 0]]),
        (ntkflow.MLP((3, 8, 8, 8, 1), "silu", 0.0, 0.3), 1e-8 * np.eye(3)),
    ],
    ids=["zero inputs", "opposite", "no weights", "width 1", "depth 1", "nothing learns", "dead"],
)  # fmt: skip
def test_corners_are_finite(mlp, X):
    for layer in narrow(mlp, X, "all"):
        for name in estimated():
            for order in (1, None):
                table = layer.truncation(name, order)
                assert np.all(np.isfinite(table)) and np.all(table >= 0), (layer.layer, name)
        assert np.all(np.isfinite(layer.ntk_std()))


def test_warning_names_layer_and_width():
    X = np.eye(4)[:2]
    with pytest.warns(
        UserWarning, match=r"too narrow for an expansion in 1/n from layer (\d+) on.*widths .* times as large"
    ) as record:
        flow = ntkflow.flow(ntkflow.MLP((4, *[12] * 9, 1), "relu", 0.0, 2.0), X)
    message = str(record[0].message)
    first = int(message.split("from layer ")[1].split()[0])
    errors = [np.diag(s.truncation("ntk_std", order=1) / s.ntk_std(order=1)).max() for s in list(flow)[1:]]
    assert [error > 0.3 for error in errors].index(True) + 2 == first
    factor = float(message.split("widths ")[1].split()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide = ntkflow.flow(ntkflow.MLP((4, *[round(12 * factor)] * 9, 1), "relu", 0.0, 2.0), X)
    errors = [np.diag(s.truncation("ntk_std", order=1) / s.ntk_std(order=1)).max() for s in list(wide)[1:]]
    assert max(errors) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_kept_with_the_flow(tmp_path, suffix):
    flow = narrow(ntkflow.MLP((3, 8, 8, 8, 2), "tanh", 0.1, 1.1), np.eye(3))
    flow.save(tmp_path / f"flow{suffix}")
    again = ntkflow.Flow.load(tmp_path / f"flow{suffix}")
    for name in ("ntk_std", "A"):
        assert np.array_equal(again[-1].truncation(name), flow[-1].truncation(name), equal_nan=True)


def test_refusals():
    mlp = ntkflow.MLP((3, 8, 8, 2), "tanh", 0.1, 1.1)
    flow = narrow(mlp, np.eye(3))
    with pytest.raises(ntkflow.errors.ComponentError, match="no truncation error of 'G'"):
        flow[-1].truncation("G")
    with pytest.raises(ntkflow.errors.ComponentError, match="order must be 1"):
        flow[-1].ntk_std(order=2)
    with pytest.raises(ntkflow.errors.ComponentError, match="pairs"):
        ntkflow.flow(mlp, np.eye(3), "mean")[-1].truncation("ntk_std")
    measured = ntkflow.ensemble(mlp, np.eye(3), draws=20)[-1]
    with pytest.raises(ntkflow.errors.ComponentError, match="measured"):
        measured.truncation("ntk_std")
    assert np.array_equal(measured.ntk_std(), measured.ntk_std(order=1))


@pytest.mark.slow
def test_sampled_networks():
    """Two of the campaign's networks."""
    found = campaign.total([campaign.part(number) for number in (1, 7)])
    assert found["within_factor_3"] == 1 and found["resummed_within_twice_told"] == 1, found


@pytest.mark.slow
def test_sd_of_the_trace_of_sampled_networks():
    """4 outputs, 2 samples: within 4 standard errors and the truncation error."""
    X = np.random.default_rng(5).normal(size=(2, 4))
    mlp = ntkflow.MLP((4, *[16] * 5, 4), "relu", 0.05, 1.9, 0.7, 1.4)
    last = narrow(mlp, X, "all")[-1]

    def trace(key):
        return mlp.widths[-1] * jnp.trace(ntkflow.finite.ntk_trace(mlp, ntkflow.finite.init(mlp, key), X))

    with jax.enable_x64(True):
        traces = np.asarray(jax.lax.map(trace, jax.random.split(jax.random.key(0), 4000)))
    measured = traces.std()
    noise = measured * np.sqrt((((traces - traces.mean()) / measured) ** 4).mean() / 4 / len(traces))
    assert abs(measured - last.trace_std()) < 4 * noise + last.truncation("trace_std")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (28.71, 0.88, "28.7(9)"),
        (263.0, 80.0, "260(80)"),
        (0.0123456, 0.0, "0.012346"),
        (1.0, 0.96, "1(1)"),
        (0.0, 0.0, "0"),
        (float("nan"), 0.1, "-"),
        (3.0, 300.0, "3 ± 3e+02"),
        (1.234e7, 2e5, "1.23(2)e+07"),
        (4.5e-9, 1e-10, "4.5(1)e-09"),
    ],
)
def test_numbers_in_tables(value, error, text):
    assert uncertain(value, error) == text


@given(st.floats(1e-12, 1e12), st.floats(1e-4, 3))
def test_numbers_in_tables_can_be_read_back(value, relative):
    text = uncertain(value, relative * value)
    digits, _, rest = text.partition("(")
    error, _, exponent = rest.partition(")")
    scale = float("1" + exponent) if exponent else 1.0
    unit = 10.0 ** -len(digits.partition(".")[2])
    assert abs(float(digits) * scale - value) < 0.6 * relative * value
    assert float(error) * unit * scale == pytest.approx(relative * value, rel=0.55)
