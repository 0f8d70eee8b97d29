"""The host's plan: samples in blocks, pairs of blocks as tiles, every layer of a tile before the next tile."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import numpy as np

from ..activations import Activation
from ..errors import NonFiniteError
from ..gaussian import FINE, expectations
from ..mlp import MLP
from ..recursions import means
from .classes import labels
from .core import (
    LINE,
    LONG_LINE,
    Expectations,
    Hyperparameters,
    Samples,
    first_layer,
    integrate,
    next_variance,
    samples,
)

SIDE = 256  # samples of a block: a tile's tables stay in a core's cache
CONVERGED = 1e-14
_PAIRS = 32  # that the host's cubature takes at a time

_first_layer = jax.jit(lambda h, X1, X2: first_layer(h, X1 @ X2.T / X1.shape[1]))
_integrate = jax.jit(integrate, static_argnums=0)
_samples = jax.jit(samples, static_argnums=(0, 4))
_next_variance = jax.jit(next_variance, static_argnums=0)


@jax.jit
def _means(h, e, H):
    return means.G(h, e), means.H(h, e, H)


@jax.jit
def _largest(tail):
    return tail.max()


@dataclass(frozen=True)
class Block:
    """Samples start … stop - 1, filled up with the last one to `SIDE` or all blocks' common size."""

    start: int
    stop: int
    X: np.ndarray
    layers: list[Samples]

    @property
    def here(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Tile:
    """G and H of every layer (each (I, J)), Φ and Φ' from every hidden layer, and what their series left out."""

    rows: slice
    cols: slice
    G: list[np.ndarray]
    H: list[np.ndarray]
    expectations: list[Expectations]
    tails: list[float]


class Tiles:
    """All tiles of N × N2 pairs; without X2 those of N × N on and above the diagonal.

    Memory: N L numbers, and N L × 384 where σ has no closed form.
    """

    def __init__(self, mlp: MLP, X: np.ndarray, X2: np.ndarray | None):
        self.mlp = mlp
        self.h = [
            Hyperparameters(*h) for h in zip(mlp.C_b, mlp.C_W, mlp.lambda_b, mlp.lambda_W, strict=True)
        ]
        everything = X if X2 is None else np.concatenate([X, X2])
        by_layer = labels(mlp, everything)
        first = [(label[: len(X)], sign[: len(X)]) for label, sign in by_layer]
        second = [(label[len(X) :], sign[len(X) :]) for label, sign in by_layer]
        self.symmetric = X2 is None
        self.rows = self._blocks(X, first)
        self.cols = self.rows if X2 is None else self._blocks(X2, second)
        self._long = functools.lru_cache(maxsize=64)(self._long_samples)

    def _blocks(self, X: np.ndarray, by_layer) -> list[Block]:
        N = len(X)
        side = -(-N // -(-N // SIDE))
        starts = range(0, N, side)
        index = [np.minimum(np.arange(start, start + side), N - 1) for start in starts]
        square = np.einsum("an,an->a", X, X) / X.shape[1]
        variance = [means.G(self.h[0], Expectations(square[i], square[i])) for i in index]
        layers: list[list[Samples]] = [[] for _ in index]
        for activation, (label, sign), h in zip(self.mlp.activation, by_layer, self.h[1:], strict=True):
            for b, i in enumerate(index):
                own = _samples(activation, variance[b], label[i], sign[i], LINE)
                variance[b] = np.asarray(_next_variance(activation, h, own))
                layers[b].append(own)
        return [
            Block(start, min(start + side, N), X[i], mine)
            for start, i, mine in zip(starts, index, layers, strict=True)
        ]

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
        pairs: list[tuple[Block, Block]],
        use: Callable[[Tile], object],
        report: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Call `use` with every tile, from several threads; XLA itself does not split a tile between cores."""

        def work(pair):
            # JAX's setting belongs to the thread.
            with jax.enable_x64(True), np.errstate(all="ignore"):
                use(self.tile(*pair))

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for done, _ in enumerate(pool.map(work, pairs), start=1):
                report(done)

    def tile(self, rows: Block, cols: Block) -> Tile:
        """All layers of one tile; NonFiniteError where G or H overflows."""
        G, H = _first_layer(self.h[0], rows.X, cols.X)
        tables, found, tails = [(G, H)], [], []
        for layer, activation in enumerate(self.mlp.activation):
            e, tail = self._expectations(activation, layer, rows, cols, G)
            G, H = _means(self.h[layer + 1], e, H)
            tables.append((G, H))
            found.append(e)
            tails.append(tail)
        I, J = rows.stop - rows.start, cols.stop - cols.start
        cut = [[np.asarray(x)[:I, :J] for x in pair] for pair in tables]
        for layer, pair in enumerate(cut, start=1):
            for name, x in zip("GH", pair, strict=True):
                if not np.all(np.isfinite(x)):
                    raise NonFiniteError(
                        f"layer {layer}: {name} overflows or is not a number; scale X or C_W"
                    )
        return Tile(rows.here, cols.here, [G for G, _ in cut], [H for _, H in cut], found, tails)

    def _expectations(self, activation: Activation, layer: int, rows: Block, cols: Block, G):
        e, tail = _integrate(activation, rows.layers[layer], cols.layers[layer], G)
        if tail is None:
            return e, 0.0
        left = float(_largest(tail))
        if left <= CONVERGED:
            return e, left
        e, tail = _integrate(activation, *(self._long(layer, block.start, block is rows) for block in (rows, cols)), G)
        hard = np.argwhere(~(np.asarray(tail) <= CONVERGED))
        left = float(np.max(np.where(np.asarray(tail) <= CONVERGED, tail, 0.0)))
        if len(hard) and np.all(np.isfinite(G)):
            e = _by_cubature(activation, rows.layers[layer], cols.layers[layer], np.asarray(G), e, hard)
        return e, left

    def _long_samples(self, layer: int, start: int, of_rows: bool) -> Samples:
        blocks = self.rows if of_rows else self.cols
        own = blocks[start // (blocks[0].stop - blocks[0].start)].layers[layer]
        return _samples(self.mlp.activation[layer], own.variance, own.label, own.sign, LONG_LINE)


def _by_cubature(activation: Activation, rows: Samples, cols: Samples, G, e: Expectations, hard) -> Expectations:
    """Φ and Φ' with the pairs `hard` (M, 2) by the host's integrals, which are slower and always converge."""
    Phi, dPhi = np.array(e.Phi), np.array(e.dPhi)
    for start in range(0, len(hard), _PAIRS):
        i, j = hard[start : start + _PAIRS].T
        n = len(i)
        metric, ratio = np.zeros((2 * n, 2 * n)), np.full((2 * n, 2 * n), np.nan)
        one, two = np.arange(n), np.arange(n, 2 * n)
        metric[one, one], metric[two, two] = np.asarray(rows.variance)[i], np.asarray(cols.variance)[j]
        metric[one, two] = metric[two, one] = G[i, j]
        np.fill_diagonal(ratio, 1.0)
        found = expectations(activation, metric, ratio, None, FINE)
        Phi[i, j], dPhi[i, j] = found.Phi[one, two], found.dPhi[one, two]
    return Expectations(Phi, dPhi)


def symmetric_fill(out: np.ndarray, tile: Tile, values: np.ndarray, symmetric: bool) -> None:
    """Put a tile's values, and below the diagonal their mirror image, where they belong."""
    out[tile.rows, tile.cols] = values
    if symmetric and tile.rows != tile.cols:
        out[tile.cols, tile.rows] = values.T


def own_kernels(tiles: Tiles, blocks: list[Block]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(⟨σ²⟩, ⟨σ'²⟩) of every sample for each hidden layer, (N,) each."""
    for layer, activation in enumerate(tiles.mlp.activation):
        parts = []
        for block in blocks:
            own = block.layers[layer]
            if own.coefficients is None:
                from ..gaussian.closed_forms import closed_form

                form = closed_form(activation)
                assert form is not None
                v = own.variance
                parts.append(np.stack(form(v, v, v))[:, : block.stop - block.start])
            else:
                parts.append(np.asarray(own.coefficients.mean_squares)[:, : block.stop - block.start])
        Phi, dPhi = np.concatenate(parts, axis=1)
        yield Phi, dPhi
