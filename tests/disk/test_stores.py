"""Results on disk: written whole by one writer at a time, told apart, verified, and open to xarray."""

import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
import numpy as np
import pytest
import xarray as xr
import zarr
from command_line import process, within
from results_on_disk import KINDS, MLP, X, numbers, same

import ntkflow
from ntkflow._disk.load import check
from ntkflow._disk.netcdf import check_file
from ntkflow._theory.mean_kernels import tiles as tiles_of_kernels
from ntkflow.errors import FileError

SPEC = 'widths = [4, 8, 2]\nactivation = "relu"\nC_b = 0.1\nC_W = 1.5\n'
WHAT = {
    "flow.nc": "a flow",
    "flow.zarr": "a flow",
    "tiles.zarr": "a flow by tiles",
    "batches.zarr": "a flow by batches of sample sets",
    "kernels.zarr": "infinite-width kernels",
    "ensemble.zarr": "an ensemble",
    "ntk.nc": "the NTK of one network",
    "ntk.zarr": "the NTK of one network",
    "sweep.nc": "a sweep",
    "sweep.zarr": "a sweep",
}


@pytest.fixture(scope="module")
def flow():
    return ntkflow.flow(MLP, X, "mean")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.toml").write_text(SPEC)
    np.save(tmp_path / "X.npy", X)
    return tmp_path


def one_sentence(done):
    status, _, said = done
    assert status == 2 and said.startswith("ntkflow: ") and said.count("\n") == 1, done
    return said


# What a file is


@pytest.mark.parametrize("kind", KINDS)
def test_plain_xarray_opens_what_load_reads(results, kind, recwarn):
    loaded = ntkflow.load(results[kind])
    with xr.open_dataset(results[kind]) as dataset:
        assert dict(dataset.sizes) and not [w for w in recwarn.list if "Zarr" in str(w.message)]
        if isinstance(loaded, ntkflow.Sweep):
            assert dataset.drop_attrs().equals(loaded.to_xarray().drop_attrs())
        else:
            inputs = loaded["X"].values if isinstance(loaded, xr.Dataset) else loaded.X
            assert np.array_equal(dataset["X"], inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_is_named(results, kind):
    path, what = results[kind], WHAT[kind]
    for load, expected in (
        (ntkflow.Flow.load, ("a flow", "a flow by tiles", "a flow by batches of sample sets")),
        (ntkflow.Ensemble.load, ("an ensemble",)),
        (ntkflow.open_kernels, ("infinite-width kernels",)),
        (ntkflow.Sweep.load, ("a sweep",)),
    ):
        if what in expected:
            load(path)
        else:
            with pytest.raises(FileError, match=f"is {what}, not {expected[0]}"):
                load(path)


def test_what_is_not_of_ntkflow(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.nc").write_text("a letter")
    (tmp_path / "net.toml").write_text(SPEC)
    xr.Dataset({"temperature": 280.0}).to_netcdf(tmp_path / "weather.nc", engine="h5netcdf")
    zarr.create_group(tmp_path / "weather.zarr", attributes={"what": "weather"})
    for name, word in {
        "none.nc": "does not exist", "folder": "a folder", "text.nc": "not of ntkflow", "net.toml": "TOML", "weather.nc": "not of ntkflow",
        "weather.zarr": "not a result",
    }.items():  # fmt: skip
        with pytest.raises(FileError, match=word):
            ntkflow.load(tmp_path / name)


def test_swapped_arguments_of_compare(results, folder):
    for kind in ("flow.nc", "tiles.zarr", "batches.zarr"):
        said = one_sentence(within(folder, "compare", results["ensemble.zarr"], results[kind]))
        assert "the flow comes first" in said
    said = one_sentence(within(folder, "compare", results["flow.nc"], results["tiles.zarr"]))
    assert "is a flow by tiles, not an ensemble" in said
    assert within(folder, "show", results["ntk.nc"])[0] == 0


def test_older_formats_are_refused_by_name(results, folder):
    """Before formats had numbers, and with the numbers that they had."""
    old = folder / "old.zarr"
    ntkflow.flow(MLP, X, "mean").to_xarray().to_zarr(old, consolidated=False)
    assert "older version" in one_sentence(within(folder, "show", old))
    for kind, key in (("tiles.zarr", "ntkflow_tiles"), ("ensemble.zarr", "ntkflow_ensemble")):
        shutil.copytree(results[kind], folder / kind)
        document = json.loads((folder / kind / "zarr.json").read_text())
        document["attributes"][key] = 3
        (folder / kind / "zarr.json").write_text(json.dumps(document))
        assert "format 3" in one_sentence(within(folder, "show", folder / kind))


def test_netcdf_of_xarray_is_read_with_a_warning(tmp_path, flow):
    flow.to_xarray().to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    with pytest.warns(UserWarning, match="no checksum"):
        assert ntkflow.Flow.load(tmp_path / "flow.nc").equals(flow)
    flow.save(tmp_path / "saved.nc")
    with xr.open_dataset(tmp_path / "saved.nc") as saved:
        (saved * 2).assign_attrs(saved.attrs).to_netcdf(tmp_path / "changed.nc", engine="h5netcdf")
    with pytest.raises(FileError, match="checksum"):
        ntkflow.Flow.load(tmp_path / "changed.nc")


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 5 * 2**19])
@pytest.mark.parametrize("of_numbers", [False, True])
def test_checksums_of_files_of_any_size(tmp_path, rng, size, of_numbers):
    """Piece by piece they are what they are of all bytes at once; no byte is left out but those of numbers, which are summed on their own."""
    content = bytearray(rng.bytes(size))
    place = (size // 4, size // 2) if of_numbers else None
    packed = struct.pack("<QQ", *place) if place else b""
    around = content[: place[0]] + content[place[1] :] if place else content
    crc = google_crc32c.value(bytes(around) + packed)
    trailer = packed + struct.pack("<II", len(packed) // 16, crc) + b"\nntkflow metadata"
    (tmp_path / "whole.nc").write_bytes(content + trailer)
    check_file(tmp_path / "whole.nc")
    for byte in {0, size // 2, size - 1, size, size + 7} if size > 1 else ():
        damaged = content + trailer
        damaged[byte] ^= 1
        (tmp_path / "damaged.nc").write_bytes(damaged)
        with pytest.raises(FileError, match="checksum"):
            check_file(tmp_path / "damaged.nc")


def test_a_file_without_places_takes_no_memory(tmp_path):
    """300 MB of zeros, as a file of any other content may have."""
    with (tmp_path / "file.nc").open("wb") as file:
        file.truncate(300 * 2**20)
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<II", 0, 0) + b"\nntkflow metadata")
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="checksum"):
            check_file(tmp_path / "file.nc")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_places_of_numbers_that_are_none(tmp_path):
    """Beyond the end of the file, or overlapping, with a checksum that fits."""
    for places in ([(0, 200)], [(0, 60), (40, 80)], [(60, 40)], [(2**64 - 1, 2**64 - 1)]):
        packed = b"".join(struct.pack("<QQ", *place) for place in places)
        ends = struct.pack("<II", len(places), google_crc32c.value(packed)) + b"\nntkflow metadata"
        (tmp_path / "file.nc").write_bytes(bytes(100) + packed + ends)
        with pytest.raises(FileError, match="checksum"):
            check_file(tmp_path / "file.nc")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("H", np.nan, "H is not finite"), ("G", np.inf, "G is not finite"), ("H", -1.0, "negative diagonal"), ("X", np.nan, "X is not finite")],
)  # fmt: skip
def test_impossible_numbers_are_refused(folder, flow, name, value, word):
    dataset = flow.to_xarray().copy(deep=True)
    dataset[name][..., 0, 0] = value
    dataset.to_netcdf(folder / "flow.nc", engine="h5netcdf")
    status, _, said = within(folder, "show", "flow.nc")
    assert status == 2 and word in said


def test_sets_that_are_none(folder):
    dataset = ntkflow.flow(MLP, X, "pairs").to_xarray().copy(deep=True)
    dataset["sets"][0, 0] = 7
    dataset.to_netcdf(folder / "flow.nc", engine="h5netcdf")
    status, _, said = within(folder, "show", "flow.nc")
    assert status == 2 and "sets is not of sample indices" in said


# check


@pytest.mark.parametrize("kind", KINDS)
def test_check(results, folder, kind):
    status, said, _ = within(folder, "check", results[kind])
    assert status == 0 and f"is {WHAT[kind]}" in said and "undamaged" in said
    path = folder / kind
    copy = shutil.copytree if results[kind].is_dir() else shutil.copyfile
    copy(results[kind], path)
    chunks = [file for file in path.rglob("*") if "c" in file.parts and file.is_file()] or [path]
    data = bytearray(chunks[-1].read_bytes())
    data[len(data) // 2] ^= 4
    chunks[-1].write_bytes(data)
    assert "damaged" in one_sentence(within(folder, "check", path))


def test_check_of_what_is_unfinished(results, folder):
    kinds = (
        ("tiles.zarr", "largest", "tiles"),
        ("batches.zarr", "largest", "batches"),
        ("kernels.zarr", "of_tiles", "tiles"),
    )
    for kind, array, parts in kinds:
        path = shutil.copytree(results[kind], folder / kind)
        shutil.rmtree(path / array / "c" / "0")
        status, said, _ = within(folder, "check", path)
        assert status == 0 and "unfinished" in said and f"{parts} are done" in said


# Writers


def test_files_have_the_mode_that_the_umask_gives(folder, flow):
    before = os.umask(0o027)
    try:
        flow.save(folder / "flow.nc")
        flow.save(folder / "flow.zarr")
        assert within(folder, "flow", "net.toml", "--data", "X.npy", "-o", "f.nc", "--plot", "f.png")[0] == 0
    finally:
        os.umask(before)
    for name in ("flow.nc", "f.png", "flow.zarr/zarr.json", "flow.zarr/records/begin.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o640, name


WRITER = """
import sys, time, numpy as np, ntkflow
from pathlib import Path
flows = [ntkflow.flow(ntkflow.MLP((3, 4, 2), "relu", C_W=1.0 + int(sys.argv[1])), np.eye(3), "mean") for _ in range(1)]
folder = Path(sys.argv[2])
for line in sys.stdin:
    name, force = line.split()
    try:
        flows[0].save(folder / name, overwrite=force == "True")
        print("written", flush=True)
    except ntkflow.errors.FileError as error:
        print("refused", "exists" in str(error) or "in use" in str(error), flush=True)
"""


def test_two_processes_write_one_path(tmp_path):
    """Twenty rounds at the same time, of files and folders, replacing and not."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(k), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for k in range(2)
    ]  # fmt: skip
    for number in range(20):
        name, force = ("a.nc", "a.zarr")[number % 2], number % 4 > 1
        if not force:
            name = f"{number}{name}"
        for writer in writers:
            assert writer.stdin
            writer.stdin.write(f"{name} {force}\n")
            writer.stdin.flush()
        said = sorted(writer.stdout.readline().split()[0] for writer in writers if writer.stdout)
        assert said == ["refused", "written"] or (force and said == ["written", "written"]), said
        assert ntkflow.Flow.load(tmp_path / name).mlp.C_W[0] in (1.0, 2.0)
    for writer in writers:
        writer.communicate()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


RUNNER = """
import sys, numpy as np, ntkflow
ensemble = lambda path: ntkflow.ensemble(ntkflow.MLP((3, 4, 2), "relu", C_W=1.0 + int(sys.argv[1])), np.eye(3), 20, block=10, store=path)
kernels = lambda path: ntkflow.store_kernels(ntkflow.MLP((3, 4, 2), "relu", C_W=1.0 + int(sys.argv[1])), np.eye(3), path)
for line in sys.stdin:
    path = line.strip()
    try:
        (kernels if "kernels" in path else ensemble)(path)
        print("written", flush=True)
    except ntkflow.errors.FileError as error:
        print("refused" if "exists" in str(error) or "in use" in str(error) else repr(error), flush=True)
"""


def test_two_runs_write_one_store(tmp_path):
    """Twenty rounds at the same time, of jobs by parts: one makes the whole store, the other is refused."""
    runners = [
        subprocess.Popen([sys.executable, "-c", RUNNER, str(k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for k in range(2)
    ]  # fmt: skip
    for number in range(20):
        path = tmp_path / f"{('kernels', 'ensemble')[number % 2]}{number}.zarr"
        for runner in runners:
            assert runner.stdin
            runner.stdin.write(f"{path}\n")
            runner.stdin.flush()
        said = [runner.stdout.readline().strip() for runner in runners if runner.stdout]
        assert sorted(said) == ["refused", "written"], said
        winner = said.index("written")
        if number % 2:
            spec = ntkflow.Ensemble.load(path).mlp.to_spec()
        else:
            spec = json.loads(ntkflow.open_kernels(path).attrs["mlp"])
        assert spec["C_W"][0] == 1.0 + winner
        assert "whole and undamaged" in check(path)
    for runner in runners:
        runner.communicate()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["flow.nc", "flow.zarr"])
def test_threads_write_one_path(tmp_path, flow, name):
    def write(_):
        try:
            flow.save(tmp_path / name, overwrite=True)
        except FileError as error:
            assert "in use" in str(error)
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(12))) >= 1
    assert ntkflow.Flow.load(tmp_path / name).equals(flow)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["flow.nc", "flow.zarr", "ntk.nc"])
def test_full_disk(folder, name):
    """A limit on a file's size fails the write as a full disk does."""
    np.save(folder / "X.npy", np.ones((20, 4)))
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); from ntkflow._report.cli import main; main()"
    )
    what = ["ntk", "net.toml"] if name == "ntk.nc" else ["flow", "net.toml", "--components", "mean"]
    command = [sys.executable, "-c", limited, "--no-cache", *what, "--data", "X.npy", "-o", name]
    without_cache = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"}
    done = subprocess.run(command, cwd=folder, env=without_cache, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "cannot write" in done.stderr and done.stderr.count("\n") == 1, done
    assert sorted(path.name for path in folder.iterdir()) == ["X.npy", "net.toml"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody may write to")
@pytest.mark.parametrize("name", ["flow.nc", "flow.zarr"])
def test_read_only_file_systems(folder, name):
    arguments = ("flow", "net.toml", "--data", "X.npy", "--components", "mean", "-o", f"/proc/{name}")
    assert f"cannot write /proc/{name}" in one_sentence(within(folder, *arguments))


def test_force_replaces_stores_of_ntkflow_alone(folder, flow):
    zarr.create_group(folder / "mine.zarr", attributes={"what": "weather"})
    arguments = ("flow", "net.toml", "--data", "X.npy", "--components", "mean", "--force", "-o")
    assert "not a store of ntkflow" in one_sentence(within(folder, *arguments, "mine.zarr"))
    assert zarr.open_group(folder / "mine.zarr", mode="r").attrs["what"] == "weather"
    flow.save(folder / "flow.zarr")
    assert within(folder, *arguments, "flow.zarr")[0] == 0


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_links_are_written_through(folder, flow, suffix):
    (folder / "disk").mkdir()
    target, link = folder / "disk" / f"real{suffix}", folder / f"link{suffix}"
    flow.save(target)
    link.symlink_to(target)
    arguments = ("flow", "net.toml", "--data", "X.npy", "--components", "mean", "-o", link.name)
    assert "exists" in one_sentence(within(folder, *arguments))
    assert within(folder, *arguments, "--force")[0] == 0
    assert link.is_symlink() and ntkflow.Flow.load(target).mlp == MLP
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_store_in_use_is_not_replaced(results, tmp_path, flow):
    from ntkflow._theory.tiles.store import TileStore

    path = shutil.copytree(results["tiles.zarr"], tmp_path / "flow.zarr")
    lock = TileStore(path).lock()
    with pytest.raises(FileError, match="in use"):
        flow.save(path, overwrite=True)
    lock.release()
    flow.save(path, overwrite=True)


# Kernels


class Stopped(Exception):
    pass


@pytest.mark.parametrize("test", [False, True])
def test_kernels_go_on(tmp_path, monkeypatch, test):
    """Stopped after any number of tiles they end as if they had not been; tiles that are done are kept."""
    monkeypatch.setattr(tiles_of_kernels, "SIDE", 2)
    X2 = X[:3] + 1 if test else None
    ntkflow.store_kernels(MLP, X, tmp_path / "whole.zarr", X2, tile=2)
    path, kept = tmp_path / "kernels.zarr", {}
    for stop in range(1, 5):

        def progress(done, total, message, stop=stop):
            if done == stop and stop < total:
                raise Stopped

        try:
            ntkflow.store_kernels(MLP, X, path, X2, tile=2, resume=stop > 1, progress=progress)
        except Stopped:
            with pytest.raises(FileError, match=f"unfinished: {stop} of"):
                ntkflow.open_kernels(path)
            kept = {file: file.stat().st_mtime_ns for file in path.glob("[GH]/c/*/*/*")}
    assert same(numbers(path), numbers(tmp_path / "whole.zarr"))
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items()) and kept


def test_kernels_of_another_job_or_in_use_are_refused(results, tmp_path, folder):
    from ntkflow._theory.mean_kernels.files import KernelStore

    path = shutil.copytree(results["kernels.zarr"], tmp_path / "kernels.zarr")
    for change, word in (
        ({"X": X + 1}, "other inputs"),
        ({"network": MLP.replace(C_W=2.0)}, "another network"),
        ({"layers": "last"}, "layers"),
        ({"resume": False}, "exists already"),
        ({"overwrite": True}, "not both"),
    ):
        with pytest.raises(FileError, match=word):
            job: dict[str, Any] = {"network": MLP, "X": X, "path": path, "resume": True}
            job.update(change)
            ntkflow.store_kernels(**job)
    lock = KernelStore(path).lock()
    for overwrite in (False, True):
        with pytest.raises(FileError, match="in use"):
            ntkflow.store_kernels(MLP, X, path, overwrite=overwrite, resume=not overwrite)
    lock.release()
    command = [
        "flow",
        "net.toml",
        "--data",
        "X.npy",
        "--components",
        "mean",
        "--tile",
        "1024",
        "-o",
        "kernels.zarr",
    ]
    assert within(folder, *command, "--resume")[0] == 0
    assert "exists" in one_sentence(within(folder, *command))
    assert within(folder, *command, "--force")[0] == 0


def test_a_process_that_checks(results, tmp_path):
    assert process(tmp_path, "check", results["ntk.nc"])[0] == 0
