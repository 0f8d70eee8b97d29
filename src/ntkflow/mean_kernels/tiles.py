"""The host's plan: samples in blocks, pairs of blocks as tiles, every layer of a tile before the next tile."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import numpy as np

from ..activations import Activation
from ..cores import cores
from ..errors import NonFiniteError
from ..gaussian import COARSE, FINE, Rule, expectations
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
    own_expectations,
    samples,
)

SIDE = 256  # samples of a block: a tile's tables stay in a core's cache
CONVERGED = 1e-14
_PAIRS = 32  # that the host's cubature takes at a time

_first_layer = jax.jit(lambda h, X1, X2: first_layer(h, X1 @ X2.T / X1.shape[1]))
_integrate = jax.jit(integrate, static_argnums=0)
_samples = jax.jit(samples, static_argnums=(0, 4))
_own_expectations = jax.jit(own_expectations, static_argnums=0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _next_layer(activation: Activation, keep: bool, h, rows: Samples, cols: Samples, G, H):
    """(G', H', the largest tail, and if `keep` the expectations) on a tile."""
    e, tail = integrate(activation, rows, cols, G)
    return means.G(h, e), means.H(h, e, H), None if tail is None else tail.max(), e if keep else None


@dataclass(frozen=True)
class Block:
    """Samples start … stop - 1, filled up with the last one to all blocks' common size.

    `layers` and `own` are of each hidden layer; `own` holds ⟨σ²⟩ and ⟨σ'²⟩ of each sample.
    """

    start: int
    stop: int
    X: np.ndarray
    layers: list[Samples]
    own: list[Expectations]

    @property
    def here(self) -> slice:
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


class Tiles:
    """All tiles of N × N2 pairs; without X2 those of N × N on and above the diagonal.

    Memory: N L numbers, and N L × 384 where σ has no closed form.
    """

    def __init__(self, mlp: MLP, X: np.ndarray, X2: np.ndarray | None):
        self.mlp = mlp
        self.h = [Hyperparameters(*h) for h in zip(mlp.C_b, mlp.C_W, mlp.lambda_b, mlp.lambda_W, strict=True)]
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
        starts = range(0, N, side)
        index = [np.minimum(np.arange(start, start + side), N - 1) for start in starts]
        square = np.einsum("an,an->a", X, X) / X.shape[1]
        variance = [means.G(self.h[0], Expectations(square[i], square[i])) for i in index]
        H = [means.H(self.h[0], Expectations(square[i], 0.0), 0.0) for i in index]
        _check_samples(1, variance, H)
        layers: list[list[Samples]] = [[] for _ in index]
        owns: list[list[Expectations]] = [[] for _ in index]
        for activation, (label, sign), h in zip(self.mlp.activation, by_layer, self.h[1:], strict=True):
            for b, i in enumerate(index):
                samples = _samples(activation, variance[b], label[i], sign[i], LINE)
                own = Expectations(*map(np.asarray, _own_expectations(activation, samples)))
                variance[b], H[b] = means.G(h, own), means.H(h, own, H[b])
                layers[b].append(samples)
                owns[b].append(own)
            _check_samples(1 + len(layers[0]), variance, H)
        return [
            Block(start, min(start + side, N), X[i], mine, own)
            for start, i, mine, own in zip(starts, index, layers, owns, strict=True)
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
        use: Callable[[Tile], object],
        keep: bool = False,
        pairs: list[tuple[Block, Block]] | None = None,
    ) -> None:
        """Call `use` with each tile (of `pairs` if given), from as many threads as there are cores."""

        def work(pair: tuple[Block, Block]) -> None:
            # JAX's setting belongs to the thread.
            with jax.enable_x64(True), np.errstate(all="ignore"):
                use(self.tile(pair[0], pair[1], keep))

        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(work, self.pairs if pairs is None else pairs):
                pass

    def tile(self, rows: Block, cols: Block, keep: bool = False) -> Tile:
        """All layers of one tile; NonFiniteError where G or H overflows."""
        G, H = _first_layer(self.h[0], rows.X, cols.X)
        tables, kept, tails = [(G, H)], [], []
        for layer, activation in enumerate(self.mlp.activation):
            samples, h = (rows.layers[layer], cols.layers[layer]), self.h[layer + 1]
            G_next, H_next, tail, e = _next_layer(activation, keep, h, *samples, G, H)
            tail = 0.0 if tail is None else float(tail)
            if not tail <= CONVERGED:
                e, tail = self._slowly(activation, layer, rows, cols, np.asarray(G))
                G_next, H_next = means.G(h, e), means.H(h, e, np.asarray(H))
            G, H = G_next, H_next
            tables.append((G, H))
            tails.append(tail)
            kept.append(e)
        I, J = rows.stop - rows.start, cols.stop - cols.start
        found = [tuple(np.asarray(x)[:I, :J] for x in pair) for pair in tables]
        for name, x in zip("GH", found[-1], strict=True):
            _check_finite(self.mlp.depth, name, x)
        cut = [None if e is None else Expectations(e.Phi[:I, :J], e.dPhi[:I, :J]) for e in kept]
        return Tile(rows.here, cols.here, [G for G, _ in found], [H for _, H in found], cut, tails)

    def _slowly(self, activation: Activation, layer: int, rows: Block, cols: Block, G: np.ndarray):
        """Φ, Φ' and their error by a longer series, and by cubature where that has not converged either."""
        one, two = self._long(layer, rows.start, True), self._long(layer, cols.start, self.symmetric)
        e, tail = _integrate(activation, one, two, G)
        Phi, dPhi, tail = np.array(e.Phi), np.array(e.dPhi), np.asarray(tail)
        hard = ~(tail <= CONVERGED) & np.isfinite(G)
        left = float(np.max(np.where(hard, 0.0, tail)))
        if np.any(hard):
            i, j = np.nonzero(hard)
            G11, G22 = np.asarray(one.variance)[i], np.asarray(two.variance)[j]
            fine, coarse = (_by_cubature(activation, G11, G22, G[hard], rule) for rule in (FINE, COARSE))
            Phi[hard], dPhi[hard] = fine
            for mine, other, squares, others in zip(
                fine, coarse, rows.own[layer], cols.own[layer], strict=True
            ):
                scale = np.sqrt(squares[i] * others[j])
                error = np.abs(mine - other) / np.where(scale > 0, scale, 1.0)
                left = max(left, float(error.max()))
        return Expectations(Phi, dPhi), left

    def _long_samples(self, layer: int, start: int, of_rows: bool) -> Samples:
        blocks = self.rows if of_rows else self.cols
        own = blocks[start // (blocks[0].stop - blocks[0].start)].layers[layer]
        return _samples(self.mlp.activation[layer], own.variance, own.label, own.sign, LONG_LINE)


def _check_finite(layer: int, name: str, values) -> None:
    if not np.all(np.isfinite(values)):
        raise NonFiniteError(f"layer {layer}: {name} overflows or is not a number; scale X or C_W")


def _check_samples(layer: int, G: Sequence, H: Sequence) -> None:
    """No entry is larger than the samples' own; the integrals take products of two of these."""
    for name, values in (("G", G), ("H", H)):
        _check_finite(layer, name, np.square(np.stack(values)))


def _by_cubature(activation: Activation, G11: np.ndarray, G22: np.ndarray, G12: np.ndarray, rule: Rule):
    """Φ and Φ' of M pairs, (M,) each, by the host's integrals, which are slower and converge for all."""
    Phi, dPhi = np.empty_like(G12), np.empty_like(G12)
    for start in range(0, len(G12), _PAIRS):
        some = slice(start, start + _PAIRS)
        n = len(G12[some])
        one, two = np.arange(n), np.arange(n, 2 * n)
        # Pairs are kept apart by a metric that couples no others.
        metric, ratio = np.zeros((2 * n, 2 * n)), np.full((2 * n, 2 * n), np.nan)
        metric[one, one], metric[two, two] = G11[some], G22[some]
        metric[one, two] = metric[two, one] = G12[some]
        np.fill_diagonal(ratio, 1.0)
        found = expectations(activation, metric, ratio, None, rule)
        Phi[some], dPhi[some] = found.Phi[one, two], found.dPhi[one, two]
    return Phi, dPhi


def place(out: np.ndarray, tile: Tile, values: np.ndarray, symmetric: bool) -> None:
    """Put a tile's values, and below the diagonal their mirror image, where they belong in `out` (N, N2)."""
    out[tile.rows, tile.cols] = values
    if symmetric and tile.rows != tile.cols:
        out[tile.cols, tile.rows] = values.T
