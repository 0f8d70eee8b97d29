"""Every tensor of every layer against numbers from a separate brute-force program."""

import json
from pathlib import Path

import numpy as np
import pytest

import ntkflow

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_tensor_agrees(path):
    case = json.loads(path.read_text())
    keys = ("widths", "activation", "C_b", "C_W", "lambda_b", "lambda_W")
    flow = ntkflow.flow(ntkflow.MLP(**{key: case[key] for key in keys}), case["X"])
    # G and G1 set the scale below which the reference's own G1 (zero in a linear network) is round-off.
    for layer, reference in zip(flow, case["layers"], strict=True):
        for name, expected in reference.items():
            expected = np.array(expected)
            norm = max(np.linalg.norm(expected), 1e-3 * np.linalg.norm(reference[name[0]]))
            tolerance = max(1e-9, 5 * case["relative_error_estimate"]) * norm
            assert np.linalg.norm(getattr(layer, name) - expected) <= tolerance, (layer.layer, name)
            assert layer.relative_error(name) < 1e-11
