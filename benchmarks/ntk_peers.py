"""The NTK of one network, and of many: ours beside neural-tangents and torch.func, on the same weights and inputs.

    python benchmarks/ntk_peers.py [a] [b] [c]

Each peer runs in a virtual environment of its own, made on first use in benchmarks/.venvs, and each method in a process
of its own. Methods must agree to 1e-10 before their times are printed: of the first call, and the median of later ones;
beside them the memory that the process grew by, the library's own included.
A method whose parameters' Jacobian would not fit into 8 GiB is left out. Results are kept in `results`.
"""

from __future__ import annotations

import importlib
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import records
from peers import python_of

CASES = {
    "a": {"N": 64, "widths": (64, 256, 256, 256, 10), "networks": 1},
    "b": {"N": 256, "widths": (64, 1024, 1024, 1024, 10), "networks": 1},
    "c": {"N": 8, "widths": (64, 128, 128, 128, 1), "networks": 200},
}
METHODS = {
    "ours": None,
    "neural-tangents, Jacobian contraction": ("neural-tangents", "nt 1"),
    "neural-tangents, NTK-vector products": ("neural-tangents", "nt 2"),
    "neural-tangents, structured derivatives": ("neural-tangents", "nt 3"),
    "torch.func, Jacobian contraction": ("torch", "torch"),
}
SECONDS = 10.0  # of later calls, at least three


def ours(case, params, X):
    import jax

    from ntkflow import MLP
    from ntkflow.finite import LayerParameters, ntk

    jax.config.update("jax_enable_x64", True)
    mlp = MLP(case["widths"], "tanh")
    params = tuple(LayerParameters(jax.device_put(W), jax.device_put(b)) for W, b in params)
    if case["networks"] == 1:
        params = jax.tree.map(lambda x: x[0], params)
        return lambda: ntk(mlp, params, X)[None]
    many = jax.jit(jax.vmap(lambda p: ntk(mlp, p, X)))
    return lambda: np.asarray(many(params))


def nt(case, params, X, implementation):
    import jax

    neural_tangents = importlib.import_module("neural_tangents")
    jax.config.update("jax_enable_x64", True)

    def network(params, x):
        for k, (W, b) in enumerate(params):
            # Weights in NTK parameterisation: their learning rates are then 1/n of ours.
            x = (x if k == 0 else jax.numpy.tanh(x)) @ W / np.sqrt(W.shape[0]) + b
        return x

    params = [
        (jax.device_put(W.swapaxes(-1, -2) * np.sqrt(W.shape[-1])), jax.device_put(b)) for W, b in params
    ]
    kernel = neural_tangents.empirical_ntk_fn(
        network, trace_axes=(), vmap_axes=0, implementation=int(implementation)
    )
    if case["networks"] == 1:
        params = jax.tree_util.tree_map(lambda x: x[0], params)
        one = jax.jit(lambda p: kernel(X, None, p)[None])
    else:
        one = jax.jit(jax.vmap(lambda p: kernel(X, None, p)))
    return lambda: np.asarray(one(params)).transpose(0, 3, 4, 1, 2)


def torch(case, params, X):
    import torch
    from torch.func import jacrev, vmap

    params = [(torch.tensor(W * np.sqrt(W.shape[-1])), torch.tensor(b)) for W, b in params]
    X = torch.tensor(X)

    def network(params, x):
        for k, (W, b) in enumerate(params):
            x = (x if k == 0 else torch.tanh(x)) @ (W.T / W.shape[1] ** 0.5) + b
        return x

    def kernel(params) -> Any:
        jacobian = vmap(jacrev(network), (None, 0))(params, X)
        flat = [j.flatten(2) for layer in jacobian for j in layer]
        return sum(torch.einsum("aip,bjp->ijab", j, j) for j in flat)

    if case["networks"] == 1:
        params = [(W[0], b[0]) for W, b in params]
        return lambda: kernel(params)[None].numpy()
    many = vmap(kernel)
    return lambda: many(params).numpy()


def work(method: str, folder: str, name: str) -> None:
    case = CASES[name]
    data = np.load(Path(folder) / "case.npz")
    params = [(data[f"W{k}"], data[f"b{k}"]) for k in range(len(case["widths"]) - 1)]
    kind, *argument = method.split()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    call = {"ours": ours, "nt": nt, "torch": torch}[kind](case, params, data["X"], *argument)
    result = call()
    times = {"first": time.perf_counter() - start, "later": []}
    while len(times["later"]) < 3 or sum(times["later"]) < SECONDS:
        start = time.perf_counter()
        call()
        times["later"].append(time.perf_counter() - start)
    np.save(Path(folder) / f"{kind}{''.join(argument)}.npy", result)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(json.dumps({"first": times["first"], "later": statistics.median(times["later"]), "memory": memory}))


def peak() -> float:
    """Floating-point operations per second of a large float64 matrix product."""
    import jax

    with jax.enable_x64(True):
        A = jax.numpy.ones((2048, 2048))
        product = jax.jit(lambda A: A @ A)
        product(A).block_until_ready()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            product(A).block_until_ready()
            times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times)


def operations(case) -> float:
    """Of matrix products in the backward equation, the symmetric half of Ĥ counted once."""
    N, widths, outputs = case["N"], case["widths"], case["widths"][-1]
    hidden = widths[1:-1]
    forward = sum(2 * N * a * b for a, b in itertools.pairwise(widths))
    back = sum(2 * N * outputs * a * b for a, b in itertools.pairwise(hidden))
    gram = sum(2 * (N * outputs) ** 2 * n / 2 for n in hidden) + sum(2 * N * N * n for n in widths[:-1])
    return case["networks"] * (forward + back + gram)


def compare(name: str) -> None:
    case = CASES[name]
    widths, networks = case["widths"], case["networks"]
    print(f"\n({name}) N = {case['N']}, widths {widths}, {networks} network(s), float64, all output neurons")
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"X": rng.normal(size=(case["N"], widths[0]))}
    for k, (n, m) in enumerate(itertools.pairwise(widths)):
        arrays |= {
            f"W{k}": rng.normal(size=(networks, m, n)) / np.sqrt(n),
            f"b{k}": 0.1 * rng.normal(size=(networks, m)),
        }
    jacobian = 8 * networks * case["N"] * widths[-1] * sum(a * b for a, b in itertools.pairwise(widths))
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "case.npz", **arrays)
        methods, reference = {}, None
        for label, peer in METHODS.items():
            method = "ours" if peer is None else peer[1]
            if "Jacobian" in label and jacobian > 8 * 2**30:
                print(f"  {label:42} left out: its Jacobian takes {jacobian / 2**30:.0f} GiB")
                continue
            python = sys.executable if peer is None else python_of(peer[0])
            command = [python, __file__, "--work", method, folder, name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reasons = [line for line in done.stderr.splitlines() if "Error" in line] or ["killed"]
                print(f"  {label:42} failed: {reasons[-1][:200]}")
                continue
            times = json.loads(done.stdout.splitlines()[-1])
            result = np.load(Path(folder) / f"{method.replace(' ', '')}.npy")
            if reference is None:
                reference = result
            else:
                assert np.abs(result - reference).max() < 1e-10 * np.abs(reference).max(), label
            methods[label] = times
            print(
                f"  {label:42} first {times['first']:8.3f} s   later {times['later']:8.4f} s   "
                f"peak memory {times['memory']:5.1f} GiB"
            )
    mine = methods["ours"]["later"]
    ratio = mine / min(times["later"] for label, times in methods.items() if label != "ours")
    share = operations(case) / mine / peak()
    print(f"  ours / fastest peer: {ratio:.2f}")
    print(f"  ours reaches {share:.0%} of this machine's matrix-multiply peak")
    records.save("ntk_peers", {name: {"methods": methods, "ratio": ratio, "share_of_peak": share}})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        for chosen in sys.argv[1:] or CASES:
            compare(chosen)
