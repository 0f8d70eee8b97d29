"""Every expectation of one step for a piecewise-linear σ(z) = z (p + q sgn z): `linear_pieces` on all samples."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._machine.ahead import ahead
from .._machine.batches import batches
from .._machine.memory import aligned_empty
from ..activations import Activation
from .four_signs import quadrature
from .linear_pieces import each_slot_moment, pair_moment, pair_tables, slot_moments
from .requests import Factors, Placements, reordered
from .rules import Rule, evaluate
from .sign_moments import LEAST_VARIANCE

# How many pairs and quadruples at a time; fewer are filled up to a power of two, so that kernels are compiled for few sizes.
_PAIRS, _QUADRUPLES = 2**15, 2**10
# Of a rule's `rounding`, over the root of a metric's least eigenvalue: what moments were seen to lose.
_SINGULAR = 1 / 2**17

# Moment by moment: all in one loop would be shared among threads, which rounds another way than one thread does. So stores of several
# workers are bit for bit that of one process.
_each_slot_moment = jax.jit(each_slot_moment, static_argnums=(0, 1), static_argnames="straight")


@jax.jit
def _stacked_tables(*arguments):
    tables = pair_tables(*arguments)
    return {name: jnp.stack(x) if isinstance(x, list) else x for name, x in tables.items()}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _pair_moments(requests: tuple[tuple[Factors, Factors], ...], straight: bool, *arguments):
    return [pair_moment(f, g, *arguments, straight=straight) for f, g in requests]


class PiecewiseLinear:
    """σ(z) = z (p + q sgn z): closed forms, but for one smooth integral on four samples."""

    def __init__(self, activation: Activation, G: np.ndarray, ratio: np.ndarray, rule: Rule):
        assert activation.slopes is not None
        self.slopes = activation.slopes
        self.G, self.ratio, self.nodes = G, ratio, quadrature(rule.sign_nodes)
        self.least_variance = rule.least_variance
        self.straight = not activation.kinked
        # Without a kink nothing is divided by small variances.
        self.rounding = 0.0 if self.straight else rule.rounding
        self.at_zero = at_zero(activation)
        # Each sample stands for the first of those parallel to it.
        self.representative = np.argmax(~np.isnan(ratio), axis=0)
        self.scale = ratio[self.representative, np.arange(len(G))]

    def tables(self) -> dict[str, np.ndarray]:
        """Those of `Expectations`, by name."""
        return self._on_pairs(_stacked_tables)

    def pairs(self, requests: list[tuple[Factors, Factors]]) -> dict[tuple[Factors, Factors], np.ndarray]:
        """`pair` for each (f, g)."""
        kernel = functools.partial(_pair_moments, tuple(requests), self.straight)
        return dict(zip(requests, self._on_pairs(kernel), strict=True))

    def pair(self, f: Factors, g: Factors) -> np.ndarray:
        """⟨Π_{i∈f} σ^(i)(z_a) Π_{i∈g} σ^(i)(z_b)⟩, as of `pair_moment`: (N, N)."""
        return self.pairs([(f, g)])[f, g]

    def _on_pairs(self, kernel: Callable) -> Any:
        """What kernel finds on the N² pairs, taken row after row: its arrays (…, pairs) as (…, N, N)."""
        variance, covariance = np.diag(self.G), self.G.ravel()
        parallel = np.sign(np.nan_to_num(self.ratio)).ravel()
        N = len(variance)

        def blocks() -> Iterator[tuple[slice, list, Any]]:
            for rows, index in _blocks(N * N, _PAIRS):
                first, other = np.divmod(index, N)
                metric = variance[first], covariance[index], variance[other], parallel[index]
                with jax.enable_x64(True):
                    parts = jax.tree.flatten(kernel(self.slopes, self.at_zero, *metric))
                yield rows, *parts

        whole, tree = [], None
        for rows, parts, tree in ahead(blocks()):
            whole = whole or [aligned_empty((*part.shape[:-1], N * N)) for part in parts]
            for table, part in zip(whole, parts, strict=True):
                table[..., rows] = np.asarray(part)[..., : rows.stop - rows.start]
        assert tree is not None
        return tree.unflatten([table.reshape(*table.shape[:-1], N, N) for table in whole])

    def moments(self, quadruples: np.ndarray, asked: Placements) -> np.ndarray:
        """⟨Π_i σ^(p_i)(z_i)⟩ on quadruples (M, 4) for each placement p: (M, placements). Memory O(M)."""
        out = np.empty((len(quadruples), len(asked)))
        for group in self._patterns(quadruples, asked):
            with jax.enable_x64(True):
                each = _each_slot_moment(*group.arguments(self), group.metric, group.scale, self.least_variance, straight=self.straight)  # fmt: skip
            moments = np.stack(each, axis=-1)
            if self.rounding and len(group.heads) > 2:
                moments = moments * (1 + _SINGULAR * self.rounding / _least_root(group.metric))[:, None]
            out[group.rows] = np.take_along_axis(moments, group.places, axis=1)[: len(group.rows)]
        return out

    def second_derivatives(self, quadruples: np.ndarray, asked: Placements) -> np.ndarray:
        """⟨∂_i∂_j of the functions on the last two slots⟩, ij = 33, 34, 44, by derivatives of the moments by the metric: (M, 3, placements).

        Where these two slots are one variable the total derivative by slot 3 stands in the place of 33.
        """
        out = np.empty((len(quadruples), 3, len(asked)))
        for group in self._patterns(quadruples, asked):
            (a, b), B = group.last_heads, len(group.metric)
            by_a, by_b = group.last_scales
            row = np.arange(B)
            tangents = np.zeros((3, *group.metric.shape))
            tangents[0, row, a, a] = 2 / by_a**2
            apart = np.where(a == b, 0.0, 1.0)
            tangents[1, row, a, b] = tangents[1, row, b, a] = apart / (by_a * by_b)
            tangents[2, row, b, b] = 2 * apart / by_b**2
            with jax.enable_x64(True):
                derivatives = np.asarray(_slot_derivatives(*group.arguments(self), group.metric, group.scale, self.least_variance, tangents, straight=self.straight))  # fmt: skip
            if self.rounding and len(group.heads) > 1:
                derivatives = (
                    derivatives * (1 + _SINGULAR * self.rounding / _least_root(group.metric) ** 2)[:, None]
                )
            places = np.broadcast_to(group.places, derivatives.shape)
            out[group.rows] = np.moveaxis(np.take_along_axis(derivatives, places, axis=2), 0, 1)[
                : len(group.rows)
            ]
        return out

    def _patterns(self, quadruples: np.ndarray, asked: Placements) -> Iterator[_Group]:
        """The quadruples in groups of one pattern of coinciding samples."""
        reps = self.representative[quadruples]
        same = reps[:, :, None] == reps[:, None, :]
        # The slots of samples that come often first: five patterns serve all.
        order = np.lexsort((reps, -same.sum(axis=2)), axis=1)
        ordered = np.take_along_axis(reps, order, axis=1)
        starts = np.cumsum(np.diff(ordered, axis=1, prepend=ordered[:, :1]) != 0, axis=1)
        code = starts @ (4 ** np.arange(4))
        places = np.zeros((4**4, len(asked)), int)
        for permutation in itertools.permutations(range(4)):
            places[np.dot(permutation, 4 ** np.arange(4))] = reordered(asked, permutation)
        for value in np.unique(code):
            mine = np.flatnonzero(code == value)
            pattern = tuple(starts[mine[0]].tolist())
            heads = [pattern.index(a) for a in range(pattern[-1] + 1)]
            for rows, block in _blocks(len(mine), _QUADRUPLES):
                batch = mine[block]
                index = ordered[batch][:, heads]
                slots = np.take_along_axis(quadruples[batch], order[batch], axis=1)
                yield _Group(
                    batch[: rows.stop - rows.start], pattern, asked, heads, self.G[index[:, :, None], index[:, None, :]],
                    self.scale[slots], places[order[batch] @ (4 ** np.arange(4))], order[batch],
                )  # fmt: skip


class _Group(NamedTuple):
    """Quadruples of one pattern, B of them, of which the first are `rows`, and others fill up.

    Attributes:
        pattern: the sample of each slot, the slots in the order that `order` (B, 4) gives. heads: a slot of each sample.
        metric: (B, n, n). scale: (B, 4), of each slot, as of `slot_moments`.
        places: (B, placements), where each placement stands in that order of slots.
    """

    rows: np.ndarray
    pattern: tuple[int, ...]
    asked: Placements
    heads: list[int]
    metric: np.ndarray
    scale: np.ndarray
    places: np.ndarray
    order: np.ndarray

    def arguments(self, of: PiecewiseLinear) -> tuple:
        return self.pattern, self.asked, of.slopes, of.at_zero, of.nodes if len(self.heads) == 4 else None

    @property
    def _last(self) -> np.ndarray:
        """Where slots 3 and 4 stand in the order, (2, B)."""
        return np.argmax(self.order[None] == np.array([2, 3])[:, None, None], axis=2)

    @property
    def last_heads(self) -> np.ndarray:
        """The samples of slots 3 and 4, (2, B)."""
        return np.array(self.pattern)[self._last]

    @property
    def last_scales(self) -> np.ndarray:
        """Their scales, (2, B)."""
        return np.take_along_axis(self.scale, self._last.T, axis=1).T


# Compiling takes most of the time, and half as much without optimising.
@functools.partial(
    jax.jit,
    static_argnums=(0, 1),
    static_argnames="straight",
    compiler_options={"xla_backend_optimization_level": 0},
)
def _slot_derivatives(pattern, asked, slopes, at_zero, nodes, metric, scale, least, tangents, *, straight):
    """The derivatives of `slot_moments` along changes (n, B, samples, samples) of the metric: (n, B, placements)."""

    def moments(metric):
        return slot_moments(pattern, asked, slopes, at_zero, nodes, metric, scale, least, straight=straight)

    return jax.vmap(lambda tangent: jax.jvp(moments, (metric,), (tangent,))[1])(tangents)


def _least_root(metric: np.ndarray) -> np.ndarray:
    """The root of the least eigenvalue of metrics' correlations, (M,), that of LEAST_VARIANCE at least; samples that vanish don't count."""
    variance = np.diagonal(metric, axis1=1, axis2=2)
    s = np.sqrt(np.where(variance > 0, variance, 1.0))
    correlations = metric / (s[:, :, None] * s[:, None]) + np.eye(s.shape[1]) * (variance == 0)[:, None]
    return np.sqrt(np.maximum(np.linalg.eigvalsh(correlations)[:, 0], LEAST_VARIANCE))


@functools.lru_cache(maxsize=64)
def at_zero(activation: Activation) -> float:
    """JAX's value of σ'(0), for samples whose preactivation vanishes identically."""
    with jax.ensure_compile_time_eval():
        return float(evaluate(activation, np.zeros(1), 1)[1, 0])


def _blocks(count: int, most: int) -> Iterator[tuple[slice, np.ndarray]]:
    """`batches` of at most `most`; fewer are filled up to a power of two."""
    return batches(count, min(most, max(64, 1 << (count - 1).bit_length())))
