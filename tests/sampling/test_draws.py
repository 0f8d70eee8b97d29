"""Draw k of a seed has the same weights, bit for bit, on any number of devices, in any batch, for any worker."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow
from ntkflow import finite
from ntkflow.sampling.block import Batch, block_sums
from ntkflow.sampling.networks import Measured

MLP = ntkflow.MLP((3, 5, 4, 2), "tanh", 0.2, 1.3)
SEED, DRAWS = 11, (0, 1, 6, 12345)


def weights(mlp, expectations, params, X, reference):
    """Measures every weight and bias of a network, in the place of its kernels."""
    return [Measured(jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)]))]


def drawn(dtype: str, batch: int) -> list[np.ndarray]:
    """The weights of each draw, as blocks of draws have them."""
    X, sets, reference = np.ones((1, 3)), np.zeros((1, 1), int), np.zeros((1, MLP.depth, 2))
    blocks = (
        block_sums(MLP, weights, dtype, X, sets, reference, SEED, draw, draw + 1, Batch(batch, 1), False)
        for draw in DRAWS
    )
    return [sums.y[0] for (sums,) in blocks]


def digests() -> list[str]:
    """Of all weights, by several batches."""
    return [
        hashlib.sha256(np.stack(drawn(dtype, batch)).tobytes()).hexdigest()
        for dtype, batch in (("float64", 1), ("float64", 3), ("float32", 2))
    ]


def test_any_batch():
    one, three = (np.stack(drawn("float64", batch)) for batch in (1, 3))
    assert np.array_equal(one, three)
    assert len(np.unique(one)) == one.size


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_they_are_those_of_the_public_functions(dtype):
    """Up to the last digit, in which what is compiled together may differ."""
    for draw, numbers in zip(DRAWS, drawn(dtype, 3 if dtype == "float64" else 2), strict=True):
        params = finite.init(MLP, ntkflow.sampling.draw_key(SEED, draw), dtype)
        expected = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
        assert np.allclose(numbers, expected, rtol=2 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_any_number_of_devices(devices):
    code = "import jax, test_draws; print(jax.device_count(), *test_draws.digests())"
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(devices), *digests()]


def test_any_executor():
    with ntkflow.workers(2) as processes, ThreadPoolExecutor(2) as threads:
        for executor in (processes, threads):
            futures = [executor.submit(digests) for _ in range(2)]
            assert all(future.result() == digests() for future in futures)
