"""Whether error estimates cover the errors of piecewise-linear networks: random ones on pairs and quadruples, against 200 digits.

Every layer has an activation, C_b (0 to 100), C_W and width of its own. Samples are random, zero, exact or rounded multiples of each
other, or nearly so, at separations from 1e-15 (quadruples: 1e-12) to 0.1. A component is covered if its error is within its estimate;
permuted inputs, and fewer of them, must give the same within both estimates.
"""

import itertools
import warnings
from collections.abc import Iterable

import numpy as np
from exact_networks import exact_flow

import ntkflow

PARTS = 100
_PAIRS, _QUADRUPLES = 50, 2  # networks of a part
_ACTIVATIONS = (
    "relu", "linear", "abs", {"name": "leaky_relu", "slope": 0.2}, {"name": "leaky_relu", "slope": -0.4},
    {"name": "leaky_relu", "slope": 1.0},
)  # fmt: skip
_MULTIPLES = (1.0, -1.0, 2.0, -0.5, 1.7, -0.3)
_WORST = 10.0
"""How often its estimate an error may be."""
_COVERED = 0.998


def part(number: int, cases: Iterable[int] = range(_PAIRS + _QUADRUPLES)) -> dict:
    """Counts of components, and what is wrong with networks, of one part; or of some of its cases, the last ones on quadruples."""
    found = {"networks": 0, "components": 0, "covered": 0, "worst": 0.0, "faults": []}
    for case in cases:
        rng = np.random.default_rng([number, case])
        mlp, X = _network(rng, 2 if case < _PAIRS else 4)
        _examine(mlp, X, rng, f"network {case} of part {number}", found)
    return found


def total(parts: list[dict]) -> dict:
    """The parts together."""
    counts = {key: sum(part[key] for part in parts) for key in ("networks", "components", "covered")}
    return counts | {
        "share_covered": counts["covered"] / counts["components"],
        "largest_error_by_estimate": max(part["worst"] for part in parts),
        "faults": list(itertools.chain.from_iterable(part["faults"] for part in parts)),
    }


def holds(found: dict) -> bool:
    """Whether what was found of all parts, or of some, is as it must be."""
    return (
        found["share_covered"] >= _COVERED
        and found["largest_error_by_estimate"] <= _WORST
        and not found["faults"]
    )


def _network(rng: np.random.Generator, N: int) -> tuple[ntkflow.MLP, np.ndarray]:
    depth = int(rng.integers(2, 6))
    n_0 = int(rng.integers(1, 7))
    C_b = rng.choice([0.0, 1e-3, 0.1, 1.0, 100.0], depth)
    mlp = ntkflow.MLP(
        (n_0, *rng.choice([1, 2, 16, 64], depth).tolist()),
        [_ACTIVATIONS[i] for i in rng.integers(len(_ACTIVATIONS), size=depth - 1)],
        C_b=[0.0] * depth if rng.random() < 0.4 else C_b.tolist(),
        C_W=(10 ** rng.uniform(-0.3, 0.4, depth)).tolist(),
        lambda_b=rng.choice([0.0, 0.3, 1.0], depth).tolist(),
        lambda_W=rng.choice([0.0, 0.8, 1.0], depth).tolist(),
    )
    X = 10 ** rng.uniform(-1.5, 1.5) * rng.normal(size=(N, n_0))
    for b in range(1, N):
        kind, size = rng.integers(6), np.linalg.norm(X[b - 1])
        multiple = rng.choice(_MULTIPLES) * X[b - 1]
        if kind == 0:
            X[b] = multiple
        elif kind == 1 and N == 2:
            X[b] = 0.0
        elif kind in (2, 3):
            X[b] = multiple + size * 10 ** rng.uniform(-15 if N == 2 else -12, -1) * rng.normal(size=n_0)
    return mlp, X[rng.permutation(N)]


def _examine(mlp: ntkflow.MLP, X: np.ndarray, rng: np.random.Generator, label: str, found: dict) -> None:
    N = len(X)
    order = rng.permutation(N)
    some = np.sort(rng.choice(N, rng.integers(1, N), replace=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow, permuted, fewer = (ntkflow.flow(mlp, rows) for rows in (X, X[order], X[some]))
    exact = exact_flow(mlp, X)
    found["networks"] += 1
    for layer, moved, part, expected in zip(flow, permuted, fewer, exact, strict=True):
        for name, value in expected.items():
            estimate = layer.error(name)
            error = np.abs(layer.values[name] - value)
            ratio = np.divide(error, estimate, out=np.where(error > 0, np.inf, 0.0), where=estimate > 0)
            found["components"] += error.size
            found["covered"] += int(np.sum(ratio <= 1))
            if ratio.max() > _WORST:
                found["faults"].append(
                    f"{label}: {name} of layer {layer.layer} is off by {ratio.max():.0f} x its estimate"
                )
            if not np.all(np.isfinite(estimate)):
                found["faults"].append(f"{label}: {name} of layer {layer.layer} has no estimate")
            found["worst"] = max(found["worst"], float(ratio.max()))
            for other, rows, what in ((moved, order, "permuted"), (part, some, "fewer")):
                here = np.ix_(*[rows] * error.ndim)
                apart = np.abs(layer.values[name][here] - other.values[name])
                if np.any(apart > estimate[here] + other.error(name)):
                    found["faults"].append(
                        f"{label}: {name} of layer {layer.layer} differs for {what} inputs"
                    )
