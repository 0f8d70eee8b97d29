"""Networks of blocks that are really sampled: see `sampled_blocks`."""

from typing import Any

import numpy as np
import pytest
from sampled_blocks import measured

import ntkflow
from ntkflow import Block, Dense, Network, Stage

WEIGHTS: dict[str, Any] = {"C_b": 0.06, "C_W": 0.8, "lambda_b": 0.3, "lambda_W": 0.7}


@pytest.mark.slow
def test_residual_networks_are_sampled():
    """Fixed seed. tanh at n = 32: what leading order misses is below .1 there; 5 standard errors of the norm beside it."""
    block = Block(Stage("tanh", **WEIGHTS), gamma=0.8)
    network = Network(
        (3, 32, 32, 32, 2), [Dense(0.1, 1.1, 0.4, 0.9), block, block, Block(Stage("tanh", **WEIGHTS))]
    )
    X = np.array([[1.0, 0.3, -0.8], [-0.2, 0.9, 0.7]])
    last = ntkflow.flow(network, X)[-1]
    values, errors = measured(network, X, 4096, 1, last.G, last.H)
    for name in ("V", "D", "A", "F", "B"):
        noise = np.linalg.norm(errors[name])
        assert np.linalg.norm(values[name] - last[name]) < 0.1 * np.linalg.norm(last[name]) + 5 * noise, name
        assert noise < 0.1 * np.linalg.norm(last[name]), name
