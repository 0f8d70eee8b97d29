"""What is computed block by block, the next while one is read, is what it is at once."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

import ntkflow
from ntkflow._gaussian.series import pair_tables
from ntkflow._machine.ahead import ahead
from ntkflow._machine.memory import aligned_empty


def test_the_next_is_asked_for_before_one_is_read():
    events = []

    def results():
        for i in range(3):
            events.append(("asked", i))
            yield i

    for i in ahead(results()):
        events.append(("read", i))
    assert events == [("asked", 0), ("asked", 1), ("read", 0), ("asked", 2), ("read", 1), ("read", 2)]
    assert list(ahead([])) == []
    assert list(ahead([None])) == [None]


@pytest.mark.parametrize("shape", [(1,), (3, 7, 7), (2, 500, 500), (0, 4)])
def test_aligned_arrays_are_not_copied(shape):
    array = aligned_empty(shape)
    array[:] = 2.5
    assert array.shape == shape
    assert array.dtype == np.float64
    if array.size:
        with jax.enable_x64(True):
            assert jax.device_put(array, jax.devices("cpu")[0]).unsafe_buffer_pointer() == array.ctypes.data


@pytest.mark.parametrize("N", [1, 9, 150])
@pytest.mark.parametrize("vanishing", ["even or odd", "none", "all"])
def test_series_of_even_and_odd_functions(vanishing, N):
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=(4, N, 60)) * 0.8 ** np.arange(60)
    if vanishing == "even or odd":
        coefficients[:2, :, 1::2] = 0.0
        coefficients[2:, :, ::2] = 0.0
    elif vanishing == "all":
        coefficients[:] = 0.0
    f, g = [0, 1, 2, 3, 0, 3], [0, 0, 2, 2, 2, 1]
    rho = rng.uniform(-1, 1, (N, N))
    tables, _ = pair_tables(coefficients, f, g, rho, 1e-13)
    powers = rho[..., None] ** np.arange(60)
    for table, a, b in zip(tables, f, g, strict=True):
        expected = np.einsum("ak,bk,abk->ab", coefficients[a], coefficients[b], powers)
        assert np.abs(table - expected).max() <= 1e-14 * max(1.0, np.abs(coefficients).max() ** 2)


@pytest.mark.parametrize(("activation", "C_W"), [("relu", 2.0), ("tanh", 1.3), ("gelu", 2.0)])
def test_many_inputs_leave_a_few_as_they_are(activation, C_W):
    images = load_digits(return_X_y=True)[0]
    # Blocks are of 128 samples, of 2^15 pairs and of 4096 sets: none of them is full at the end.
    X = (images[:190] - images.mean(axis=0)) / images.std()
    mlp = ntkflow.MLP((64, 40, 50, 3), activation, C_b=0.1, C_W=C_W)
    few = [0, 100, 127, 128, 150, 189]
    for layer, same in zip(ntkflow.flow(mlp, X, "pairs"), ntkflow.flow(mlp, X[few], "pairs"), strict=True):
        on = np.ix_(few, few)
        assert np.allclose(layer.G[on], same.G, rtol=1e-12)
        assert np.allclose(layer.ntk_std()[on], same.ntk_std(), rtol=1e-9)
        assert np.allclose(layer.G1[on], same.G1, rtol=1e-9, atol=1e-12 * np.abs(same.G1).max())
