"""Workers of any executor leave the same store as one process, whatever becomes of them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from small_jobs import JOBS, MLP, TASKS, X, chunks, done

import ntkflow
from ntkflow._jobs import tasks, workers
from ntkflow.errors import DataError, ForkError, NonFiniteError, WorkerError


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_they_leave_what_one_process_leaves(whole, request, tmp_path, kind, name):
    path, calls = tmp_path / f"{name}.zarr", []
    with ThreadPoolExecutor(3) as threads:
        executor = threads if kind == "threads" else request.getfixturevalue("processes")
        JOBS[name](path, executor=executor, progress=lambda *call: calls.append(call[:2]))
    assert chunks(path) == chunks(whole[name])
    numbers = [number for number, _ in calls]
    assert numbers == sorted(numbers) and calls[-1][0] == calls[-1][1]
    assert not list((path / "records").glob(".task*"))


@pytest.mark.parametrize("name", JOBS)
def test_a_broken_pool_ends_in_one_sentence_and_the_run_goes_on(whole, tmp_path, monkeypatch, name):
    """The worker is killed when its first task is done; what is done is kept."""
    path = tmp_path / f"{name}.zarr"

    with ntkflow.workers(1) as executor:
        pid, submit = executor.submit(os.getpid).result(), executor.submit

        def submit_and_kill(*call):
            future = submit(*call)
            submit(os.kill, pid, signal.SIGKILL)
            return future

        monkeypatch.setattr(executor, "submit", submit_and_kill)
        with pytest.raises(WorkerError, match=r"what is done is kept in .*resume"):
            JOBS[name](path, executor=executor)
    before = done(path, name)
    assert 0 < len(before) < TASKS[name]
    JOBS[name](path, resume=True)
    assert before.items() <= done(path, name).items() and chunks(path) == chunks(whole[name])


def test_workers_end_with_a_client_that_is_killed():
    code = (
        "import ntkflow, os, time\n"
        "if __name__ == '__main__':\n"
        "    with ntkflow.workers(2) as executor:\n"
        "        pids = {executor.submit(os.getpid).result() for _ in range(20)}\n"
        "        print(*pids, flush=True)\n"
        "        time.sleep(600)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert client.stdout
    pids = [int(pid) for pid in client.stdout.readline().split()]
    client.kill()
    client.wait()
    ended = threading.Event()
    for _ in range(300):
        if not any(alive(pid) for pid in pids):
            break
        ended.wait(0.1)
    assert pids and not any(alive(pid) for pid in pids)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def environment():
    """What a worker has been told, and has, of threads."""
    from ntkflow._machine.cores import cores

    return os.environ["NPROC"], os.environ["OPENBLAS_NUM_THREADS"], cores()


def test_workers_share_the_cores(monkeypatch):
    from ntkflow._machine.cores import cores

    before = dict(os.environ)
    monkeypatch.setenv("NPROC", "6")
    assert cores() == 6
    with ntkflow.workers(3) as executor:
        assert executor.submit(environment).result() == ("2", "2", 2)
    with ntkflow.workers(1, threads=5) as executor:
        assert executor.submit(environment).result() == ("5", "5", 5)
    monkeypatch.undo()
    assert dict(os.environ) == before


def test_a_pool_that_tells_its_workers_nothing(tmp_path):
    """Processes that were started without a number of threads get one with their first task."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context) as executor:
        JOBS["ensemble"](tmp_path / "run.zarr", executor=executor)
        told = {executor.submit(os.getenv, "NPROC").result() for _ in range(10)}
    from ntkflow._machine.cores import cores

    assert told - {None} == {str(max(1, cores() // 2))}


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="processes are not forked there")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_forked_workers_say_so(tmp_path):
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor,
        pytest.raises(ForkError, match="spawn"),
    ):
        JOBS["ensemble"](tmp_path / "run.zarr", executor=executor)


def wave(z):
    return jnp.sin(z) + z


def test_callable_activations(tmp_path, processes):
    def inner(z):
        return wave(z)

    mlp = ntkflow.MLP((4, 6, 2), wave)
    one, other = (
        ntkflow.ensemble(mlp, X[:2], 20, block=10, store=tmp_path / f"{n}.zarr", executor=executor)
        for n, executor in enumerate((None, processes))
    )
    assert np.array_equal(one[2].H, other[2].H)
    with pytest.raises(DataError, match="can't be sent"):
        ntkflow.ensemble(
            ntkflow.MLP((4, 6, 2), inner), X[:2], 20, store=tmp_path / "run.zarr", executor=processes
        )


def test_what_a_task_raises_is_raised(tmp_path, processes):
    steep = ntkflow.MLP((4, 6, 5, 2), "relu", C_W=[1.0, 1e120, 1e120])
    with pytest.raises(NonFiniteError, match="layer"):
        ntkflow.ensemble(steep, X[:2], 20, block=10, store=tmp_path / "run.zarr", executor=processes)


def test_until_is_reached_as_in_one_process(tmp_path, processes):
    job: dict[str, Any] = {"draws": 10_000, "until": 0.2, "tensors": ["H"], "block": 10}
    alone = ntkflow.ensemble(MLP, X[:2], store=tmp_path / "one.zarr", **job)
    shared = ntkflow.ensemble(MLP, X[:2], store=tmp_path / "other.zarr", executor=processes, **job)
    assert alone.draws == shared.draws < 10_000 and np.array_equal(alone[3].H, shared[3].H)
    assert (
        len(done(tmp_path / "other.zarr", "ensemble")) <= len(done(tmp_path / "one.zarr", "ensemble")) + 2 * 2
    )
    assert np.array_equal(ntkflow.Ensemble.load(tmp_path / "other.zarr")[3].H, alone[3].H)


def test_workers_that_do_not_fit_say_why(whole, tmp_path):
    from ntkflow.sampling.runner import ready

    order = tasks.Order(ready, whole["ensemble"], (None, None), client=("elsewhere", 1))
    with pytest.raises(WorkerError, match="must share its folder"):
        tasks._task(replace(order, path=tmp_path / "none.zarr", run="a"), 0)
    with pytest.raises(WorkerError, match="has ntkflow"):
        tasks._task(replace(order, version="0.0.1", run="b"), 0)


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"executor": 4}, DataError, "must be a concurrent.futures.Executor"),
        ({"executor": Executor(), "store": None}, DataError, "needs a store"),
        ({"part": (1, 2), "store": None}, DataError, "needs a store"),
        ({"part": (0, 2)}, DataError, "part must be"),
        ({"part": (3, 2)}, DataError, "part must be"),
        ({"part": 3}, DataError, "part must be"),
        ({"part": (1.0, 2)}, DataError, "part must be"),
    ],
)
def test_bad_arguments(tmp_path, options, error, word):
    options = {"store": tmp_path / "run.zarr"} | options
    for function in (ntkflow.flow, ntkflow.ensemble):
        with pytest.raises(error, match=word):
            function(MLP, X[:2], **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "four", 10**6])
def test_numbers_of_workers(number):
    with pytest.raises(DataError, match="number"), ntkflow.workers(number):
        pass
    with pytest.raises(DataError, match="threads"), ntkflow.workers(1, number):
        pass


class _Vanished:
    """An executor of Dask whose workers do three tasks and then leave, between two looks at them."""

    class _client:
        @staticmethod
        def nthreads():
            return {}

    def __init__(self):
        self.futures: list[Future] = []

    def submit(self, function, *arguments):
        self.futures.append(Future())
        if len(self.futures) <= 3:
            self.futures[-1].set_result(function(*arguments))
        return self.futures[-1]


def test_workers_that_leave_between_two_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_PATIENCE", 0.5)
    monkeypatch.setattr(tasks, "_LOOK", 0.1)
    monkeypatch.setattr(tasks, "checked_executor", lambda *arguments: None)
    monkeypatch.setattr("ntkflow.sampling.runner.checked_executor", lambda *arguments: None)
    with pytest.raises(WorkerError, match="none is left"):
        JOBS["ensemble"](tmp_path / "run.zarr", executor=_Vanished())
    assert len(done(tmp_path / "run.zarr", "ensemble")) == 3


def test_no_scheduler(monkeypatch):
    """The process's own Dask goes on as before."""
    pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    monkeypatch.setattr(workers, "_PATIENCE", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense", "tcp://"):
        with pytest.raises(DataError, match="no Dask scheduler at"), workers.of_dask(address):
            pass
    assert dask.config.get("scheduler", None) is None
