"""`store_kernels`: G and H of any number of samples, square by square, each written as soon as it is known."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from ..._disk.locks import for_a_moment
from ..._disk.storage import check_unused, check_writable
from ..._disk.store import digest, exists_to_resume
from ..._jobs.tasks import Order, activations_of, at_work, done, share
from ..._report.progress import Report, silent
from ...errors import ActivationError, ComponentError, FileError
from ...network.mlp import MLP
from ...version import __version__
from ..scales import KERNELS
from .errors import relative_errors
from .files import BOUNDS, END, KernelStore, open_kernels
from .flow import diagonal_G, has_tiles
from .tiles import Block, Tile, Tiles

if TYPE_CHECKING:
    import xarray as xr


def store_kernels(
    mlp: MLP, X: np.ndarray, path, X2: np.ndarray | None = None, tile: int = 1024, layers: str = "all",
    overwrite: bool = False, resume: bool = False, report: Report = silent, executor: Executor | None = None,
    part: tuple[int, int] | None = None,
) -> xr.Dataset:  # fmt: skip
    """See `ntkflow.store_kernels`, which checks the inputs."""
    path = Path(path)
    if layers not in ("all", "last"):
        raise ComponentError(f'layers must be "all" or "last", not {layers!r}')
    if isinstance(tile, bool) or not isinstance(tile, int | np.integer) or tile < 1:
        raise ComponentError(f"tile must be a whole number of at least 1, not {tile!r}")
    if not has_tiles(mlp):
        raise ActivationError("kernels by tiles: an activation with a kink must be piecewise linear")
    if overwrite and (resume or part is not None):
        raise FileError(
            f"{path} can be replaced, by overwrite, or gone on with, by resume or part, and not both"
        )
    going_on = resume or part is not None
    exists = exists_to_resume(KernelStore, path, going_on or overwrite) and going_on
    if overwrite:
        check_writable(path, overwrite)
        check_unused(path)
    run = _Run(mlp, X, X2, int(tile), layers)
    with at_work(KernelStore, path, exists, part, lambda: run.create(path, overwrite)) as store:
        run.open(store)
        order = Order(ready, path.resolve(), (activations_of(mlp), int(tile)))
        run.work(order, executor, part, report)
    return open_kernels(path)


def ready(path: Path, activations: tuple | None, tile: int) -> _Run:
    """For a worker: the job of a store."""
    store = KernelStore(path)
    header = store.header
    mlp = store.network(activations)
    X2 = None if store.symmetric else store.array("X2")
    run = _Run(mlp, store.X, X2, tile, header["layers"])
    run.open(store)
    return run


class _Run:
    """One job in one process; see `tasks.Work`."""

    store: KernelStore

    def __init__(self, mlp: MLP, X: np.ndarray, X2: np.ndarray | None, tile: int, layers: str):
        with jax.enable_x64(True), np.errstate(all="ignore"):
            self.tiles, self.X, self.X2 = Tiles(mlp, X, X2), X, X2
            self.layers = list(range(mlp.depth)) if layers == "all" else [mlp.depth - 1]
            self.variance = [
                np.stack(diagonal_G(self.tiles, side)) for side in (self.tiles.rows, self.tiles.cols)
            ]
        self.rows, self.cols = (_strips(side, tile) for side in (self.tiles.rows, self.tiles.cols))
        self.squares = [
            (i, j)
            for i in range(len(self.rows))
            for j in range(len(self.cols))
            if j >= i or not self.tiles.symmetric
        ]
        self.chunk = (
            min(_length(self.rows[0]), len(X)),
            min(_length(self.cols[0]), len(X if X2 is None else X2)),
        )
        self.header = {
            "mlp": json.dumps(mlp.to_spec()),
            "callable_activations": [a.name for a in mlp.activation if not a.registered],
            "layers": layers, "tile": list(self.chunk), "X_sha256": digest(X),
            "X2_sha256": None if X2 is None else digest(X2),
        }  # fmt: skip

    def create(self, path: Path, overwrite: bool) -> KernelStore:
        arrays = {"layer": (("layer",), np.array(self.layers) + 1), "X": (("sample", "input"), self.X)}
        if self.X2 is not None:
            arrays["X2"] = (("sample2", "input"), self.X2)
        for name, dim, variance in zip(
            ("G_variance", "G_variance2"), ("alpha1", "alpha2"), self.variance, strict=True
        ):
            arrays[name] = (("layer", dim), variance[self.layers])
        header = self.header | {"ntkflow_version": __version__}
        hidden = len(self.tiles.mlp.activation)
        return KernelStore.create(path, header, arrays, self.chunk, len(self.squares), hidden, overwrite)

    def open(self, store: KernelStore) -> None:
        """Take a store's squares for the tasks; FileError if it is of another job."""
        store.check_same(self.header, self.X)
        self.store = store

    @property
    def path(self) -> Path:
        return self.store.path

    def is_done(self, number: int) -> bool:
        return self.store.has(number)

    def work(
        self, order: Order, executor: Executor | None, part: tuple[int, int] | None, report: Report
    ) -> None:
        """Have the squares computed that are not done, all or those of a part; once all are, bound the errors."""
        squares = share(len(self.squares), part)
        todo = [number for number in squares if not self.is_done(number)]
        report(len(squares) - len(todo), len(squares), "tiles")
        for count, _ in enumerate(done(self, order, todo, executor), start=len(squares) - len(todo) + 1):
            report(count, len(squares), "tiles")
        if self.store.done < self.store.parts:
            self.store.check_finished()
        if part is None:
            self._end()
            return
        with for_a_moment(self.path):
            if not self.store.has_record(END):
                self._end()

    def _end(self) -> None:
        """Write bounds of the errors, from what all squares found."""
        hidden = len(self.tiles.mlp.activation)
        tails, nearest = np.max(self.store.array(self.store.RECORDS), axis=0)[:, :hidden]
        tiles = self.tiles
        blocks = tiles.rows if tiles.symmetric else tiles.rows + tiles.cols
        with jax.enable_x64(True), np.errstate(all="ignore"):
            errors = relative_errors(tiles.mlp, blocks, tails.tolist())
        steep = np.concatenate([[0.0], np.cumsum(errors.of_kinks_at_most(nearest))])
        bounds = (errors.epsilon[self.layers], (errors.eta + steep)[self.layers])
        self.store.end(dict(zip(BOUNDS, bounds, strict=True)))

    def do(self, number: int) -> None:
        """Compute a square and write it."""
        i, j = self.squares[number]
        with jax.enable_x64(True):
            square = _Square(self.tiles, self.rows[i], self.cols[j], self.layers, self.variance)
        for name in KERNELS:
            array, values = self.store.member(name), square.tables[name]
            self.store.put(array, (slice(None), square.rows, square.cols), values)
            if self.tiles.symmetric and i != j:
                self.store.put(array, (slice(None), square.cols, square.rows), values.swapaxes(1, 2))
        found = np.zeros(self.store.shape(self.store.RECORDS)[1:])
        found[:, : len(square.tails)] = square.tails, square.nearest
        self.store.finish(number, found)


class _Square:
    """G and H between two strips of blocks: what is written at a time."""

    def __init__(self, tiles: Tiles, rows: list[Block], cols: list[Block], kept: list[int], variance):
        self.rows = slice(rows[0].start, rows[-1].stop)
        self.cols = slice(cols[0].start, cols[-1].stop)
        shape = (len(kept), self.rows.stop - self.rows.start, self.cols.stop - self.cols.start)
        self.tables = {name: np.empty(shape) for name in KERNELS}
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
