"""The libraries that benchmarks run beside ntkflow, each in a virtual environment of its own, made on first use."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / ".venvs"
PEERS = {
    "neural-tangents": ["jax==0.4.23", "jaxlib==0.4.23", "numpy<2", "scipy<1.12", "neural-tangents==0.6.5"],
    "torch": ["torch==2.13.0", "numpy"],
}


def python_of(peer: str) -> str:
    folder = FOLDER / peer
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", *PEERS[peer]], check=True)
    return str(folder / "bin" / "python")
