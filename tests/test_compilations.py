"""Other hyperparameters are other numbers, not other programs: nothing is compiled for them."""

from typing import Any, cast

import jax.monitoring
import numpy as np
import pytest

import ntkflow
from ntkflow import finite
from ntkflow.network.layer import compiled_tensors

LOWERED = []  # one for each program that was made
jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration_secs, **kwargs: (
        LOWERED.append(event) if event.endswith("jaxpr_to_mlir_module_duration") else None
    )
)
MLP = ntkflow.MLP((3, 8, 8, 2), "tanh", 0.1, 1.3)
OTHER = MLP.replace(C_b=0.2, C_W=[0.7, 1.1, 1.9], lambda_b=0.5, lambda_W=0.3)


def one_network(mlp, X):
    params = finite.init(MLP, 0)
    y = np.zeros((len(X), 2))
    return (
        finite.ntk(mlp, params, X), *finite.ntk_layers(mlp, params, X), finite.ntk_trace(mlp, params, X),
        finite.ntk_by_definition(mlp, params, X), finite.predicted_loss_change(mlp, params, X, y, finite.mse, 0.1),
        finite.train(mlp, params, X, y, finite.mse, 0.1, 2)[0][0].W,
    )  # fmt: skip


@pytest.mark.parametrize(
    "computed",
    [
        one_network,
        lambda mlp, X: ntkflow.ensemble(mlp, X, 20)[3].A,
        lambda mlp, X: ntkflow.ensemble(mlp, X, 20, estimators="direct", dtype="float32")[3].B,
        lambda mlp, X: ntkflow.output_ntk(mlp, X, 20).variance,
        lambda mlp, X: ntkflow.flow(mlp, X)[3].A,
    ],
    ids=["one network", "ensemble", "direct float32", "output_ntk", "flow"],
)
def test_other_hyperparameters_compile_nothing(rng, computed):
    X = rng.normal(size=(2, 3))
    first = computed(MLP, X)
    before = len(LOWERED)
    assert before > 0
    second = computed(OTHER, X)
    assert len(LOWERED) == before
    pairs = zip(first, second, strict=True) if isinstance(first, tuple) else [(first, second)]
    assert not any(np.allclose(a, b) for a, b in pairs)


def test_the_step_of_the_tensors_is_compiled_once_for_all_activations(rng):
    X = rng.normal(size=(4, 3))
    ntkflow.flow(ntkflow.MLP((3, 8, 8, 2), ["sin", "cos"], 0.1, 1.3), X)
    programs = cast(Any, compiled_tensors)._cache_size()
    ntkflow.flow(ntkflow.MLP((3, 8, 8, 2), ["exp", "sin"], 0.1, 0.3), X)
    assert cast(Any, compiled_tensors)._cache_size() == programs > 0
