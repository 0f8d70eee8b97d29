"""Every expectation of one step for a piecewise-linear σ(z) = z (p + q sgn z): `linear_pieces` on all samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ..activations import Activation
from .four_signs import quadrature
from .linear_pieces import pair_moment, pair_tables, slot_moments
from .rules import Factors, Rule, evaluate

# How many pairs and quadruples at a time; fewer are filled up to a power of two, so that kernels are compiled for few sizes.
_PAIRS, _QUADRUPLES = 2**15, 2**10
_TABLES = {"Phi": 0, "dPhi": 0, "J_ss": 3, "J_dd": 3, "K_sd": 2, "Q_ss": 5, "Q_dd": 5}

_pair_tables = jax.jit(pair_tables)
_slot_moments = jax.jit(slot_moments, static_argnums=0)


class PiecewiseLinear:
    """σ(z) = z (p + q sgn z): closed forms, but for one smooth integral on four samples."""

    def __init__(self, activation: Activation, G: np.ndarray, ratio: np.ndarray, rule: Rule):
        assert activation.slopes is not None
        self.slopes = activation.slopes
        self.G, self.ratio, self.nodes = G, ratio, quadrature(rule.sign_nodes)
        self.at_zero = at_zero(activation)
        # Each sample stands for the first of those parallel to it.
        self.representative = np.argmax(~np.isnan(ratio), axis=0)
        self.scale = ratio[self.representative, np.arange(len(G))]

    def tables(self) -> dict[str, np.ndarray]:
        """Those of `Expectations`, by name."""
        N = len(self.G)
        out = {name: np.empty((orders or 1, N * N)) for name, orders in _TABLES.items()}

        def keep(rows: slice, found: dict) -> None:
            for name, table in out.items():
                values = found[name] if _TABLES[name] else [found[name]]
                for order, one in enumerate(values):
                    table[order, rows] = np.asarray(one)[: rows.stop - rows.start]

        self._on_pairs(_pair_tables, keep)
        return {
            name: table.reshape(-1, N, N) if _TABLES[name] else table.reshape(N, N)
            for name, table in out.items()
        }

    def pairs(self, requests: list[tuple[Factors, Factors]]) -> dict[tuple[Factors, Factors], np.ndarray]:
        """`pair` for each (f, g)."""
        return {request: self.pair(*request) for request in requests}

    def pair(self, f: Factors, g: Factors) -> np.ndarray:
        """⟨Π_{i∈f} σ^(i)(z_a) Π_{i∈g} σ^(i)(z_b)⟩ for i ∈ {0, 1}, without δ's: (N, N)."""
        out = np.empty(self.G.size)

        def keep(rows: slice, found) -> None:
            out[rows] = np.asarray(found)[: rows.stop - rows.start]

        self._on_pairs(functools.partial(pair_moment, f, g), keep)
        return out.reshape(self.G.shape)

    def _on_pairs(self, kernel: Callable, keep: Callable[[slice, Any], None]) -> None:
        """Calls kernel on blocks of the N² pairs, row after row."""
        variance, covariance = np.diag(self.G), self.G.ravel()
        parallel = np.sign(np.nan_to_num(self.ratio)).ravel()
        for rows, index in _blocks(len(covariance), _PAIRS):
            first, other = np.divmod(index, len(variance))
            with jax.enable_x64(True):
                found = kernel(
                    self.slopes, self.at_zero, variance[first], covariance[index], variance[other], parallel[index]
                )  # fmt: skip
                keep(rows, found)

    def wide_all(self, samples: np.ndarray) -> np.ndarray:
        """⟨Π_i σ^(p_i)(z_i)⟩ on quadruples (M, 4) for every p ∈ {0, 1}⁴: (M, 2, 2, 2, 2). Memory O(M)."""
        out = np.empty((len(samples), 16))
        reps = self.representative[samples]
        same = reps[:, :, None] == reps[:, None, :]
        # The slots of samples that come often first: five patterns serve all.
        order = np.lexsort((reps, -same.sum(axis=2)), axis=1)
        ordered = np.take_along_axis(reps, order, axis=1)
        starts = np.cumsum(np.diff(ordered, axis=1, prepend=ordered[:, :1]) != 0, axis=1)
        bits = np.indices((2, 2, 2, 2)).reshape(4, 16)
        code = starts @ (4 ** np.arange(4))
        for value in np.unique(code):
            mine = np.flatnonzero(code == value)
            pattern = tuple(starts[mine[0]].tolist())
            heads = [pattern.index(a) for a in range(pattern[-1] + 1)]
            for rows, block in _blocks(len(mine), _QUADRUPLES):
                some = mine[block]
                index, slots = ordered[some][:, heads], np.take_along_axis(samples[some], order[some], axis=1)
                with jax.enable_x64(True):
                    found = _slot_moments(
                        pattern, self.slopes, self.at_zero, self.nodes if len(heads) == 4 else None,
                        self.G[index[:, :, None], index[:, None, :]], self.scale[slots],
                    )  # fmt: skip
                    moments = np.asarray(found).reshape(-1, 16)
                # Where p stands once the slots are in order.
                place = (bits[order[some]] * np.array([8, 4, 2, 1])[:, None]).sum(axis=1)
                count = rows.stop - rows.start
                out[some[:count]] = np.take_along_axis(moments, place, axis=1)[:count]
        return out.reshape(-1, 2, 2, 2, 2)


@functools.lru_cache(maxsize=64)
def at_zero(activation: Activation) -> float:
    """JAX's value of σ'(0), for samples whose preactivation vanishes identically."""
    with jax.ensure_compile_time_eval():
        return float(evaluate(activation, np.zeros(1), 1)[1, 0])


def _blocks(count: int, most: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of `count` things, and their indices, the last one's repeated to fill up the last slice."""
    size = min(most, max(64, 1 << (count - 1).bit_length()))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count)), np.minimum(np.arange(start, start + size), count - 1)
