"""Verdicts on networks whose fate is known by training them, and what else a diagnosis says."""

import itertools
import json
import warnings

import numpy as np
import pytest
import trained_networks
from command_line import within

import ntkflow

ROWS = json.loads(trained_networks.FILE.read_text())
DEAD, ALIVE = 0.15, 0.85  # accuracies
INPUTS = 30


def network(row: dict) -> ntkflow.MLP:
    """With the λ's of plain gradient descent, which trained it."""
    widths = (64, *[row["width"]] * (row["depth"] - 1), 10)
    return ntkflow.MLP(
        widths, row["activation"], row["C_b"], row["C_W"], 1.0, [float(n) for n in widths[:-1]]
    )


def name(row: dict) -> str:
    return f"{row['kind']} {row['activation']} {row['depth']}x{row['width']}"


def fast(row: dict) -> bool:
    return row["activation"] == "relu" or row["kind"] == "raw"


CLEAR = [row for row in ROWS if row["accuracy"] <= DEAD or row["accuracy"] >= ALIVE]


def test_enough_networks_have_a_clear_fate():
    dead = [row for row in CLEAR if row["accuracy"] <= DEAD]
    assert len(CLEAR) >= 30 and len(dead) >= 10
    # It is of the networks that the program would train today.
    assert [{k: v for k, v in row.items() if k != "accuracy"} for row in ROWS] == trained_networks.networks()


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=name(row), marks=() if fast(row) else pytest.mark.slow) for row in CLEAR]
)
def test_verdict(row):
    X = trained_networks.inputs(row)[0][:INPUTS]
    found = ntkflow.diagnose(network(row), X)
    assert found.trainable == (row["accuracy"] >= ALIVE), found.report()


def test_dead_network_of_torch_is_told_why_and_what_to_do():
    """The SiLU network of depth 12 with torch's default initialisation: all inputs merge, training stays at 10 %."""
    torch = pytest.importorskip("torch")
    X = trained_networks.inputs({"kind": "default"})[0][:INPUTS]
    widths = [64, *[128] * 11, 10]
    torch.manual_seed(0)
    layers = []
    for n, m in itertools.pairwise(widths):
        layers += [torch.nn.Linear(n, m), torch.nn.SiLU()]
    model = torch.nn.Sequential(*layers[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ntkflow.diagnose(model, X)
    assert not found.trainable and found.verdict.cause == "merging"
    assert isinstance(found.mlp, ntkflow.MLP) and found.mlp.C_W == (1 / 3,) * 12
    assert "Inputs merge" in found.words and "C_W = 1.988" in found.words and "0.5551" in found.words


def test_measurements_are_those_of_the_flow():
    X = np.random.default_rng(0).normal(size=(5, 4))
    mlp = ntkflow.MLP((4, 30, 30, 2), "tanh", 0.1, 1.2, 0.7, 1.5)
    found = ntkflow.diagnose(mlp, X).to_xarray()
    flow = ntkflow.flow(mlp, X)
    last = flow[-1]
    assert np.allclose(found.metric, [np.diag(layer.G).mean() for layer in flow])
    d = np.diag(last.G)
    apart = 1 - (last.G / np.sqrt(np.outer(d, d)))[np.triu_indices(5, 1)]
    assert float(found.apart[-1]) == pytest.approx(apart.mean()) and float(
        found.apart_least[-1]
    ) == pytest.approx(apart.min())
    assert float((found.weight_share + found.bias_share).sum()) == pytest.approx(1)
    assert np.allclose(found.eigenvalues, np.linalg.eigvalsh(last.H))
    assert np.allclose(found.extreme_eigenvalues, np.linalg.eigvalsh(last.H)[[0, -1]], rtol=1e-3)
    assert np.allclose(found.ntk_std, [np.mean(np.diag(s.ntk_std()) / np.diag(s.H)) for s in flow], rtol=1e-3)
    assert np.allclose(
        found.eigenvalue_std, (last.eigenvalue_std() / np.linalg.eigvalsh(last.H))[[0, -1]], rtol=0.2
    )
    # Contrast, from its definition: what is left of the weights' part when its mean over inputs is taken off.
    P = np.eye(5) - 0.2
    weights = last.weight_contributions.sum(axis=0)
    contrast = np.trace(P @ weights @ P) / 4 / (np.linalg.eigvalsh(last.H)[-1] / 5)
    assert float(found.contrast) == pytest.approx(contrast)
    # χ's, by what they do to one input's variance and to a small distance of two.
    K, step = float(found.metric[0]), 1e-4
    one, two = (
        ntkflow.flow(ntkflow.MLP((1, 5, 1), "tanh", [0, 0.1], [1, 1.2]), [[x]], "mean")
        for x in np.sqrt([K - step, K + step])
    )
    change = (two[2].G[0, 0] - one[2].G[0, 0]) / (2 * step)
    assert float(found.chi_parallel[0]) == pytest.approx(change, rel=1e-5)


def test_many_inputs_are_sampled_by_the_seed():
    X = np.random.default_rng(1).normal(size=(300, 3))
    mlp = ntkflow.MLP((3, 16, 1), "relu", 0.0, 2.0)
    first, again, other = (ntkflow.diagnose(mlp, X, seed) for seed in (0, 0, 1))
    assert len(first.measurements.samples) == 200 and "a random 200 of 300 inputs" in first.report()
    assert first.report() == again.report()
    assert not np.array_equal(first.measurements.samples, other.measurements.samples)


@pytest.mark.parametrize(
    ("mlp", "X", "trainable", "cause"),
    [
        (ntkflow.MLP((3, 8, 8, 1), "relu", 0.0, 2.0), np.ones((1, 3)), True, "alive"),
        (ntkflow.MLP((3, *[64] * 40, 1), "relu", 0.0, 0.5), np.ones((1, 3)), False, "vanishing"),
        (ntkflow.MLP((3, 8, 1), "relu", 0.0, 2.0), np.ones((2, 3)), False, "merging"),
        (ntkflow.MLP((3, 8, 1), "relu", 0.0, 2.0, 0.0, 0.0), np.eye(3), False, "frozen"),
        (ntkflow.MLP((3, 1), "relu", 0.0, 2.0), np.eye(3), True, "alive"),
        (ntkflow.MLP((3, 1, 1), "tanh", 0.0, 1.0), np.eye(3), True, "alive"),
        (ntkflow.MLP((3, 64, 64, 1), "relu", 0.0, 2.0), np.zeros((3, 3)), False, "vanishing"),
        (ntkflow.MLP((3, 64, 64, 1), "relu", 0.0, 2.0), np.zeros((1, 3)), False, "vanishing"),
        (ntkflow.MLP((3, *[64] * 600, 1), "relu", 0.0, 20.0), np.eye(3), False, "exploding"),
        (ntkflow.MLP((3, *[64] * 3, 1), "exp", 0.0, 20.0), np.eye(3), False, "exploding"),
    ],
    ids=["one input", "one input, dead", "equal inputs", "no rates", "depth 1", "width 1", "zero", "one input, zero", "overflow", "exp"],
)  # fmt: skip
def test_strange_networks(mlp, X, trainable, cause, tmp_path):
    found = ntkflow.diagnose(mlp, X)
    assert (found.trainable, found.verdict.cause) == (trainable, cause), found.report()
    assert "nan" not in found.report() and "inf" not in found.words
    found.plot(tmp_path / "picture.png")
    found.to_xarray().to_netcdf(tmp_path / "numbers.nc")


@pytest.mark.parametrize(
    ("activation", "C_b", "words"),
    [
        ("relu", 0.0, "with C_b = 0 its G is 0 in every layer: 1 - rho is of the other inputs"),
        ("sigmoid", 0.0, "with C_b = 0 its G is 0 in layer 1: "),
        ("tanh", [0.0, 0.0, 0.1], "with C_b = 0 its G is 0 in layers 1 to 2: "),
        ("tanh", 0.1, "biases alone reach the network"),
    ],
)
def test_inputs_of_zeros_are_named(activation, C_b, words, rng, tmp_path):
    mlp, X = ntkflow.MLP((3, 16, 16, 1), activation, C_b, 1.5), rng.normal(size=(4, 3))
    X[2] = 0.0
    found, without = ntkflow.diagnose(mlp, X), ntkflow.diagnose(mlp, np.delete(X, 2, axis=0))
    assert f"Note: input 2 is zero in every entry; {words}" in " ".join(found.report().split())
    assert "zero in every entry" not in without.report() and "nan" not in found.report()
    if C_b == 0.0:
        # In layer 1, of the others alone.
        assert np.isclose(found.measurements.apart[0], without.measurements.apart[0], rtol=1e-12)
    found.plot(tmp_path / "picture.png")
    found.to_xarray().to_netcdf(tmp_path / "numbers.nc")


def test_many_inputs_of_zeros_are_counted(rng):
    X = rng.normal(size=(30, 3))
    X[::3] = 0.0
    report = " ".join(ntkflow.diagnose(ntkflow.MLP((3, 8, 1), "relu", 0.0, 2.0), X).report().split())
    assert "Note: 10 of 30 inputs are zero in every entry: rows 0, 3, 6, 9, 12, …, 27; with C_b = 0" in report


def test_scale_of_inputs_is_named():
    X = trained_networks.inputs({"kind": "raw"})[0][:INPUTS]
    words = ntkflow.diagnose(ntkflow.MLP((64, 128, 128, 10), "tanh", 0.0, 1.0), X).words
    assert "divide X by 7.9" in words
    assert (
        "divide X" not in ntkflow.diagnose(ntkflow.MLP((64, 128, 128, 10), "tanh", 0.0, 1.0), X / 7.9).words
    )


def test_command(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(3))
    (tmp_path / "net.toml").write_text('widths = [3, 16, 16, 1]\nactivation = "relu"\nC_W = 2.0\n')
    status, out, _ = within(tmp_path, "diagnose", "net.toml", "--data", "X.npy", "--plot", "d.png")
    assert status == 0 and out.startswith("TRAINABLE") and (tmp_path / "d.png").stat().st_size > 10_000
