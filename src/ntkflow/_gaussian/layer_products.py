"""⟨f(z_1, z_2) g(y_3, y_4)⟩ of products f and g of two functions each, z of one layer of a stream and y of the same layer or of another one.

A word names a product: "sd" is σ(z_1) σ'(z_2), with the letters of `LETTERS`; "ss20", "ss11" and "ss02" are ∂_1∂_1, ∂_1∂_2 and ∂_2∂_2 of "ss",
and likewise of others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..activations import Activation
from .expectations import Integrals, integrals
from .layer_pairs import layer_moments
from .layer_series import LayerSeries
from .letters import LETTERS, Functions, letters_of
from .piecewise_linear import PiecewiseLinear
from .quadruples import moments_on_samples
from .requests import Placement, Placements
from .rules import Rule

Words = tuple[str, str]
"""The functions of z_1 and z_2, and of y_3 and y_4."""

Members = tuple[tuple[Activation, str], ...]
"""Functions by activation and letter."""

_REMAINING = 0.1  # of what may be left out: what the last degrees of a series may add
_WITHIN_PAIRS = [(2, 3, 0, 1), (3, 2, 0, 1), (2, 3, 1, 0), (3, 2, 1, 0)]
"""How slots ascend if y is of a lower layer."""
_OF_SLOPES = {"s": 0, "d": 1, "e": 2, "x": 0}
"""The orders of letters where σ is two straight lines through 0, of which z σ' is σ."""


class ProductIndex(NamedTuple):
    """Which integrals the components on S sets of k samples need: two samples in one layer, z, and two in another one or the same, y.

    Attributes:
        samples: N, of which the sets are.
        same: whether z and y are of the same layer.
        quadruples: (M, 4), the variables of each integral, ascending: sample i is i in the layer of y, and N + i in that of z, or i in the same one.
        rows: (k, k, k, k, S), which of them serves the slots 1, 2, 3, 4 of each set.
        orders: (4, permutations), and permutation: (k, k, k, k, S), which of them makes the slots ascend.
    """

    samples: int
    same: bool
    quadruples: np.ndarray
    rows: np.ndarray
    orders: np.ndarray
    permutation: np.ndarray

    def of_sets(self, columns: slice) -> ProductIndex:
        """That of some of the sets alone, for the same integrals."""
        return self._replace(rows=self.rows[..., columns], permutation=self.permutation[..., columns])

    def within(self, whole: ProductIndex) -> ProductIndex:
        """That of the same sets among the integrals of larger ones."""
        mine, theirs = (_keys(index.quadruples.T, self.samples) for index in (self, whole))
        return self._replace(quadruples=whole.quadruples, rows=np.searchsorted(theirs, mine)[self.rows])


def product_index(sets: np.ndarray, samples: int, same: bool) -> ProductIndex:
    """The index of sets (k, S) out of so many samples."""
    k, S = sets.shape
    z = sets if same else sets + samples
    slots = np.stack(
        np.broadcast_arrays(z[:, None, None, None], z[None, :, None, None], sets[None, None, :, None], sets[None, None, None])
    ).reshape(4, -1)  # fmt: skip
    order = np.argsort(slots, axis=0, kind="stable")
    ascending = np.take_along_axis(slots, order, axis=0)
    _, first, rows = np.unique(_keys(ascending, samples), return_index=True, return_inverse=True)
    orders, permutation = np.unique(order, axis=1, return_inverse=True)
    shape = (k,) * 4 + (S,)
    return ProductIndex(
        samples, same, ascending[:, first].T, rows.reshape(shape), orders, permutation.reshape(shape)
    )


def _keys(quadruples: np.ndarray, samples: int) -> np.ndarray:
    """A number for each of the quadruples (4, …)."""
    return (2 * samples) ** np.arange(3, -1, -1, dtype=np.int64) @ quadruples


class ProductMoments(NamedTuple):
    """Moments (M, columns) on the quadruples of a `ProductIndex`.

    Attributes:
        words: of each word the functions of its four slots, and which derivative of the first two it is, "" for none.
        columns: functions of the quadruple's ascending variables, and the derivative by the last two.
    """

    values: np.ndarray
    words: dict[Words, tuple[Placement, str]]
    columns: list[tuple[Placement, str]]

    def on_sets(self, words: Words, index: ProductIndex) -> np.ndarray:
        """⟨w_12 v_34⟩, (k, k, k, k, S)."""
        functions, derivative = self.words[words]
        columns = []
        for order in index.orders.T:
            turned = derivative[::-1] if order[2] > order[3] else derivative
            columns.append(self.columns.index((tuple(functions[slot] for slot in order), turned)))
        return self.values[index.rows, np.array(columns)[index.permutation]]


def product_moments(
    z: Activation, y: Activation, words: Iterable[Words], index: ProductIndex, G: np.ndarray, ratio: np.ndarray, rule: Rule
) -> list[ProductMoments]:  # fmt: skip
    """The moments of these words, with y of each of several layers.

    Args:
        z, y: the activations; y is that of all these layers.
        words: of several layers derivatives are of z's words alone.
        G: the metric of all variables, those of z last, (layers N + N, layers N + N); if y is z itself, (N, N).
        ratio: likewise, c where one variable is c times the other one, NaN elsewhere.
    """
    words, quadruples = list(words), _quadruples(index, len(G))
    if z.slopes and z == y:
        of_words = {(w, v): (tuple(_OF_SLOPES[c] for c in w[:2] + v), w[2:]) for w, v in words}
        columns, values = _of_slopes(integrals(z, G, ratio, rule), quadruples, of_words)
    else:
        members, of_words = _functions(z, y, words)
        asked = _permuted(functions for functions, _ in of_words.values())
        columns = [(placement, "") for placement in asked]
        values = _of_functions(members, asked, quadruples, G, ratio, rule)
    values = values.reshape(-1, len(index.quadruples), len(columns))
    return [ProductMoments(part, of_words, columns) for part in values]


def smooth_product_moments(
    upper: LayerSeries, lower: list[LayerSeries], words: Iterable[Words], index: ProductIndex, G: np.ndarray, ratio: np.ndarray, rule: Rule
) -> list[ProductMoments]:  # fmt: skip
    """`product_moments` of smooth activations by series, where these converge; `lower` is `upper` alone if y is z itself."""
    members, of_words = _functions(upper.activation, lower[0].activation, list(words))
    orders = itertools.permutations(range(4)) if index.same else _WITHIN_PAIRS
    placed = sorted({tuple(f[slot] for slot in order) for order in orders for f, _ in of_words.values()})
    letters = ["".join(members[f][1] for f in placement) for placement in placed]
    of_y, of_z = (tuple(sorted({x[side] for x in letters})) for side in (slice(2), slice(2, 4)))
    N = index.samples
    between = G[None] if index.same else G[:-N, -N:].reshape(-1, N, N)
    found = layer_moments(upper, lower, between, np.mod(index.quadruples, N), of_z, of_y)
    values = found.values[:, :, [of_y.index(x[:2]) for x in letters], [of_z.index(x[2:]) for x in letters]]
    left = (found.remaining > _REMAINING * rule.converged) | (found.halved > math.sqrt(rule.converged))
    if np.any(left):
        asked = _permuted(placed)
        quadruples = _quadruples(index, len(G))[left.ravel()]
        moments = _of_functions(members, asked, quadruples, G, ratio, rule)
        values[left] = moments[:, [asked.index(placement) for placement in placed]]
    columns = [(placement, "") for placement in placed]
    return [ProductMoments(part, of_words, columns) for part in values]


def both_ways(words: Iterable[str]) -> tuple[str, ...]:
    """The letters of words, and those of the exchanged samples."""
    letters = {letters_of(word) for word in words}
    return tuple(sorted(letters | {x[::-1] for x in letters}))


def _quadruples(index: ProductIndex, variables: int) -> np.ndarray:
    """The quadruples for each layer of y, (layers × M, 4), the variables of y in their layer's place, and those of z in the last one."""
    N = index.samples
    layers = 1 if index.same else variables // N - 1
    shift = np.arange(layers)[:, None, None] * N, (0 if index.same else layers - 1) * N
    return (index.quadruples + np.where(index.quadruples < N, *shift)).reshape(-1, 4)


def _of_functions(
    members: Members, asked: Placements, quadruples: np.ndarray, G: np.ndarray, ratio: np.ndarray, rule: Rule
) -> np.ndarray:
    """The moments (M, placements) of functions of which the first is that of z."""
    z = members[0][0]
    if all(activation == z and letter in "sdef" for activation, letter in members):
        # The integrals of one σ and its derivatives have ways of their own.
        return _moments(integrals(z, G, ratio, rule), quadruples, asked)
    return moments_on_samples(Functions(members), G, quadruples, asked, rule)  # type: ignore[arg-type]


def _permuted(factors: Iterable[Placement]) -> Placements:
    return tuple(sorted({placement for f in factors for placement in itertools.permutations(f)}))


def _of_slopes(of: Integrals, quadruples: np.ndarray, of_words: dict[Words, tuple[Placement, str]]):
    """Columns and values of two straight lines through 0, where derivatives of several σ's at a kink are those by the metric."""
    asked = _permuted(functions for functions, derivative in of_words.values() if not derivative)
    columns = [(placement, "") for placement in asked]
    values = [_moments(of, quadruples, asked)]
    if raised := _permuted(functions for functions, derivative in of_words.values() if derivative):
        assert isinstance(of, PiecewiseLinear)
        columns += [(placement, derivative) for derivative in ("20", "11", "02") for placement in raised]
        values.append(of.second_derivatives(quadruples, raised).reshape(len(quadruples), -1))
    return columns, np.concatenate(values, axis=1)


def _moments(of: Integrals, quadruples: np.ndarray, asked: Placements) -> np.ndarray:
    """⟨Π_i σ^(p_i)(z_i)⟩ on ascending quadruples (M, 4), of which some are of one variable or two: (M, placements)."""
    changes = np.diff(quadruples, axis=1) != 0
    out = np.empty((len(quadruples), len(asked)))
    several = changes.sum(axis=1) > 1
    out[several] = of.moments(quadruples[several], asked)
    for split in range(1, 5):
        rows = np.flatnonzero(
            ~several
            & (np.argmax(np.pad(changes, ((0, 0), (0, 1)), constant_values=True), axis=1) == split - 1)
        )
        if len(rows):
            requests = [(tuple(sorted(p[:split])), tuple(sorted(p[split:]))) for p in asked]
            tables = of.pairs(sorted(set(requests)))
            first, second = quadruples[rows, 0], quadruples[rows, 3]
            out[rows] = np.stack([tables[request][first, second] for request in requests], axis=1)
    return out


def _functions(
    z: Activation, y: Activation, words: list[Words]
) -> tuple[Members, dict[Words, tuple[Placement, str]]]:
    """The functions that the words name, σ(z) and its derivatives first, and for each word which of them stand in its slots."""
    sides = [letters_of(w) for w, _ in words], [letters_of(v) for _, v in words]
    highest = max("sdef".find(c) for word in sides[0] + (sides[1] if y == z else []) for c in word)
    members: list[tuple[Activation, str]] = [(z, letter) for letter in "sdef"[: highest + 1]]

    def member(activation: Activation, letter: str) -> tuple[Activation, str]:
        # z σ'(z) is σ(z) where σ is two straight lines through 0.
        return activation, "s" if letter == "x" and activation.slopes else letter

    for activation, side in ((z, sides[0]), (y, sides[1])):
        for letter in sorted({c for word in side for c in word}, key=LETTERS.index):
            if member(activation, letter) not in members:
                members.append(member(activation, letter))
    of_words = {}
    for words_of_both, *letters in zip(words, *sides, strict=True):
        slots = (
            member(activation, c) for activation, side in zip((z, y), letters, strict=True) for c in side
        )
        of_words[words_of_both] = tuple(map(members.index, slots)), ""
    return tuple(members), of_words
