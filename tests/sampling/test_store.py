"""Stops and faults: killed processes, damaged and foreign stores, two runs on one store, disks that refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, cast

import numpy as np
import pytest
import zarr
from command_line import within

import ntkflow

X = np.random.default_rng(5).normal(size=(4, 6))
MLP = ntkflow.MLP((6, 48, 48, 2), "tanh", 0.1, 1.3)
SPEC = 'widths = [6, 48, 48, 2]\nactivation = "tanh"\nC_b = 0.1\nC_W = 1.3\n'
DRAWS, BLOCK = 1500, 15


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.toml").write_text(SPEC)
    np.save(tmp_path / "X.npy", X)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "small.zarr"
    return path, ntkflow.ensemble(MLP, X, 50, block=10, store=path)


@pytest.fixture
def small(finished, tmp_path):
    """A finished store of 5 blocks, to be damaged, and what it says."""
    return shutil.copytree(finished[0], tmp_path / "small.zarr"), finished[1]


def command(*arguments, output="run.zarr", draws=DRAWS, block=BLOCK):
    return [
        sys.executable, "-m", "ntkflow", "ensemble", "net.toml", "--data", "X.npy", "-o", output,
        "--draws", str(draws), "--block", str(block), *arguments,
    ]  # fmt: skip


def failed(folder, *arguments, **options):
    """The one line on stderr of a command that exits with 2."""
    status, _, said = within(folder, *command(*arguments, **options)[3:])
    assert status == 2, said
    assert len(said.splitlines()) == 1 and said.startswith("ntkflow: "), said
    return said


def records(path):
    """The finished blocks' files, and when each was written."""
    found = (path / "sums" / "c").glob("*/0")
    return {int(file.parent.name): file.stat().st_mtime_ns for file in found}


def same_records(path, other):
    a, b = (cast(Any, zarr.open_group(p, mode="r")["sums"])[:] for p in (path, other))
    return np.array_equal(a, b)


def killed_again_and_again(folder, kills, seed, draws):
    """Kill runs at random moments, from before the store exists to after the end, until enough are killed."""
    rng = np.random.default_rng(seed)
    path, moments = folder / "run.zarr", []
    for _ in range(kills):
        before = records(path) if path.exists() else {}
        arguments = ["--resume"] if path.exists() else []
        run = subprocess.Popen(
            command(*arguments, draws=draws), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if rng.random() < 0.8:  # within the measurement, not the start, which is longer
            while run.poll() is None and (not path.exists() or len(records(path)) <= len(before)):
                time.sleep(0.002)
            time.sleep(rng.exponential(0.1))
        else:
            time.sleep(rng.uniform(0, 4))
        run.send_signal(signal.SIGKILL)
        run.wait()
        after = records(path) if path.exists() else {}
        assert before.items() <= after.items(), "a finished block was computed again"
        assert sorted(after) == list(range(len(after)))
        if 2 <= BLOCK * len(after):
            assert ntkflow.Ensemble.load(path).draws == min(BLOCK * len(after), draws)
        moments.append(len(after))
    return moments


def check_kills(folder, kills, seed, draws):
    moments = killed_again_and_again(folder, kills, seed, draws)
    in_measurement = {moment for moment in moments if 0 < moment < draws / BLOCK}
    assert len(in_measurement) >= max(1, kills // 3), f"too few kills met the measurement: {moments}"
    for arguments in (command("--resume", draws=draws), command(draws=draws, output="whole.zarr")):
        assert within(folder, *arguments[3:])[0] == 0
    assert same_records(folder / "run.zarr", folder / "whole.zarr")
    resumed, whole = (ntkflow.Ensemble.load(folder / name) for name in ("run.zarr", "whole.zarr"))
    assert resumed.draws == whole.draws == draws
    assert np.array_equal(resumed[3].A, whole[3].A) and np.array_equal(
        resumed[3].error("A"), whole[3].error("A")
    )


@pytest.mark.slow
def test_killed_runs_go_on(folder):
    check_kills(folder, kills=2, seed=0, draws=DRAWS)


@pytest.mark.slow
def test_killed_runs_go_on_at_many_moments(folder):
    check_kills(folder, kills=25, seed=1, draws=10_000)


def test_missing_blocks_are_computed(small):
    """Whatever set of blocks is there: as after a process of several was killed."""
    path, found = small
    for block in (0, 3):
        shutil.rmtree(path / "sums" / "c" / str(block))
    with pytest.raises(ntkflow.errors.FileError, match="no block"):
        ntkflow.Ensemble.load(path)
    kept = records(path)
    resumed = ntkflow.ensemble(MLP, X, 50, block=10, store=path, resume=True)
    assert kept.items() <= records(path).items()
    assert np.array_equal(resumed[3].A, found[3].A)


def test_two_runs_of_one_job_end_in_the_same_rows(small, tmp_path):
    """Also where one of them was asked for fewer draws first: their blocks may stand for each other's, and no other job's may."""
    path, found = small
    again, other = tmp_path / "again.zarr", tmp_path / "other.zarr"
    ntkflow.ensemble(MLP, X, 20, block=10, store=again)
    ntkflow.ensemble(MLP, X, 50, block=10, store=again, resume=True, until=1e-9)
    assert same_records(path, again)
    shutil.copyfile(again / "sums/c/3/0", path / "sums/c/3/0")
    assert np.array_equal(ntkflow.Ensemble.load(path)[3].A, found[3].A)
    for change in ({"seed": 1}, {"network": MLP.replace(C_W=1.4)}, {"estimators": "direct"}):
        job: dict[str, Any] = {"network": MLP, "X": X, "draws": 50, "block": 10, "store": other}
        job.update(change)
        ntkflow.ensemble(**job)
        row = cast(Any, zarr.open_group(other, mode="r")["sums"])[3]
        stored = cast(Any, zarr.open_group(path, mode="r+")["sums"])
        stored[3] = (
            row[: stored.shape[1]]
            if len(row) >= stored.shape[1]
            else np.pad(row, (0, stored.shape[1] - len(row)))
        )
        with pytest.raises(ntkflow.errors.FileError, match="another block or job"):
            ntkflow.Ensemble.load(path)
        shutil.rmtree(other)


def _truncated(path, file):
    data = (path / file).read_bytes()
    (path / file).write_bytes(data[: len(data) // 2])


def _flipped(path, file):
    data = bytearray((path / file).read_bytes())
    data[len(data) // 2] ^= 1
    (path / file).write_bytes(data)


def _gone(path, file):
    (path / file).unlink()


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (_truncated, "sums/c/2/0"),
        (_flipped, "sums/c/2/0"),
        (_truncated, "zarr.json"),
        (_gone, "zarr.json"),
        (_truncated, "sums/zarr.json"),
        (_gone, "sums/zarr.json"),
        (_gone, "X/zarr.json"),
        (_flipped, "X/c/0/0"),
        (_flipped, "reference/c/0/0/0"),
        (_truncated, "reference/c/0/0/0"),
    ],
)
def test_damage_is_refused(small, damage, file):
    path, _ = small
    damage(path, file)
    with pytest.raises(ntkflow.errors.FileError, match="damaged|no Zarr group"):
        ntkflow.Ensemble.load(path)
    with pytest.raises(ntkflow.errors.FileError, match="damaged|no Zarr group"):
        ntkflow.ensemble(MLP, X, 50, block=10, store=path, resume=True)


def test_foreign_stores_are_refused(tmp_path):
    path = tmp_path / "run.zarr"

    def refused(word):
        for attempt in (
            lambda: ntkflow.Ensemble.load(path),
            lambda: ntkflow.ensemble(MLP, X, 50, store=path, resume=True),
        ):
            with pytest.raises(ntkflow.errors.FileError, match=word):
                attempt()

    path.write_text("a letter")
    refused("no Zarr group")
    path.unlink()
    path.mkdir()
    (path / "photo.jpg").write_bytes(b"\xff\xd8")
    refused("no Zarr group")
    shutil.rmtree(path)
    zarr.create_group(path, attributes={"what": "weather"}).create_array("sums", data=np.zeros(3))
    refused("not an ensemble")
    shutil.rmtree(path)
    ntkflow.flow(MLP, X, "mean").save(path)
    refused("not an ensemble")
    shutil.rmtree(path)
    with pytest.raises(ntkflow.errors.FileError, match="does not exist"):
        ntkflow.Ensemble.load(path)


def test_a_later_format_is_refused(small):
    path, _ = small
    header = json.loads((path / "zarr.json").read_text())
    header["attributes"]["ntkflow_ensemble"] = 99
    (path / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(ntkflow.errors.FileError, match="format 99"):
        ntkflow.Ensemble.load(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": 1}, "seed"),
        ({"block": 11}, "block"),
        ({"estimators": "direct"}, "estimators"),
        ({"components": "pairs"}, "components"),
        ({"dtype": "float32"}, "dtype"),
        ({"X": X + 1}, "other inputs"),
        ({"network": ntkflow.MLP((6, 48, 48, 2), "tanh", 0.2, 1.3)}, "another network"),
    ],
)
def test_another_job_is_refused(small, change, word):
    path, _ = small
    job = {"network": MLP, "X": X, "draws": 50, "block": 10, "store": path, "resume": True} | change
    with pytest.raises(ntkflow.errors.FileError, match=word):
        ntkflow.ensemble(**job)


def test_an_existing_store_is_not_replaced(small):
    path, _ = small
    with pytest.raises(ntkflow.errors.FileError, match="exists already"):
        ntkflow.ensemble(MLP, X, 50, block=10, store=path)


def test_ways_out_where_something_is_there_already(folder, finished):
    shutil.copytree(finished[0], folder / "run.zarr")
    said = failed(folder)
    assert "run.zarr exists already" in said and "--resume" in said and "delete it" in said
    (folder / "notes.zarr").mkdir()
    said = failed(folder, output="notes.zarr")
    assert "not an ensemble" in said and "another name" in said and "delete" not in said


def test_a_second_run_is_refused(folder):
    first = subprocess.Popen(command(draws=10**6), cwd=folder, stdout=subprocess.DEVNULL)
    try:
        path = folder / "run.zarr"
        while first.poll() is None and not (path.exists() and records(path)):
            time.sleep(0.01)
        assert first.poll() is None
        assert "in use by another run" in failed(folder, "--resume", draws=10**6)
        assert first.poll() is None
        assert ntkflow.Ensemble.load(path).draws >= BLOCK  # but it may be read
    finally:
        first.kill()
        first.wait()
    held = len(records(path))
    until = command("--resume", "--until", "50%", "--tensors", "H", draws=10**6)
    assert within(folder, *until[3:])[0] == 0 and len(records(path)) == held


@pytest.mark.slow
def test_full_disk(folder):
    """A limit on a file's size fails the write as a full disk does; with room again the run goes on."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); from ntkflow._report.cli import main; main()"
    )
    sizes = {"store": 100, "records": 20_000}
    for what, size in sizes.items():
        full = [sys.executable, "-c", limited.format(size), *command()[3:]]
        done = subprocess.run(full, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 2, (what, done)
        assert "cannot write run.zarr: File too large" in done.stderr and len(done.stderr.splitlines()) == 1
        assert not list(folder.glob(".run.zarr*"))
        assert (folder / "run.zarr").exists() == (what == "records")
    assert not records(folder / "run.zarr")
    assert within(folder, *command("--resume")[3:])[0] == 0
    assert ntkflow.Ensemble.load(folder / "run.zarr").draws == DRAWS


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody may write to")
def test_read_only_folder(folder):
    assert "cannot write /proc/run.zarr" in failed(folder, output="/proc/run.zarr")


def test_read_only_store_can_be_read(small):
    path, found = small
    for file in [path, *path.rglob("*")]:
        file.chmod(0o555 if file.is_dir() else 0o444)
    assert np.array_equal(ntkflow.Ensemble.load(path)[3].A, found[3].A)
    if os.geteuid():  # root may write anyway
        with pytest.raises(ntkflow.errors.FileError, match="cannot write"):
            ntkflow.ensemble(MLP, X, 60, block=10, store=path, resume=True)
    for file in [path, *path.rglob("*")]:
        file.chmod(0o755 if file.is_dir() else 0o644)
