"""`flow(…, components="mean")`: G and H of every layer in memory; the rest is computed when it is asked for."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence

import jax
import numpy as np

from ..._machine.memory import check_memory
from ..._recursions import means
from ...network.dense import Dense, OfInputs
from ...network.layer import Layer
from ...network.mlp import MLP
from ..deferred import Tables
from ..result import Flow
from ..statistics import LayerStatistics
from .core import Expectations
from .errors import RelativeErrors, relative_errors
from .tiles import Block, Tile, Tiles, place


def has_tiles(mlp: MLP) -> bool:
    """Whether all layers are dense, of activations with a closed form or a Hermite series: not smooth on each side of 0 alone."""
    activations = [layer.activation for layer in mlp.layers[1:]]
    return all(isinstance(layer, Dense) for layer in mlp.layers) and all(
        a is not None and (a.slopes is not None or not a.kinked) for a in activations
    )


def mean_flow(
    mlp: MLP, X: np.ndarray, X2: np.ndarray | None, report: Callable[[int, int, str], None]
) -> Flow:
    """G and H of every layer, (N, N) or between X and X2 (N, N2).

    Memory: 16 L N N2 bytes, half as much for those of N × N that are not read; error estimates and `bias_contributions` and `weight_contributions`, which take 8 ℓ N N2
    bytes each and as much as all kernels for all layers together, are computed when they are read.

    Raises:
        MemoryRequestError, NonFiniteError: see their descriptions.
    """
    shape = (mlp.depth, len(X), len(X if X2 is None else X2))
    check_memory(
        16 * math.prod(shape),
        f"the kernels of {shape[1]} × {shape[2]} samples",
        "ntkflow.store_kernels, which writes them to disk by tiles",
    )
    with jax.enable_x64(True), np.errstate(all="ignore"):
        kernels = _Kernels(mlp, X, X2, shape, report)
    layers = [
        LayerStatistics(mlp, X, ell + 1, None, kernels.values(ell), kernels.errors(ell))
        for ell in range(mlp.depth)
    ]
    return Flow(mlp, X, "mean", layers, X2)


class _Kernels:
    """Tiles as they were computed, put together to tables when these are read."""

    def __init__(self, mlp: MLP, X, X2, shape: tuple[int, int, int], report):
        self.tiles, self.shape = Tiles(mlp, X, X2), shape[1:]
        self.computed: list[Tile] = []
        total = len(self.tiles.pairs)
        report(0, total, "tiles")
        lock = threading.Lock()

        def keep(tile: Tile) -> None:
            with lock:
                self.computed.append(tile)
                report(len(self.computed), total, "tiles")

        self.tiles.all(keep)
        self.tails = np.max([tile.tails for tile in self.computed], axis=0, initial=0.0).tolist()
        self.G, self.H = (functools.cache(functools.partial(self._table, name)) for name in "GH")

    def _table(self, name: str, ell: int) -> np.ndarray:
        out = np.empty(self.shape)
        for tile in self.computed:
            tables = getattr(tile, name)
            place(out, tile, tables[ell], self.tiles.symmetric)
            tables[ell] = None
        return out

    def values(self, ell: int) -> Tables:
        return Tables(
            {
                "G": lambda: self.G(ell),
                "H": lambda: self.H(ell),
                "bias_contributions": lambda: self._contributions.of_biases(ell + 1),
                "weight_contributions": lambda: self._contributions.of_weights(ell + 1),
            }
        )

    def errors(self, ell: int) -> Tables:
        def split(which: int) -> np.ndarray:
            rows, cols = (_split(side, ell)[which] for side in self._diagonal_contributions)
            return self._eta(ell) * np.sqrt(rows[:, :, None] * cols[:, None, :])

        return Tables(
            {
                "G": lambda: self._relative.epsilon[ell] * _outer(*(side[ell] for side in self._diagonal_G)),
                "H": lambda: self._eta(ell) * _outer(*(self._diagonal_H(side, ell) for side in (0, 1))),
                "bias_contributions": lambda: split(0),
                "weight_contributions": lambda: split(1),
            }
        )

    @functools.cached_property
    def _relative(self) -> RelativeErrors:
        tiles = self.tiles
        blocks = tiles.rows if tiles.symmetric else tiles.rows + tiles.cols
        with jax.enable_x64(True), np.errstate(all="ignore"):
            return relative_errors(tiles.mlp, blocks, self.tails)

    def _eta(self, ell: int) -> np.ndarray:
        """(N, N2)."""
        eta = np.full(self.shape, self._relative.eta[ell])
        rows, cols = self._diagonal_G
        for layer in range(ell):
            if self._relative.kinks[layer] > 0:
                variance = rows[layer], cols[layer]
                parallel = np.equal.outer(*(side[layer] for side in self.tiles.labels))
                eta += self._relative.of_kinks(layer, self.G(layer), variance, parallel)
        return eta

    @functools.cached_property
    def _diagonal_expectations(self) -> list[list[Expectations]]:
        """Of the rows' and the columns' samples, for each hidden layer."""
        return [
            diagonal_expectations(self.tiles.mlp, blocks) for blocks in (self.tiles.rows, self.tiles.cols)
        ]

    @functools.cached_property
    def _diagonal_G(self) -> list[list[np.ndarray]]:
        return [diagonal_G(self.tiles, blocks) for blocks in (self.tiles.rows, self.tiles.cols)]

    def _diagonal_H(self, side: int, ell: int) -> np.ndarray:
        bias, weight = _split(self._diagonal_contributions[side], ell)
        return bias.sum(axis=0) + weight.sum(axis=0)

    @functools.cached_property
    def _diagonal_contributions(self) -> list[means.Contributions]:
        squares = (np.einsum("an,an->a", X, X) / X.shape[1] for X in self._inputs)
        return [
            _contributions(self.tiles.mlp.layers, square, e)
            for square, e in zip(squares, self._diagonal_expectations, strict=True)
        ]

    @functools.cached_property
    def _contributions(self) -> means.Contributions:
        """How H splits, (ℓ, N, N2) of each layer: all integrals once more."""
        tiles, shape = self.tiles, self.shape
        tables = [Expectations(np.empty(shape), np.empty(shape)) for _ in tiles.mlp.activation]

        def keep(tile: Tile) -> None:
            for table, e in zip(tables, tile.expectations, strict=True):
                assert e is not None
                for out, values in zip(table, e, strict=True):
                    place(out, tile, np.asarray(values), tiles.symmetric)

        tiles.all(keep, keep=True)
        X, X2 = self._inputs
        return _contributions(tiles.mlp.layers, X @ X2.T / X.shape[1], tables)

    @property
    def _inputs(self) -> list[np.ndarray]:
        """X and X2."""
        tiles = self.tiles
        return [np.concatenate([b.X[: b.stop - b.start] for b in side]) for side in (tiles.rows, tiles.cols)]


def _contributions(layers: Sequence[Layer], product: np.ndarray, expectations) -> means.Contributions:
    bias, weight, _ = layers[0].shares(OfInputs(product))
    split = means.Contributions(bias, weight)
    for layer, e in zip(layers[1:], expectations, strict=True):
        split.append(*layer.shares(e))
    return split


def _split(contributions: means.Contributions, ell: int) -> tuple[np.ndarray, np.ndarray]:
    return contributions.of_biases(ell + 1), contributions.of_weights(ell + 1)


def _outer(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return np.sqrt(np.multiply.outer(rows, cols))


def diagonal_expectations(mlp: MLP, blocks: list[Block]) -> list[Expectations]:
    """⟨σ²⟩ and ⟨σ'²⟩ of every sample for each hidden layer, (N,) each."""
    return [
        Expectations(
            *(np.concatenate([b.mean_squares[k][f][: b.stop - b.start] for b in blocks]) for f in (0, 1))
        )
        for k in range(len(mlp.activation))
    ]


def diagonal_G(tiles: Tiles, blocks: list[Block]) -> list[np.ndarray]:
    """G_αα of every layer, (N,) each."""
    X = np.concatenate([b.X[: b.stop - b.start] for b in blocks])
    square = np.einsum("an,an->a", X, X) / X.shape[1]
    e = [OfInputs(square), *diagonal_expectations(tiles.mlp, blocks)]
    return [layer.means(of_layer, 0.0, 0.0)[0] for layer, of_layer in zip(tiles.mlp.layers, e, strict=True)]


def block_of(whole: Flow, X: np.ndarray, X2: np.ndarray) -> Flow:
    """The train/test block of a flow of X and X2 together."""
    N = len(X)

    def cut(table: Tables) -> Tables:
        return Tables({name: table[name][..., :N, N:] for name in table})

    layers = [LayerStatistics(s.mlp, X, s.layer, None, cut(s.values), cut(s.errors)) for s in whole]
    return Flow(whole.mlp, X, "mean", layers, X2)
