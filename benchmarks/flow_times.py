"""How long `flow` takes on standardised digits: the first call of a fresh process, and later calls.

    python benchmarks/flow_times.py            # every case
    python benchmarks/flow_times.py large      # many samples: minutes
    python benchmarks/flow_times.py growth     # cost against N, L and the hidden width

Each case runs in a process of its own, so that its first call includes all compilation, and its peak memory is its own. Before
it is timed it must agree with a run on permuted inputs to 1e-9; large ones with a run on some of the inputs. Results are kept in
`results`, from which `figures.py` writes those of docs/flow.md.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import records
from sklearn.datasets import load_digits

from ntkflow import MLP, flow

TANH, RELU, GELU, ELU = (
    {"activation": name, "C_W": C_W}
    for name, C_W in (("tanh", 1.0), ("relu", 2.0), ("gelu", 2.0), ("elu", 1.0))
)
CASES = {
    "N=8 all tanh depth 6": {"N": 8, "components": "all", **TANH},
    "N=8 all relu depth 6": {"N": 8, "components": "all", **RELU},
    "N=8 all gelu depth 6": {"N": 8, "components": "all", **GELU},
    "N=8 all elu depth 6": {"N": 8, "components": "all", **ELU},
    "N=200 pairs tanh depth 6": {"N": 200, "components": "pairs", **TANH},
    "N=200 pairs relu depth 6": {"N": 200, "components": "pairs", **RELU},
}
LARGE = {
    "N=1000 pairs tanh depth 10": {"N": 1000, "components": "pairs", **TANH, "depth": 10},
    "N=1000 pairs relu depth 10": {"N": 1000, "components": "pairs", **RELU, "depth": 10},
    "N=16 all tanh depth 6": {"N": 16, "components": "all", **TANH},
    "N=16 all relu depth 6": {"N": 16, "components": "all", **RELU},
    "N=32 all tanh depth 6, to a store": {"N": 32, "components": "all", **TANH, "store": True},
    "N=32 all relu depth 6, to a store": {"N": 32, "components": "all", **RELU, "store": True},
}
GROWTH = {
    f"{activation} {components} N={N} depth {depth} width {width}": {
        "N": N, "components": components, "activation": activation, "C_W": C_W, "depth": depth, "width": width,
    }
    for activation, C_W in (("tanh", 1.0), ("relu", 2.0))
    for components, N, depth, width in (
        ("all", 4, 6, 128), ("all", 8, 6, 128), ("all", 12, 6, 128), ("all", 8, 12, 128), ("all", 8, 6, 1024),
        ("pairs", 50, 6, 128), ("pairs", 100, 6, 128), ("pairs", 200, 6, 128),
    )
}  # fmt: skip
CALLS = 5


def digits(N: int) -> np.ndarray:
    """The first N images, less the mean image, scaled so that sum(x**2) / n_0 is 1 on average."""
    images = load_digits(return_X_y=True)[0]
    X = images[:N] - images.mean(axis=0)
    return X / np.sqrt(np.mean(X**2))


def measure(N, components, activation, C_W, depth=6, width=128, store=False) -> dict:
    mlp, X = MLP((64, *[width] * (depth - 1), 10), activation, C_W=C_W), digits(N)
    large = N > (12 if components == "all" else 200)

    def timed(X):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            result = flow(mlp, X, components, store=Path(folder) / "flow.zarr" if store else None)
            return time.perf_counter() - start, result, result[-1].ntk_std()

    first, result, spread = timed(X)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    error = None if large else max(layer.relative_error(name) for layer in result for name in layer.values)
    order = np.arange(4) if large else np.random.default_rng(0).permutation(N)
    again = flow(mlp, X[order], components)[-1].ntk_std()
    assert np.allclose(again, spread[np.ix_(order, order)], rtol=1e-9)
    del result
    later = [timed(X)[0] for _ in range(0 if store else 2 if large else CALLS)]
    return {
        "first": first,
        "later": statistics.median(later) if later else None,
        "error": error,
        "peak": peak,
    }


def main() -> None:
    cases = {"growth": GROWTH, "large": LARGE}.get("".join(sys.argv[1:]), CASES)
    print(
        f"{'case':44}{'first call, s':>15}{'peak, GiB':>11}{'later, s':>10}{'largest relative error estimate':>34}"
    )
    for name, case in cases.items():
        code = f"import json, flow_times; print(json.dumps(flow_times.measure(**{case!r})))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=sys.path[0], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        t = json.loads(done.stdout)
        records.save("growth" if cases is GROWTH else "flow_times", {name: t})
        later = "-" if t["later"] is None else f"{t['later']:.2f}"
        error = "-" if t["error"] is None else f"{t['error']:.1e}"
        print(f"{name:44}{t['first']:15.2f}{t['peak']:11.2f}{later:>10}{error:>34}", flush=True)


if __name__ == "__main__":
    main()
