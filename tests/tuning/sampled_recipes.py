"""Networks drawn by recipes: the largest eigenvalue of their NTK, its sd, and what layers contribute to it.

    python tests/tuning/sampled_recipes.py

draws them (an hour on two cores) and keeps their statistics in `sampled_recipes.json`, with the recipes' hyperparameters.
"""

import json
from pathlib import Path

import jax
import numpy as np

import ntkflow
from ntkflow import finite

FILE = Path(__file__).with_suffix(".json")
CASES = [
    ("tanh", 4, 64), ("relu", 4, 64), ("gelu", 4, 64), ("silu", 4, 64),
    ("tanh", 8, 128), ("relu", 8, 128), ("gelu", 8, 128),
    ("tanh", 16, 256), ("relu", 16, 256),
    ("tanh", 16, 64), ("relu", 16, 64), ("gelu", 16, 64),
]  # fmt: skip
DRAWS = 240
INPUTS, OUTPUTS = 24, 10


def inputs() -> np.ndarray:
    """(INPUTS, 64) digits of mean 0 and variance 1."""
    from sklearn.datasets import load_digits

    X = np.asarray(load_digits(return_X_y=True)[0])
    return ((X - X.mean()) / X.std())[:INPUTS]


def network(activation: str, depth: int, width: int) -> ntkflow.MLP:
    return ntkflow.MLP((64, *[width] * (depth - 1), OUTPUTS), activation)


def sampled(mlp: ntkflow.MLP, draws: int, seed: int = 0) -> dict:
    """Statistics over `draws` networks."""
    X = inputs()
    largest, diagonal, weight, bias = [], [], [], []
    for draw in range(draws):
        params = finite.init(mlp, jax.random.fold_in(jax.random.key(seed), draw))
        H = np.asarray(finite.ntk(mlp, params, X))
        size = OUTPUTS * len(X)
        largest.append(np.linalg.eigvalsh(H.transpose(0, 2, 1, 3).reshape(size, size))[-1] / len(X))
        diagonal.append(np.einsum("iiaa->ia", H))
        biases, weights = finite.ntk_contributions(mlp, params, X, neurons=[0, 1])
        weight.append(np.einsum("liiaa->l", weights) / (2 * len(X)))
        bias.append(np.einsum("liiaa->l", biases) / (2 * len(X)))
    diagonal = np.array(diagonal)
    root = draws**0.5
    return {
        "draws": draws,
        "lambda_max": float(np.mean(largest)),
        "lambda_max_std": float(np.std(largest, ddof=1)),
        "ntk_std": float(np.mean(diagonal.std(axis=0, ddof=1) / diagonal.mean(axis=0))),
        **{
            name: [float(x) for x in value]
            for name, value in (
                ("weight", np.mean(weight, axis=0)), ("weight_error", np.std(weight, axis=0, ddof=1) / root),
                ("bias", np.mean(bias, axis=0)), ("bias_error", np.std(bias, axis=0, ddof=1) / root),
            )
        },
    }  # fmt: skip


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    rows = json.loads(FILE.read_text()) if FILE.exists() else []
    done = {(row["activation"], row["depth"], row["width"]) for row in rows}
    for case in CASES:
        if case in done:
            continue
        mlp = ntkflow.tune(network(*case), inputs()).mlp
        statistics = sampled(mlp, DRAWS)
        spec = {name: list(getattr(mlp, name)) for name in ("C_b", "C_W", "lambda_b", "lambda_W")}
        rows.append(dict(zip(("activation", "depth", "width"), case, strict=True)) | spec | statistics)
        FILE.write_text(json.dumps(rows, indent=1) + "\n")
        print(*case, {k: v for k, v in statistics.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    main()
