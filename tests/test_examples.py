"""The examples run from the top of the repository, as the README says."""

import subprocess
import sys
from pathlib import Path


def test_demo(tmp_path):
    script = Path(__file__).parents[1] / "examples" / "demo.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "relu, C_W = 2" in done.stdout
    for activation in ("tanh", "relu"):
        for suffix in ("nc", "png"):
            assert (tmp_path / "out" / f"digits_{activation}.{suffix}").stat().st_size > 10_000
