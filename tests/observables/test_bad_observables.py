"""Bad input to observables: indices, samples that are not held, functions, and text that is no expression."""

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import ntkflow
from ntkflow import joint
from ntkflow._report.cli import app
from ntkflow.errors import ComponentError, DataError, MemoryRequestError, ObservableError, ParameterError
from ntkflow.observables import NTK, ZZ, Z, interlayer, predict_first_step
from ntkflow.observables.expressions import parse

X = np.random.default_rng(0).normal(size=(4, 5))
MLP = ntkflow.MLP((5, 20, 20, 3), "tanh", 0.1, 1.3)


@pytest.fixture(scope="module")
def flow():
    return ntkflow.flow(MLP, X)


@pytest.fixture(scope="module")
def p(flow):
    return joint(flow)


@pytest.mark.parametrize(
    ("at", "words"),
    [([4], "allowed are 0 … 3"), ([-1], "allowed are 0 … 3"), ([(3, 0)], "neuron of layer 3; allowed are 0 … 2"),
     ([1.5], "neither a sample nor a pair"), ([(0, 1, 2)], "neither a sample nor a pair"), ("01", "must list"), (3, "must list")],
)  # fmt: skip
def test_indices_of_preactivations(p, at, words):
    with pytest.raises(ComponentError, match=words):
        p.expect(lambda z: z[0], at)


def test_indices_of_entries(flow, p):
    for entry in (NTK(0, 3, 0, 0), ZZ(0, 0, 0, 4), NTK(0, 0, True, 0)):
        with pytest.raises(ComponentError, match="allowed are"):
            p.covariance(entry, entry)
    with pytest.raises(ComponentError, match="cumulant"):
        p.covariance(Z(0, 0), Z(0, 0))
    with pytest.raises(ComponentError, match="higher order"):
        p.cumulant(*[NTK(0, 0, 0, 0)] * 3)
    with pytest.raises(ComponentError, match="no correlation"):
        joint(flow, 1).correlation(NTK(0, 0, 0, 0), ZZ(0, 0, 0, 0))
    with pytest.raises(ComponentError, match="quadruple"):
        p.expect(lambda z, h: z[0], [0], [(0, 0)])
    with pytest.raises(ComponentError, match="layers are 1 … 3"):
        joint(flow, 4)
    with pytest.raises(ComponentError, match="must be a Flow"):
        joint(flow[1])
    with pytest.raises(ComponentError, match=r"weights: \(3, 0\)"):
        interlayer(flow, 3, lambda z: z[0], [0], [(3, 0)])
    with pytest.raises(ComponentError, match="at least 2"):
        interlayer(flow, 1, lambda z: z[0], [0])
    with pytest.raises(ComponentError, match="no Q"):
        interlayer(flow, 2, lambda z: z[0], [0], below=[0])


def test_missing_sets_are_named(flow):
    some = joint(ntkflow.flow(MLP, X, components=[(0, 1), (2, 3)]))
    assert some.expect(lambda z: z[0] * z[1], [2, 3]).value == pytest.approx(
        joint(flow).cumulant(Z(0, 2), Z(0, 3))
    )
    with pytest.raises(ComponentError, match=r"\(0, 1, 2\).*components=\[\(0, 1, 2\)\], or \"all\""):
        some.expect(lambda z: z[0] * z[1] * z[2], [0, 1, 2])
    with pytest.raises(ComponentError, match=r"G1 .*\(1, 2\)"):
        some.cumulant(Z(0, 1), Z(0, 2))
    with pytest.raises(ComponentError, match="components"):
        joint(ntkflow.flow(MLP, X, components="mean")).sample(0, 1, 10)


@pytest.mark.parametrize(
    ("f", "words"),
    [(lambda z: z, "scalar"), (lambda z: z[0] + 1j, "real"), (lambda z: (z[0], z[1]), "scalar"),
     (lambda z: jnp.log(z[0]), "not finite at z"), (lambda z: 1 / (z[0] - z[0]), "not finite"),
     (lambda z: z[5], "does not list"), (lambda z: 1.0 if z[0] > 0 else 0.0, "traced"),
     (lambda: 1.0, "traced"), ("z[0]", "must be a function"), (lambda z: jnp.exp(jnp.exp(z[0] * 100)), "not finite")],
)  # fmt: skip
def test_functions(p, f, words):
    with pytest.raises(ObservableError, match=words):
        p.expect(f, [0, 1])


def test_samplers_arguments(p):
    for arguments, error in [
        ((0, 4, 10), ComponentError), ((0, 0, 10), ComponentError), ((0, 1, 0), DataError), (("a", 1, 10), ParameterError),
        ((0, 3, 10**12), MemoryRequestError), ((0, 1, 10, [0, 0]), ComponentError), ((0, 1, 10, []), ComponentError),
    ]:  # fmt: skip
        with pytest.raises(error):
            p.sample(*arguments)


def test_first_steps_arguments(flow):
    y = np.zeros((4, 3))
    for arguments, error in [
        ((ntkflow.mse, y[:2], 0.1), DataError), ((ntkflow.mse, y[:, :1], 0.1), DataError),
        ((ntkflow.mse, y + np.nan, 0.1), DataError), ((ntkflow.mse, y, np.inf), ParameterError),
        (("mse", y, 0.1), ObservableError), ((lambda z, y: z, y, 0.1), ObservableError),
        ((ntkflow.cross_entropy, np.array([0, 1, 2, 3]), 0.1), DataError),
        ((lambda z, y: jnp.log(z[0, 0]), y, 0.1), ObservableError),
    ]:  # fmt: skip
        with pytest.raises(error):
            predict_first_step(flow, *arguments, draws=100)
    with pytest.raises(ComponentError):
        predict_first_step(flow, ntkflow.mse, y, 0.1, train=[0, 1, 2, 9])


def test_expressions():
    f = parse("tanh(z[3])**2 - 2*maximum(z[0], -1.5e-1) / relu(z[3] + 4)")
    assert f.samples == (3, 0)
    assert float(f.function(jnp.array([0.5, 1.0]))) == pytest.approx(np.tanh(0.5) ** 2 - 2 / 4.5)
    assert float(parse(" -step(z[0]) ").function(jnp.array([2.0]))) == -1


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('id')", "z.__class__", "().__class__.__bases__[0]", "z[0].real", "open('x')", "eval('1')",
     "z[-1]", "z[0:2]", "z[z[0]]", "z", "lambda: 1", "[x for x in z]", "f'{z}'", "'a' * 9", "z[0] if 1 else 2", "z[0] > 1",
     "z[0] and 1", "tanh", "tanh()", "tanh(z[0], z[1])", "tanh(x=z[0])", "tanh(*z)", "y[0]", "1j", "True", "...", "z[True]",
     "(a := 1)", "z[0]; 1", "import os", "", "z[0] @ z[1]", "~z[0]", "z[0] // 2", "9" * 400, "9" * 5000, "(" * 400 + "1" + ")" * 400,
     "-" * 900 + "1", "1e", "z[0]\x00", "exec('1')", "getattr(z, 'T')", "{1: 2}", "await z", "print(z[0])"],
)  # fmt: skip
def test_hostile_expressions(text):
    with pytest.raises(ObservableError):
        parse(text)


def test_power_towers_end_soon(p):
    f = parse("9**9**9**9 + z[0]")
    with pytest.raises(ObservableError, match="not finite"):
        p.expect(f.function, f.samples)


def run(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.output


def test_command_line(tmp_path, flow):
    path = tmp_path / "flow.nc"
    flow.save(path)
    code, out = run(
        "observe", path, "--layer", 3, "--f", "tanh(z[0])**2", "--g", "z[1]*z[2]", "--neurons", "different"
    )
    p = joint(flow, 3)
    expected = p.covariance_of(lambda z: jnp.tanh(z[0]) ** 2, [0], lambda z: z[0] * z[1], [(1, 1), (1, 2)])
    assert code == 0 and f"{expected.correction / 20:.4g}" in out
    assert run("observe", path, "--f", "z[0]")[0] == 0
    for bad in ("__import__('os')", "z[9]", "log(z[0])"):
        code, out = run("observe", path, "--f", bad)
        assert code == 2 and out.startswith("ntkflow: ") and out.count("\n") == 1
    np.save(tmp_path / "y.npy", np.zeros((4, 3)))
    code, out = run("first-step", path, "--targets", tmp_path / "y.npy", "--eta", 0.1)
    found = predict_first_step(flow, ntkflow.mse, np.zeros((4, 3)), 0.1)
    assert code == 0 and f"{found.loss_mean:.6g}" in out
    np.save(tmp_path / "c.npy", np.array([0, 1, 2, 0]))
    code, out = run(
        "first-step",
        path,
        "--targets",
        tmp_path / "c.npy",
        "--eta",
        0.1,
        "--loss",
        "cross_entropy",
        "--draws",
        200,
    )
    assert code == 0 and "output 2 on sample 3" in out
    assert run("first-step", path, "--targets", tmp_path / "c.npy", "--eta", 0.1)[0] == 2
