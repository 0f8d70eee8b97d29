"""V, D, A, F and B of networks of blocks against sampled ones: what they miss must fall as 1/n.

Three inputs, a dense read-out, n = 16, 32, 64; norms with trained gains and biases.
"""

import warnings
from typing import Any

import numpy as np
import sampled_training

import ntkflow
from ntkflow import Block, Dense, Network, Stage

WIDTHS = (16, 32, 64)
NETWORKS = (32_768, 32_768, 16_384)
TENSORS = ("V", "D", "A", "F", "B")
WEIGHTS: dict[str, Any] = {"C_b": 0.06, "C_W": 0.8, "lambda_b": 0.3, "lambda_W": 0.7}
NORM: dict[str, Any] = {"eps": 0.1, "lambda_g": 0.6, "lambda_beta": 0.4}
X = np.array([[1.0, 0.3, -0.8], [-0.2, 0.9, 0.7], [0.5, -1.1, 0.4]])


def blocks(kind: str, activation: str, n: int) -> list[Block]:
    """The blocks between embedding and read-out."""
    φ = activation
    one, count = {
        "residual": (Block(Stage(φ, **WEIGHTS), 0.8), 4),
        "block": (Block([Stage("linear", width=2 * n, **WEIGHTS), Stage(φ, **WEIGHTS)], 0.8), 3),
        "pre-activation rms": (Block(Stage(φ, "rms", **NORM, **WEIGHTS), 0.8), 3),
        "pre-activation layer": (Block(Stage(φ, "layer", **NORM, **WEIGHTS), 0.8), 3),
        "pre-norm block": (Block([Stage("linear", "rms", width=2 * n, **NORM, **WEIGHTS), Stage(φ, **WEIGHTS)], 0.8), 3),
        "no skip, rms": (Block(Stage(φ, "rms", **NORM, **WEIGHTS)), 3),
    }[kind]  # fmt: skip
    return [one] * count


KINDS = ("residual", "block", "pre-activation rms", "pre-activation layer", "pre-norm block", "no skip, rms")
CASES = [(kind, activation) for kind in KINDS for activation in ("relu", "tanh")]
PARTS = len(CASES)


def network(kind: str, activation: str, n: int) -> Network:
    chain = blocks(kind, activation, n)
    layers = [Dense(0.1, 1.1, 0.4, 0.9), *chain, Block(Stage(activation, **WEIGHTS))]
    return Network((3, *[n] * (len(chain) + 1), 1), layers)


def part(number: int, networks: tuple[int, ...] = NETWORKS) -> dict:
    """One case at all widths: relative errors of the read-out's tensors in the norm, and of the noise."""
    kind, activation = CASES[number]
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Coefficients of 1/n: the same at every width.
        predicted = ntkflow.flow(network(kind, activation, WIDTHS[0]), X)[-1]
        for n, draws in zip(WIDTHS, networks, strict=False):
            measured = ntkflow.ensemble(network(kind, activation, n), X, draws, n)[-1]
            for tensor in TENSORS:
                scale = np.linalg.norm(predicted[tensor])
                off = np.linalg.norm(measured[tensor] - predicted[tensor]) / scale
                noise = np.linalg.norm(measured.error(tensor)) / scale
                rows.append({"case": f"{kind}, {activation}", "n": n, "tensor": tensor, "off": float(off), "noise": float(noise)})  # fmt: skip
    return {"rows": rows}


total, holds = sampled_training.total, sampled_training.holds
