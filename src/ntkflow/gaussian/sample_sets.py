"""Sets of samples: which integrals their slots need, and all expectations gathered on them."""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .rules import Factors

KINDS = {"ssss": (0, 0, 0, 0), "ssdd": (0, 0, 1, 1), "dddd": (1, 1, 1, 1)}
"""Which of four slots hold σ' instead of σ."""


TABLES = ("Phi", "dPhi", "J_ss", "J_dd", "K_sd", "Q_ss", "Q_dd")


class OnSets(NamedTuple):
    """The expectations and H of one layer on S sets of k samples: what the recursions read.

    Tables are those of `Expectations` with (k, k, S) in the place of (N, N); ssss, ssdd, dddd are ⟨σσσσ⟩, ⟨σ1σ2σ'3σ'4⟩,
    ⟨σ'σ'σ'σ'⟩, (k, k, k, k, S).
    """

    H: Any
    Phi: Any
    dPhi: Any
    J_ss: Any
    J_dd: Any
    K_sd: Any
    Q_ss: Any
    Q_dd: Any
    ssss: Any
    ssdd: Any
    dddd: Any


class SampleSets:
    """S sets of k ≤ 4 distinct samples each, and the distinct integrals on three and four samples that they need.

    Attributes:
        sets: (k, S), ascending along the first axis.
        wide: (M, 4), the samples of each integral, ascending; with three distinct ones, one of them comes twice.
        rows: (patterns, S), which integral serves which pattern of `wide_patterns` of each set.
    """

    def __init__(self, sets: np.ndarray, samples: int):
        self.sets = np.asarray(sets)
        self.k, S = self.sets.shape
        slots = self.sets[np.array(wide_patterns(self.k), int).reshape(-1, 4)]  # (patterns, 4, S)
        key = np.einsum("psn,s->pn", slots, samples ** np.arange(3, -1, -1, dtype=np.int64))
        key, first, inverse = np.unique(key.ravel(), return_index=True, return_inverse=True)
        self.wide = slots.transpose(0, 2, 1).reshape(-1, 4)[first]
        self.rows = inverse.reshape(len(slots), S)


@functools.cache
def wide_patterns(k: int) -> list[tuple[int, ...]]:
    """The ascending choices of four out of k slots, with three or four of them distinct."""
    return [p for p in itertools.combinations_with_replacement(range(k), 4) if len(set(p)) > 2]


def factors(slots: tuple[int, ...], primes: tuple[int, ...]) -> dict[int, Factors]:
    """The orders of the derivatives of σ that stand on each slot, in ascending order of slots and orders."""
    found: dict[int, Factors] = {}
    for slot, order in sorted(zip(slots, primes, strict=True)):
        found[slot] = (*found.get(slot, ()), order)
    return found


@functools.cache
def pair_requests(k: int) -> list[tuple[Factors, Factors]]:
    """The products (f on one sample, g on another) that `on_sets` reads: four slots on at most two samples, each once."""
    found = set()
    for primes in KINDS.values():
        for slots in itertools.product(range(min(k, 2)), repeat=4):
            f, g = [*factors(slots, primes).values(), ()][:2]
            found.add((max(f, g), min(f, g)))
    return sorted(found)


def on_sets(e, H, sets, rows, k: int) -> OnSets:
    """`Expectations` e and the (N, N) table H on each set.

    Args:
        sets, rows: as of `SampleSets`.
    """
    on_pairs = (sets[:, None], sets[None, :])
    requests, places = _places(k)
    products = [e.pairs[request][on_pairs].reshape(k * k, -1) for request in requests]
    if k > 2:
        products.append(jnp.moveaxis(e.wide.reshape(-1, 16)[rows], 2, 1).reshape(-1, sets.shape[1]))
    products = jnp.concatenate(products)
    return OnSets(
        H[on_pairs],
        **{name: getattr(e, name)[(..., *on_pairs)] for name in TABLES},
        **{kind: products[place].reshape((k,) * 4 + sets.shape[1:]) for kind, place in places.items()},
    )


@functools.cache
def _places(k: int) -> tuple[list[tuple[Factors, Factors]], dict[str, np.ndarray]]:
    """The products on two samples that sets of k need; and where each of the k⁴ moments of a kind stands.

    Namely in the list of those products on all k² slots, one product after the other, and then of the 16 placements of primes on
    each of `wide_patterns`.
    """
    requests, patterns = pair_requests(k), wide_patterns(k)

    def place(slots: tuple[int, ...], primes: tuple[int, ...]) -> int:
        placed = list(factors(slots, primes).items())
        if len(placed) <= 2:
            (a, f), (b, g) = [*placed, (placed[0][0], ())][:2]
            if (f, g) not in requests:
                (a, f), (b, g) = (b, g), (a, f)
            return (requests.index((f, g)) * k + a) * k + b
        pattern = tuple(slot for slot, orders in placed for _ in orders)
        code = functools.reduce(lambda n, order: 2 * n + order, [o for _, orders in placed for o in orders])
        return len(requests) * k * k + 16 * patterns.index(pattern) + code

    return requests, {
        kind: np.array([place(slots, primes) for slots in itertools.product(range(k), repeat=4)])
        for kind, primes in KINDS.items()
    }
