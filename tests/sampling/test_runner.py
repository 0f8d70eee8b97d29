"""What a run's numbers depend on: the job alone, not batches, blocks, devices, processes or interruptions."""

import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import within

import ntkflow

X = np.random.default_rng(5).normal(size=(3, 4))
MLP = ntkflow.MLP((4, 6, 5, 2), "tanh", 0.1, 1.3)
SPEC = 'widths = [4, 6, 5, 2]\nactivation = "tanh"\nC_b = 0.1\nC_W = 1.3\n'
NAMES = ("G", "H", "V", "D", "F", "A", "B", "zH")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.toml").write_text(SPEC)
    np.save(tmp_path / "X.npy", X)
    return tmp_path


def command(*arguments):
    return [
        sys.executable, "-m", "ntkflow", "ensemble", "net.toml", "--data", "X.npy", "-o", "run.zarr",
        *map(str, arguments),
    ]  # fmt: skip


def same(a, b, rtol=1e-10):
    assert a.draws == b.draws
    for one, other in zip(a, b, strict=True):
        for name in NAMES if "V" in one.values else ("G", "H"):
            for x, y in (
                (one.values[name], other.values[name]),
                (one.errors[name], other.errors[name]),
            ):
                assert np.allclose(x, y, rtol=rtol, atol=rtol * np.abs(y).max() + 1e-15), (one.layer, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimators", "sizes"),
    [
        ("low-noise", ((7, 50), (3, 8))),
        *((e, ((1, 50), (7, 50), (3, 8), (1, 1))) for e in ("low-noise", "direct")),
    ],
)
def test_batch_and_block_do_not_matter(estimators, sizes):
    reference = ntkflow.ensemble(MLP, X, 50, seed=7, estimators=estimators)
    for batch, block in sizes:
        same(ntkflow.ensemble(MLP, X, 50, seed=7, estimators=estimators, batch=batch, block=block), reference)
    assert not np.allclose(ntkflow.ensemble(MLP, X, 50, seed=8, estimators=estimators)[3].H, reference[3].H)


@pytest.mark.slow
def test_number_of_devices_does_not_matter(folder):
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    subprocess.run(command("--draws", 50, "--seed", 7), cwd=folder, env=os.environ | devices, check=True)
    same(ntkflow.Ensemble.load(folder / "run.zarr"), ntkflow.ensemble(MLP, X, 50, seed=7))


def test_draw_k_is_a_network_of_the_public_functions():
    from ntkflow import finite

    one = ntkflow.ensemble(MLP, X, 2, seed=3, estimators="direct", components="mean")
    H = [finite.ntk_trace(MLP, finite.init(MLP, ntkflow.sampling.draw_key(3, k)), X) for k in range(2)]
    assert np.allclose(one[3].H, np.mean(H, axis=0), rtol=1e-12)


def test_until(folder):
    # In the blocks that few draws have by default, so that all share one program.
    found = ntkflow.ensemble(MLP, X, 10_000, until=0.05, tensors=["A", "H"], block=64)
    assert 64 < found.draws < 8192 and found.draws % 64 == 0
    assert all(found[ell].relative_error(name) <= 0.05 for ell in (2, 3) for name in ("A", "H"))
    same(found, ntkflow.ensemble(MLP, X, found.draws))
    short = ntkflow.ensemble(MLP, X, found.draws - 64)
    assert max(short[ell].relative_error(name) for ell in (2, 3) for name in ("A", "H")) > 0.05
    # The same from a store, and a stricter aim goes on from there.
    path = folder / "run.zarr"
    stored = ntkflow.ensemble(MLP, X, 10_000, until=0.05, tensors=["A", "H"], block=64, store=path)
    same(stored, found, rtol=0)
    same(ntkflow.Ensemble.load(path), found, rtol=0)
    further = ntkflow.ensemble(MLP, X, 10_000, until=0.04, tensors=["A"], block=64, store=path, resume=True)
    assert further.draws > stored.draws
    same(further, ntkflow.ensemble(MLP, X, further.draws))


def test_more_draws_may_be_asked_for(tmp_path):
    path = tmp_path / "run.zarr"
    ntkflow.ensemble(MLP, X, 150, block=64, store=path)
    longer = ntkflow.ensemble(MLP, X, 250, block=64, store=path, resume=True)
    same(longer, ntkflow.ensemble(MLP, X, 250))
    assert ntkflow.Ensemble.load(path).draws == 250
    with pytest.raises(ntkflow.errors.FileError, match="fewer"):
        ntkflow.ensemble(MLP, X, 150, block=64, store=path, resume=True)


def test_callable_activations(tmp_path):
    def wave(z):
        return jnp.sin(z) + z

    mlp = ntkflow.MLP((4, 6, 2), wave)
    found = ntkflow.ensemble(mlp, X, 20, store=tmp_path / "run.zarr")
    read = ntkflow.Ensemble.load(tmp_path / "run.zarr")
    same(read, found, rtol=0)
    with pytest.raises(ntkflow.errors.ActivationError, match="wave"):
        ntkflow.ensemble(read.mlp, X, 20)
    same(ntkflow.Ensemble.load(tmp_path / "run.zarr", activation=wave), found, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"draws": 1}, ntkflow.errors.DataError, "draws"),
        ({"draws": 2.5}, ntkflow.errors.DataError, "draws"),
        ({"seed": -1}, ntkflow.errors.DataError, "seed"),
        ({"estimators": "noisy"}, ntkflow.errors.ComponentError, "noisy"),
        ({"dtype": "float16"}, ntkflow.errors.DataError, "dtype"),
        ({"until": 0}, ntkflow.errors.DataError, "until"),
        ({"until": 2.0}, ntkflow.errors.DataError, "until"),
        ({"tensors": ["Q"]}, ntkflow.errors.ComponentError, "Q"),
        ({"tensors": ["V"], "components": "mean"}, ntkflow.errors.ComponentError, "V"),
        ({"components": [(0, 9)]}, ntkflow.errors.ComponentError, "9"),
        ({"batch": 0}, ntkflow.errors.DataError, "batch"),
        ({"block": 0}, ntkflow.errors.DataError, "block"),
        ({"store": "run.nc"}, ntkflow.errors.FileError, "zarr"),
        ({"store": "nowhere/run.zarr"}, ntkflow.errors.FileError, "nowhere"),
    ],
)
def test_bad_arguments(arguments, error, word):
    with pytest.raises(error, match=word):
        ntkflow.ensemble(MLP, X, **arguments)


def test_numbers_that_overflow_are_named():
    steep = ntkflow.MLP((4, 6, 5, 2), "relu", C_W=[1.0, 1e120, 1e120])
    with pytest.raises(ntkflow.errors.NonFiniteError, match="layer 2"):
        ntkflow.ensemble(steep, X, 10)


def parts(folder, *arguments, of=2):
    """Processes that each do a part of one run."""
    return [
        subprocess.Popen(
            command(*arguments, "--part", f"{k}/{of}"), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(1, of + 1)
    ]  # fmt: skip


@pytest.mark.slow
def test_two_processes(folder):
    """Bit for bit what one process gives, whether one sends the other two their blocks or each does its part."""
    one = ntkflow.ensemble(MLP, X, 60, seed=7, block=10, store=folder / "one.zarr")
    draws = ("--draws", 60, "--block", 10, "--seed", 7)
    done = subprocess.run(
        command(*draws, "--workers", 2), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "60 networks" in done.stdout, done
    same(ntkflow.Ensemble.load(folder / "run.zarr"), one, rtol=0)
    (folder / "run.zarr").rename(folder / "by_workers.zarr")
    running = parts(folder, *draws)
    ended = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    within(
        folder, *command(*draws, "--resume")[3:]
    )  # where both ended at once neither saw the other's last block
    same(ntkflow.Ensemble.load(folder / "run.zarr"), one, rtol=0)


@pytest.mark.slow
def test_two_processes_fail_together(folder):
    """What can't be gone on with ends each of them, with one sentence."""
    (folder / "run.zarr").mkdir()
    running = parts(folder, "--draws", 60)
    ended = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [2, 2], ended
    assert all("not an ensemble" in said and len(said.splitlines()) == 1 for _, said in ended), ended
    done = subprocess.run(command("--draws", 60, "--workers", 2), cwd=folder, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2 and "exists already" in done.stderr and len(done.stderr.splitlines()) == 1


def test_numbers_on_the_command_line(folder):
    for arguments, word in (
        (["--part", "2"], "--part"),
        (["--part", "0/2"], "1/2"),
        (["--part", "3/2"], "2/2"),
        (["--workers", 2, "--dask", "tcp://127.0.0.1:1"], "--dask"),
        (["--until", "soon"], "--until"),
    ):
        status, _, said = within(folder, *command(*arguments)[3:])
        assert status == 2 and word in said and len(said.splitlines()) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_draws(tmp_path):
    """Peak memory of a process, in bytes, next to what the NTKs of all networks would take."""
    code = (
        "import json, resource, sys, numpy as np, ntkflow\n"
        "mlp = ntkflow.MLP((4, 32, 32, 2), 'tanh')\n"
        "for draws in (200, 20_000):\n"
        "    ntkflow.ensemble(mlp, np.ones((4, 4)), draws, block=200)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    few, many = map(json.loads, done.stdout.split())
    assert many < few + 0.05 * 20_000 * 8 * (32 * 4) ** 2
