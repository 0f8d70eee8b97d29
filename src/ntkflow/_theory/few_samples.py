"""A layer of both runs as one compiled program: for few samples, where calling costs more than computing.

Mehler's series of a fixed length serve all pairs. Where they do not converge, the program's numbers are not used.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._gaussian.kinks import missing_deltas
from .._gaussian.rules import ROUNDING, folded, rounded, trapezoid_basis
from .._gaussian.series_integrals import PAIR_CONVERGED
from .._gaussian.traced import Doubts, smooth_on_pairs
from .._recursions import Tensors, TensorSets, first_layer
from ..activations import Activation
from ..network.layer import Layer, tensors_on_sets, through_layers
from ..network.mlp import MLP

_MOST_SETS = 2048
_NODES, _TERMS = 150, (160, 148)
_REACH = (13.0, 13.9)  # of as many nodes: the coarse run's lie farther apart
_ROUNDING = (0.0, ROUNDING)


class BothRuns(NamedTuple):
    """One layer, on a leading axis of the two runs."""

    G: Any
    H: Any
    tensors: Tensors
    Phi: Any
    dPhi: Any
    doubts: Doubts


class _State(NamedTuple):
    """G, H and tensors of all samples of the program, and the layer without the samples that were added to fill up the program."""

    filled: tuple[Any, Any, Tensors]
    layer: BothRuns | None


def serves(mlp: MLP, sets: TensorSets) -> bool:
    """Whether this is worth a program of its own: a smooth activation, the same in all layers, and pairs of few samples."""
    return (
        sets.k <= 2
        and sets.sets.shape[1] <= _MOST_SETS
        and mlp.depth > 1
        and len({layer.activation for layer in mlp.layers[1:]}) == 1
        and (activation := mlp.layers[1].activation) is not None
        and not (activation.kinked or activation.slopes or activation.exponentials)
    )


def layers_above(
    mlp: MLP, G: np.ndarray, H: np.ndarray, noise: Callable[[], np.ndarray], sets: TensorSets
) -> list[BothRuns] | None:  # fmt: skip
    """The layers above the first from that one's G and H, or None where the series do not converge.

    Args:
        noise: called for each layer: by what relative amounts its metric is changed in each run, (2, N, N).
    """
    N, S = len(G), sets.sets.shape[1]
    samples, count = _sizes(N, sets.k, S)
    slots, rows = (np.pad(x, ((0, 0), (0, count - S)), mode="edge") for x in (sets.sets, sets.rows))

    def step(layer: Layer, r: float, below: _State) -> _State:
        change = np.pad(noise(), ((0, 0), (0, samples - N), (0, samples - N)))
        filled, both = _layer(layer, r, sets.moments, change, _bases(), below.filled, slots, rows)
        return _State(filled, _without_others(both, N, S))

    with jax.enable_x64(True):
        tensors = first_layer(sets.names, sets.k, count)
        first = jax.tree.map(
            lambda x: np.stack([x, x]), (_with_others(G, samples), _with_others(H, samples), tensors)
        )
        states = through_layers(mlp, _State(first, None), step, lambda state: state._replace(layer=None))
        layers = [state.layer for state in states if state.layer is not None]
    activation = mlp.layers[1].activation
    assert activation is not None
    return layers if _trusted(activation, layers) else None


def _sizes(N: int, k: int, S: int) -> tuple[int, int]:
    """How many samples and sets the program serves that is used for N samples and S sets of k: few programs are compiled."""
    if k == 1:
        return N, S
    samples = 4 if N <= 4 else 8 * -(-N // 8)
    pairs = samples * (samples - 1) // 2
    return samples, pairs if samples <= 8 else min(pairs, 1 << (S - 1).bit_length())


def _with_others(kernel: np.ndarray, samples: int) -> np.ndarray:
    """A kernel (N, N) filled up to (samples, samples): added samples are as large as the smallest of the N, and independent of all."""
    N = len(kernel)
    out = np.zeros((samples, samples))
    out[:N, :N] = kernel
    out[range(N, samples), range(N, samples)] = np.diag(kernel).min()
    return out


def _without_others(both: BothRuns, N: int, S: int) -> BothRuns:
    """The layer of N samples and S sets alone."""
    both = jax.tree.map(np.asarray, both)
    doubts = both.doubts
    return both._replace(
        **{name: getattr(both, name)[..., :N, :N] for name in ("G", "H", "Phi", "dPhi")},
        # Copies: the program's own arrays may be much larger.
        tensors=jax.tree.map(lambda x: x[..., :S].copy(), both.tensors),
        doubts=doubts._replace(
            **{name: getattr(doubts, name)[..., :N] for name in ("means", "by_parts", "norm", "s")}
        ),
    )


def _trusted(activation: Activation, layers: list[BothRuns]) -> bool:
    doubts = jax.tree.map(lambda *x: np.stack(x), *(layer.doubts for layer in layers))
    # The trapezoidal rule's error with all nodes is about the square of that with half of them.
    converged = np.all(doubts.tail <= PAIR_CONVERGED) and np.all(doubts.halved <= math.sqrt(PAIR_CONVERGED))
    if not (converged and np.all(doubts.s > 0)):
        return False
    # (layers, runs, orders, N) with the orders first and all else in one axis.
    means, by_parts = (np.moveaxis(x, 2, 0).reshape(x.shape[2], -1) for x in (doubts.means, doubts.by_parts))
    return not missing_deltas(activation, means, by_parts, doubts.norm.ravel(), doubts.s.ravel()).any()


@functools.cache
def _bases() -> tuple[jax.Array, ...]:
    """`folded` bases of the two runs, on a leading axis, in float64: the caller must have enabled it."""
    bases = []
    for reach, terms, rounding in zip(_REACH, _TERMS, _ROUNDING, strict=True):
        u, even, odd = folded(*trapezoid_basis(reach, _NODES, _TERMS[0]))
        even[:, (terms + 1) // 2 :] = odd[:, terms // 2 :] = 0.0
        bases.append((u, rounded(even, rounding), rounded(odd, rounding)))
    return tuple(jnp.asarray(np.stack(x)) for x in zip(*bases, strict=True))


@functools.partial(jax.jit, static_argnums=2)
def _layer(
    layer: Layer, r, moments: tuple[str, ...], noise, bases, below: tuple[Any, Any, Tensors], sets, rows
):
    """G, H and tensors above those `below`, and all that is known there; runs on a leading axis."""
    activation = layer.activation
    assert activation is not None

    def one_run(below, noise, basis):
        G, H, tensors = below
        e, doubts = smooth_on_pairs(activation, G * (1 + noise), basis, len(sets), moments)
        above = *layer.means(e, G, H), tensors_on_sets(layer, r, e, H, sets, rows, tensors, moments)
        return above, BothRuns(*above, e.Phi, e.dPhi, doubts)

    return jax.vmap(one_run)(below, noise, bases)
