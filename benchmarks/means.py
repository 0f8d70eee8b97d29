"""G and H at infinite width: ours beside neural-tangents' analytic kernels (NNGP and NTK), on standardised Gaussian inputs.

    python benchmarks/means.py                       # every case at N = 2000, depth 4
    python benchmarks/means.py relu tanh --N 1000

neural-tangents runs in a virtual environment of its own, made on first use in benchmarks/.venvs. Both are float64 and
jitted, and answer in turn, so that what else the machine does meets both; medians of times and of the ratios of
neighbouring calls. The kernels of the last layer must agree before times are printed. Ours are of all layers; theirs of
the last. Results are kept in `results`.

tanh, silu and softplus have no closed form: there neural-tangents integrates numerically, with `deg` nodes in each
direction. The smallest deg is taken whose kernels of 40 of the inputs agree with ours to ACCURACY; ours are computed to
1e-14 all the same. Where it is too slow at N it is timed on fewer inputs, and scaled by the square of their number.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import records
from peers import python_of

ANALYTIC = ("erf", "relu", "gelu")
NUMERICAL = ("tanh", "silu", "softplus")
ACCURACY = 1e-6
DEGREES = (10, 16, 25, 40, 64, 100, 160)
WIDTHS = (64, 64, 64, 64, 64)
C_W, C_b = 1.44, 0.09
CALLS = 15
FEWER = 150  # inputs on which numerical kernels are timed


def inputs(N: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, WIDTHS[0]))


def serve_ours(name: str):
    from ntkflow import MLP, flow

    # neural-tangents' parameterisation scales parameters of unit learning rate.
    mlp = MLP(WIDTHS, name, C_W=C_W, C_b=C_b, lambda_W=C_W, lambda_b=C_b)
    return lambda X: tuple(getattr(flow(mlp, X, "mean")[-1], kernel) for kernel in "GH")


def serve_nt(name: str, deg: str = "0", precision: str = "float64"):
    import warnings

    import jax

    stax = importlib.import_module("neural_tangents.stax")
    warnings.simplefilter("ignore")
    jax.config.update("jax_enable_x64", precision == "float64")
    functions = {"tanh": jax.numpy.tanh, "silu": jax.nn.silu, "softplus": jax.nn.softplus}
    if int(deg):
        sigma = stax.ElementwiseNumerical(functions[name], deg=int(deg))
    else:
        sigma = {"erf": stax.Erf, "relu": stax.Relu, "gelu": stax.Gelu}[name]()
    dense = [stax.Dense(width, W_std=C_W**0.5, b_std=C_b**0.5) for width in WIDTHS[1:]]
    _, _, kernel = stax.serial(*[part for layer in dense[:-1] for part in (layer, sigma)], dense[-1])
    both = jax.jit(lambda X: kernel(X, None, ("nngp", "ntk")))

    def call(X):
        found = both(X)
        return tuple(np.asarray(x) for x in (found.nngp, found.ntk))

    return call


def serve(kind: str, *arguments: str) -> None:
    """Answer each line `N path` on stdin: compute, save to `path` if there is one, print the seconds it took."""
    call = {"ours": serve_ours, "nt": serve_nt}[kind](*arguments)
    for line in sys.stdin:
        N, *path = line.split()
        X = inputs(int(N))
        start = time.perf_counter()
        found = call(X)
        seconds = time.perf_counter() - start
        if path:
            np.save(path[0], np.stack(found))
        print(json.dumps(seconds), flush=True)


class Server:
    def __init__(self, python: str, *arguments: str):
        command = [python, "-W", "ignore", __file__, "--serve", *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def __call__(self, N: int, path: str = "") -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(N, path, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("a peer ended, perhaps for lack of memory")
        return json.loads(answer)

    def kernels(self, N: int, folder: str) -> np.ndarray:
        path = f"{folder}/kernels.npy"
        self(N, path)
        return np.load(path)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Between different inputs: an input's own relu kernel is off by 1e-8 in neural-tangents, where 1 - ρ² is round-off."""
    apart = ~np.eye(a.shape[-1], dtype=bool)
    return max(float(np.abs(x - y)[apart].max() / np.abs(y).max()) for x, y in zip(a, b, strict=True))


def degree(name: str, ours: Server, folder: str) -> int:
    """The fewest nodes a side with which neural-tangents' numerical kernels are as accurate as ACCURACY."""
    mine = ours.kernels(40, folder)
    for deg in DEGREES:
        with Server(python_of("neural-tangents"), "nt", name, str(deg)) as theirs:
            if difference(theirs.kernels(40, folder), mine) <= ACCURACY:
                return deg
    raise RuntimeError(f"{name}: neural-tangents does not reach {ACCURACY} with {DEGREES[-1]} nodes a side")


def compare(name: str, N: int, folder: str) -> None:
    with Server(sys.executable, "ours", name) as ours:
        first = ours(N)
        deg = degree(name, ours, folder) if name in NUMERICAL else 0
        size, calls = (min(N, FEWER), 3) if deg else (N, CALLS)
        with Server(python_of("neural-tangents"), "nt", name, str(deg)) as theirs:
            first_theirs = theirs(size)
            apart = difference(theirs.kernels(size, folder), ours.kernels(size, folder))
            assert apart <= (10 * ACCURACY if deg else 1e-12), (name, apart)
            times = [(ours(N), theirs(size) * (N / size) ** 2) for _ in range(calls)]
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    label = f"{name}, deg {deg}, from N = {size}" if deg else name
    print(
        f"{label:32}{first:10.2f}{mine:10.3f}{first_theirs:14.2f}{other:10.3f}{ratio:9.4f}{apart:13.0e}",
        flush=True,
    )
    ours_theirs = {"ours": {"first": first, "later": mine}, "theirs": {"first": first_theirs, "later": other}}
    records.save("means", {f"{label}, N = {N}": {**ours_theirs, "ratio": ratio, "difference": apart}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="activation")
    parser.add_argument("--N", type=int, default=2000)
    chosen = parser.parse_args()
    print(f"N = {chosen.N}, depth {len(WIDTHS) - 1}, float64; seconds")
    print(
        f"{'':32}{'ours first':>10}{'later':>10}{'theirs first':>14}{'later':>10}{'ratio':>9}{'difference':>13}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.names or ANALYTIC + NUMERICAL:
            compare(name, chosen.N, folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
