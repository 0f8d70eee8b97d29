"""Compiled programs on disk: kept by the command line, where the user may write, and never on import."""

import os
import subprocess
import sys

import numpy as np
import pytest

import ntkflow
from ntkflow._machine import program_cache


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Of a user whose cache folder is empty; the tests' own folder for programs is not theirs."""
    for name in list(os.environ):
        if name.startswith(("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE", "NTKFLOW_CACHE")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(program_cache, "user_cache_path", lambda name: tmp_path / "cache" / name)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    # What `keep_programs` sets is taken back.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return tmp_path


def programs(folder):
    return sorted(path for path in (folder / "cache").rglob("*-cache") if path.is_file())


def test_variables(environment):
    program_cache.keep_programs()
    folder = program_cache.programs_folder()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder) and folder.is_dir()
    assert folder.is_relative_to(environment / "cache" / "ntkflow")
    if os.name == "posix":
        assert folder.stat().st_mode & 0o077 == 0


def test_the_users_own_setting_stays(environment):
    os.environ["JAX_COMPILATION_CACHE_DIR"] = "elsewhere"
    program_cache.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


def test_a_folder_that_cannot_be_made(environment):
    (environment / "cache").write_text("a file")
    program_cache.keep_programs()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_another_processor_has_a_folder_of_its_own(environment, monkeypatch):
    here = program_cache.programs_folder()
    monkeypatch.setattr(program_cache, "_processor", lambda: ["another"])
    assert program_cache.programs_folder() != here


def test_import_is_light_and_changes_nothing():
    code = (
        "import os, sys\n"
        "before = dict(os.environ)\n"
        "import ntkflow\n"
        "assert dict(os.environ) == before\n"
        "heavy = {'jax', 'numpy', 'scipy', 'xarray', 'zarr', 'matplotlib', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert ntkflow.MLP((2, 3), 'tanh').depth == 1 and 'zarr' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    for name in ntkflow.__all__:
        assert getattr(ntkflow, name) is not None
    assert callable(ntkflow.compare) and callable(ntkflow.verify)


def test_the_command_line_keeps_programs(environment):
    (environment / "net.toml").write_text('widths = [4, 8, 2]\nactivation = "relu"\n')
    np.save(environment / "X.npy", np.eye(4)[:2])

    def flow(*options, **variables):
        command = [
            sys.executable,
            "-m",
            "ntkflow",
            *options,
            *["flow", "net.toml", "--data", "X.npy", "-o", "flow.nc", "--force"],
        ]
        done = subprocess.run(
            command, cwd=environment, env=os.environ | variables, capture_output=True, text=True, check=True
        )
        assert "Traceback" not in done.stderr
        return ntkflow.Flow.load(environment / "flow.nc")

    plain = flow("--no-cache")
    assert not programs(environment)
    flow(NTKFLOW_CACHE="0")
    assert not programs(environment)
    assert flow().equals(plain)
    kept = programs(environment)
    assert kept
    # Damaged programs are compiled again.
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    assert flow().equals(plain)
    assert programs(environment) == kept
