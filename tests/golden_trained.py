"""What a separate program found of training: tensors of networks, and predictions of their trained ensembles; and samples to train on."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

import ntkflow

_TESTS = Path(__file__).parent
TENSORS = {
    path.stem: json.loads(path.read_text()) for path in sorted((_TESTS / "golden_training").glob("*.json"))
}
"""By name: a network, its inputs, and every layer's tensors."""
PREDICTED = tuple(sorted(path.stem for path in (_TESTS / "golden_predictions").glob("*.json")))
"""The names of those with predictions."""


def network(case):
    keys = ("widths", "activation", "C_b", "C_W", "lambda_b", "lambda_W")
    return ntkflow.MLP(**{key: case[key] for key in keys})


@functools.cache
def predictions(name, order) -> tuple[Any, Any]:
    """(`trained` of that order, what it must predict)."""
    case, training = TENSORS[name], json.loads((_TESTS / "golden_predictions" / f"{name}.json").read_text())
    X, train = np.array(case["X"]), training["train"]
    X_test = np.delete(X, train, axis=0)
    predict = ntkflow.trained(network(case), X[train], np.array(training["y"]).T, X_test, order=order)
    return predict, training["predictions"]


def at(predict, golden) -> Any:
    """The prediction at the time, or after the steps, of a golden one."""
    if golden["clock"] == "flow":
        return predict(golden["t"])
    return predict(steps=golden["T"], eta=golden["eta"])


@functools.cache
def samples(training, test):
    """Inputs of four numbers, two targets for each, and inputs that are not trained on."""
    rng = np.random.default_rng(5)
    return rng.normal(size=(training, 4)), rng.normal(size=(training, 2)), rng.normal(size=(test, 4))
