"""Sets of samples: which integrals their slots need, and all expectations gathered on them."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .requests import Factors, orders_of, placements

TABLES = ("Phi", "dPhi", "J_ss", "J_dd", "K_sd", "Q_ss", "Q_dd")


@jax.tree_util.register_pytree_node_class
class OnSets(dict[str, Any]):
    """The expectations and H of one layer on S sets of k samples, by name and as attributes: what the recursions read.

    Tables are those of `Expectations` with (k, k, S) in the place of (N, N); H (k, k, S). A moment has the name of its word and one
    axis for each letter: e.ssdd is ⟨σ1 σ2 σ'3 σ'4⟩, (k, k, k, k, S).
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no declared tensor asks for the moment {name}") from None

    def tree_flatten(self):
        return tuple(self.values()), tuple(self)

    @classmethod
    def tree_unflatten(cls, names, arrays):
        return cls(zip(names, arrays, strict=True))


class SampleSets:
    """S sets of k ≤ 4 distinct samples each, and the distinct integrals on three and four samples that they need.

    Attributes:
        sets: (k, S), ascending along the first axis.
        moments: the words that are asked for on them.
        quadruples: (M, 4), the samples of each integral, ascending; with three distinct ones, one of them comes twice.
        rows: (patterns, S), which integral serves which pattern of `quadruple_patterns` of each set.
    """

    def __init__(self, sets: np.ndarray, samples: int, moments: tuple[str, ...]):
        self.sets, self.moments = np.asarray(sets), moments
        self.k, S = self.sets.shape
        patterns = quadruple_patterns(self.k) if placements(moments) else []
        slots = self.sets[np.array(patterns, int).reshape(-1, 4)]  # (patterns, 4, S)
        key = np.einsum("psn,s->pn", slots, samples ** np.arange(3, -1, -1, dtype=np.int64))
        key, first, inverse = np.unique(key.ravel(), return_index=True, return_inverse=True)
        self.quadruples = slots.transpose(0, 2, 1).reshape(-1, 4)[first]
        self.rows = inverse.reshape(len(slots), S)


@functools.cache
def quadruple_patterns(k: int) -> list[tuple[int, ...]]:
    """The ascending choices of four out of k slots, with three or four of them distinct."""
    return [p for p in itertools.combinations_with_replacement(range(k), 4) if len(set(p)) > 2]


def factors(slots: tuple[int, ...], orders: Factors) -> dict[int, Factors]:
    """The orders of the derivatives of σ that stand on each slot, in ascending order of slots and orders."""
    by_slot: dict[int, Factors] = {}
    for slot, order in sorted(zip(slots, orders, strict=True)):
        by_slot[slot] = (*by_slot.get(slot, ()), order)
    return by_slot


@functools.cache
def pair_requests(k: int, moments: tuple[str, ...]) -> list[tuple[Factors, Factors]]:
    """The products (f on one sample, g on another) that `on_sets` reads: slots of words on at most two samples, each once."""
    requests = set()
    for orders in map(orders_of, moments):
        for slots in itertools.product(range(min(k, 2)), repeat=len(orders)):
            f, g = [*factors(slots, orders).values(), ()][:2]
            requests.add((max(f, g), min(f, g)))
    return sorted(requests)


def on_sets(e, H, sets, rows, moments: tuple[str, ...]) -> OnSets:
    """`Expectations` e and the (N, N) table H on each set.

    Args:
        sets, rows, moments: as of `SampleSets`.
    """
    k = len(sets)
    on_pairs = (sets[:, None], sets[None, :])
    requests, places = _places(k, moments)
    products = [e.pairs[request][on_pairs].reshape(k * k, -1) for request in requests]
    if len(rows):
        products.append(jnp.moveaxis(e.moments[rows], 2, 1).reshape(-1, sets.shape[1]))
    out = OnSets(H=H[on_pairs]) | {name: getattr(e, name)[(..., *on_pairs)] for name in TABLES}
    if products:
        products = jnp.concatenate(products)
        out |= {
            word: products[place].reshape((k,) * len(word) + sets.shape[1:]) for word, place in places.items()
        }
    return OnSets(out)


@functools.cache
def _places(k: int, moments: tuple[str, ...]) -> tuple[list[tuple[Factors, Factors]], dict[str, np.ndarray]]:
    """The products on two samples that sets of k need; and where each word's moment on each choice of slots stands.

    Namely in the list of those products on all k² slots, one product after the other, and then of the placements on each of
    `quadruple_patterns`.
    """
    requests, patterns, asked = pair_requests(k, moments), quadruple_patterns(k), placements(moments)

    def place(slots: tuple[int, ...], orders: Factors) -> int:
        placed = list(factors(slots, orders).items())
        if len(placed) <= 2:
            (a, f), (b, g) = [*placed, (placed[0][0], ())][:2]
            if (f, g) not in requests:
                (a, f), (b, g) = (b, g), (a, f)
            return (requests.index((f, g)) * k + a) * k + b
        pattern = tuple(slot for slot, orders in placed for _ in orders)
        placement = asked.index(tuple(order for _, orders in placed for order in orders))
        return len(requests) * k * k + len(asked) * patterns.index(pattern) + placement

    return requests, {
        word: np.array([place(slots, orders_of(word)) for slots in itertools.product(range(k), repeat=len(word))])
        for word in moments
    }  # fmt: skip
