"""Errors of networks whose layers are nearly the same stream, Γ → 1, many blocks of small branches: against a much finer integration.

Branches of variance 1e-5 to 1 over the number of blocks, γ = 1 or γ² + the branch's share = 1; norms; inputs that nearly coincide.
"""

import dataclasses
import warnings
from typing import Any
from unittest import mock

import numpy as np
from finer_flows import FINER

import ntkflow
from ntkflow import Block, Dense, Network, Stage
from ntkflow._theory import block_runs

PARTS = 24
ACTIVATIONS = ("tanh", "gelu", "erf", "softplus")
TENSORS = ("G", "H", "V", "D", "F", "A", "B", "K", "L", "M", "G1", "H1")
NORM: dict[str, Any] = {"eps": 0.1, "lambda_g": 0.6, "lambda_beta": 0.4}
_FINER = dataclasses.replace(FINER, layer_series=((220, 336),))
"""Series of the most degrees at once, where the program takes the first that converges."""
_COVERED = 0.99
_ROUNDING = 1e-15  # of the largest component


def network_and_inputs(number: int) -> tuple[Network, np.ndarray]:
    rng = np.random.default_rng(number)
    activation, L = ACTIVATIONS[number % 4], int(rng.choice([6, 10]))
    norm, variance = str(rng.choice(["none", "rms", "layer"])), 10 ** rng.uniform(-5, 0)
    gamma = 1.0 if rng.random() < 0.5 else (1 - variance / L) ** 0.5
    of_norm = NORM if norm != "none" else {}
    C_b = float(rng.choice([0, 0.05]))
    stage = Stage(activation, norm, C_b=C_b, C_W=2 * variance / L, lambda_b=0.3, lambda_W=0.7, **of_norm)
    X = rng.normal(size=(2, 3))
    if rng.random() < 0.3:
        X[1] = X[0] + 10 ** rng.uniform(-6, -1) * rng.normal(size=3)
    read_out = Block(Stage(activation, C_b=0.05, C_W=1.3, lambda_b=0.3))
    layers = [Dense(0.1, 1.1, 0.4, 0.9), *[Block(stage, gamma)] * L, read_out]
    return Network((3, *[32] * (L + 1), 1), layers), X


def part(number: int) -> dict:
    """One network: how many components there are, how many are off by more than their error, and the worst of these."""
    network, X = network_and_inputs(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = ntkflow.flow(network, X)
        with mock.patch.object(block_runs, "FINE", _FINER):
            finer = ntkflow.flow(network, X)
    found = {"components": 0, "missed": 0, "worst": 0.0, "largest_relative_error": 0.0}
    for layer, exact in zip(flow, finer, strict=True):
        for name in TENSORS:
            if name not in layer.values:
                continue
            scale = np.abs(exact[name]).max() or 1e-300
            ratio = np.abs(layer[name] - exact[name]) / (layer.error(name) + _ROUNDING * scale)
            found["components"] += ratio.size
            found["missed"] += int(np.sum(ratio > 1))
            found["worst"] = max(found["worst"], float(ratio.max()))
            if np.abs(exact[name]).max() > 0:
                found["largest_relative_error"] = max(
                    found["largest_relative_error"], layer.relative_error(name)
                )
    return found


def total(parts: list[dict]) -> dict:
    """The parts together, and the share of components that are covered by their errors."""
    components, missed = (sum(part[name] for part in parts) for name in ("components", "missed"))
    worst = {name: max(part[name] for part in parts) for name in ("worst", "largest_relative_error")}
    return {"components": components, "missed": missed, "covered": 1 - missed / components, **worst}


def holds(found: dict) -> bool:
    """Whether at least 99 % are."""
    return found["covered"] >= _COVERED
