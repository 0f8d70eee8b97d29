"""Whatever happens to a file, no wrong number is read from it."""

import shutil

import pytest
from results_on_disk import KINDS, numbers, same

import ntkflow

PLACES = (42, pytest.param(300, marks=pytest.mark.slow))


def _flip(rng, path, others):
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def _truncate(rng, path, others):
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def _delete(rng, path, others):
    path.unlink()


def _overwrite(rng, path, others):
    """Some bytes in a row become others."""
    data = bytearray(path.read_bytes())
    start, length = rng.integers(len(data)), rng.integers(1, 4096)
    length = len(data[start : start + length])
    data[start : start + length] = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    path.write_bytes(data)


def _replace(rng, path, others):
    """Another file of the store, whose checksum is right, takes its place."""
    other = others[rng.integers(len(others))]
    if other != path:
        shutil.copyfile(other, path)


DAMAGES = (_flip, _flip, _truncate, _delete, _overwrite, _replace)


def _read(path, file):
    """All numbers; of tiles, whose tensors are read one by one, those of the array that was damaged, or of another one."""
    if path.name != "tiles.zarr":
        return numbers(path)
    name = file.relative_to(path).parts[0].removesuffix("_error")
    return numbers(path, ("G", "H", name if name in "VDFAB" else "V"))


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_gives_wrong_numbers(results, rng, kind, places):
    path, refused = results[kind], 0
    intact = numbers(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".lock") or [path]
    for place in range(places):
        file, damage = files[rng.integers(len(files))], DAMAGES[place % len(DAMAGES)]
        content = file.read_bytes()
        damage(rng, file, files)
        try:
            found = _read(path, file)
            assert same(found, {name: intact[name] for name in found}), f"{damage.__name__} of {file}"
        except ntkflow.errors.FileError:
            refused += 1
        file.write_bytes(content)
    assert refused >= 0.6 * places
    assert same(numbers(path), intact)
