"""All layers, and both runs, as one compiled program: for few samples, where calling costs more than computing.

Mehler's series of a fixed length serve all pairs. Where they do not converge, the program's numbers are not used.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .activations import Activation
from .gaussian import SampleSets
from .gaussian.kinks import missing_deltas
from .gaussian.rules import ROUNDING, folded, rounded, trapezoid_basis
from .gaussian.sample_sets import on_sets
from .gaussian.series_integrals import PAIR_CONVERGED
from .gaussian.traced import Doubts, smooth_on_pairs
from .mlp import MLP
from .recursions import Hyperparameters, Tensors, first_layer, means
from .recursions.step import step

_MOST_SETS = 2048
_NODES, _TERMS = 150, (160, 148)
_REACH = (13.0, 13.9)  # of as many nodes: the coarse run's lie farther apart
_ROUNDING = (0.0, ROUNDING)


class Layers(NamedTuple):
    """What the program finds of the layers 2 … L, on two leading axes: layers and the two runs."""

    G: Any
    H: Any
    tensors: Tensors
    Phi: Any
    dPhi: Any
    doubts: Doubts


def serves(mlp: MLP, sets: SampleSets) -> bool:
    """Whether this is worth a program of its own: a smooth activation, the same in all layers, and pairs of few samples."""
    return (
        sets.k <= 2
        and sets.sets.shape[1] <= _MOST_SETS
        and mlp.depth > 1
        and len(set(mlp.activation)) == 1
        and not (mlp.activation[0].kinked or mlp.activation[0].slopes or mlp.activation[0].exponentials)
    )


def layers_above(
    activation: Activation, h: Hyperparameters, G: np.ndarray, H: np.ndarray, noise: np.ndarray, sets: SampleSets
) -> Layers | None:  # fmt: skip
    """The layers above the first from that one's G and H, or None where the series do not converge.

    Args:
        h: of the layers 2 … L, arrays (L - 1,).
        noise: (L - 1, 2, N, N), by what relative amounts each layer's metric is changed in each run.
    """
    with jax.enable_x64(True):
        found = _program(activation, sets.k, h, noise, _bases(), G, H, sets.sets, sets.rows)
        found = jax.tree.map(np.asarray, found)
    return found if _trusted(activation, found) else None


def _trusted(activation: Activation, found: Layers) -> bool:
    doubts = found.doubts
    # The trapezoidal rule's error with all nodes is about the square of that with half of them.
    converged = np.all(doubts.tail <= PAIR_CONVERGED) and np.all(doubts.halved <= math.sqrt(PAIR_CONVERGED))
    if not (converged and np.all(doubts.s > 0)):
        return False
    # (layers, runs, orders, N) with the orders first and all else in one axis.
    means, by_parts = (np.moveaxis(x, 2, 0).reshape(x.shape[2], -1) for x in (doubts.means, doubts.by_parts))
    return not missing_deltas(activation, means, by_parts, doubts.norm.ravel(), doubts.s.ravel()).any()


@functools.cache
def _bases() -> tuple[np.ndarray, ...]:
    """`folded` bases of the two runs, on a leading axis."""
    bases = []
    for reach, terms, rounding in zip(_REACH, _TERMS, _ROUNDING, strict=True):
        u, even, odd = folded(*trapezoid_basis(reach, _NODES, _TERMS[0]))
        even[:, (terms + 1) // 2 :] = odd[:, terms // 2 :] = 0.0
        bases.append((u, rounded(even, rounding), rounded(odd, rounding)))
    return tuple(np.stack(x) for x in zip(*bases, strict=True))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _program(activation: Activation, k: int, h: Hyperparameters, noise, bases, G, H, sets, rows) -> Layers:
    def one_run(below, h, noise, basis):
        G, H, tensors = below
        e, doubts = smooth_on_pairs(activation, G * (1 + noise), basis, k)
        tensors = step(h, on_sets(e, H, sets, rows, k), tensors.unpacked(k)).packed()
        above = means.G(h, e), means.H(h, e, H), tensors
        return above, Layers(*above, e.Phi, e.dPhi, doubts)

    def layer(below, given):
        h, noise = given
        return jax.vmap(one_run, in_axes=(0, None, 0, 0))(below, h, noise, bases)

    first = jax.tree.map(lambda x: jnp.stack([x, x]), (G, H, first_layer(k, sets.shape[1])))
    return jax.lax.scan(layer, first, (h, noise))[1]
