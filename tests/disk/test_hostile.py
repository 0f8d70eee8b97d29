"""Files and specifications that were made to do harm: one sentence, soon, and in little memory."""

import json
import os
import shutil
import subprocess
import sys
from typing import cast

import h5py
import numpy as np
import pytest

from ntkflow._disk.sealed import DIGEST, digest_of
from ntkflow._disk.store import without_digest

SECONDS, MEMORY = 2.0, 200 * 2**10  # of processor, kB


def run(folder, *arguments):
    """Exit status, stderr, seconds of processor and kB of memory of a command."""
    with (folder / "said").open("w+") as said:
        command = [sys.executable, "-m", "ntkflow", "--no-cache", *map(str, arguments)]
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return child.returncode, said.read(), used.ru_utime + used.ru_stime, used.ru_maxrss


@pytest.fixture(scope="package")
def usual(tmp_path_factory, results):
    """What `ntkflow --version` takes, and what a sentence about a small file takes: Python's libraries have to be imported for that."""
    folder = tmp_path_factory.mktemp("usual")
    (folder / "text.nc").write_text("a letter")
    return [run(folder, "--version")[2:], run(folder, "show", results["flow.nc"])[2:]]


def refused(folder, usual, *arguments, word):
    status, said, seconds, memory = run(folder, *arguments)
    assert status == 2 and said.startswith("ntkflow: ") and said.count("\n") == 1 and word in said, said
    (of_version, least), (of_file, _) = usual
    assert memory <= least + MEMORY, f"{(memory - least) / 1024:.0f} MiB more"
    limit = max(of_version + SECONDS, of_file + SECONDS / 2)
    # Where other programs are at work the same command may take half as long again: the shortest of four times counts.
    assert seconds <= limit or any(run(folder, *arguments)[2] <= limit for _ in range(3)), f"{seconds:.1f} s"


def sealed(path):
    """Metadata that someone has changed who knows how their digest is made; `arrays` follow the group."""
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"][DIGEST] = digest_of(without_digest(document))
    (path / "zarr.json").write_text(json.dumps(document))
    for name, array in document["consolidated_metadata"]["metadata"].items():
        if name != "records":
            (path / name / "zarr.json").write_text(json.dumps(array))


def changed(path, name, seal, **metadata):
    document = json.loads((path / "zarr.json").read_text())
    document["consolidated_metadata"]["metadata"][name].update(metadata)
    (path / "zarr.json").write_text(json.dumps(document))
    if seal:
        sealed(path)


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("kind", ["flow.zarr", "kernels.zarr", "tiles.zarr", "batches.zarr"])
def test_edited_shapes(results, tmp_path, usual, kind, seal):
    """Of 25 million chunks, in a group whose digest is right, or not."""
    path = shutil.copytree(results[kind], tmp_path / kind)
    grid = {"name": "regular", "configuration": {"chunk_shape": [3, 3, 3]}}
    changed(path, "H", seal, shape=[3, 15000, 15000], chunk_grid=grid)
    refused(tmp_path, usual, "show", kind, word="damaged")
    changed(path, "X", seal, shape=[10**9, 4])
    refused(tmp_path, usual, "show", kind, word="damaged")


@pytest.mark.parametrize("kind", ["flow.zarr", "kernels.zarr", "tiles.zarr", "batches.zarr", "ensemble.zarr"])
def test_links_to_devices_and_other_folders(results, tmp_path, usual, kind):
    path = shutil.copytree(results[kind], tmp_path / kind)
    chunk = next(file for file in sorted((path / "X" / "c").rglob("*")) if file.is_file())
    chunk.unlink()
    chunk.symlink_to("/dev/zero")
    refused(tmp_path, usual, "show", kind, word="no plain file")
    shutil.rmtree(path / "X" / "c")
    (path / "X" / "c").symlink_to(results[kind] / "X" / "c")
    refused(tmp_path, usual, "show", kind, word="outside of the folder")
    (path / "zarr.json").unlink()
    (path / "zarr.json").symlink_to("/dev/zero")
    assert run(tmp_path, "show", kind)[0] == 2


def test_devices_in_the_place_of_files(tmp_path, usual):
    refused(tmp_path, usual, "show", "/dev/zero", word="no file or folder")
    refused(tmp_path, usual, "show", "none.zarr", word="does not exist")
    (tmp_path / "zeros.zarr").mkdir()
    (tmp_path / "zeros.zarr" / "zarr.json").symlink_to("/dev/zero")
    refused(tmp_path, usual, "show", "zeros.zarr", word="zeros.zarr")


def test_what_is_not_known_is_not_read(results, tmp_path, usual):
    """A variable of 3 GB that takes no room in the file."""
    path = shutil.copyfile(results["flow.nc"], tmp_path / "flow.nc")
    with h5py.File(path, "r+") as file:
        file.create_dataset("more", (400_000_000,), "f8", chunks=(10_000_000,), compression="gzip")
    status, said, _, memory = run(tmp_path, "show", "flow.nc")
    assert status == 0, said
    assert memory <= usual[0][1] + MEMORY


@pytest.mark.parametrize("name", ["H", "X", "A_error"])
def test_netcdf_of_other_shapes(results, tmp_path, usual, name):
    path = shutil.copyfile(results["flow.nc"], tmp_path / "flow.nc")
    with h5py.File(path, "r+") as file:
        rank = cast(h5py.Dataset, file[name]).ndim
        del file[name]
        file.create_dataset(name, (20_000,) * 2 + (1,) * (rank - 2), "f8", chunks=True, compression="gzip")
    refused(tmp_path, usual, "show", "flow.nc", word="does not fit")


@pytest.mark.parametrize("how", ["external storage", "external link", "soft link"])
def test_other_files_are_not_read(results, tmp_path, usual, how):
    path = shutil.copyfile(results["flow.nc"], tmp_path / "flow.nc")
    (tmp_path / "secret").write_bytes(np.ones(100).tobytes())
    with h5py.File(path, "r+") as file:
        shape = cast(h5py.Dataset, file["X"]).shape
        del file["X"]
        if how == "external storage":
            file.create_dataset("X", shape, "f8", external=[("secret", 0, h5py.h5f.UNLIMITED)])
        else:
            file["X"] = h5py.ExternalLink("other.nc", "/X") if how == "external link" else h5py.SoftLink("/G")
    shutil.copyfile(results["flow.nc"], tmp_path / "other.nc")
    refused(tmp_path, usual, "show", "flow.nc", word="X is missing")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("widths = " + "[" * 2000 + "]" * 2000, "TOML"),
        (f"widths = [4, {'9' * 5000}, 2]", "TOML"),
        (f"widths = [4, {'9' * 4000}, 2]", "widths"),
        ("widths = [4, " + "[" * 300 + "]" * 300 + "]", "widths"),
        (f"widths = [4, {'1, ' * 100_000}]", "10000 layers"),
        ('widths = [4, 8, 2]\nactivation = {name = "monomial", degree = 160}', "degree"),
        (
            f'widths = [4, 8, 2]\nactivation = {{name = "polynomial", coefficients = [{"1.0, " * 3000}]}}',
            "coefficients",
        ),
    ],
    ids=["nested", "5000 digits", "4000 digits", "nested widths", "100000 layers", "degree", "coefficients"],
)
def test_specifications(tmp_path, usual, spec, word):
    (tmp_path / "net.toml").write_text(spec)
    np.save(tmp_path / "X.npy", np.ones((2, 4)))
    arguments = ("flow", "net.toml", "--data", "X.npy", "--components", "mean", "-o", "flow.nc")
    refused(tmp_path, usual, *arguments, word=word)


@pytest.mark.parametrize(
    "f", ["z" + ".a" * 490, "z[0]" + "()" * 490, "-" * 900 + "z[0]", "(" * 400 + "z[0]" + ")" * 400]
)
def test_expressions(results, tmp_path, usual, f):
    refused(tmp_path, usual, "observe", results["flow.nc"], "--f", f, word="expression")
