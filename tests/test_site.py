"""The site builds, without a warning, and has every public name."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import ntkflow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocstrings_handlers.python", reason="built with the extra dev")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_has_an_entry(site):
    """`objects.inv` lists what the reference describes, compressed, behind four lines."""
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    described = {line.split()[0] for line in inventory.splitlines()}
    submodules = {"errors", "finite", "interop", "network", "observables", "sampling", "training", "tuning"}
    public = {f"ntkflow.{name}" for name in ntkflow.__all__ if name not in submodules | {"__version__"}}
    public |= {f"ntkflow.finite.{name}" for name in ntkflow.finite.__all__}
    public |= {f"ntkflow.observables.{name}" for name in ntkflow.observables.__all__}
    missing = public - described
    assert not missing


def test_what_people_search_is_there(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    locations = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"", "flow/", "training/", "changelog/", "contributing/", "api/finite/"} <= locations
