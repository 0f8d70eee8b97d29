"""P, Q, R, S, T, U against the derivatives of the NTK of sampled networks: what they miss must fall as 1/n."""

import warnings

import numpy as np

import ntkflow

WIDTHS = (16, 32, 64)
CASES = {
    "tanh": ("tanh", 3, 0.1, 1.3),
    "tanh, deeper": ("tanh", 4, 0.1, 1.3),
    "gelu": ("gelu", 3, 0.1, 1.7),
}
TENSORS = ("P", "Q", "R", "S", "T", "U")
PARTS = len(CASES) * len(WIDTHS)
NETWORKS = 32_768
_LEAST_FALL = 1.6
_SEEN = 5.0
X = np.array([[1.0, 0.3, -0.8], [-0.2, 0.9, 0.7]])


def network(case: tuple, n: int) -> ntkflow.MLP:
    activation, depth, C_b, C_W = case
    return ntkflow.MLP((3, *[n] * (depth - 1), 2), activation, C_b, C_W, 0.5, 1.0)


def part(number: int, networks: int = NETWORKS) -> dict:
    """One case at one width: relative errors of the last layer's tensors in the norm, and of the noise."""
    name, n = [(name, n) for name in CASES for n in WIDTHS][number]
    mlp = network(CASES[name], n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = ntkflow.flow(mlp, X, training=True)[-1]
        measured = ntkflow.ensemble(mlp, X, networks, n, training=True)[-1]
    rows = []
    for tensor in TENSORS:
        scale = np.linalg.norm(predicted[tensor])
        off = np.linalg.norm(measured[tensor] - predicted[tensor]) / scale
        noise = np.linalg.norm(measured.error(tensor)) / scale
        rows.append({"case": name, "n": n, "tensor": tensor, "off": float(off), "noise": float(noise)})
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
