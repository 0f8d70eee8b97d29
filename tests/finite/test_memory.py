"""What the NTK takes of memory, by the compiler's own account: never the parameters times N."""

import jax
import numpy as np
import pytest

import ntkflow
from ntkflow import finite
from ntkflow.finite.tangent_kernel import _backward_ntk


def megabytes(N, n, outputs):
    mlp = ntkflow.MLP((20, n, n, n, outputs), "tanh")
    params = finite.init(mlp, 0)
    with jax.enable_x64(True):
        X, chosen = np.zeros((N, 20)), np.arange(outputs)
        lowered = _backward_ntk.lower(mlp, mlp.depth, finite.tensorial(mlp), params, X, None, chosen)
        used = lowered.compile().memory_analysis()
    assert used is not None
    return (used.temp_size_in_bytes + used.output_size_in_bytes) / 2**20


@pytest.mark.parametrize(
    ("N", "n", "outputs"), [(32, 64, 10), (64, 256, 10), (128, 256, 3), (16, 1024, 1), (256, 256, 1)]
)
def test_memory_grows_as_stated(N, n, outputs):
    """At most a few times N² n_L² + 3 N n n_L + parameters, in float64."""
    numbers = N**2 * outputs**2 + 3 * N * n * outputs + 2 * n**2
    assert megabytes(N, n, outputs) < 6 * 8 * numbers / 2**20
    if N * outputs >= 16:
        jacobian = 8 * N * outputs * 2 * n**2 / 2**20
        assert megabytes(N, n, outputs) < 0.5 * jacobian


def test_doubling_the_samples():
    """Twice the samples take less than 4 times the memory, twice the width less than 2 times the part beyond N² n_L²."""
    assert megabytes(128, 256, 10) < 4.2 * megabytes(64, 256, 10)
    assert megabytes(64, 512, 1) - megabytes(64, 256, 1) < 8 * (3 * 64 * 256 * 4 + 4 * 256**2) / 2**20
