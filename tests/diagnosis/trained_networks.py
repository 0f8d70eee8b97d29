"""Networks whose fate is known by training them on digits with torch, for the verdicts of `diagnose`: kept in `trained_networks.json`.

    python tests/diagnosis/trained_networks.py     # train them again, about a quarter of an hour

Each is trained at eight learning rates at once, by plain stochastic gradient descent on the cross-entropy; the best accuracy on
held-out digits counts.
"""

import itertools
import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".json")
LEARNING_RATES = tuple(0.001 * 4.0**k for k in range(8))
STEPS, BATCH, TRAINED_ON = 600, 64, 1400
CRITICAL = {
    "tanh": (0.0, 1.0),
    "relu": (0.0, 2.0),
    "gelu": (0.172922, 1.983058),
    "silu": (0.555143, 1.988005),
}
"""(C_b, C_W)."""


def networks() -> list[dict]:
    """The specifications: activation, depth, width, C_b and C_W; "default" is torch's initialisation, uniform with C_W = 1/3."""
    cases = []
    for activation, depth in itertools.product(CRITICAL, (4, 12, 30)):
        C_b, C_W = CRITICAL[activation]
        for kind, C in (
            ("default", (1 / (3 * 128), 1 / 3)),
            ("critical", (C_b, C_W)),
            ("cold", (C_b, 0.6 * C_W)),
            ("hot", (C_b, 2.5 * C_W)),
        ):
            cases.append(
                {
                    "kind": kind,
                    "activation": activation,
                    "depth": depth,
                    "width": 128,
                    "C_b": C[0],
                    "C_W": C[1],
                }
            )
    for activation, (depth, width) in itertools.product(("relu", "gelu"), ((12, 5), (30, 8))):
        C_b, C_W = CRITICAL[activation]
        cases.append(
            {
                "kind": "narrow",
                "activation": activation,
                "depth": depth,
                "width": width,
                "C_b": C_b,
                "C_W": C_W,
            }
        )
    cases.append({"kind": "raw", "activation": "tanh", "depth": 4, "width": 128, "C_b": 0.0, "C_W": 1.0})
    return cases


def inputs(case: dict) -> tuple[np.ndarray, np.ndarray]:
    """Digits and their labels in random order: (1797, 64) of mean 0 and variance 1, or 0 … 16 for a "raw" case."""
    from sklearn.datasets import load_digits

    X, y = (np.asarray(array) for array in load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(y))
    X = X[order]
    return X if case["kind"] == "raw" else (X - X.mean()) / X.std(), y[order]


def train(case: dict, seed: int = 0) -> list[dict]:
    """Accuracies on the training digits and on those held out, at each learning rate."""
    import torch

    X, y = inputs(case)
    X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    generator = torch.Generator().manual_seed(seed)
    layers = _draw(case, generator)
    rates = torch.tensor(LEARNING_RATES)[:, None, None]
    sigma = getattr(torch.nn.functional, case["activation"])

    def logits(samples):
        z = samples.expand(len(LEARNING_RATES), *samples.shape)
        for index, (W, b) in enumerate(layers):
            z = torch.baddbmm(b, sigma(z) if index else z, W)
        return z

    for _ in range(STEPS):
        batch = torch.randint(TRAINED_ON, (BATCH,), generator=generator)
        z = logits(X[batch])
        loss = (
            torch.nn.functional.cross_entropy(
                z.flatten(0, 1), y[batch].repeat(len(LEARNING_RATES)), reduction="sum"
            )
            / BATCH
        )
        parameters = [p for layer in layers for p in layer]
        with torch.no_grad():
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p -= rates * gradient
    with torch.no_grad():
        correct = (logits(X).argmax(-1) == y).float()
    return [
        {
            "eta": eta,
            "train": round(float(row[:TRAINED_ON].mean()), 4),
            "test": round(float(row[TRAINED_ON:].mean()), 4),
        }
        for eta, row in zip(LEARNING_RATES, correct, strict=True)
    ]


def _draw(case: dict, generator) -> list:
    """(W, b) of every layer, the same at each learning rate: (8, n_{ℓ-1}, n_ℓ) and (8, 1, n_ℓ)."""
    import torch

    widths = [64] + [case["width"]] * (case["depth"] - 1) + [10]
    layers = []
    for fan_in, width in itertools.pairwise(widths):
        if case["kind"] == "default":
            bound = fan_in**-0.5
            W = (2 * torch.rand(fan_in, width, generator=generator) - 1) * bound
            b = (2 * torch.rand(1, width, generator=generator) - 1) * bound
        else:
            W = torch.randn(fan_in, width, generator=generator) * (case["C_W"] / fan_in) ** 0.5
            b = torch.randn(1, width, generator=generator) * case["C_b"] ** 0.5
        layers.append(tuple(p.repeat(len(LEARNING_RATES), 1, 1).requires_grad_() for p in (W, b)))
    return layers


def main() -> None:
    rows = []
    for case in networks():
        seeds = range(3) if case["kind"] == "narrow" else range(1)
        best = [max(row["test"] for row in train(case, seed)) for seed in seeds]
        rows.append(case | {"accuracy": float(np.median(best))})
        print(json.dumps(rows[-1]), flush=True)
        FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
