"""How long results take to be written and read: a flow of all components, kernels by tiles, an ensemble.

    python benchmarks/stores.py                # this version
    python benchmarks/stores.py OTHER/src      # the version in another folder too, each turn by turn, and the ratios

A flow of 40 samples and depth 3 (1 GB), as .nc and as .zarr; a flow of 12 samples by tiles and an ensemble, whose computations are part of
the time; kernels of 2000 samples. Medians of some rounds, each version in a process of its own that has compiled everything before.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import records

ROUNDS = 3


def serve() -> None:
    """Measure once for each line on stdin."""
    import shutil
    import tempfile
    import time

    import numpy as np

    import ntkflow

    X = np.random.default_rng(0).normal(size=(2000, 8))
    mlp = ntkflow.MLP((8, 32, 32, 4), "relu", C_W=2.0)
    large = ntkflow.flow(mlp, X[:40])
    for layer in large:  # tensors are made when they are first looked at
        for name in layer.values:
            layer.values[name], layer.errors[name] = layer[name], layer.error(name)

    def timed(action):
        start = time.perf_counter()
        result = action()
        return time.perf_counter() - start, result

    def all_numbers(flow) -> float:
        return sum(
            float(np.nansum(table[name])) for s in flow for table in (s.values, s.errors) for name in table
        )

    def measure(folder: Path) -> dict:
        times = {}
        for name in ("flow.nc", "flow.zarr"):
            times[f"save {name}"] = timed(lambda name=name: large.save(folder / name))[0]
            times[f"load {name}"] = timed(lambda name=name: ntkflow.Flow.load(folder / name))[0]
        tiles = folder / "tiles.zarr"
        times["write tiles"] = timed(lambda: ntkflow.flow(mlp, X[:12], store=tiles))[0]
        times["read tiles"] = timed(lambda: all_numbers(ntkflow.Flow.load(tiles)))[0]
        kernels = folder / "kernels.zarr"
        times["write kernels"] = timed(lambda: ntkflow.store_kernels(mlp, X, kernels, tile=256))[0]
        times["read kernels"] = timed(lambda: float(ntkflow.open_kernels(kernels).H.values.sum()))[0]
        run = folder / "run.zarr"
        times["write ensemble"] = timed(lambda: ntkflow.ensemble(mlp, X[:6], 5_000, block=50, store=run))[0]
        times["read ensemble"] = timed(lambda: ntkflow.Ensemble.load(run))[0]
        return times

    for _ in sys.stdin:
        folder = Path(tempfile.mkdtemp(dir=os.environ.get("NTKFLOW_BENCHMARK_FOLDER")))
        print(json.dumps(measure(folder)), flush=True)
        shutil.rmtree(folder)


class _Version:
    def __init__(self, source: Path):
        environment = os.environ | {"PYTHONPATH": str(source)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        self.times: list[dict] = []

    def measure(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.times.append(json.loads(self._process.stdout.readline()))

    def medians(self) -> dict:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        return {name: median(times[name] for times in self.times[1:]) for name in self.times[0]}


def main() -> None:
    sources = [Path(__file__).parent.parent / "src", *map(Path, sys.argv[1:2])]
    versions = [_Version(source.resolve()) for source in sources]
    for _ in range(1 + ROUNDS):  # the first compiles
        for version in versions:
            version.measure()
    mine, *other = (version.medians() for version in versions)
    records.save("stores", {"this version": mine} | ({"the other version": other[0]} if other else {}))
    for name, seconds in mine.items():
        ratio = f"{seconds / other[0][name]:10.2f} × {other[0][name]:.3f} s" if other else ""
        print(f"{name:18}{seconds:10.3f} s{ratio}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
