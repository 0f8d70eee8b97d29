"""The trained ensemble to order 1/n against networks that are really trained: what the prediction leaves must fall as 1/n².

Networks, gradient descent and gradient flow (Runge-Kutta) are written out here; of the package the prediction alone is used.
"""

import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ntkflow

WIDTHS = (16, 32, 64)
TIMES, STEP = (1.0, 3.0), 0.1
STEPS, OF_LARGEST = (4, 12), 0.3
NETWORKS = (16_384, 32_768, 65_536)
_BATCH = 2048
_LEAST_FALL = 3.0
_SEEN = 4.0  # times the noise: below, a remainder says nothing of how it falls

CASES = {
    "tanh, one output": {"activation": "tanh", "hidden": (1, 1), "outputs": 1, "C_b": 0.05, "C_W": 1.2, "lambda_b": 0.4},
    "tanh, two outputs": {"activation": "tanh", "hidden": (1, 1), "outputs": 2, "C_b": 0.05, "C_W": 1.2, "lambda_b": 0.4},
    "gelu, unequal widths, two outputs": {
        "activation": "gelu", "hidden": (1.5, 1, 0.75), "outputs": 2, "C_b": 0.1, "C_W": 1.8, "lambda_b": 0.3,
    },
}  # fmt: skip
PARTS = len(CASES) * len(WIDTHS)


def samples(outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Three training inputs and a test input of four numbers, and targets of the training inputs."""
    rng = np.random.default_rng(11)
    return rng.normal(size=(4, 4)), rng.uniform(-1, 1, (3, outputs))


def network(case: dict, n: int) -> ntkflow.MLP:
    widths = (4, *(round(n * factor) for factor in case["hidden"]), case["outputs"])
    return ntkflow.MLP(widths, case["activation"], case["C_b"], case["C_W"], case["lambda_b"], 1.0)


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def _batch(widths, activation, hyperparameters, clock, size, key, X, y, answers, shift):
    """Sums over a batch of networks of what is averaged at every time of the clock, and of its squares.

    Noise is taken off by what the network would do if it were infinitely wide: z_lin(t) = answers z(0) + shift, of which the mean is `shift`, and
    the covariance follows from that of z(0), which is averaged with the output's weights integrated out. This is exact whatever `answers` are.
    """
    C_b, C_W, lambda_b = hyperparameters
    σ = {"tanh": jnp.tanh, "gelu": functools.partial(jax.nn.gelu, approximate=False)}[activation]
    kind, stops = clock
    m = widths[-1]

    def outputs(θ, X):
        z = X
        for ell, (W, b) in enumerate(θ):
            z = b + (σ(z) if ell else z) @ W.T
        return z

    def velocity(θ):
        g = jax.grad(lambda θ: jnp.sum((outputs(θ, X[: len(y)]) - y) ** 2) / 2)(θ)
        return [(-W / W.shape[1], -lambda_b * b) for W, b in g]

    def moved(θ, change, size):
        return jax.tree.map(lambda x, dx: x + size * dx, θ, change)

    def ntk(θ):
        J = jax.jacrev(lambda θ: outputs(θ, X))(θ)
        rates = [(1 / W.shape[1], lambda_b) for W, _ in θ]
        return sum(
            rate * jnp.einsum("aip,bjp->aibj", *[part.reshape(*part.shape[:2], -1)] * 2)
            for parts, of_layer in zip(J, rates, strict=True)
            for part, rate in zip(parts, of_layer, strict=True)
        )

    def descent(_, θ):
        return moved(θ, velocity(θ), size)

    def flow(_, θ):
        k1 = velocity(θ)
        k2 = velocity(moved(θ, k1, size / 2))
        k3 = velocity(moved(θ, k2, size / 2))
        k4 = velocity(moved(θ, k3, size))
        return jax.tree.map(lambda x, a, b, c, d: x + size / 6 * (a + 2 * b + 2 * c + d), θ, k1, k2, k3, k4)

    def one(key):
        keys = iter(jax.random.split(key, 2 * len(widths)))
        θ = [
            (jnp.sqrt(C_W / n) * jax.random.normal(next(keys), (m, n)), jnp.sqrt(C_b) * jax.random.normal(next(keys), (m,)))
            for n, m in itertools.pairwise(widths)
        ]  # fmt: skip
        start, s = outputs(θ, X), σ(outputs(θ[:-1], X))
        metric = C_b + C_W / widths[-2] * s @ s.T
        done, means, products, changes, at_start = 0, [], [], [], ntk(θ)
        for stop, answer, mean in zip(stops, answers, shift, strict=True):
            θ = jax.lax.fori_loop(0, stop - done, descent if kind == "steps" else flow, θ)
            done = stop
            z, linear = outputs(θ, X), answer @ start + mean
            of_linear = jnp.einsum("ab,ij->aibj", answer @ metric @ answer.T, jnp.eye(m)) + jnp.einsum(
                "ai,bj->aibj", mean, mean
            )
            means.append(z - linear + mean)
            changes.append(ntk(θ) - at_start)
            products.append(
                jnp.einsum("ai,bj->aibj", z, z) - jnp.einsum("ai,bj->aibj", linear, linear) + of_linear
            )
        return jnp.stack(means), jnp.stack(products), jnp.stack(changes)

    found = jax.lax.map(one, jax.random.split(key, _BATCH), batch_size=64)
    return jax.tree.map(lambda x: (x.sum(0), (x**2).sum(0)), found)


def measured(
    case: dict, n: int, predict, kind: str, stops: tuple[int, ...], size: float, networks: int
) -> list[dict]:
    """Mean (N, m) and covariance (N, m, N, m) of the outputs at every stop, and the NTK's mean change, with their standard errors."""
    X, y = samples(case["outputs"])
    mlp, sums, expansion = network(case, n), None, predict.expansion
    x, clocks = expansion.rates, [stop * size for stop in stops]
    left = [np.exp(-x * t) for t in clocks] if kind == "flow" else [(1 - size * x) ** stop for stop in stops]
    answers = np.stack([expansion.from_modes @ (part[:, None] * expansion.to_modes) for part in left])
    targets = np.concatenate([y, np.zeros((len(X) - len(y), y.shape[1]))])
    shift = np.stack([targets - answer @ targets for answer in answers])
    with jax.enable_x64(True):
        for number in range(networks // _BATCH):
            key = jax.random.fold_in(jax.random.key(n), number)
            new = _batch(
                mlp.widths, case["activation"], (case["C_b"], case["C_W"], case["lambda_b"]), (kind, stops), size, key, X, y, answers, shift
            )  # fmt: skip
            sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
    (z, z2), (zz, zz2), (change, change2) = jax.tree.map(lambda total: np.asarray(total) / networks, sums)
    values = {"mean": z, "cov": zz - np.einsum("tai,tbj->taibj", z, z), "ntk": change}
    for name, first, second in (("mean", z, z2), ("cov", zz, zz2), ("ntk", change, change2)):
        values[f"{name}_error"] = np.sqrt(np.maximum(second - first**2, 0) / networks)
    return [{name: array[i] for name, array in values.items()} for i in range(len(stops))]


def part(number: int, networks: int | None = None) -> dict:
    """One case at one width: norms of the deviation from infinite width, of what the prediction leaves, and of the noise."""
    name, n = [(name, n) for name in CASES for n in WIDTHS][number]
    case, (X, y) = CASES[name], samples(CASES[name]["outputs"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predict = ntkflow.trained(network(case, n), X[:3], y, X[3:], order=1)
    eta = OF_LARGEST * predict.largest_eta
    rows = []
    for kind, stops, size in (("flow", tuple(round(t / STEP) for t in TIMES), STEP), ("steps", STEPS, eta)):
        found = measured(case, n, predict, kind, stops, size, networks or NETWORKS[WIDTHS.index(n)])
        for stop, measurement in zip(stops, found, strict=True):
            prediction = predict(t=stop * STEP) if kind == "flow" else predict(steps=stop, eta=eta)
            infinite, frozen = (prediction.sources[name] for name in ("infinite", "frozen"))
            for of in ("mean", "cov"):
                away = measurement[of] - getattr(infinite, of)
                rows.append(
                    {
                        "case": name, "n": n, "clock": kind, "stop": stop * STEP if kind == "flow" else stop, "of": of,
                        "deviation": _norm(away), "after_frozen": _norm(away - getattr(frozen, of)),
                        "left": _norm(measurement[of] - getattr(prediction, of)), "noise": _norm(measurement[f"{of}_error"]),
                        "told": _norm(prediction.truncation[of]),
                    }
                )  # fmt: skip
            if kind == "flow":
                change = predict.ntk_change(stop * STEP)
                rows.append(
                    {
                        "case": name, "n": n, "clock": kind, "stop": stop * STEP, "of": "ntk",
                        "deviation": _norm(measurement["ntk"]), "after_frozen": _norm(measurement["ntk"]),
                        "left": _norm(measurement["ntk"] - change), "noise": _norm(measurement["ntk_error"]),
                        "told": predict.growth * _norm(change),
                    }
                )  # fmt: skip
    return {"rows": rows}


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))


def total(parts: list[dict]) -> dict:
    """All rows, and by which factor what is left falls from one width to the next, where it is seen above the noise."""
    rows = [row for part in parts for row in part["rows"]]
    by_key = {(row["case"], row["clock"], row["stop"], row["of"], row["n"]): row for row in rows}
    falls = []
    for (*key, n), row in by_key.items():
        wider = by_key.get((*key, 2 * n))
        if wider and row["left"] > _SEEN * row["noise"] and wider["left"] > _SEEN * wider["noise"]:
            falls.append(row["left"] / wider["left"])
    return {
        "falls": len(falls),
        "least_fall": min(falls, default=None),
        "geometric_mean_fall": float(np.exp(np.mean(np.log(falls)))) if falls else None,
        "left_by_deviation": {str(n): float(np.median([row["left"] / row["deviation"] for row in rows if row["n"] == n])) for n in WIDTHS if any(row["n"] == n for row in rows)},
        "told_too_little": float(np.mean([row["left"] - 3 * row["noise"] > row["told"] for row in rows])),
        "rows": rows,
    }  # fmt: skip


def holds(found: dict) -> bool:
    """Whether what is left falls as 1/n²."""
    return found["geometric_mean_fall"] >= _LEAST_FALL and found["told_too_little"] <= 0.1
