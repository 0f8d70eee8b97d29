"""The source distribution is enough to build the wheel, and the wheel to run ntkflow, without a network."""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import ntkflow

ROOT = Path(__file__).parents[1]
RUN = """
import ntkflow
flow = ntkflow.flow(ntkflow.MLP((2, 8, 1), "relu", C_W=2.0), [[1.0, -1.0]], "mean")
print(ntkflow.__file__, float(flow[-1].H[0, 0]))
"""


def call(*command, folder: Path) -> str:
    """What a program prints that sees no ntkflow of this process's."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(target: str, source: Path, folder: Path) -> Path:
    pytest.importorskip("hatchling", reason="built with the extra dev")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.tar.gz" if target == "sdist" else "*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Of the source distribution's content, not of the repository's."""
    folder = tmp_path_factory.mktemp("package")
    with tarfile.open(build("sdist", ROOT, folder)) as source:
        source.extractall(folder, filter="data")
    return build("wheel", folder / f"ntkflow-{ntkflow.__version__}", folder)


def test_wheel_holds_the_package_and_nothing_else(wheel):
    files = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/ntkflow").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"ntkflow/py.typed", "ntkflow/__init__.pyi"} < files
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == files


def test_wheel_runs_in_an_environment_of_its_own(wheel, tmp_path):
    """Where the dependencies are, a path to this environment's, and where its own ntkflow is not."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(call(python, "-c", show, folder=tmp_path).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pytest.importorskip("pip")
    install = ["-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    call(sys.executable, *install, folder=tmp_path)
    assert call(scripts / "ntkflow", "--version", folder=tmp_path) == f"ntkflow {ntkflow.__version__}\n"
    where, H = call(python, "-c", RUN, folder=tmp_path).split()
    assert Path(where).is_relative_to(packages) and float(H) == pytest.approx(4.0)


def test_metadata_name_the_version_everywhere(wheel):
    metadata = importlib.metadata.PathDistribution(
        zipfile.Path(wheel, f"ntkflow-{ntkflow.__version__}.dist-info/")
    )
    assert metadata.version == ntkflow.__version__
    assert f"version: {ntkflow.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n## ")[2]
    assert newest.startswith(ntkflow.__version__)
