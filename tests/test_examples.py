"""The examples run from the top of the repository, as the README says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ntkflow


def run(name, folder):
    script = Path(__file__).parents[1] / "examples" / name
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_figures_are_those_of_the_benchmarks():
    """What stands between the README's marks is not typed by hand."""
    subprocess.run(
        [sys.executable, "benchmarks/figures.py", "--check"], cwd=Path(__file__).parents[1], check=True
    )


def test_demo_of_two_samples(tmp_path, monkeypatch, capsys):
    """The same script, on less than it shows."""
    spec = importlib.util.spec_from_file_location("demo", Path(__file__).parents[1] / "examples" / "demo.py")
    assert spec is not None and spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    monkeypatch.setattr(demo, "SAMPLES", 2)
    monkeypatch.setattr(demo, "WIDTHS", (64, 16, 16, 10))
    monkeypatch.chdir(tmp_path)
    demo.main()
    assert "relu, C_W = 2" in capsys.readouterr().out
    for activation in ("tanh", "relu"):
        assert ntkflow.Flow.load(tmp_path / "out" / f"digits_{activation}.nc")[3].A.shape == (2, 2, 2, 2)
        assert (tmp_path / "out" / f"digits_{activation}.png").stat().st_size > 10_000


def test_from_pytorch_of_few_models(monkeypatch, capsys):
    """The same script, on less than it shows."""
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location(
        "from_pytorch", Path(__file__).parents[1] / "examples" / "from_pytorch.py"
    )
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "MODELS", 3)
    monkeypatch.setattr(example, "WIDTH", 32)
    monkeypatch.setattr(example, "SAMPLES", 2)
    example.main()
    printed = capsys.readouterr().out
    assert printed.count("torch's default, uniform") == 6 and printed.count("He, Gaussian") == 3
    assert "are uniform" in printed and "does not look like at initialisation" in printed


@pytest.mark.slow
def test_demo(tmp_path):
    assert "relu, C_W = 2" in run("demo.py", tmp_path)
    for activation in ("tanh", "relu"):
        for suffix in ("nc", "png"):
            assert (tmp_path / "out" / f"digits_{activation}.{suffix}").stat().st_size > 10_000


@pytest.mark.slow
def test_one_learning_rate(tmp_path):
    """The tensor trains every width to 90 %; plain gradient descent none to 50 %."""
    printed = run("one_learning_rate.py", tmp_path)
    found = re.findall(r"(tensorial|plain) +width +\d+: .* accuracy ([\d.]+)%", printed)
    assert len(found) == 8
    assert all(
        float(accuracy) > 90 if kind == "tensorial" else float(accuracy) < 50 for kind, accuracy in found
    )


def test_tune_of_small_networks(tmp_path, monkeypatch, capsys):
    """The same script, on less than it shows."""
    spec = importlib.util.spec_from_file_location("tune", Path(__file__).parents[1] / "examples" / "tune.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for name, value in {"DEPTHS": (2, 3), "WIDTH": 8, "SEEDS": 1, "STEPS": 10}.items():
        monkeypatch.setattr(example, name, value)
    monkeypatch.chdir(tmp_path)
    example.main()
    assert capsys.readouterr().out.count("recipe") == 2
    assert all((tmp_path / "out" / f"{name}.png").stat().st_size > 10_000 for name in ("tune", "coordinates"))


def test_trained_of_few_networks(tmp_path, monkeypatch, capsys):
    """The same script, on less than it shows: means of 20 networks of width 64 within half an sd over seeds of the prediction."""
    path = Path(__file__).parents[1] / "examples" / "trained.py"
    spec = importlib.util.spec_from_file_location("trained", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for name, value in {"TRAINING": 30, "WIDTHS": (64,), "NETWORKS": 20, "STEPS": 20}.items():
        monkeypatch.setattr(example, name, value)
    monkeypatch.chdir(tmp_path)
    example.main()
    found = re.findall(
        r"means differ by ([\d.]+) where the sd over seeds is ([\d.]+)", capsys.readouterr().out
    )
    assert len(found) == 1 and float(found[0][0]) < 0.5 * float(found[0][1])
    assert (tmp_path / "out" / "trained.png").stat().st_size > 10_000


@pytest.mark.slow
def test_first_step(tmp_path):
    """400 trained networks of each width: the prediction's error is a few percent of the sd at 128 and 256."""
    printed = run("first_step.py", tmp_path)
    number = r"(-?[\d.]+) ± ([\d.]+)"
    found = re.findall(rf"width +\d+: loss {number} over seeds, trained {number}", printed)
    assert len(found) == 4 and (tmp_path / "out" / "first_step.png").stat().st_size > 10_000
    for mean, sd, trained_mean, trained_sd in (map(float, row) for row in found[2:]):
        assert abs(mean - trained_mean) < 0.25 * sd
        assert abs(sd - trained_sd) < 0.25 * sd
