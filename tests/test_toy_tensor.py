"""A tensor is declared once: all that the package does with tensors follows from the declaration of one that it does not have."""

import importlib
import sys
from unittest import mock

import jax
import numpy as np
import pytest
from printed import text

import ntkflow
from ntkflow._recursions import TENSORS

WIDTHS = (4, 24, 24, 3)


@pytest.fixture(autouse=True)
def toy():
    sys.modules.pop("toy_tensor", None)
    yield importlib.import_module("toy_tensor")
    del TENSORS["C"]


@pytest.fixture
def X(rng):
    return rng.normal(size=(3, 4))


def of_B(B):
    """C on its axes α1, α2, α3, α4 from B on α1, α3, α2, α4, with any axes in front."""
    B_1234 = B.swapaxes(-3, -2)
    return (B_1234 + B_1234.swapaxes(-2, -1)) / 2


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("components", ["all", "pairs", [[0, 1, 2], [2, 0]]])
def test_it_flows_on_all_components_with_errors(X, activation, components):
    flow = ntkflow.flow(ntkflow.MLP(WIDTHS, activation, 0.1, 1.5), X, components)
    for layer in flow:
        assert np.allclose(layer["C"], of_B(layer.B), rtol=1e-13, atol=0)
        error = layer.error("C")
        assert error.shape == layer["C"].shape and np.all(error <= 2 * np.nanmax(layer.error("B")))
    assert np.all(flow[3].error("C")[np.isfinite(flow[3]["C"])] > 0)
    assert 0 < flow[3].relative_error("C") < 1e-9
    assert flow[3].component("C", 1, 0, 0, 1) == flow[3].component("C", 0, 1, 1, 0)


def test_it_is_packed_by_its_own_symmetry(toy):
    """Pairs of pairs of k samples: p (p + 1) / 2 with p = k (k + 1) / 2."""
    assert TENSORS["C"].orbits(4)[1].shape == (4, 55)


def test_it_is_stored_and_read(tmp_path, X):
    mlp = ntkflow.MLP(WIDTHS, "gelu")
    flow = ntkflow.flow(mlp, X)
    flow.save(tmp_path / "flow.nc")
    assert ntkflow.Flow.load(tmp_path / "flow.nc").equals(flow)
    dataset = flow.to_xarray()
    assert dataset["C"].dims == ("layer", "alpha1", "alpha2", "alpha3", "alpha4")
    tiled = ntkflow.flow(mlp, X, store=tmp_path / "tiles.zarr")
    for layer, other in zip(flow, tiled, strict=True):
        assert np.allclose(layer["C"], other["C"], rtol=1e-12, atol=0)
    assert tiled[3].relative_error("C") > 0


def test_its_truncation_is_told(X):
    layer = ntkflow.flow(ntkflow.MLP(WIDTHS, "gelu"), X)[3]
    share = layer.truncation("C")[0, 0, 0, 0] / layer["C"][0, 0, 0, 0]
    assert np.isclose(share, layer.ntk_variance(order=1)[0, 0] / layer.H[0, 0] ** 2, rtol=1e-12)


def test_it_is_printed(X):
    flow = ntkflow.flow(ntkflow.MLP(WIDTHS, "gelu"), X)
    assert "G  H G1 H1  V  D  F  A  B  C" in text(flow.table(accuracy=True), 120)
    assert "\nC " in repr(flow[3])


def test_it_is_traced(X):
    with jax.enable_x64(True):
        traced = ntkflow.traced_flow(ntkflow.MLP(WIDTHS, "gelu"), X)
        assert np.allclose(traced[3]["C"], of_B(np.asarray(traced[3].B)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("estimators", ["low-noise", "direct"])
def test_sampled_networks_measure_it(tmp_path, X, estimators):
    mlp = ntkflow.MLP(WIDTHS, "gelu", 0.1, 1.5)
    found = ntkflow.ensemble(mlp, X, 400, estimators=estimators, store=tmp_path / "ensemble.zarr")
    for layer in list(found)[1:]:
        assert np.allclose(layer["C"], of_B(layer.B), rtol=1e-10, atol=1e-12)
        assert np.all(layer.error("C") > 0)
    assert np.array_equal(ntkflow.Ensemble.load(tmp_path / "ensemble.zarr")[3]["C"], found[3]["C"])
    with mock.patch.dict(TENSORS):
        del TENSORS["C"]
        with pytest.raises(
            ntkflow.errors.FileError, match=r"measures G, H, V, D, F, A, B, C, but the tensors"
        ):
            ntkflow.Ensemble.load(tmp_path / "ensemble.zarr")
    comparison = ntkflow.compare(ntkflow.flow(mlp, X), found)
    assert [d.layer for d in comparison if d.name == "C"] == [1, 2, 3] and comparison.agrees


def test_it_is_verified(X):
    """Fixed seeds; false alarm 1e-3."""
    verification = ntkflow.verify(ntkflow.MLP(WIDTHS, "tanh", 0.1, 1.5), X[:1], (16, 32), 2000)
    assert [e.layer for e in verification if e.name == "C"] == [1, 2, 3] and verification.agrees


def test_a_name_is_declared_once(toy):
    from ntkflow._recursions.tensors import tensor

    with pytest.raises(ValueError, match="C is declared already"):
        tensor("12", equal=("21",), made_of="GG")(toy.C)
    with pytest.raises(ValueError, match="made_of and equal must fit the subscripts 12"):
        tensor("12", equal=("21",), made_of="GGH")(lambda h, e, t: None)
