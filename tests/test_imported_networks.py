"""`package.module:name` in the place of a specification, on the command line."""

from typing import Any

import numpy as np
import pytest
from command_line import process, within

import ntkflow

X = np.random.default_rng(7).normal(size=(3, 4))
NETS = """
import jax.numpy as jnp
import ntkflow

mlp = ntkflow.MLP((4, 8, 2), "relu", C_W=2.0)

def wave(z):
    return jnp.sin(z) + z

def make():
    return ntkflow.MLP((4, 8, 2), wave)

class Torch:
    def __new__(cls):
        from torch import nn
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

def with_width(width):
    return mlp

def fails():
    return [][3]

def too_short():
    return ntkflow.MLP((4,))

table = {"widths": [4, 8, 2]}
number = 3

class Residual:
    def __new__(cls):
        from torch import nn

        class Skip(nn.Sequential):
            def forward(self, x):
                return x + super().forward(x)

        return nn.Sequential(nn.Linear(4, 8), Skip(nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8)), nn.Linear(8, 2))
"""


@pytest.fixture
def folder(tmp_path):
    """With a package of its own, as a module once imported stays what it is."""
    package = tmp_path / "nets_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shallow.py").write_text(NETS)
    np.save(tmp_path / "X.npy", X)
    return tmp_path


@pytest.mark.parametrize("name", ["mlp", "make", "Torch"])
def test_flow_and_diagnose_take_it(folder, name):
    """An MLP, a function that makes one with an activation of its own, a class of another library's model."""
    if name == "Torch":
        pytest.importorskip("torch")
    spec = f"nets_of_mine.shallow:{name}"
    status, printed, said = within(
        folder, "flow", spec, "--data", "X.npy", "-o", "flow.nc", "--components", "mean"
    )
    assert status == 0, said
    flow = ntkflow.Flow.load(folder / "flow.nc")
    assert flow.mlp.widths == (4, 8, 2) and np.array_equal(flow.X, X)
    assert {"mlp": "relu", "make": "wave", "Torch": "relu"}[name] in printed
    status, printed, said = within(folder, "diagnose", spec, "--data", "X.npy")
    assert status == 0 and "4-8-2" in printed, said


def test_flow_takes_skips_and_norms(folder):
    """Of another library's model; so does diagnose; tune says in one sentence that it does not."""
    pytest.importorskip("torch")
    spec = "nets_of_mine.shallow:Residual"
    arguments = ("--data", "X.npy", "-o", "flow.nc", "--components", "mean")
    status, printed, said = within(folder, "flow", spec, *arguments)
    assert status == 0, said
    network: Any = ntkflow.Flow.load(folder / "flow.nc").mlp
    assert network.blocks[0].gamma == 1 and network.blocks[0].stages[0].norm == "layer"
    status, printed, said = within(folder, "diagnose", spec, "--data", "X.npy")
    assert status == 0 and "chi_perp" in printed, said
    status, printed, said = within(folder, "tune", spec, "--data", "X.npy")
    assert status == 2 and not printed and "the model has skips and norms" in said


def test_the_working_folder_of_a_process_is_looked_at(folder):
    arguments = (
        "flow",
        "nets_of_mine.shallow:mlp",
        "--data",
        "X.npy",
        "-o",
        "flow.nc",
        "--components",
        "mean",
    )
    status, printed, said = process(folder, *arguments)
    assert status == 0 and "4-8-2, relu" in printed, said


@pytest.mark.parametrize("command", [("flow", "-o", "flow.nc"), ("diagnose",)], ids=["flow", "diagnose"])
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_package.nets:make", "No module named 'no_such_package'"),
        ("nets_of_mine.deep:make", "No module named 'nets_of_mine.deep'"),
        ("nets_of_mine.shallow:maker", "has no 'maker' (did you mean 'make'?)"),
        ("nets_of_mine.shallow:with_width", "missing 1 required positional argument: 'width'"),
        ("nets_of_mine.shallow:fails", "IndexError: list index out of range (shallow.py, line 22)"),
        (
            "nets_of_mine.shallow:too_short",
            "widths must list n_0 and at least one layer, not (4,) (shallow.py,",
        ),
        ("nets_of_mine.shallow:table", "not dict; MLP.from_spec reads a table"),
        ("nets_of_mine.shallow:number", "not int"),
        ("nets_of_mine.shallow:", "cannot read the specification"),
        ("nets_of_mine.shallow:", "; a network of a module is written package.module:callable"),
        ("nets_of_mine.shallow", "; a network of a module is written package.module:callable"),
        ("nets_of_mine", "; a network of a module is written package.module:callable"),
    ],
)
def test_what_is_no_network_gets_one_sentence(folder, command, spec, words):
    status, printed, said = within(folder, command[0], spec, "--data", "X.npy", *command[1:])
    assert status == 2 and not printed
    assert said.startswith("ntkflow: ") and said.count("\n") == 1 and words in said


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("divides", "x = 1\ny = x / 0\n", "ZeroDivisionError: division by zero (divides.py, line 2)"),
        ("unwritten", "def make(:\n", "SyntaxError: invalid syntax (unwritten.py, line 1)"),
        ("needs", "import no_such_package\n", "No module named 'no_such_package' (needs.py, line 1)"),
        ("asks", "import os\nos.nothing\n", "has no attribute 'nothing' (asks.py, line 2)"),
    ],
)
def test_modules_that_fail(folder, name, source, words):
    (folder / f"{name}.py").write_text(source)
    status, _, said = within(folder, "flow", f"{name}:make", "--data", "X.npy", "-o", "flow.nc")
    assert status == 2 and said.startswith(f"ntkflow: cannot import {name}:make: ")
    assert said.count("\n") == 1 and words in said
