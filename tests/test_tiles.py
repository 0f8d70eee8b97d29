"""Flows by tiles: the same numbers as at once, in bounded memory, whatever stops them."""

import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from typing import cast

import numpy as np
import pytest
import xarray as xr
import zarr
from typer.testing import CliRunner

import ntkflow
from ntkflow._recursions import flowing
from ntkflow._report.cli import app
from ntkflow._theory import few_samples
from ntkflow._theory.tiles import plan
from ntkflow._theory.tiles.store import TileStore

rng = np.random.default_rng(7)
X = rng.normal(size=(12, 5))
NAMES = flowing(training=False, kinked=False)
LINEAR = ntkflow.MLP((5, 8, 16, 3), "linear", 0.1, 1.3)
SPEC = 'widths = [5, 8, 16, 3]\nactivation = "linear"\nC_b = 0.1\nC_W = 1.3\n'
TILES = 15  # three blocks
PROGRESS = []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiles") / "flow.zarr"
    return path, ntkflow.flow(LINEAR, X, store=path, progress=lambda *call: PROGRESS.append(call))


@pytest.fixture
def copy(finished, tmp_path):
    """A store that is done, to be damaged."""
    return shutil.copytree(finished[0], tmp_path / "flow.zarr")


def unfinished(path, tiles):
    """Make a finished store one that was stopped before these tiles were done."""
    for tile in tiles:
        shutil.rmtree(path / "largest" / "c" / str(tile))
    return path


def records(path):
    """The finished tiles, and when each was recorded."""
    return {int(file.parents[2].name): file.stat().st_mtime_ns for file in path.glob("largest/c/*/0/0/0")}


def same(a, b):
    same_values(a, b, 1e-14)
    for s, t in zip(a, b, strict=True):
        for name in s.values:
            # Round-off of values shows in estimates that are themselves of the size of round-off.
            atol = 0.05 * s.errors[name].max()
            np.testing.assert_allclose(t.errors[name], s.errors[name], rtol=0.05, atol=atol, err_msg=name)
            assert t.relative_error(name) == pytest.approx(s.relative_error(name), rel=0.05)
        for table in ("ntk_std", "ntk_preactivation_correlation", "ntk_mean"):
            np.testing.assert_allclose(getattr(t, table)(), getattr(s, table)(), rtol=1e-12, atol=1e-14)


def same_values(a, b, close):
    for s, t in zip(a, b, strict=True):
        assert s.values.keys() == t.values.keys()
        for name in s.values:
            value = s.values[name]
            np.testing.assert_allclose(
                t.values[name], value, rtol=0, atol=close * np.abs(value).max(), err_msg=name
            )


SLOW = [
    ("tanh", [0, 1, 2, 3, 4, 5], 2),
    ("relu", [0, 1, 2, 3, 4, 5], 2),
    ("relu", [0, 1, 2, 3, 4, 5, 6], 3),  # the last block of one sample
    ("tanh", [0, 0, 1, 2, 0, 3, 3], 3),
    ("tanh", [0, 0, 0], 1),
    ("elu", [0, 1, 2, 3, 4], 3),
]


@pytest.mark.parametrize(
    ("activation", "samples", "block"),
    [
        ("tanh", [0, 1, 2, 3], 2),
        pytest.param("tanh", [0, 1, 2, 3, 4, 5, 6, 7], 4, marks=pytest.mark.slow),
        pytest.param(  # equal inputs in one block and in two
            "relu", [0, 1, 2, 1, 3, 0, 4, 4], 4, marks=pytest.mark.slow
        ),
        pytest.param("relu", [0, 1, 2, 1, 3], 2, marks=pytest.mark.slow),
        pytest.param("relu", [0, 1], 2, marks=pytest.mark.slow),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
    ],
)
def test_tiles_are_parts_of_the_whole(tmp_path, monkeypatch, activation, samples, block):
    mlp = ntkflow.MLP((5, 8, 16, 3), activation, 0.1, 1.4)
    N = len(samples)
    tiled = ntkflow.flow(
        mlp, X[samples], store=tmp_path / "flow.zarr", memory=plan.working_set(3, N, NAMES, block)
    )
    assert cast(zarr.Array, zarr.open_group(tmp_path / "flow.zarr", mode="r")["V"]).chunks[1] == block
    if len(set(samples)) < 3:
        # In memory these are computed by another program, with a round-off of its own.
        same_values(ntkflow.flow(mlp, X[samples]), tiled, close=1e-13)
        monkeypatch.setattr(few_samples, "serves", lambda mlp, sets: False)
    same(ntkflow.flow(mlp, X[samples]), tiled)


@pytest.mark.parametrize(("N", "block"), [(9, 4), (9, 2), (3, 5), (10, 3), (13, 4)])
def test_every_set_of_four_is_in_one_tile(N, block):
    tiles = plan.Plan(N, block)
    sets = [tuple(row) for tile in tiles.tiles for row in tiles.sets(tile)[0] if len(row) == min(N, 4)]
    assert sorted(sets) == list(itertools.combinations(range(N), min(N, 4)))
    assert all(tiles.count(tile) == len(tiles.sets(tile)[0]) for tile in tiles.tiles)


def test_blocks_suit_the_memory():
    memories = (2**29, 2**30, 2**32)
    sizes = [plan.block_for(6, 200, NAMES, memory) for memory in memories]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] and 8 <= sizes[1] <= 24
    for memory, block in zip(memories, sizes, strict=True):
        assert plan.working_set(6, 200, NAMES, block) <= memory
    with pytest.raises(ntkflow.errors.MemoryRequestError, match="more than the 200 MiB"):
        plan.block_for(6, 200, NAMES, 200 * 2**20)


def test_progress(finished):
    done = [call[0] for call in PROGRESS]
    assert done == sorted(done) and done[0] == 0 and done[-1] == PROGRESS[-1][1]
    assert "tile 4 of 15, layer 2" in [call[2] for call in PROGRESS]


def command(*arguments):
    return [
        sys.executable, "-m", "ntkflow", "flow", "net.toml", "--data", "X.npy", "-o", "flow.zarr", *arguments,
    ]  # fmt: skip


def check_kills(folder, kills, seed, whole):
    """Kill runs at random moments, most of them after a tile is done, then finish."""
    (folder / "net.toml").write_text(SPEC)
    np.save(folder / "X.npy", X)
    moment, path = np.random.default_rng(seed), folder / "flow.zarr"
    counts = []
    for _ in range(kills):
        before = records(path) if path.exists() else {}
        arguments = ["--resume"] if path.exists() else ["--memory", "1GiB"]
        run = subprocess.Popen(
            command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if not counts or moment.random() < 0.8:
            while run.poll() is None and len(records(path)) <= len(before):
                time.sleep(0.002)
            time.sleep(moment.exponential(0.1))
        else:
            time.sleep(moment.uniform(0, 5))
        run.send_signal(signal.SIGKILL)
        run.wait()
        after = records(path)
        assert before.items() <= after.items(), "a finished tile was computed again"
        counts.append(len(after))
        if 0 < len(after) < TILES:
            with pytest.raises(ntkflow.errors.FileError, match=f"unfinished: {len(after)} of {TILES} tiles"):
                ntkflow.Flow.load(path)
    assert any(0 < count < TILES for count in counts), f"no kill met the tiles: {counts}"
    assert ntkflow.flow(LINEAR, X, store=path, resume=True).equals(whole)


@pytest.mark.slow
def test_killed_runs_go_on(tmp_path, finished):
    check_kills(tmp_path, kills=1, seed=4, whole=finished[1])


@pytest.mark.slow
def test_killed_runs_go_on_at_many_moments(tmp_path, finished):
    check_kills(tmp_path, kills=12, seed=1, whole=finished[1])


def test_tiles_half_written_are_computed_again(copy, finished):
    """As killed within two tiles, at any file."""
    for name in ("V", "B_error"):
        shutil.rmtree(copy / name / "c" / "2" / "0" / "1")
    unfinished(copy, [2, 7, 14])
    for tile in (2, 7, 14):
        assert tile not in records(copy)
    kept = records(copy)
    unfinished(copy, [tile for tile in kept if 0 < tile < 10])  # whatever wrote to the chunks removed
    resumed = ntkflow.flow(LINEAR, X, store=copy, resume=True)
    assert resumed.equals(finished[1]) and records(copy).items() >= {(0, kept[0]), (10, kept[10])}


def test_resuming_a_finished_store_computes_nothing(copy, finished):
    kept = records(copy)
    assert ntkflow.flow(LINEAR, X, store=copy, resume=True).equals(finished[1])
    assert records(copy) == kept


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"resume": False}, ntkflow.errors.FileError, "exists already"),
        ({"X": X + 1}, ntkflow.errors.FileError, "other inputs"),
        (
            {"network": ntkflow.MLP((5, 8, 16, 3), "linear", 0.2, 1.3)},
            ntkflow.errors.FileError,
            "another network",
        ),
        ({"memory": 1000}, ntkflow.errors.MemoryRequestError, "blocks of 4 of 12 samples need"),
        ({"memory": "much"}, ntkflow.errors.DataError, "memory"),
        ({"components": "mean"}, ntkflow.errors.ComponentError, "store"),
        ({"components": "pairs"}, ntkflow.errors.FileError, "a flow by tiles, not a flow by batches"),
        ({"store": None}, ntkflow.errors.DataError, "store"),
        ({"store": "flow.nc"}, ntkflow.errors.FileError, "must end in .zarr"),
        ({"store": "nowhere/flow.zarr"}, ntkflow.errors.FileError, "no directory"),
    ],
)
def test_refusals(finished, change, error, word):
    with pytest.raises(error, match=word):
        ntkflow.flow(**{"network": LINEAR, "X": X, "store": finished[0], "resume": True} | change)


def test_a_store_in_use_is_refused(copy):
    lock = TileStore(copy).lock()
    with pytest.raises(ntkflow.errors.FileError, match="in use by another run"):
        ntkflow.flow(LINEAR, X, store=copy, resume=True)
    lock.release()
    ntkflow.flow(LINEAR, X, store=copy, resume=True)


def test_foreign_stores_are_refused(copy, tmp_path):
    def refused(path, word):
        with pytest.raises(ntkflow.errors.FileError, match=word):
            ntkflow.flow(LINEAR, X, store=path, resume=True)

    ntkflow.flow(LINEAR, X[:2], "mean").save(tmp_path / "other.zarr")
    refused(tmp_path / "other.zarr", "not a flow by tiles")
    header = json.loads((copy / "zarr.json").read_text())
    header["attributes"]["ntkflow_tiles"] = 99
    (copy / "zarr.json").write_text(json.dumps(header))
    refused(copy, "format 99")
    (copy / "zarr.json").write_text("{")
    refused(copy, "damaged")


def _truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _gone(path):
    path.unlink()


@pytest.mark.parametrize("damage", [_truncated, _flipped, _gone])
@pytest.mark.parametrize("file", ["V/c/2/0/1/2/0", "A_error/c/1/0/0/0/0", "H1/c/1/0/1"])
def test_damaged_tensors_are_refused_when_read(copy, damage, file):
    damage(copy / file)
    flow = ntkflow.Flow.load(copy)
    name, layer = file.split("/")[0], int(file.split("/")[2]) + 1
    with pytest.raises(ntkflow.errors.FileError, match=f"{name} of layer {layer} can't be read"):
        flow[layer].error(name.removesuffix("_error")) if name.endswith("_error") else flow[layer][name]
    assert np.all(np.isfinite(flow[3].B))


@pytest.mark.parametrize("damage", [_truncated, _flipped, _gone])
@pytest.mark.parametrize("file", ["X/c/0/0", "V/zarr.json", "largest/c/3/0/0/0"])
def test_damaged_stores_are_refused(copy, damage, file):
    damage(copy / file)
    with pytest.raises(ntkflow.errors.FileError):
        ntkflow.Flow.load(copy)


def test_no_more_is_read_than_is_looked_at(copy, finished):
    """Of a component its chunk, of a table of pairs theirs: with all other files gone they are still there."""
    kept = {"A": "c/2/1/0/2/2", "A_error": None, "B": None, "D": None}
    for name, chunk in kept.items():
        for file in (copy / name).glob("c/*/*/*/*/*"):
            if chunk is None or not str(file).endswith(chunk):
                file.unlink()
    flow = ntkflow.Flow.load(copy)
    assert flow[3].component("A", 5, 1, 8, 11) == finished[1][3].A[5, 1, 8, 11]
    with pytest.raises(ntkflow.errors.FileError, match="missing"):
        flow[3].component("A", 5, 1, 8, 4)
    with pytest.raises(ntkflow.errors.FileError, match="missing"):
        _ = flow[3].A
    assert flow[3].relative_error("A") == finished[1][3].relative_error("A")


def test_xarray_shows_the_dataset_of_the_flow(finished, recwarn):
    path, flow = finished
    with xr.open_zarr(path, consolidated=False, chunks=None) as opened:
        assert not recwarn.list
        whole = flow.to_xarray()
        assert set(whole.variables) == set(opened.variables) - {"largest"}
        for name, array in whole.variables.items():
            assert opened[name].dims == array.dims
            np.testing.assert_array_equal(opened[name], array)
        assert whole.attrs.items() <= opened.attrs.items()


def test_a_callable_activation(tmp_path):
    def double(z):
        return 2 * z

    mlp = ntkflow.MLP((5, 8, 3), double)
    flow = ntkflow.flow(mlp, X[:3], store=tmp_path / "flow.zarr")
    assert flow[2].A.shape == (3, 3, 3, 3)
    read = ntkflow.Flow.load(tmp_path / "flow.zarr")
    assert np.array_equal(read[2].A, flow[2].A) and "double" in repr(read)
    with pytest.raises(ntkflow.errors.ActivationError, match="double"):
        ntkflow.flow(read.mlp, X[:3], "mean")


def test_command_line(tmp_path, finished, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.toml").write_text(SPEC)
    np.save(tmp_path / "X.npy", X)
    shutil.copytree(finished[0], tmp_path / "flow.zarr")

    def run(*arguments):
        done = CliRunner().invoke(app, command(*arguments)[3:])
        return done.exit_code, done.stderr

    assert run("--resume", "--memory", "2GiB", "--plot", "flow.png") == (0, "")
    assert (tmp_path / "flow.png").stat().st_size > 5000
    for arguments, word in (
        (("--memory", "1GiB"), "exists already"),
        (("--memory", "1XB"), "--memory must be"),
        (("--memory", "1GiB", "--force"), "--force"),
    ):
        status, message = run(*arguments)
        assert status == 2 and word in message and len(message.splitlines()) == 1
