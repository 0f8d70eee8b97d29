"""Every command's help has examples, and all examples run, one after the other in one folder."""

import os
import shlex
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from command_line import within

from ntkflow._report.cli import app
from ntkflow._report.cli_examples import EXAMPLES

COMMANDS = sorted(str(command.name) for command in app.registered_commands)
MODEL = """
from ntkflow import MLP
def make_model():
    return MLP((6, 24, 24, 1), "relu", C_W=2.0)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_the_examples(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, printed, _ = within(".", command, "--help")
    end = printed.partition("Examples:")[2].split("\n")
    assert status == 0 and [line.strip() for line in end if line.strip()] == list(EXAMPLES[command])


def test_help_of_an_expression_says_which_sample():
    assert "z[a] being sample a" in " ".join(within(".", "observe", "--help")[1].replace("│", "").split())


@pytest.mark.filterwarnings("ignore")
def test_all_examples_run(tmp_path, rng):
    """At exit status 0, and each leaves the file that its -o or --plot names."""
    (tmp_path / "net.toml").write_text('widths = [6, 24, 24, 1]\nactivation = "tanh"\nC_W = 1.0\n')
    (tmp_path / "mymodel.py").write_text(MODEL)
    for name, shape in {"X": (4, 6), "X_test": (2, 6), "y": (4, 1)}.items():
        np.save(tmp_path / f"{name}.npy", rng.normal(size=shape))
    for command, examples in EXAMPLES.items():
        for example in examples:
            words = shlex.split(example)
            assert words[:2] == ["ntkflow", command] and len(example) <= 78  # one line of a terminal
            status, printed, said = within(tmp_path, *words[1:])
            assert (status, bool(printed)) == (0, True), (example, said)
            written = [words[i + 1] for i, word in enumerate(words) if word in ("-o", "--plot")]
            assert all((tmp_path / name).exists() for name in written), example
    assert tomllib.loads((tmp_path / "recipe.toml").read_text())["widths"] == [6, 24, 24, 1]


def test_shells_complete_the_commands():
    """What a shell runs for "ntkflow c<tab>" lists the commands that begin so."""
    words = {"_NTKFLOW_COMPLETE": "complete_bash", "COMP_WORDS": "ntkflow c", "COMP_CWORD": "1"}
    code = "from ntkflow._report.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) == {"check", "compare", "critical"}, done.stderr
