"""What a new user waits for: `--help`, the import, and the first and later `ntkflow flow` on eight digits, each a fresh process.

    python benchmarks/first_result.py [--rounds 5]

"first ever" finds no compiled programs on disk; "later" finds those of an earlier process. Rounds go through all cases in turn, so that
what else the machine does meets all of them; medians. The flows must agree with one another to 1e-12 before times are printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import records
from sklearn.datasets import load_digits

NETWORKS = {"tanh": 1.0, "relu": 2.0}
SPEC = 'widths = [64, 128, 128, 128, 10]\nactivation = "{}"\nC_W = {}\n'


def seconds(*command: str, cache: str, folder: str) -> float:
    environment = os.environ | {"XDG_CACHE_HOME": cache, "LOCALAPPDATA": cache, "HOME": cache}
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def spread(folder: str) -> np.ndarray:
    import ntkflow

    return ntkflow.Flow.load(Path(folder) / "flow.nc")[-1].ntk_std()


def one_round(folder: str, known: dict[str, np.ndarray]) -> dict[str, float]:
    python = sys.executable
    times = {}
    with tempfile.TemporaryDirectory() as cache:
        where = {"cache": cache, "folder": folder}
        times["ntkflow --help"] = seconds(python, "-m", "ntkflow", "--help", **where)
        times["import ntkflow"] = seconds(python, "-c", "import ntkflow", **where)
        times["import ntkflow; ntkflow.flow"] = seconds(python, "-c", "import ntkflow; ntkflow.flow", **where)
        for name in NETWORKS:
            flow = [
                python,
                "-m",
                "ntkflow",
                "flow",
                f"{name}.toml",
                "--data",
                "X.npy",
                "-o",
                "flow.nc",
                "--force",
            ]
            for when in ("first ever", "later"):
                times[f"ntkflow flow, {name}, {when}"] = seconds(*flow, **where)
                found = spread(folder)
                assert np.allclose(found, known.setdefault(name, found), rtol=1e-12, atol=0.0)
    return times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    X = load_digits(return_X_y=True)[0][:8]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "X.npy", (X - X.mean()) / X.std())
        for name, C_W in NETWORKS.items():
            (Path(folder) / f"{name}.toml").write_text(SPEC.format(name, C_W))
        known: dict[str, np.ndarray] = {}
        rounds = [one_round(folder, known) for _ in range(chosen.rounds)]
    cases = {name: {"seconds": statistics.median(times[name] for times in rounds)} for name in rounds[0]}
    for name, case in cases.items():
        print(f"{name:40}{case['seconds']:8.2f} s")
    records.save("first_result", cases)


if __name__ == "__main__":
    main()
