"""G and H of any number of samples, written to a Zarr store tile by tile."""

from __future__ import annotations

import json
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from ..._disk.storage import check_writable
from ...errors import ActivationError, ComponentError, FileError
from ...network.mlp import MLP
from ...version import __version__
from .errors import relative_errors
from .flow import diagonal_G, has_tiles
from .tiles import Block, Tile, Tiles

if TYPE_CHECKING:
    import xarray as xr

NAMES = ("G", "H")


def store_kernels(
    mlp: MLP,
    X: np.ndarray,
    path,
    X2: np.ndarray | None = None,
    tile: int = 1024,
    layers: str = "all",
    overwrite: bool = False,
    report: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> xr.Dataset:
    """See `ntkflow.store_kernels`, which checks the inputs."""
    path = Path(path)
    if path.suffix != ".zarr":
        raise FileError(f"cannot write {path}: kernels are stored in a folder whose name ends in .zarr")
    check_writable(path, overwrite)
    if layers not in ("all", "last"):
        raise ComponentError(f'layers must be "all" or "last", not {layers!r}')
    if isinstance(tile, bool) or not isinstance(tile, int | np.integer) or tile < 1:
        raise ComponentError(f"tile must be a whole number of at least 1, not {tile!r}")
    if not has_tiles(mlp):
        raise ActivationError("kernels by tiles: an activation with a kink must be piecewise linear")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with jax.enable_x64(True), np.errstate(all="ignore"):
            _write(mlp, X, X2, partial, int(tile), layers, report)
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise FileError(f"cannot write {path}: {error.strerror or 'the disk may be full'}") from error
        raise
    return open_kernels(path)


def open_kernels(path) -> xr.Dataset:
    """The dataset that `store_kernels` wrote; entries are read from disk when they are indexed.

    Variables: `G`, `H` (layer, alpha1, alpha2); `X` and perhaps `X2`; `G_variance`, `G_variance2`: G_αα of the rows' and
    the columns' samples; `G_relative_error`, `H_relative_error` (layer): bounds of the errors in units of √(G_αα G_ββ) and
    √(H_αα H_ββ).

    Raises:
        FileError: there is none, or it can't be read.
    """
    import xarray as xr

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = xr.open_zarr(path, consolidated=False, chunks=None)
    except Exception as error:  # what a damaged store raises is up to the libraries that parse it
        raise FileError(f"cannot read {path}: it is missing, damaged, or not Zarr") from error
    if dataset.attrs.get("kind") != "infinite-width kernels":
        raise FileError(f"{path} holds no kernels of ntkflow.store_kernels")
    return dataset


def _write(mlp: MLP, X, X2, path: Path, tile: int, layers: str, report) -> None:
    import zarr

    tiles = Tiles(mlp, X, X2)
    N, N2 = len(X), len(X if X2 is None else X2)
    kept = list(range(mlp.depth)) if layers == "all" else [mlp.depth - 1]
    group = zarr.create_group(path, overwrite=True)
    group.attrs.update(
        {
            "kind": "infinite-width kernels",
            "mlp": json.dumps(mlp.to_spec()),
            "ntkflow_version": __version__,
        }
    )

    def save(name: str, dims: tuple[str, ...], values: np.ndarray) -> None:
        group.create_array(name, data=np.ascontiguousarray(values), dimension_names=dims)

    save("layer", ("layer",), np.array(kept) + 1)
    save("X", ("sample", "input"), X)
    if X2 is not None:
        save("X2", ("sample2", "input"), X2)
    variance = [np.stack(diagonal_G(tiles, side)) for side in (tiles.rows, tiles.cols)]
    save("G_variance", ("layer", "alpha1"), variance[0][kept])
    save("G_variance2", ("layer", "alpha2"), variance[1][kept])
    rows, cols = (_strips(side, tile) for side in (tiles.rows, tiles.cols))
    chunk = (1, min(_length(rows[0]), N), min(_length(cols[0]), N2))
    # Kernels don't compress.
    out = {
        name: group.create_array(
            name, shape=(len(kept), N, N2), chunks=chunk, dtype="f8", compressors=None,
            dimension_names=("layer", "alpha1", "alpha2"),
        )
        for name in NAMES
    }  # fmt: skip
    tails, nearest = np.zeros(len(mlp.activation)), np.zeros(len(mlp.activation))
    squares = [(i, j) for i in range(len(rows)) for j in range(len(cols)) if j >= i or not tiles.symmetric]
    report(0, len(squares), "tiles")
    for done, (i, j) in enumerate(squares, start=1):
        square = _Square(tiles, rows[i], cols[j], kept, variance)
        np.maximum(tails, square.tails, out=tails)
        np.maximum(nearest, square.nearest, out=nearest)
        for name in NAMES:
            out[name][:, square.rows, square.cols] = square.tables[name]
            if tiles.symmetric and i != j:
                out[name][:, square.cols, square.rows] = square.tables[name].swapaxes(1, 2)
        report(done, len(squares), "tiles")
    blocks = tiles.rows if tiles.symmetric else tiles.rows + tiles.cols
    errors = relative_errors(mlp, blocks, tails.tolist())
    save("G_relative_error", ("layer",), errors.epsilon[kept])
    steep = np.concatenate([[0.0], np.cumsum(errors.of_kinks_at_most(nearest))])
    save("H_relative_error", ("layer",), (errors.eta + steep)[kept])


class _Square:
    """G and H between two strips of blocks: what is written at a time."""

    def __init__(self, tiles: Tiles, rows: list[Block], cols: list[Block], kept: list[int], variance):
        self.rows = slice(rows[0].start, rows[-1].stop)
        self.cols = slice(cols[0].start, cols[-1].stop)
        shape = (len(kept), self.rows.stop - self.rows.start, self.cols.stop - self.cols.start)
        self.tables = {name: np.empty(shape) for name in NAMES}
        hidden = len(tiles.mlp.activation)
        self.tails, self.nearest = np.zeros(hidden), np.zeros(hidden)
        lock = threading.Lock()
        same = tiles.symmetric and rows[0].start == cols[0].start

        def keep(tile: Tile) -> None:
            i, j = _shift(tile.rows, self.rows), _shift(tile.cols, self.cols)
            for at, ell in enumerate(kept):
                for table, values in zip(self.tables.values(), (tile.G[ell], tile.H[ell]), strict=True):
                    table[at, i, j] = values
                    if same and i != j:
                        table[at, j, i] = values.T
            near = [
                _nearest(tiles, layer, tile, variance) if activation.kinked else 0.0
                for layer, activation in enumerate(tiles.mlp.activation)
            ]
            with lock:
                np.maximum(self.tails, tile.tails, out=self.tails)
                np.maximum(self.nearest, near, out=self.nearest)

        pairs = [(a, b) for a in rows for b in cols if not same or b.start >= a.start]
        tiles.all(keep, pairs=pairs)


def _nearest(tiles: Tiles, layer: int, tile: Tile, variance) -> float:
    """The largest ρ² of samples that are not parallel."""
    scale = np.multiply.outer(variance[0][layer][tile.rows], variance[1][layer][tile.cols])
    parallel = np.equal.outer(tiles.labels[0][layer][tile.rows], tiles.labels[1][layer][tile.cols])
    square = np.divide(tile.G[layer] ** 2, scale, out=np.zeros_like(scale), where=(scale > 0) & ~parallel)
    return float(square.max())


def _strips(blocks: list[Block], tile: int) -> list[list[Block]]:
    """Blocks in groups of at most `tile` samples, at least one block each."""
    at_once = max(1, tile // (blocks[0].stop - blocks[0].start))
    return [blocks[start : start + at_once] for start in range(0, len(blocks), at_once)]


def _length(strip: list[Block]) -> int:
    return strip[-1].stop - strip[0].start


def _shift(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)
