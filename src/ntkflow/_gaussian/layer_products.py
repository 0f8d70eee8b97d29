"""⟨f(z_1, z_2) g(y_3, y_4)⟩ of products f and g of two functions each, z of one layer of a stream and y of the same layer or of another one.

A letter is a function: "s" is σ, "d" σ', "x" z σ'(z), the derivative by the logarithm of z. A word has two: "sd" is σ(z_1) σ'(z_2).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation
from ..errors import ActivationError
from .expectations import Integrals, integrals
from .quadruples import moments_on_samples
from .requests import Placement, Placements
from .rules import Rule

Words = tuple[str, str]
"""The functions of z_1 and z_2, and of y_3 and y_4."""


@functools.lru_cache(maxsize=64)
def logarithmic(activation: Activation) -> Activation:
    """z σ'(z) as an activation; ActivationError where it jumps."""
    if activation.slopes:
        return activation
    if any(activation.kinks):
        raise ActivationError(
            f"activation {activation.name} has a kink away from 0: behind a norm with trained gains (lambda_g > 0) it is not computed"
        )

    def function(z):
        return z * jax.jvp(activation.function, (z,), (jnp.ones_like(z),))[1]

    return Activation(f"z {activation.name}'(z)", function, kinks=activation.kinks, registered=False)


@dataclass(frozen=True)
class Functions:
    """Several functions in the place of a σ and its derivatives: the order of a placement counts them."""

    members: tuple[tuple[Activation, str], ...]

    @property
    def kinks(self) -> tuple[float, ...]:
        return tuple(sorted({kink for activation, _ in self.members for kink in activation.kinks}))

    def derivatives(self, z, order: int) -> list:
        """The first `order` + 1 functions of z."""
        return [_member(activation, letter, z) for activation, letter in self.members[: order + 1]]


def _member(activation: Activation, letter: str, z):
    if letter == "x":
        return logarithmic(activation).derivatives(z, 0)[0]
    return activation.derivatives(z, 1)["sd".index(letter)]


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


def product_index(sets: np.ndarray, samples: int, same: bool) -> ProductIndex:
    """The index of sets (k, S) out of so many samples."""
    k, S = sets.shape
    z = sets if same else sets + samples
    slots = np.stack(
        np.broadcast_arrays(z[:, None, None, None], z[None, :, None, None], sets[None, None, :, None], sets[None, None, None])
    ).reshape(4, -1)  # fmt: skip
    order = np.argsort(slots, axis=0, kind="stable")
    ascending = np.take_along_axis(slots, order, axis=0)
    key = (2 * samples) ** np.arange(3, -1, -1, dtype=np.int64) @ ascending
    _, first, rows = np.unique(key, return_index=True, return_inverse=True)
    orders, permutation = np.unique(order, axis=1, return_inverse=True)
    shape = (k,) * 4 + (S,)
    return ProductIndex(
        samples, same, ascending[:, first].T, rows.reshape(shape), orders, permutation.reshape(shape)
    )


class ProductMoments(NamedTuple):
    """Moments (M, placements) on the quadruples of a `ProductIndex`, with the functions of each word's four slots."""

    values: np.ndarray
    words: dict[Words, Placement]
    asked: Placements

    def on_sets(self, words: Words, index: ProductIndex) -> np.ndarray:
        """⟨w_12 v_34⟩, (k, k, k, k, S)."""
        functions = self.words[words]
        columns = [self.asked.index(tuple(functions[slot] for slot in order)) for order in index.orders.T]
        return self.values[index.rows, np.array(columns)[index.permutation]]


def product_moments(
    z: Activation, y: Activation, words: Iterable[Words], index: ProductIndex, G: np.ndarray, ratio: np.ndarray, rule: Rule
) -> list[ProductMoments]:  # fmt: skip
    """The moments of these words, with y of each of several layers.

    Args:
        z, y: the activations; y is that of all these layers.
        G: the metric of all variables, those of z last, (layers N + N, layers N + N); if y is z itself, (N, N).
        ratio: likewise, c where one variable is c times the other one, NaN elsewhere.
    """
    words, N = list(words), index.samples
    layers = 1 if index.same else len(G) // N - 1
    # The variables of y stand in their layer's place, those of z in the last one.
    shift = np.arange(layers)[:, None, None] * N, (0 if index.same else layers - 1) * N
    quadruples = (index.quadruples + np.where(index.quadruples < N, *shift)).reshape(-1, 4)
    members, letters = _functions(z, y, words)
    of_words = {(w, v): (*(letters[0][c] for c in w), *(letters[1][c] for c in v)) for w, v in words}
    asked = tuple(sorted({p for f in of_words.values() for p in itertools.permutations(f)}))
    if len(members) <= 2 and z == y:
        # The integrals of one σ and σ' have ways of their own.
        moments = _moments(integrals(z, G, ratio, rule), quadruples, asked)
    else:
        moments = moments_on_samples(Functions(members), G, quadruples, asked, rule)  # type: ignore[arg-type]
    return [ProductMoments(part, of_words, asked) for part in moments.reshape(layers, -1, len(asked))]


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


def _functions(z: Activation, y: Activation, words: list[Words]):
    """The functions that the words name, σ(z) first, and for z and y which of them each letter is."""
    members: list[tuple[Activation, str]] = [(z, "s")]
    letters: tuple[dict[str, int], dict[str, int]] = {}, {}
    for activation, side in ((z, 0), (y, 1)):
        for letter in sorted({c for pair in words for c in pair[side]}, key="sdx".index):
            # z σ'(z) is σ(z) where σ is two straight lines through 0.
            function = (activation, "s" if letter == "x" and activation.slopes else letter)
            if function not in members:
                members.append(function)
            letters[side][letter] = members.index(function)
    return tuple(members), letters
