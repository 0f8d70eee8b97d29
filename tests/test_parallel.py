"""Which samples are one variable after each layer: against the preactivations of networks of finite width."""

import numpy as np
import pytest

import ntkflow
from ntkflow import finite
from ntkflow.network.parallel import parallel_inputs

ACTIVATIONS = ["relu", "abs", "linear", "tanh", "cos", "gelu", {"name": "leaky_relu", "slope": -1.0}, {"name": "monomial", "degree": 3}]  # fmt: skip


@pytest.mark.parametrize("C_b", [0.0, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_ratios_are_those_of_a_network(rng, activation, C_b):
    X = rng.normal(size=(4, 3))
    X = np.concatenate([X, [2 * X[0], -X[1], -3 * X[0], X[2], 0 * X[0]]])
    mlp = ntkflow.MLP((3, 40, 40, 40), activation, C_b, 1.0)
    parallel = parallel_inputs(X, C_b > 0, 1e-15)
    z = finite.forward(mlp, finite.init(mlp, 0), X)
    for number, layer in enumerate(mlp.layers, start=1):
        if number > 1:
            parallel = layer.parallel(parallel)
        ratio, z_l = parallel.ratio, z[number - 1]
        for a, b in np.ndindex(ratio.shape):
            if np.isfinite(ratio[a, b]):
                assert np.allclose(z_l[b], ratio[a, b] * z_l[a], rtol=1e-10, atol=1e-12), (number, a, b)
            elif min(np.abs(z_l[a]).max(), np.abs(z_l[b]).max()) > 0:
                c = z_l[a] @ z_l[b] / (z_l[a] @ z_l[a])
                assert np.abs(z_l[b] - c * z_l[a]).max() > 1e-3 * np.abs(z_l[b]).max(), (number, a, b)
