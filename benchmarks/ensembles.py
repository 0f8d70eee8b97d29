"""Ensembles of networks: ours beside neural-tangents, and theory beside sampling.

    python benchmarks/ensembles.py [throughput] [accuracy] [estimators] [memory]

Eight digits, tanh networks with three hidden layers of 128, depth 4. Each method runs in a process of its own; means and variances of
the NTK must agree within 6 standard errors before times are printed: of the first call, and the median of later ones. Results are
kept in `results`, a case for each part.
"""

from __future__ import annotations

import importlib
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
from peers import python_of

N, WIDTHS, C_B, C_W = 8, (64, 128, 128, 128, 1), 0.1, 1.5
SPEC = f'widths = {list(WIDTHS)}\nactivation = "tanh"\nC_b = {C_B}\nC_W = {C_W}\nlambda_b = {C_B}\nlambda_W = {C_W}\n'
BATCH = 50  # networks in a peer's call, which did best among 25, 50, 100, 200 and 400
METHODS = {
    "ours, output_ntk": (None, "ours"),
    "neural-tangents, monte_carlo_kernel_fn": ("neural-tangents", "monte_carlo"),
    "neural-tangents, vmap of structured derivatives": ("neural-tangents", "vmap"),
}
CALL = 5000  # networks between two readings of the clock
SECONDS = 20.0


def inputs():
    from sklearn.datasets import load_digits

    X = load_digits(return_X_y=True)[0][:N]
    return (X - X.mean()) / X.std()


def network():
    from ntkflow import MLP

    return MLP(WIDTHS, "tanh", C_B, C_W, C_B, C_W)


def ours(X, dtype):
    from ntkflow import output_ntk

    def call(draws, seed):
        found = output_ntk(network(), X, draws, seed, dtype)
        return found.mean, found.variance, draws

    return call


def neural_tangents(X, dtype):
    import jax

    nt, stax = map(importlib.import_module, ("neural_tangents", "neural_tangents.stax"))
    jax.config.update("jax_enable_x64", dtype == "float64")
    layers = []
    for n in WIDTHS[1:]:
        layers += [stax.Dense(n, W_std=C_W**0.5, b_std=C_B**0.5), stax.Elementwise(jax.numpy.tanh)]
    init, apply, _ = stax.serial(*layers[:-1])
    return jax, init, apply, nt.empirical_ntk_fn, nt.monte_carlo_kernel_fn, jax.numpy.asarray(X, dtype)


def monte_carlo(X, dtype):
    """Its result is the mean alone."""
    jax, init, apply, _, monte_carlo_kernel_fn, X = neural_tangents(X, dtype)

    def call(draws, seed):
        kernel = monte_carlo_kernel_fn(
            init, apply, jax.random.PRNGKey(seed), draws, trace_axes=(), vmap_axes=0, implementation=3
        )
        return np.asarray(kernel(X, None, "ntk"))[..., 0, 0], None, draws

    return call


def vmap(X, dtype):
    jax, init, apply, empirical_ntk_fn, _, X = neural_tangents(X, dtype)
    kernel = empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=3)

    @jax.jit
    def sums(key):
        keys = jax.random.split(key, BATCH)
        H = jax.vmap(lambda key: kernel(X, None, init(key, X.shape)[1])[..., 0, 0])(keys)
        return H.sum(axis=0), (H**2).sum(axis=0)

    def call(draws, seed):
        total = squares = 0.0
        for k in range(draws // BATCH):
            one, two = sums(jax.random.fold_in(jax.random.PRNGKey(seed), k))
            total, squares = total + np.asarray(one, float), squares + np.asarray(two, float)
        mean = total / draws
        return mean, (squares / draws - mean**2) * draws / (draws - 1), draws

    return call


def work(method: str, dtype: str, folder: str) -> None:
    X = np.load(Path(folder) / "X.npy")
    call = {"ours": ours, "monte_carlo": monte_carlo, "vmap": vmap}[method](X, dtype)
    start = time.perf_counter()
    call(BATCH, 0)
    first = time.perf_counter() - start
    start = time.perf_counter()
    mean, variance, draws = call(CALL, 1)
    rates, began, seed = [draws / (time.perf_counter() - start)], time.perf_counter(), 2
    while len(rates) < 3 or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        call(CALL, seed)
        rates.append(CALL / (time.perf_counter() - start))
        seed += 1
    np.savez(
        Path(folder) / f"{method}.npz", mean=mean, variance=mean * np.nan if variance is None else variance
    )
    print(json.dumps({"first": first, "rate": statistics.median(rates), "draws": draws}))


def throughput() -> None:
    from ntkflow import output_ntk

    print(f"\nNTK of the output, mean and variance over networks: N = {N}, widths {WIDTHS}")
    X, found_rates = inputs(), {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "X.npy", X)
        for dtype in ("float64", "float32"):
            reference = output_ntk(network(), X, 50_000, seed=99)
            rates = {}
            for label, (peer, method) in METHODS.items():
                python = sys.executable if peer is None else python_of(peer)
                command = [python, __file__, "--work", method, dtype, folder]
                times = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                with np.load(Path(folder) / f"{method}.npz") as found:
                    errors = (1 + reference.draws / times["draws"]) ** 0.5
                    for name in ("mean", "variance"):
                        z = (
                            (found[name] - getattr(reference, name))
                            / getattr(reference, f"{name}_err")
                            / errors
                        )
                        assert not np.any(np.abs(z) > 6), (label, name, np.max(np.abs(z)))
                rates[label] = times["rate"]
                print(
                    f"  {dtype}  {label:48} first call {times['first']:6.2f} s   later {times['rate']:9.0f} networks/s"
                )
            best = max(rate for label, rate in rates.items() if not label.startswith("ours"))
            ratio = rates["ours, output_ntk"] / best
            print(f"  {dtype}  ours / best peer: {ratio:.1f}")
            found_rates[dtype] = {"networks_a_second": rates, "ratio": ratio}
    records.save("ensembles", {"throughput": found_rates})


def accuracy() -> None:
    """Time to a relative standard error of 1 % on Var Ĥ_αβ of the output, of every pair of samples."""
    from ntkflow import flow, output_ntk

    X, mlp = inputs(), network()
    print("\nTime to 1 % on the variance of the output's NTK, every pair of samples")

    def predict():
        return flow(mlp, X, components="pairs")[-1].ntk_std() ** 2

    start = time.perf_counter()
    predicted = predict()
    first = time.perf_counter() - start
    later = timed(predict)
    sampled = output_ntk(mlp, X, 400_000)
    needed = sampled.draws * np.max(sampled.variance_err / sampled.variance) ** 2 / 0.01**2
    apart = np.max(np.abs(predicted / sampled.variance - 1))
    print(f"  theory, components='pairs': first call {first:.2f} s, later {later:.4f} s")
    print(
        f"  samplers need {needed:.0f} networks; theory and {sampled.draws} networks differ by up to {apart:.1%}"
    )
    start = time.perf_counter()
    output_ntk(mlp, X, int(needed), seed=1)
    seconds = {"theory": later, "ours, output_ntk": time.perf_counter() - start}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "X.npy", X)
        for dtype in ("float64", "float32"):
            command = [python_of("neural-tangents"), __file__, "--work", "vmap", dtype, folder]
            rate = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[
                "rate"
            ]
            seconds[f"neural-tangents, structured derivatives, {dtype}"] = needed / rate
    for label, taken in seconds.items():
        print(f"  {label}: {taken:.4g} s, {taken / later:.0f} times the theory's")
    records.save("ensembles", {"accuracy": {"networks": needed, "apart": apart, "seconds": seconds}})


def estimators() -> None:
    """Draws that the two kinds of estimators need for the same error."""
    from ntkflow import ensemble, output_ntk

    X, mlp, draws, direct_draws = inputs(), network(), 2000, 40_000
    n, i = mlp.widths[-2], np.arange(N)
    a, b = i[:, None], i[None]
    last = ensemble(mlp, X, draws)[-1]
    variance = (last.A[a, b, a, b] + last.B[a, a, b, b] + last.B[a, b, b, a]) / n
    of_A, of_B = last.error("A"), last.error("B")
    error = (of_A[a, b, a, b] + of_B[a, a, b, b] + of_B[a, b, b, a]) / n  # at most
    found = output_ntk(mlp, X, direct_draws)
    by_pair = (found.variance_err / error) ** 2 * direct_draws / draws
    largest = (found.variance_err.max() / error.max()) ** 2 * direct_draws / draws
    needed = draws * (error.max() / variance.max() / 0.01) ** 2
    print(
        "\nVar of one output neuron's NTK: draws of direct estimators over draws of low-noise ones, for the same error"
    )
    print(
        f"  largest error, as a part of the largest component: {largest:.0f} (1 % takes {needed:.0f} low-noise draws)"
    )
    print(
        f"  by pair of samples: {by_pair.min():.1f} to {by_pair.max():.0f}, median {np.median(by_pair):.0f}"
    )
    tensors = {}
    for outputs in (2, 10):
        wide = type(mlp)((*WIDTHS[:-1], outputs), "tanh", C_B, C_W, C_B, C_W)
        low, direct = (ensemble(wide, X[:4], draws, estimators=kind)[-1] for kind in ("low-noise", "direct"))
        ratios = {name: float((direct.error(name).max() / low.error(name).max()) ** 2) for name in "VDFAB"}
        shown = ", ".join(f"{name} {ratio:.0f}" for name, ratio in ratios.items())
        print(f"  each tensor, all {outputs} output neurons: {shown}")
        tensors[f"{outputs} outputs"] = ratios
    case = {"fewer_draws": float(largest), "by_pair": [float(by_pair.min()), float(by_pair.max())], **tensors}
    records.save("ensembles", {"estimators": case})


def memory() -> None:
    from ntkflow import ensemble

    print("\nPeak memory of one process")
    X, megabytes = inputs()[:4], {}
    for draws in (200, 2000, 20_000):
        ensemble(network(), X, draws, block=200)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  after {draws:6} draws of 4 samples: {peak:.0f} MB")
        megabytes[str(draws)] = peak
    records.save("ensembles", {"memory": {"megabytes_after_draws": megabytes}})


def timed(call) -> float:
    times = []
    while len(times) < 5 or sum(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


PARTS = {part.__name__: part for part in (throughput, accuracy, estimators, memory)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        for chosen in sys.argv[1:] or PARTS:
            PARTS[chosen]()
