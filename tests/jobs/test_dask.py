"""Dask's workers leave the same store as one process, however many they are and however many of them are lost."""

import os
import signal
import threading
import time

import pytest
from small_jobs import JOBS, TASKS, chunks, done

dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")

from command_line import within

import ntkflow
from ntkflow._jobs import tasks
from ntkflow.errors import WorkerError


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(4, timeout=60)
        yield client


@pytest.fixture
def mortal():
    """A client of workers that a test may kill: Dask may take minutes to replace them."""
    with (
        distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(3, timeout=60)
        yield client


def test_one_two_and_four_workers_leave_what_one_process_leaves(whole, tmp_path, client):
    addresses = sorted(client.scheduler_info()["workers"])
    for number in (1, 2, 4):
        executor = client.get_executor(workers=addresses[:number])
        for name, job in JOBS.items():
            path = tmp_path / f"{name}{number}.zarr"
            job(path, executor=executor)
            assert chunks(path) == chunks(whole[name]), (name, number)
    threads = set(client.run(lambda: os.environ.get("NPROC")).values())
    assert threads == {"1"}


@pytest.mark.parametrize("name", JOBS)
def test_a_lost_worker_costs_its_tasks_alone(whole, tmp_path, mortal, name):
    path, killed = tmp_path / f"{name}.zarr", []
    # Asked for now: a broadcast fails while a worker is being lost.
    workers = list(mortal.run(os.getpid).values())

    def kill(number, total, message):
        if len(killed) < 2 and path.exists() and len(done(path, name)) > 2 * len(killed):
            killed.append(workers[len(killed)])
            os.kill(killed[-1], signal.SIGKILL)

    JOBS[name](path, executor=mortal.get_executor(), progress=kill)
    assert killed and chunks(path) == chunks(whole[name])


def test_workers_that_die_of_every_task(tmp_path):
    """Dask gives a task to some workers, one after the other, and then says so: here to one, for a worker that dies at once is not replaced."""
    path = tmp_path / "run.zarr"
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as alone,
        distributed.Client(alone, set_as_default=False) as client,
    ):
        client.register_plugin(Mortal())
        with pytest.raises(WorkerError, match="KilledWorker"):
            JOBS["ensemble"](path, executor=client.get_executor())
    JOBS["ensemble"](path, resume=True)


def test_workers_that_all_leave(tmp_path, monkeypatch):
    """Dask waits for others without end."""
    monkeypatch.setattr(tasks, "_PATIENCE", 2.0)
    monkeypatch.setattr(tasks, "_LOOK", 0.2)
    path = tmp_path / "run.zarr"
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.submit(time.sleep, 6.0)  # tasks wait behind it
        timer = threading.Timer(3.0, cluster.scale, [0])
        timer.start()
        with pytest.raises(WorkerError, match="none is left"):
            JOBS["ensemble"](path, executor=client.get_executor())
    JOBS["ensemble"](path, resume=True)


class Mortal(distributed.WorkerPlugin):
    def transition(self, key, start, finish, **_):
        if finish == "executing":
            os._exit(1)


def test_command_line(whole, tmp_path, cluster):
    import numpy as np
    from small_jobs import X

    (tmp_path / "net.toml").write_text('widths = [4, 8, 6, 2]\nactivation = "relu"\nC_b = 0.1\nC_W = 1.5\n')
    np.save(tmp_path / "X.npy", X[:3])
    command = ["ensemble", "net.toml", "--data", "X.npy", "--draws", 65, "--seed", 3, "--block", 10, "-o", "run.zarr"]  # fmt: skip
    assert within(tmp_path, *command, "--dask", cluster.scheduler_address)[0] == 0
    assert chunks(tmp_path / "run.zarr") == chunks(whole["ensemble"])
    assert len(done(tmp_path / "run.zarr", "ensemble")) == TASKS["ensemble"]
    assert ntkflow.Ensemble.load(tmp_path / "run.zarr").draws == 65
