"""P, Q, R, S, T, U against the derivatives of the NTK of sampled networks: what they miss must fall as 1/n."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ntkflow
from ntkflow import finite

WIDTHS = (16, 32, 64)
CASES = {
    "tanh": ("tanh", 3, 0.1, 1.3),
    "tanh, deeper": ("tanh", 4, 0.1, 1.3),
    "gelu": ("gelu", 3, 0.1, 1.7),
    "relu": ("relu", 3, 0.1, 1.7),
}
PARTS = len(CASES) * len(WIDTHS)
NETWORKS = 32_768
_BATCH = 512
_LEAST_FALL = 1.6
_SEEN = 5.0
X = np.array([[1.0, 0.3, -0.8], [-0.2, 0.9, 0.7]])


def network(case: tuple, n: int) -> ntkflow.MLP:
    activation, depth, C_b, C_W = case
    return ntkflow.MLP((3, *[n] * (depth - 1), 2), activation, C_b, C_W, 0.5, 1.0)


@functools.partial(jax.jit, static_argnums=0)
def _batch(mlp, keys):
    """Sums over networks, and of squares. Of P and Q the weights of the neuron that z belongs to are integrated out: they enter linearly."""

    def one(key):
        params = finite.init(mlp, key)
        *below, last = params
        s = mlp.activation[-1](finite.forward(mlp, params, X)[-2])
        smooth = not mlp.activation[0].kinked
        P, Q = [], []
        for row in mlp.C_W[-1] / mlp.widths[-2] * s:
            dH = [_dH(mlp, (*below, last._replace(W=last.W.at[neuron].set(row)))) for neuron in (0, 1)]
            P.append(dH[0][0, 1, 1])
            Q.append(dH[1][0, 0, 1])
        found = {"P": jnp.stack(P, axis=-1), "Q": jnp.stack(Q, axis=-1)}
        if smooth:
            _, ddI, ddII = finite.ntk_derivatives(mlp, params, X)
            found |= {
                "R": ddI[0, 0, 1, 1], "S": ddII[0, 0, 1, 1],
                "T": ddII[0, 1, 0, 1].transpose(0, 2, 1, 3), "U": ddII[0, 1, 1, 0].transpose(0, 3, 1, 2),
            }  # fmt: skip
        return found

    found = jax.lax.map(one, keys, batch_size=64)
    return jax.tree.map(lambda x: (x.sum(0), (x**2).sum(0)), found)


def _dH(mlp, params):
    """Legs (2, 2, 2, N, N, N), by two derivatives along gradients: also where σ has kinks, whose δ's a network does not see."""
    roots = [(jnp.sqrt(w), jnp.sqrt(b)) for w, b in zip(*(finite.tensorial(mlp).weight, finite.tensorial(mlp).bias), strict=True)]  # fmt: skip
    zero = jax.tree.map(jnp.zeros_like, params)

    def legs(change):
        moved = [(p.W + r[0] * c.W, p.b + r[1] * c.b) for p, r, c in zip(params, roots, change, strict=True)]
        z = X
        for number, (W, b) in enumerate(moved):
            z = (mlp.activation[number - 1](z) if number else z) @ W.T + b
        return z.ravel()

    gradients = jax.jacrev(legs)(zero)

    def along(function, direction):
        return lambda change: jax.jvp(function, (change,), (direction,))[1]

    each = jax.vmap(lambda a: jax.vmap(lambda b: along(along(legs, a), b)(zero))(gradients))(gradients)
    return jnp.moveaxis(each, -1, 0).reshape(2, 2, 2, 2, 2, 2).transpose(1, 3, 5, 0, 2, 4)


def part(number: int, networks: int = NETWORKS) -> dict:
    """One case at one width: relative errors of the tensors in the norm, and of the noise."""
    name, n = [(name, n) for name in CASES for n in WIDTHS][number]
    mlp = network(CASES[name], n)
    with warnings.catch_warnings(), jax.enable_x64(True):
        warnings.simplefilter("ignore")
        predicted, sums = ntkflow.flow(mlp, X, training=True)[-1], None
        for batch in range(max(1, networks // _BATCH)):
            keys = jax.random.split(jax.random.fold_in(jax.random.key(n), batch), min(_BATCH, networks))
            new = _batch(mlp, keys)
            sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
    assert sums is not None
    rows = []
    for tensor, (first, second) in sums.items():
        mean, square = np.asarray(first) / networks, np.asarray(second) / networks
        noise = np.sqrt(np.maximum(square - mean**2, 0) / networks)
        expected, scale = predicted[tensor] / n, np.linalg.norm(predicted[tensor]) / n
        rows.append(
            {
                "case": name, "n": n, "tensor": tensor, "off": float(np.linalg.norm(mean - expected) / scale),
                "noise": float(np.linalg.norm(noise) / scale),
            }
        )  # fmt: skip
    return {"rows": rows}


def total(parts: list[dict]) -> dict:
    """All rows, and by which factor errors fall from one width to the next, where they are seen above the noise."""
    rows = [row for part in parts for row in part["rows"]]
    by_key = {(row["case"], row["tensor"], row["n"]): row for row in rows}
    falls = {}
    for (case, tensor, n), row in by_key.items():
        wider = by_key.get((case, tensor, 2 * n))
        if wider and wider["off"] > _SEEN * wider["noise"]:
            falls[f"{case}, {tensor}, {n} to {2 * n}"] = row["off"] / wider["off"]
    return {"least_fall": min(falls.values(), default=None), "falls": falls, "rows": rows}


def holds(found: dict) -> bool:
    """Whether errors fall as 1/n wherever they are seen, and are seen to be small elsewhere."""
    return found["least_fall"] is not None and found["least_fall"] >= _LEAST_FALL
