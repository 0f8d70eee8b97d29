"""Every tensor of every layer of networks of blocks against numbers from a separate brute-force program."""

import json
from pathlib import Path

import numpy as np
import pytest

import ntkflow

GOLDEN = sorted((Path(__file__).parents[1] / "golden_architectures").glob("*.json"))
NAMES = ("G", "H", "G1", "H1", "V", "D", "F", "A", "B", "K", "L", "M")


def network(case):
    embedding = {**case["embedding"], "inputs": len(case["X"][0]), "width": case["stream_width"]}
    blocks = [
        {
            "gamma": block["gamma"],
            "stages": [
                {{"act": "activation"}.get(key, key): value for key, value in s.items()}
                for s in block["stages"]
            ],
        }
        for block in case["blocks"]
    ]
    return ntkflow.Network.from_spec({"embedding": embedding, "blocks": blocks})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:the network is too narrow")
def test_every_tensor_of_blocks_agrees(path):
    case = json.loads(path.read_text())
    flow = ntkflow.flow(network(case), case["X"])
    for layer, reference in zip(flow, case["layers"], strict=True):
        assert layer.fan_in == case["stream_width"]
        for name in NAMES:
            expected = np.array(reference[name])
            # Tensors that vanish exactly hold round-off.
            norm = max(np.linalg.norm(expected), 1e-3 * np.linalg.norm(reference["H"]))
            tolerance = max(1e-9, 5 * case["relative_error_estimate"]) * norm
            assert np.linalg.norm(layer[name] - expected) <= tolerance, (layer.layer, name)
            assert layer.relative_error(name) < 1e-9, (layer.layer, name)
        split = layer.bias_contributions.sum(axis=0) + layer.weight_contributions.sum(axis=0)
        assert np.allclose(split, layer.H, rtol=1e-13, atol=0)
