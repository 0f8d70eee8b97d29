"""Parts of a job, each in a process of its own, without any scheduler: one store, made by whichever comes first."""

import shutil
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from command_line import within
from small_jobs import JOBS, MLP, RECORDS, TASKS, X, chunks, done, undone

import ntkflow
from ntkflow._disk import locks
from ntkflow.errors import FileError, InUseError, UnfinishedError

SPEC = 'widths = [4, 8, 6, 2]\nactivation = "relu"\nC_b = 0.1\nC_W = 1.5\n'
COMMANDS = {
    "flow": ["flow", "--data", "X6.npy", "--memory", "1GiB"],
    "pairs": ["flow", "--data", "X12.npy", "--components", "pairs", "--memory", "1GiB"],
    "kernels": ["flow", "--data", "X.npy", "--components", "mean", "--tile", "174"],
    "ensemble": ["ensemble", "--data", "X3.npy", "--draws", "65", "--seed", "3", "--block", "10"],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.toml").write_text(SPEC)
    for name, samples in (("X", X), ("X12", X[:12]), ("X6", X[:6]), ("X3", X[:3])):
        np.save(tmp_path / f"{name}.npy", samples)
    return tmp_path


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(locks, "_MOMENT", 0.2)


def command(name, *arguments):
    verb, *options = COMMANDS[name]
    return [verb, "net.toml", *options, "-o", f"{name}.zarr", *arguments]


@pytest.mark.parametrize("name", JOBS)
def test_parts_in_any_order_make_the_whole(whole, tmp_path, name):
    path = tmp_path / f"{name}.zarr"
    expected: set[int] = set()
    for number in (2, 3):
        with pytest.raises(UnfinishedError, match="unfinished"):
            JOBS[name](path, part=(number, 3))
        expected |= set(range(number - 1, TASKS[name], 3))
        assert set(done(path, name)) == expected
    JOBS[name](path, part=(1, 3))
    assert chunks(path) == chunks(whole[name])
    assert [file.name for file in (path / "records").glob(".*")] == [".lock"]
    kept = done(path, name)
    JOBS[name](path, part=(3, 3))
    JOBS[name](path, resume=True)
    assert done(path, name) == kept


@pytest.mark.parametrize("name", JOBS)
def test_more_parts_than_tasks_and_other_divisions(whole, tmp_path, name):
    """A part may have nothing to do; what parts of other divisions did is not done again."""
    path = tmp_path / f"{name}.zarr"
    with pytest.raises(UnfinishedError):
        JOBS[name](path, part=(100, 100))
    assert not (path / "sums" / "c").exists() and not done(path, name)
    with pytest.raises(UnfinishedError):
        JOBS[name](path, part=(1, 2))
    kept = done(path, name)
    for number in range(1, 4):
        try:
            JOBS[name](path, part=(number, 3))
        except UnfinishedError:
            assert number < 3
    assert kept.items() <= done(path, name).items() and chunks(path) == chunks(whole[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_parts_that_start_together(folder, name):
    """Three processes, none of which finds a store; the exit status of each is 0, and one at least says what the whole is."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "ntkflow", *command(name, "--part", f"{number}/3")],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    said = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert "undamaged" in within(folder, "check", f"{name}.zarr")[1]
    assert (
        within(folder, *command(name, "--resume"))[0] == 0
    )  # where the last two ended at once neither saw the other's
    if name == "flow":  # its blocks are of what suits 1 GiB
        one = ntkflow.flow(MLP, X[:6], store=folder / "one.zarr")
        assert ntkflow.Flow.load(folder / "flow.zarr").equals(one)
    else:
        JOBS[name](folder / "one.zarr")
        assert chunks(folder / f"{name}.zarr") == chunks(folder / "one.zarr")


@pytest.mark.parametrize("name", JOBS)
def test_what_a_command_says_of_a_part(folder, name):
    status, said, _ = within(folder, *command(name, "--part", "2/2"))
    assert (
        status == 0
        and said.startswith("Part 2 of 2 is done; ")
        and "unfinished" in said
        and "are done" in said
    )
    status, said, _ = within(folder, *command(name, "--part", "1/2"))
    assert status == 0 and "Part" not in said


def test_command_lines_that_are_refused(folder):
    for name in JOBS:
        for arguments, word in (
            (["--part", "3"], "like 3/16"),
            (["--part", "3/2"], "1/2 … 2/2"),
            (["--workers", "2", "--dask", "tcp://127.0.0.1:1"], "exclude"),
        ):
            status, _, said = within(folder, *command(name, *arguments))
            assert status == 2 and word in said and said.count("\n") == 1
    assert not list(folder.glob("*.zarr"))


@pytest.mark.parametrize("name", JOBS)
def test_a_run_alone_and_parts_exclude_each_other(whole, tmp_path, impatient, name):
    path = shutil.copytree(whole[name], tmp_path / f"{name}.zarr")
    undone(path, name, [0, 2])
    lock = locks.of_run(path)
    with pytest.raises(InUseError, match="in use"):
        JOBS[name](path, part=(1, 2))
    lock.release()
    assert not list((path / "records").glob(".part*"))
    with locks.of_part(path, (1, 2)):
        for options in ({"resume": True}, {"part": (1, 2)}):
            with pytest.raises(InUseError, match="in use"):
                JOBS[name](path, **options)
        with pytest.raises(InUseError, match="in use"):
            ntkflow.flow(MLP, X[:2], "mean").save(path, overwrite=True)
        JOBS[name](path, part=(1, 1))  # but parts don't
    assert chunks(path) == chunks(whole[name])


@pytest.mark.parametrize("name", JOBS)
def test_a_task_that_another_one_is_at_is_not_done_twice(whole, tmp_path, name):
    """Such as a worker that was taken for lost: whoever is given its task waits, and keeps what it has done."""
    path = shutil.copytree(whole[name], tmp_path / f"{name}.zarr")
    kept = tmp_path / "kept"
    undone_chunk = path / RECORDS[name] / "c" / "2"
    shutil.copytree(undone_chunk, kept)
    undone(path, name, [2])
    waiting = threading.Event()
    with locks.of_task(path, 2):
        run = threading.Thread(target=lambda: (waiting.set(), JOBS[name](path, resume=True)))
        run.start()
        waiting.wait()
        run.join(1.0)
        assert run.is_alive()
        shutil.copytree(kept, undone_chunk)
        written = done(path, name)[2]
    run.join()
    assert done(path, name)[2] == written and chunks(path) == chunks(whole[name])


def test_parts_are_of_one_job(whole, tmp_path):
    path = shutil.copytree(whole["ensemble"], tmp_path / "run.zarr")
    for change in ({"draws": 75}, {"until": 0.5}, {"tensors": ["A"]}, {"seed": 4}):
        job: dict[str, Any] = {"draws": 65, "seed": 3, "block": 10, "store": path, "part": (1, 2)}
        job.update(change)
        with pytest.raises(FileError, match="another job"):
            ntkflow.ensemble(MLP, X[:3], **job)
    with pytest.raises(FileError, match="not both"):
        JOBS["kernels"](tmp_path / "kernels.zarr", part=(1, 2), overwrite=True)


def test_parts_go_on_until_it_is_good_enough(tmp_path):
    job: dict[str, Any] = {"draws": 10_000, "until": 0.2, "tensors": ["H"], "block": 10}
    alone = ntkflow.ensemble(MLP, X[:2], store=tmp_path / "one.zarr", **job)
    blocks = alone.draws // 10
    path = tmp_path / "run.zarr"
    job["draws"] = alone.draws + 50
    with pytest.raises(UnfinishedError):
        ntkflow.ensemble(MLP, X[:2], store=path, part=(2, 2), **job)
    shared = ntkflow.ensemble(MLP, X[:2], store=path, part=(1, 2), **job)
    assert shared.draws == alone.draws and np.array_equal(shared[3].H, alone[3].H)
    assert len([block for block in done(path, "ensemble") if block % 2 == 0]) <= blocks // 2 + 1
    assert ntkflow.Ensemble.load(path).draws == alone.draws
