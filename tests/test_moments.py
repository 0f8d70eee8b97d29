"""Moments are requested: tensors declared outside the package ask for orders of σ's derivatives that no other reads."""

import importlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow
from ntkflow._gaussian import FINE, SampleSets, expectations
from ntkflow._gaussian.functions import Integration, expectation, whiten
from ntkflow._gaussian.requests import placements
from ntkflow._recursions import TENSORS
from ntkflow.activations import activation

GOLDEN = sorted((Path(__file__).parent / "golden_training").glob("*.json"))


@pytest.fixture(autouse=True)
def training():
    sys.modules.pop("training_tensors", None)
    module = importlib.import_module("training_tensors")
    yield module
    for name in module.NAMES:
        del TENSORS[name]


def network(case):
    keys = ("widths", "activation", "C_b", "C_W", "lambda_b", "lambda_W")
    return ntkflow.MLP(**{key: case[key] for key in keys})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_tensors_of_training_agree_with_a_separate_program(training, path):
    case = json.loads(path.read_text())
    flow = ntkflow.flow(network(case), case["X"])
    for layer, reference in zip(flow, case["layers"], strict=True):
        for name in training.NAMES:
            expected = np.array(reference[name])
            tolerance = max(1e-9, 5 * case["relative_error_estimate"]) * np.linalg.norm(expected)
            assert np.linalg.norm(layer[name] - expected) <= tolerance, (layer.layer, name)
            assert layer.relative_error(name) < 1e-10, (layer.layer, name)


def test_they_are_traced(training):
    case = json.loads(next(path for path in GOLDEN if path.stem == "tanh_three_inputs").read_text())
    with jax.enable_x64(True):
        traced = ntkflow.traced_flow(network(case), case["X"])
        last = {name: np.asarray(traced[-1][name]) for name in training.NAMES}
    for name in training.NAMES:
        expected = np.array(case["layers"][-1][name])
        assert np.abs(last[name] - expected).max() < 1e-9 * np.abs(expected).max(), name


@pytest.mark.parametrize("gamma", [0.6, 0.99])
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_slots_of_two_layers(rng, name, gamma):
    """Slots are jointly Gaussian variables, such as two samples in a layer and in another that has a part γ of it: by a general cubature."""
    σ = activation(name)
    z = rng.normal(size=(2, 5))
    G = z @ z.T / 5
    joint = np.block([[G, gamma * G], [gamma * G, gamma**2 * G + 0.3 * np.eye(2) + 0.1]])
    sets = SampleSets(np.arange(4)[:, None], 4, ("ssdd",))
    e = expectations(σ, joint, np.where(np.eye(4) > 0, 1.0, np.nan), sets, FINE)
    chosen = [(0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1)]

    def products(z, u):
        s, d = σ.derivatives(z, 1)
        return jnp.stack([jnp.prod(jnp.where(np.array(p) == 0, s, d)) for p in chosen])

    with jax.enable_x64(True):
        expected = expectation(products, whiten(joint, np.zeros(4)), Integration(1e-7))
    moments = e.moments[sets.quadruples.tolist().index([0, 1, 2, 3])]
    for placement, value, error in zip(chosen, *expected, strict=True):
        moment = moments[placements(sets.moments).index(placement)]
        assert abs(moment - value) < 1e-9 + 3 * error, placement
