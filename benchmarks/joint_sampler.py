"""Draws of (z, Ĥ) of a few neurons: the joint distribution's sampler beside networks that are really drawn.

    python benchmarks/joint_sampler.py

Four digits, tanh networks with three hidden layers of 128, depth 4, two neurons of the last layer, float64. Networks are drawn by
`finite.init`, `finite.forward` and `finite.ntk`, vmapped and compiled together; `output_ntk`, which never makes a weight, gives no draws but
mean and variance of one neuron's NTK, and is timed for comparison. First all must agree within 6 standard errors on the means and
second moments that they have in common; then they take turns, and medians are printed, in seconds for 10⁵ draws, with the sampler's set-up;
they are kept in `results`.
"""

from __future__ import annotations

import statistics
import time

import jax
import numpy as np
import records

import ntkflow
from ntkflow import finite

N, WIDTHS, NEURONS = 4, (64, 128, 128, 128, 10), 2
DRAWS = 100_000
BATCH = 20  # networks in a call, which did best among 5, 20, 50 and 200
NETWORKS = 2000  # between two readings of the clock
CHECKED = 10_000  # networks; more would show the expansion's next order
ROUNDS = 5


def inputs():
    from sklearn.datasets import load_digits

    X = load_digits(return_X_y=True)[0][:N]
    return (X - X.mean()) / X.std()


def drawing_networks(mlp, X):
    """draws, seed → z (draws, m, N) and Ĥ (draws, m, m, N, N) of networks, weights and all."""
    chosen = np.arange(NEURONS)

    @jax.jit
    def some(key):
        def one(key):
            params = finite.init(mlp, key)
            return finite.forward(mlp, params, X)[-1][:, chosen].T, finite.ntk(mlp, params, X, neurons=chosen)

        return jax.vmap(one)(jax.random.split(key, BATCH))

    def call(draws, seed):
        with jax.enable_x64(True):
            keys = jax.random.split(jax.random.key(seed), draws // BATCH)
            found = [tuple(map(np.asarray, some(key))) for key in keys]
        return tuple(np.concatenate(part) for part in zip(*found, strict=True))

    return call


def moments(z, H):
    """Of each draw: z z, Ĥ and Ĥ Ĥ of neuron 0 and of two, and z z Ĥ, whose means are compared."""
    a, b = np.triu_indices(N)
    zz, own, cross = z[:, 0, a] * z[:, 0, b], H[:, 0, 0][:, a, b], H[:, 0, 1]
    centred = own - own.mean(axis=0)
    products = [x[:, :, None] * y[:, None] for x, y in ((centred, centred), (zz, centred))]
    crossed = [np.einsum("da,db,dab->dab", z[:, 0], z[:, 1], cross), cross**2]
    return np.concatenate([x.reshape(len(z), -1) for x in (zz, own, *products, *crossed)], axis=1)


def check(sampled, drawn, output):
    one, two = moments(*sampled), moments(*drawn)
    error = np.sqrt(one.var(axis=0) / len(one) + two.var(axis=0) / len(two))
    apart = np.abs(one.mean(axis=0) - two.mean(axis=0)) / error
    print(
        f"  {apart.size} moments of the sampler and of {len(two)} networks: up to {apart.max():.1f} standard errors apart"
    )
    assert apart.max() < 6
    own = sampled[1][:, 0, 0]
    error = np.hypot(output.mean_err, own.std(axis=0) / np.sqrt(len(own)))
    apart = np.abs(own.mean(axis=0) - output.mean) / error
    print(f"  mean NTK of the sampler and of output_ntk: up to {apart.max():.1f} standard errors apart")
    assert apart.max() < 6


def main() -> None:
    X, mlp = inputs(), ntkflow.MLP(WIDTHS, "tanh", 0.1, 1.5, 0.1, 1.5)
    single = ntkflow.MLP((*WIDTHS[:-1], 1), "tanh", 0.1, 1.5, 0.1, 1.5)

    def set_up():
        return ntkflow.joint(ntkflow.flow(mlp, X))

    start = time.perf_counter()
    p = set_up()
    first = time.perf_counter() - start
    networks = drawing_networks(mlp, X)
    print(
        f"Draws of z and the NTK of {NEURONS} neurons: N = {N}, widths {WIDTHS}, {jax.devices()[0].platform}"
    )
    check(p.sample(0, NEURONS, DRAWS), networks(CHECKED, 1), ntkflow.output_ntk(single, X, CHECKED, seed=2))
    methods = {
        "sampler": (lambda seed: p.sample(seed, NEURONS, DRAWS), DRAWS),
        "sampler, one neuron": (lambda seed: p.sample(seed, 1, DRAWS), DRAWS),
        "networks, vmap of finite": (lambda seed: networks(NETWORKS, seed), NETWORKS),
        "output_ntk (no draws)": (lambda seed: ntkflow.output_ntk(single, X, NETWORKS, seed), NETWORKS),
        "flow and joint, once": (lambda seed: set_up(), DRAWS),
    }
    times = {name: [] for name in methods}
    for seed in range(ROUNDS + 1):
        for name, (call, draws) in methods.items():
            start = time.perf_counter()
            call(seed)
            times[name].append((time.perf_counter() - start) * DRAWS / draws)
    # The first round compiles what the check has not.
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    for name, seconds in medians.items():
        print(
            f"  {name:26} {seconds:9.3f} s per {DRAWS} draws   {seconds / medians['sampler']:8.1f} x sampler"
        )
    print(f"  the first flow, with compilation, took {first:.1f} s")
    cases = {
        name: {"seconds": seconds, "draws": DRAWS, "by_sampler": seconds / medians["sampler"]}
        for name, seconds in medians.items()
    }
    records.save("joint_sampler", cases)


if __name__ == "__main__":
    main()
