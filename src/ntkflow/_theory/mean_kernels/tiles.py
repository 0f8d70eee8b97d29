"""The host's plan: samples in blocks, pairs of blocks as tiles, every layer of a tile before the next tile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from ..._gaussian import COARSE, FINE, Rule, expectations
from ..._machine.batches import batches, on_all_cores
from ...activations import Activation
from ...errors import NonFiniteError
from ...network.dense import OfInputs
from ...network.layer import Layer, through_layers
from ...network.mlp import MLP
from ...network.parallel import parallel_inputs
from .core import (
    LINE,
    LONG_LINE,
    Expectations,
    Samples,
    diagonal_expectations,
    integrate,
    samples,
)

SIDE = 256  # samples of a block: a tile's tables stay in a core's cache
CONVERGED = 1e-14
_PARALLEL = 1e-13  # relatively, what rounding leaves between multiples of one input
_PAIRS = 32  # that the host's cubature takes at a time

_integrate = jax.jit(integrate, static_argnums=0)
_samples = jax.jit(samples, static_argnums=(0, 4))
_diagonal_expectations = jax.jit(diagonal_expectations, static_argnums=0)


@jax.jit
def _first_means(layer: Layer, X1, X2):
    return layer.means(OfInputs(X1 @ X2.T / X1.shape[1]), 0.0, 0.0)


@functools.partial(jax.jit, static_argnums=1)
def _next_means(layer: Layer, keep: bool, rows: Samples, cols: Samples, G, H):
    """(G', H', the largest tail, and if `keep` the expectations) on a tile."""
    assert layer.activation is not None
    e, tail = integrate(layer.activation, rows, cols, G)
    return *layer.means(e, G, H), None if tail is None else tail.max(), e if keep else None


@dataclass(frozen=True)
class Block:
    """Samples start … stop - 1, filled up with the last one to all blocks' common size.

    `layers` and `mean_squares` have one entry for each hidden layer; `mean_squares` are ⟨σ²⟩ and ⟨σ'²⟩ of each sample.
    """

    start: int
    stop: int
    X: np.ndarray
    layers: list[Samples]
    mean_squares: list[Expectations]

    @property
    def span(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Tile:
    """G and H of every layer, (I, J) each; Φ and Φ' of every hidden layer if kept; the largest error of their integrals
    relative to √(⟨f²⟩⟨g²⟩), 0 for closed forms."""

    rows: slice
    cols: slice
    G: list[np.ndarray]
    H: list[np.ndarray]
    expectations: list[Expectations | None]
    tails: list[float]


class _SamplesOfLayer(NamedTuple):
    """G_αα and H_αα of one layer, and the samples and expectations of the layer below, block by block."""

    layer: int
    variance: list
    H: list
    samples: list[Samples]
    expectations: list[Expectations]


class _OnTile(NamedTuple):
    """One layer of a tile, with the expectations on the layer below and their error."""

    layer: int
    G: Any
    H: Any
    tail: float
    expectations: Expectations | None


class Tiles:
    """All tiles of N × N2 pairs; without X2 those of N × N on and above the diagonal.

    Memory: N L numbers, and N L × 384 where σ has no closed form.
    """

    def __init__(self, mlp: MLP, X: np.ndarray, X2: np.ndarray | None):
        self.mlp = mlp
        everything = X if X2 is None else np.concatenate([X, X2])
        by_layer = labels(mlp, everything)
        first = [(label[: len(X)], sign[: len(X)]) for label, sign in by_layer]
        second = [(label[len(X) :], sign[len(X) :]) for label, sign in by_layer]
        self.symmetric = X2 is None
        self.labels = [[label for label, _ in side] for side in (first, second if X2 is not None else first)]
        self.rows = self._blocks(X, first)
        self.cols = self.rows if X2 is None else self._blocks(X2, second)
        self._long = functools.lru_cache(maxsize=64)(self._long_samples)

    def _blocks(self, X: np.ndarray, by_layer) -> list[Block]:
        N = len(X)
        side = -(-N // -(-N // SIDE))
        blocks, index = zip(*batches(N, side), strict=True)

        def step(layer: Layer, r: float, below: _SamplesOfLayer) -> _SamplesOfLayer:
            activation, (label, sign) = layer.activation, by_layer[below.layer - 1]
            state = _SamplesOfLayer(below.layer + 1, [], [], [], [])
            for i, variance, H in zip(index, below.variance, below.H, strict=True):
                samples = _samples(activation, variance, label[i], sign[i], LINE)
                e = Expectations(*map(np.asarray, _diagonal_expectations(activation, samples)))
                for values, value in zip((state.variance, state.H), layer.means(e, variance, H), strict=True):
                    values.append(value)
                state.samples.append(samples)
                state.expectations.append(e)
            _check_samples(state)
            return state

        square = np.einsum("an,an->a", X, X) / X.shape[1]
        means = [self.mlp.layers[0].means(OfInputs(square[i]), 0.0, 0.0) for i in index]
        first = _SamplesOfLayer(1, [G for G, _ in means], [H for _, H in means], [], [])
        _check_samples(first)
        _, *above = through_layers(self.mlp, first, step)
        return [
            Block(
                block.start, block.stop, X[i], [state.samples[b] for state in above],
                [state.expectations[b] for state in above],
            )
            for b, (block, i) in enumerate(zip(blocks, index, strict=True))
        ]  # fmt: skip

    @property
    def pairs(self) -> list[tuple[Block, Block]]:
        return [
            (a, b)
            for i, a in enumerate(self.rows)
            for j, b in enumerate(self.cols)
            if j >= i or not self.symmetric
        ]

    def all(
        self,
        use: Callable[[Tile], object],
        keep: bool = False,
        pairs: list[tuple[Block, Block]] | None = None,
    ) -> None:
        """Call `use` with each tile (of `pairs` if given), from as many threads as there are cores."""

        def work(pair: tuple[Block, Block]) -> None:
            with np.errstate(all="ignore"):
                use(self.tile(pair[0], pair[1], keep))

        on_all_cores(work, self.pairs if pairs is None else pairs)

    def tile(self, rows: Block, cols: Block, keep: bool = False) -> Tile:
        """All layers of one tile; NonFiniteError where G or H overflows."""

        def step(layer: Layer, r: float, below: _OnTile) -> _OnTile:
            number = below.layer - 1
            samples = rows.layers[number], cols.layers[number]
            G, H, tail, e = _next_means(layer, keep, *samples, below.G, below.H)
            tail = 0.0 if tail is None else float(tail)
            if not tail <= CONVERGED:
                e, tail = self._slowly(number, rows, cols, np.asarray(below.G))
                G, H = layer.means(e, below.G, np.asarray(below.H))
            return _OnTile(below.layer + 1, G, H, tail, e)

        G, H = _first_means(self.mlp.layers[0], rows.X, cols.X)
        first = _OnTile(1, G, H, 0.0, None)
        layers = list(through_layers(self.mlp, first, step))
        I, J = rows.stop - rows.start, cols.stop - cols.start
        G, H = (
            [np.asarray(kernel)[:I, :J] for kernel in kernels]
            for kernels in ([s.G for s in layers], [s.H for s in layers])
        )
        for name, kernel in (("G", G[-1]), ("H", H[-1])):
            _check_finite(self.mlp.depth, name, kernel)
        expectations = [
            None if s.expectations is None else Expectations(*(x[:I, :J] for x in s.expectations))
            for s in layers[1:]
        ]
        return Tile(rows.span, cols.span, G, H, expectations, [s.tail for s in layers[1:]])

    def _slowly(self, layer: int, rows: Block, cols: Block, G: np.ndarray):
        """Φ, Φ' and their error by a longer series, and by cubature where that has not converged either."""
        activation = self.mlp.activation[layer]
        long_rows, long_cols = (
            self._long(layer, rows.start, True),
            self._long(layer, cols.start, self.symmetric),
        )
        e, tail = _integrate(activation, long_rows, long_cols, G)
        Phi, dPhi, tail = np.array(e.Phi), np.array(e.dPhi), np.asarray(tail)
        hard = ~(tail <= CONVERGED) & np.isfinite(G)
        largest = float(np.max(np.where(hard, 0.0, tail)))
        if np.any(hard):
            i, j = np.nonzero(hard)
            G11, G22 = np.asarray(long_rows.variance)[i], np.asarray(long_cols.variance)[j]
            fine, coarse = (_by_cubature(activation, G11, G22, G[hard], rule) for rule in (FINE, COARSE))
            Phi[hard], dPhi[hard] = fine
            for mine, other, squares, others in zip(
                fine, coarse, rows.mean_squares[layer], cols.mean_squares[layer], strict=True
            ):
                scale = np.sqrt(squares[i] * others[j])
                error = np.abs(mine - other) / np.where(scale > 0, scale, 1.0)
                largest = max(largest, float(error.max()))
        return Expectations(Phi, dPhi), largest

    def _long_samples(self, layer: int, start: int, of_rows: bool) -> Samples:
        blocks = self.rows if of_rows else self.cols
        short = blocks[start // (blocks[0].stop - blocks[0].start)].layers[layer]
        return _samples(self.mlp.activation[layer], short.variance, short.label, short.sign, LONG_LINE)


def _check_finite(layer: int, name: str, values) -> None:
    if not np.all(np.isfinite(values)):
        raise NonFiniteError(f"layer {layer}: {name} overflows or is not a number; scale X or C_W")


def _check_samples(state: _SamplesOfLayer) -> None:
    """No entry of G or H is larger than the diagonal ones; the integrals take products of two of these."""
    for name, values in (("G", state.variance), ("H", state.H)):
        _check_finite(state.layer, name, np.square(np.stack(values)))


def labels(mlp: MLP, X: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(label, sign) of all samples for the activation of each hidden layer.

    Samples of one label are one variable up to a factor, whose sign is the product of their signs; where σ has no kink
    only equal samples share a label.
    """
    parallel, by_layer = parallel_inputs(X, mlp.layers[0].C_b > 0, _PARALLEL), []
    for layer in mlp.layers[1:]:
        activation = layer.activation
        if activation is not None and activation.kinked and activation.slopes:
            by_layer.append((parallel.label, np.sign(parallel.factor)))
        else:
            by_layer.append((parallel.equal(), np.ones(len(X))))
        parallel = layer.parallel(parallel)
    return by_layer


def _by_cubature(activation: Activation, G11: np.ndarray, G22: np.ndarray, G12: np.ndarray, rule: Rule):
    """Φ and Φ' of M pairs, (M,) each, by the host's integrals, which are slower and converge for all."""
    Phi, dPhi = np.empty_like(G12), np.empty_like(G12)
    for start in range(0, len(G12), _PAIRS):
        batch = slice(start, start + _PAIRS)
        n = len(G12[batch])
        first, second = np.arange(n), np.arange(n, 2 * n)
        # The metric couples only the two samples of each pair.
        metric, ratio = np.zeros((2 * n, 2 * n)), np.full((2 * n, 2 * n), np.nan)
        metric[first, first], metric[second, second] = G11[batch], G22[batch]
        metric[first, second] = metric[second, first] = G12[batch]
        np.fill_diagonal(ratio, 1.0)
        e = expectations(activation, metric, ratio, None, rule)
        Phi[batch], dPhi[batch] = e.Phi[first, second], e.dPhi[first, second]
    return Phi, dPhi


def place(out: np.ndarray, tile: Tile, values: np.ndarray, symmetric: bool) -> None:
    """Put a tile's values, and below the diagonal their mirror image, where they belong in `out` (N, N2)."""
    out[tile.rows, tile.cols] = values
    if symmetric and tile.rows != tile.cols:
        out[tile.cols, tile.rows] = values.T
