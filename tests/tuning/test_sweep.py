"""Sweeps against the flow of each network, exact deep linear networks, and the theory's powers of depth."""

import importlib
import warnings

import numpy as np
import pytest
import sampled_recipes
from command_line import within
from printed import text

import ntkflow
from ntkflow.errors import ActivationError, DataError, FileError, SpecError
from ntkflow.tuning.spread import (
    at_width,
    evenly_wide,
    least_width,
    one_by_one,
    relative_mean,
    relative_sd,
    with_depth,
)

DIGITS = sampled_recipes.inputs()
X = np.random.default_rng(3).normal(size=(3, 4))
EVEN = ntkflow.MLP((4, 8, 8, 2), "relu", C_b=0.1, C_W=1.8)
UNEVEN = ntkflow.MLP((4, 8, 8, 8, 2), "relu", [0, 0.1, 0.1, 0.3], [1, 2, 2, 5], 0.5, [3, 1, 1, 2])


def columns(swept, *names):
    dataset = swept.to_xarray()
    return [dataset[name].values for name in names]


def counting(monkeypatch, module):
    """The depths of the networks whose flow that module asks for, as they come."""
    depths = []
    where = importlib.import_module(f"ntkflow.tuning.{module}")
    computed = where.flow

    def flow(mlp, *args, **kwargs):
        depths.append(mlp.depth)
        return computed(mlp, *args, **kwargs)

    monkeypatch.setattr(where, "flow", flow)
    return depths


@pytest.mark.parametrize(
    ("mlp", "flows"),
    [
        (EVEN, [4]),
        (EVEN.replace(activation="tanh"), [4]),
        (UNEVEN, [4, 2, 1]),
        (UNEVEN.replace(C_b=0, C_W=[1, 2, 2, 2], lambda_W=[3, 1, 1, 1]), [4, 1]),
    ],
    ids=["relu", "tanh", "another last layer", "another first layer"],
)
@pytest.mark.filterwarnings("ignore:the network is too narrow")
def test_each_network_alone(mlp, flows, monkeypatch):
    """The same numbers as the flow of every single network, with as few flows as there need be."""
    widths, depths = [5, 40], [1, 2, 4]
    asked = counting(monkeypatch, "sweep")
    dataset = ntkflow.sweep(mlp, X, widths, depths).to_xarray()
    assert asked == flows
    for n in widths:
        for depth in depths:
            last = ntkflow.flow(evenly_wide(with_depth(mlp, depth), n), X, "pairs", rtol=1e-4)[-1]
            at = dataset.sel(width=n, depth=depth)
            expected = {
                "ntk_std": relative_sd(last),
                "ntk_std_truncation": relative_mean(last, last.truncation("ntk_std")),
                "lambda_min": last.eigenvalues()[0] / 3,
                "lambda_max": last.eigenvalues()[-1] / 3,
                "lambda_min_truncation": last.truncation("eigenvalues")[0] / 3,
                "lambda_max_truncation": last.truncation("eigenvalues")[-1] / 3,
                "lambda_max_infinite": np.linalg.eigvalsh(last.H)[-1] / 3,
            }
            for name, value in expected.items():
                assert float(at[name]) == pytest.approx(value, rel=1e-12, abs=1e-14), (name, n, depth)
            assert float(at["ntk_std"]) > 0 or depth == 1


def test_seeds_move_eigenvalues():
    """Sampled to 1 %, against all components of A and B."""
    n = 10_000  # so that eigenvectors are those of infinite width
    sds = columns(ntkflow.sweep(EVEN, X, [n], [4]), "lambda_min_std", "lambda_max_std")
    exact = ntkflow.flow(evenly_wide(with_depth(EVEN, 4), n), X)[-1].eigenvalue_std()[[0, -1]] / 3
    assert np.ravel(sds) == pytest.approx(exact, rel=0.03)


def linear_variance(n, L):
    """Relative variance of the NTK of one input and output of a deep linear network with C_W = λ_W = 1 and no biases.

    Ĥ is the sum over layers ℓ of Π_{m<ℓ} |W_m u|² Π_{m>ℓ} |vᵀW_m|², with unit vectors u from below and v from above. E|W_m u|⁴ = 1 + 2/n,
    E|W_m u|² |vᵀW_m|² = 1 + 2/n².
    """
    a, c = 1 + 2 / n, 1 + 2 / n**2
    second = L * a ** (L - 1) + 2 * sum((L - d) * a ** (L - 1 - d) * c ** (d - 1) for d in range(1, L))
    return second / L**2 - 1


def test_deep_linear_networks():
    """The mean NTK is L x·x/n_0 at every width; its sd is exact up to depth 2, above within its truncation error, and exact next to 1/n = 0."""
    mlp = ntkflow.MLP((4, 8, 2), "linear", lambda_b=0)
    depths, widths = [1, 2, 3, 12], [64, 10**7]
    swept = ntkflow.sweep(mlp, X, widths, depths)
    sd, error = columns(swept, "ntk_std", "ntk_std_truncation")
    exact = np.sqrt([[linear_variance(n, L) for L in depths] for n in widths])
    assert sd[0, :2] == pytest.approx(exact[0, :2], rel=1e-10, abs=1e-10)
    assert np.all(np.abs(sd[0, 2:] - exact[0, 2:]) < error[0, 2:])
    assert sd[1] == pytest.approx(exact[1], rel=1e-4, abs=1e-10)
    extremes = np.linalg.eigvalsh(X @ X.T / 4)[[0, -1]] / 3
    for name, value in zip(("lambda_min", "lambda_max"), extremes, strict=True):
        (table, infinite) = columns(swept, name, f"{name}_infinite")
        assert table == pytest.approx(np.tile(np.array(depths) * value, (2, 1)), rel=1e-10)
        assert infinite == pytest.approx(np.array(depths) * value, rel=1e-10)


@pytest.mark.parametrize(
    ("activation", "theory"),
    [
        ("tanh", {"G": -1, "H": 1, "V": -1, "D": 1, "F": 1, "A": 3, "B": 3}),
        ("relu", {"G": 0, "H": 1, "V": 1, "D": 2, "F": 2, "A": 3, "B": 3}),
    ],
)
def test_powers_of_depth(activation, theory):
    powers = ntkflow.tuning.depth_powers(activation)
    assert powers.theory == theory
    assert powers.power == pytest.approx(theory, abs=0.05)
    assert all(abs(powers.power[name] - theory[name]) < 0.002 + 2 * powers.drift[name] for name in theory)
    assert powers.depths.tolist() == [4, 8, 16, 32, 64, 128]
    dataset = powers.to_xarray()
    assert dataset["power"].sel(tensor="A") == powers.power["A"]
    assert dataset["power_slope"].sel(tensor="A", doubled_depth=8) == powers.slopes["A"][1]
    assert "theory" in repr(powers) and max(map(len, text(powers.table(), 80).splitlines())) <= 80


def test_powers_of_depth_that_no_theory_lists():
    """At gelu's half-stable point D and A have not settled at depth 128: 2.86 and 4.74, and rising; B has."""
    powers = ntkflow.tuning.depth_powers("gelu")
    assert powers.theory is None and "theory" not in repr(powers)
    assert powers.drift["A"] > 0.2 and powers.power["B"] == pytest.approx(3, abs=0.01)
    assert np.all(np.isnan(powers.to_xarray()["power_theory"]))
    with pytest.raises(ActivationError, match=r"powers of depth: sigmoid has no critical point"):
        ntkflow.tuning.depth_powers("sigmoid")
    with pytest.raises(ActivationError, match="no critical point"):
        ntkflow.sweep(EVEN.replace(activation="sigmoid"), X, powers=True)


def test_the_example():
    swept = ntkflow.sweep(ntkflow.MLP((64, 128, 128, 10), "relu", C_W=2.0), DIGITS, depths=(4, 8, 16))
    assert round(float(swept.to_xarray()["ntk_std"].sel(width=128, depth=8)), 2) == 0.35
    assert "up to depth 4 at width 64, 8 at width 128, 16 at width 256, 16 at width 512" in swept.words
    assert f"a random 12 of {len(DIGITS)} inputs" in repr(swept) and len(repr(swept).splitlines()) < 20


def test_one_input():
    names = ("ntk_std", "lambda_min", "lambda_max", "lambda_max_std", "lambda_max_infinite")
    sd, least, largest, of_largest, infinite = columns(ntkflow.sweep(EVEN, X[:1], [8, 64], [2, 4]), *names)
    assert np.array_equal(least, largest)
    assert of_largest == pytest.approx(sd * infinite, rel=1e-12)


def test_an_input_twice():
    swept = ntkflow.sweep(EVEN, X[[0, 0, 1]], [8], [2, 4])
    least, largest = columns(swept, "lambda_min", "lambda_max")
    assert not np.any(least) and np.all(largest > 0)
    alone = [columns(ntkflow.sweep(EVEN, X[rows], [8], [2, 4]), "ntk_std")[0] for rows in ([0], [1])]
    (sd,) = columns(swept, "ntk_std")
    assert sd == pytest.approx((2 * alone[0] + alone[1]) / 3, rel=1e-12)


@pytest.mark.filterwarnings("ignore:an input is zero")
def test_zero_inputs():
    """They count for nothing where there are no biases at all."""
    mlp = EVEN.replace(C_b=0, lambda_b=0)
    with_zeros, without = (
        columns(ntkflow.sweep(mlp, x, [8], [2, 4]), "ntk_std", "lambda_max")
        for x in (np.vstack([X, X[:1] * 0]), X)
    )
    assert with_zeros[0] == pytest.approx(without[0], rel=1e-12)
    assert with_zeros[1] == pytest.approx(without[1] * 3 / 4, rel=1e-12)
    swept = ntkflow.sweep(mlp, 0 * X, [8], [1, 2])
    assert not any(np.any(table) for table in columns(swept, "ntk_std", "lambda_max", "lambda_max_std"))


def strange(name):
    """Sweeps that leave nothing, little or too much to show."""
    return {
        "one of each": lambda: ntkflow.sweep(EVEN, X, [8], [4]),
        "no spread": lambda: ntkflow.sweep(EVEN, X, [1], [1]),
        "nothing": lambda: ntkflow.sweep(EVEN.replace(C_b=0, lambda_b=0, activation="tanh"), 0 * X, [1], [1]),
        "duplicates": lambda: ntkflow.sweep(EVEN, X[[0, 0]], [8, 16], [2]),
        "narrow": lambda: ntkflow.sweep(EVEN, X, [1, 2, 3], [2, 4, 20]),
        "overflow": lambda: ntkflow.sweep(EVEN.replace(C_W=1e10), X, [1, 64], [2, 10, 50]),
        "all overflows": lambda: ntkflow.sweep(EVEN.replace(C_W=1e200), X, [8], [8]),
        "many": lambda: ntkflow.sweep(EVEN, X[:1], range(10, 90, 10), range(2, 30)),
    }[name]()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one of each", "none of these depths at width 8"),
        ("no spread", "at all of these"),
        ("nothing", "at all of these"),
        ("duplicates", "none of these depths at width 8"),
        ("narrow", "none of these depths at width 1, 2, 3"),
        ("overflow", "networks of depth 50 overflow float64"),
        ("all overflows", "networks of depth 8 overflow float64"),
        ("many", "at width 80"),
    ],
)
def test_strange_cases_can_be_looked_at(name, words, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of the picture's libraries among one another
        swept = strange(name)
        said = text(swept.table(), 80)
        swept.plot(tmp_path / "sweep.png")
    assert words in swept.words and len(repr(swept).splitlines()) <= 20
    assert "nan" not in said and max(map(len, said.splitlines())) <= 80
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


def test_overflow_leaves_what_is_finite():
    dataset = strange("overflow").to_xarray()
    assert np.isfinite(dataset["ntk_std"].sel(depth=[2, 10], width=64)).all()
    assert all(np.isnan(dataset[name].sel(depth=50)).all() for name in dataset)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"widths": 128},
            DataError,
            r"widths must list whole numbers of at least 1, such as \(64, 128, 256\), not 128",
        ),
        ({"widths": []}, DataError, "widths must list"),
        ({"widths": [0, 2]}, DataError, r"widths must list .* not \[0, 2\]"),
        ({"depths": [2.5]}, DataError, r"depths must list whole numbers of at least 1, such as \(4, 8, 16\)"),
        ({"depths": "2,4"}, DataError, "depths must list"),
        ({"depths": [[2]]}, DataError, "depths must list"),
        ({"depths": [True]}, DataError, "depths must list"),
    ],
)
def test_refused_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ntkflow.sweep(EVEN, X, **arguments)


def test_refused_networks_and_inputs():
    with pytest.raises(SpecError, match="sweep: a network without hidden layers"):
        ntkflow.sweep(ntkflow.MLP((4, 2)), X)
    with pytest.raises(DataError, match="columns"):
        ntkflow.sweep(EVEN, X[:, :3])


def test_any_order():
    one, other = (
        ntkflow.sweep(EVEN, X, [16, 8, 8], (4, 2)),
        ntkflow.sweep(EVEN, X, np.array([8, 16]), range(2, 5, 2)),
    )
    assert one.to_xarray().identical(other.to_xarray())


def test_inputs_of_any_kind():
    sparse = pytest.importorskip("scipy.sparse").csr_array(X)
    assert (
        ntkflow.sweep(EVEN, sparse, [8], [2])
        .to_xarray()
        .identical(ntkflow.sweep(EVEN, X, [8], [2]).to_xarray())
    )


def test_files(tmp_path):
    path = tmp_path / "sweep.nc"
    swept = ntkflow.sweep(EVEN, X, [8], [2, 4])
    for attribute in ("long_name", "units"):
        assert all(attribute in variable.attrs for variable in swept.to_xarray().variables.values())
    swept.save(path)
    read = ntkflow.Sweep.load(path)
    assert read.to_xarray().identical(swept.to_xarray()) and repr(read) == repr(swept)
    with pytest.raises(FileError, match="exists"):
        swept.save(path)
    swept.to_xarray().drop_vars("lambda_min").to_netcdf(tmp_path / "damaged.nc", engine="h5netcdf")
    with pytest.raises(FileError, match=r"damaged.nc is not a sweep"):
        ntkflow.Sweep.load(tmp_path / "damaged.nc")


def test_command(tmp_path):
    (tmp_path / "net.toml").write_text('widths = [4, 8, 8, 2]\nactivation = "relu"\nC_W = 1.8\nC_b = 0.1\n')
    np.save(tmp_path / "X.npy", X)
    command = (
        "sweep",
        "net.toml",
        "--data",
        "X.npy",
        "--widths",
        "8,64",
        "--depths",
        "2,4",
        "-o",
        "sweep.nc",
    )
    status, out, err = within(tmp_path, *command, "--plot", "sweep.png", "--powers")
    assert (status, err) == (0, "")
    assert "Saved to sweep.nc, drawn in sweep.png." in out and "Powers of depth of relu" in out
    swept = ntkflow.Sweep.load(tmp_path / "sweep.nc").to_xarray()
    alone = ntkflow.sweep(EVEN, X, (8, 64), (2, 4)).to_xarray()
    assert swept[list(alone)].equals(alone) and float(swept["power"].sel(tensor="A")) == pytest.approx(
        3, abs=0.05
    )
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    status, shown, err = within(tmp_path, "show", "sweep.nc")
    assert (status, err) == (0, "") and out.startswith(shown)
    status, _, err = within(tmp_path, *command)
    assert status == 2 and "exists" in err
    status, _, err = within(tmp_path, *command[:-1], "other.nc", "--depths", "2,x")
    assert status == 2 and "--depths must be whole numbers" in err


def test_other_widths_without_another_flow(monkeypatch):
    """What `tune` knows of an evenly wide network gives the least width: the same to the last neuron."""
    mlp = EVEN.replace(widths=(4, 50, 50, 2))
    layers = one_by_one(mlp, X)
    expected = one_by_one(evenly_wide(mlp, 128), X)
    for layer, other in zip(at_width(layers, 128), expected, strict=True):
        assert np.array_equal(layer.ntk_std(), other.ntk_std(), equal_nan=True)
    width, uneven = least_width(expected, 0.2), one_by_one(EVEN.replace(widths=(4, 50, 60, 2)), X)
    assert least_width(uneven, 0.2) == width
    counted = counting(monkeypatch, "spread")
    assert least_width(layers, 0.2) == width == ntkflow.width_for(mlp, X, 0.2) and counted == [3]
