"""Flows of pairs and of sets of samples to a store, by batches: the same numbers as at once, in bounded memory, whatever stops them."""

import shutil

import numpy as np
import pytest
import xarray as xr
from command_line import within
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkflow
from ntkflow._disk.load import check
from ntkflow._theory.components import places_of_pairs, sample_sets
from ntkflow._theory.tiles import batches

rng = np.random.default_rng(11)
X = rng.normal(size=(14, 5))
X[7], X[9], X[11] = X[3], 2 * X[2], 0.0  # equal, parallel, zero
SETS = [[0, 1, 2], [4, 5], [6, 6, 7], [8], [2, 9, 3]]
MORE_SETS = [[0, 1, 2, 3, 4, 5], [3, 7, 9, 2]]
NAMES = ("G1", "H1", "V", "D", "F", "A", "B")


def network(activation):
    return ntkflow.MLP((5, 8, 16, 3), activation, 0.1, 1.4)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path, calls = tmp_path_factory.mktemp("batches") / "flow.zarr", []
    stored = ntkflow.flow(network("relu"), X, "pairs", store=path, progress=lambda *call: calls.append(call))
    return path, stored, calls


@pytest.fixture
def copy(pairs, tmp_path):
    return shutil.copytree(pairs[0], tmp_path / "flow.zarr")


def same(whole, stored, close=1e-13):
    for s, t in zip(whole, stored, strict=True):
        assert s.values.keys() == t.values.keys()
        np.testing.assert_array_equal(t.sets, s.sets)
        for name in s.values:
            a, b = s[name], t[name]
            assert a.shape == b.shape == s.error(name).shape == t.error(name).shape, name
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
            # Nearly parallel samples lose digits, which the errors tell.
            allowed = close * (np.nanmax(np.abs(a), initial=0.0) + s.error(name) / 1e-13)
            assert not np.any(np.abs(a - b) > allowed), name
            # A batch's errors are relative to the products of G and H in it, which may be smaller than all samples' are; G and H, which come
            # by tiles, have bounds.
            most = 1.1 * np.nanmax(s.error(name)) if name in NAMES else 1e-12 * np.abs(s[name]).max()
            assert np.nanmax(t.error(name)) <= most + 1e-300, name


@pytest.mark.parametrize(
    ("activation", "components"),
    [
        ("relu", SETS),
        ("relu", [[3]]),
        ("relu", MORE_SETS),
        ("tanh", "pairs"),
        ("tanh", [[0, 1, 2, 3, 4], [3, 7, 9, 2]]),
        ("elu", SETS),
    ],
)
def test_sets_are_parts_of_the_whole(tmp_path, activation, components):
    mlp, path = network(activation), tmp_path / "flow.zarr"
    stored = ntkflow.flow(mlp, X, components, store=path)
    same(ntkflow.flow(mlp, X, components), stored)
    same(stored, ntkflow.load(path), close=0.0)


def test_pairs_are_parts_of_the_whole(pairs):
    path, stored, _ = pairs
    same(ntkflow.flow(network("relu"), X, "pairs"), stored)
    assert len(list((path / "largest" / "c").glob("*"))) == 3


def test_one_sample(tmp_path):
    mlp = network("relu")
    same(ntkflow.flow(mlp, X[:1], "pairs"), ntkflow.flow(mlp, X[:1], "pairs", store=tmp_path / "flow.zarr"))


def test_what_is_derived_reads_some_sets_at_a_time(pairs):
    whole = ntkflow.flow(network("relu"), X, "pairs")
    for s, t in zip(whole, pairs[1], strict=True):
        for pattern in ("abab", "aabb", "abba"):
            np.testing.assert_allclose(t.on_pairs("B", pattern), s.on_pairs("B", pattern), rtol=1e-12)
            for name in NAMES[2:]:
                on_one = t.on_pairs(name, pattern, diagonal=True)
                np.testing.assert_allclose(on_one, np.diag(s.on_pairs(name, pattern)), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(t.ntk_std(), s.ntk_std(), rtol=1e-12)
        assert t.component("A", 2, 5, 5, 2) == pytest.approx(s.component("A", 2, 5, 5, 2), rel=1e-12)
    assert pairs[1].table().row_count == whole.table().row_count


def test_other_programs_read_which_sets_are_where(pairs):
    path, stored, _ = pairs
    with xr.open_dataset(path) as dataset:
        assert dataset.A.dims == ("layer", "set", "slot1", "slot2", "slot3", "slot4")
        assert dataset.H1.dims == ("layer", "set", "slot1", "slot2")
        a, b = dataset.sets.values.T
        np.testing.assert_array_equal(dataset.A[2, :, 0, 1, 0, 1], stored[3].on_pairs("A", "abab")[a, b])
        np.testing.assert_array_equal(dataset.H1[2, :, 0, 1], stored[3].H1[a, b])


def test_progress_and_check(pairs):
    path, _, calls = pairs
    done = [call[0] for call in calls]
    assert done == sorted(done) and done[0] == 0 and done[-1] == calls[-1][1]
    assert "batch 2 of 3, layer 2" in [call[2] for call in calls]
    assert "a flow by batches of sample sets" in check(path) and "whole and undamaged" in check(path)


def test_goes_on_where_it_was_stopped(pairs, copy):
    shutil.rmtree(copy / "largest" / "c" / "1")
    with pytest.raises(ntkflow.errors.UnfinishedError, match="2 of 3 batches are done"):
        ntkflow.load(copy)
    messages = []
    again = ntkflow.flow(
        network("relu"), X, "pairs", store=copy, resume=True, progress=lambda *call: messages.append(call[2])
    )
    assert {message[:7] for message in messages if "layer" in message} == {"batch 2"}
    same(pairs[1], again, close=0.0)


def test_another_job_is_refused(copy):
    for components in ("all", SETS):
        with pytest.raises(ntkflow.errors.FileError):
            ntkflow.flow(network("relu"), X, components, store=copy, resume=True)
    with pytest.raises(ntkflow.errors.FileError, match="other inputs"):
        ntkflow.flow(network("relu"), 2 * X, "pairs", store=copy, resume=True)
    with pytest.raises(ntkflow.errors.ComponentError, match="store_kernels"):
        ntkflow.flow(network("relu"), X, "mean", store=copy)


def test_memory_decides_how_large_batches_are(tmp_path):
    mlp, many = network("relu"), np.stack(np.triu_indices(400, 1), axis=1)
    sizes = []
    for memory in (2**28, 2**29, 2**31):
        ordered, plan = batches.batches_for(mlp, many, np.arange(400), NAMES, memory, pairs=True)
        assert batches.batch_memory(mlp, 400, plan, 2, NAMES) <= memory
        assert plan.samples < 400 and len(ordered) == len(many)
        sizes.append(plan.size)
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] == batches.MOST_SETS
    with pytest.raises(ntkflow.errors.MemoryRequestError, match="batches of 32 sets"):
        ntkflow.flow(mlp, X, "pairs", store=tmp_path / "flow.zarr", memory=10**7)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(1, 300))
def test_every_set_is_in_one_batch(N, size):
    pairs = sample_sets("pairs", N)
    assert pairs is not None
    ordered = batches.by_blocks(pairs, size)
    np.testing.assert_array_equal(ordered[places_of_pairs(ordered)], pairs)
    plan = batches.Batches(ordered, N, size)
    np.testing.assert_array_equal(np.concatenate([plan.rows(n) for n in range(len(plan.counts))]), ordered)
    for number in range(len(plan.counts)):
        inputs = plan.inputs(number)
        assert len(inputs) == plan.samples and np.all(np.diff(inputs) > 0)
        assert np.isin(plan.rows(number), inputs).all()


def test_command_line(tmp_path, pairs):
    (tmp_path / "net.toml").write_text('widths = [5, 8, 16, 3]\nactivation = "relu"\nC_b = 0.1\nC_W = 1.4\n')
    np.save(tmp_path / "X.npy", X)
    code, output, _ = within(
        tmp_path, "flow", "net.toml", "--data", "X.npy", "--components", "pairs", "--memory", "1GiB", "-o", "flow.zarr"
    )  # fmt: skip
    assert code == 0 and "Saved to flow.zarr" in output
    same(pairs[1], ntkflow.load(tmp_path / "flow.zarr"), close=0.0)
