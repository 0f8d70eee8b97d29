"""A layer of both runs as one compiled program: for few samples, where calling costs more than computing.

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
    """What is found of the layers 2 … L, on two leading axes: layers and the two runs; of one layer, on that of the runs."""

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
    N, S = len(G), sets.sets.shape[1]
    samples, count = _sizes(N, sets.k, S)
    slots, rows = (np.pad(x, ((0, 0), (0, count - S)), mode="edge") for x in (sets.sets, sets.rows))
    noise = np.pad(noise, ((0, 0), (0, 0), (0, samples - N), (0, samples - N)))
    tensors = first_layer(sets.k, count)
    with jax.enable_x64(True):
        below = jax.tree.map(
            lambda x: np.stack([x, x]), (_with_others(G, samples), _with_others(H, samples), tensors)
        )
        layers = []
        for rates, change in zip(zip(*h, strict=True), noise, strict=True):
            below, found = _layer(
                activation, sets.moments, Hyperparameters(*rates), change, _bases(), below, slots, rows
            )
            layers.append(_without_others(found, N, S))
        found = jax.tree.map(lambda *x: np.stack(x), *layers)
    return found if _trusted(activation, found) else None


def _sizes(N: int, k: int, S: int) -> tuple[int, int]:
    """How many samples and sets the program serves that is used for N samples and S sets of k: few programs are compiled."""
    if k == 1:
        return N, S
    samples = 4 if N <= 4 else 8 * -(-N // 8)
    pairs = samples * (samples - 1) // 2
    return samples, pairs if samples <= 8 else min(pairs, 1 << (S - 1).bit_length())


def _with_others(kernel: np.ndarray, samples: int) -> np.ndarray:
    """(samples, samples): the others are as large as the smallest of the N, and independent of all."""
    N = len(kernel)
    out = np.zeros((samples, samples))
    out[:N, :N] = kernel
    out[range(N, samples), range(N, samples)] = np.diag(kernel).min()
    return out


def _without_others(found: Layers, N: int, S: int) -> Layers:
    """A layer, on the leading axis of runs, of N samples and S sets alone."""
    found = jax.tree.map(np.asarray, found)
    doubts = found.doubts
    return found._replace(
        **{name: getattr(found, name)[..., :N, :N] for name in ("G", "H", "Phi", "dPhi")},
        # Copies: the program's own arrays may be much larger.
        tensors=jax.tree.map(lambda x: x[..., :S].copy(), found.tensors),
        doubts=doubts._replace(
            **{name: getattr(doubts, name)[..., :N] for name in ("means", "by_parts", "norm", "s")}
        ),
    )


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
def _bases() -> tuple[jax.Array, ...]:
    """`folded` bases of the two runs, on a leading axis; float64, for who has enabled it."""
    bases = []
    for reach, terms, rounding in zip(_REACH, _TERMS, _ROUNDING, strict=True):
        u, even, odd = folded(*trapezoid_basis(reach, _NODES, _TERMS[0]))
        even[:, (terms + 1) // 2 :] = odd[:, terms // 2 :] = 0.0
        bases.append((u, rounded(even, rounding), rounded(odd, rounding)))
    return tuple(jnp.asarray(np.stack(x)) for x in zip(*bases, strict=True))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _layer(
    activation: Activation, moments: tuple[str, ...], h: Hyperparameters, noise, bases, below, sets, rows
):
    """G, H and tensors above those `below`, and all that is found there; runs on a leading axis."""

    def one_run(below, noise, basis):
        G, H, tensors = below
        e, doubts = smooth_on_pairs(activation, G * (1 + noise), basis, len(sets), moments)
        tensors = step(h, on_sets(e, H, sets, rows, moments), tensors.unpacked(len(sets))).packed()
        above = means.G(h, e), means.H(h, e, H), tensors
        return above, Layers(*above, e.Phi, e.dPhi, doubts)

    return jax.vmap(one_run)(below, noise, bases)
