"""The two computations of all layers, as of `two_runs`, of a network of blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._gaussian import COARSE, FINE, Rule
from .._recursions import TENSORS, Tensor, TensorSets
from .._streams.integrals import Indices, LayerIntegrals, indices_of, network_integrals
from .._streams.run import tensors_on_sets
from ..errors import NonFiniteError
from ..network.network import Network
from .error_estimates import Errors, errors_of
from .near_duplicates import sines
from .two_runs import NUDGE, Kernels, check_finite, first_kernels, symmetric_noise

_NUMBERS_AT_ONCE = 2**16  # of a tensor


def block_layers(
    network: Any, X: np.ndarray, sets: TensorSets | None, rtol: float
) -> Iterator[tuple[Kernels, dict[str, np.ndarray], Errors]]:
    """Each layer's kernels, and its values and their errors by name, tensors packed; as `two_runs.all_layers`."""
    fine, coarse = (
        _run(network, X, sets, rule.to_accuracy(rtol), nudge)
        for rule, nudge in zip((FINE, COARSE), (0.0, NUDGE), strict=True)
    )
    for (kernels, values), (_, others) in zip(fine, coarse, strict=True):
        yield kernels, values, errors_of(values, others, kernels.layer, kernels.least_sine, sets)


def _run(
    network: Network, X: np.ndarray, sets: TensorSets | None, rule: Rule, nudge: float
) -> Iterator[tuple[Kernels, dict[str, np.ndarray]]]:
    """Each layer's kernels and values by one rule, with G's entries changed by relative amounts up to `nudge` before each stage."""
    kernels = first_kernels(network, X)
    layers, tensors = _with_tensors(network, kernels, sets, rule, nudge)
    contributions = kernels.contributions
    assert contributions is not None
    for of, packed in zip(layers, tensors, strict=True):
        if of.shares is not None:
            contributions.append(*of.shares)
        kernels = kernels._replace(layer=of.layer, G=of.G, H=of.H, parallel=of.parallel)
        values = {"G": of.G, "H": of.H, **packed}
        check_finite(of.layer, values)
        yield kernels, values
        kernels = kernels._replace(least_sine=_least_sine(kernels.least_sine, of))


def _with_tensors(
    network: Network, kernels: Kernels, sets: TensorSets | None, rule: Rule, nudge: float
) -> tuple[list[LayerIntegrals], list[dict[str, np.ndarray]]]:
    """The integrals of all layers, and the packed tensors; G1 and H1, of pairs of samples, on sets of two."""
    N, n = len(kernels.G), network.widths[1]

    def integrals(indices: Indices | None, means: bool) -> list[LayerIntegrals]:
        rng = np.random.default_rng(0)

        def nudged(G: np.ndarray) -> np.ndarray:
            return G * (1 + nudge * symmetric_noise(rng, N))

        first = kernels.G, kernels.H, kernels.parallel
        try:
            return list(network_integrals(network, *first, indices, means, rule, nudged))
        except OverflowError as error:
            raise NonFiniteError("G overflows, or a variance; scale X or C_W") from error

    if sets is None:
        layers = integrals(None, False)
        return layers, [{} for _ in layers]
    of_means = tuple(name for name in sets.names if TENSORS[name].rank == 2)
    indices = indices_of(sets.sets, N)
    if sets.k <= 2:
        layers = integrals(indices, bool(of_means))
        return layers, _packed(layers, n, sets.sets, sets.names, indices, bool(of_means))
    kinked = any(stage.activation.kinks for block in network.blocks for stage in block.stages)
    layers = integrals(indices, bool(of_means) and not kinked)
    others = tuple(name for name in sets.names if name not in of_means)
    tensors = _packed(layers, n, sets.sets, others, indices, False)
    if of_means:
        pairs = _pairs_within(sets.sets)
        of_pairs = indices_of(pairs, N)
        if kinked:
            # With kinks there are no means' integrals on more than two samples.
            with_means = integrals(of_pairs, True)
        else:
            with_means, of_pairs = layers, of_pairs.within(indices)
        corrections = _packed(with_means, n, pairs, of_means, of_pairs, True)
        for of_layer, corrected in zip(tensors, corrections, strict=True):
            for name, packed in corrected.items():
                of_layer[name] = _on_sets(TENSORS[name], packed, pairs, sets.sets, N)
    return layers, tensors


def _pairs_within(sets: np.ndarray) -> np.ndarray:
    """All pairs of samples that are together in a set, (2, P)."""
    pairs = itertools.combinations(range(len(sets)), 2)
    return np.unique(np.concatenate([sets[list(pair)] for pair in pairs], axis=1), axis=1)


def _on_sets(declared: Tensor, packed: np.ndarray, pairs: np.ndarray, sets: np.ndarray, N: int) -> np.ndarray:
    """A table on pairs of samples, packed, as one on larger sets."""
    table = np.empty((N, N))
    table[pairs[:, None], pairs[None]] = declared.unpack(packed, 2)
    return declared.pack(table[sets[:, None], sets[None]])


def _least_sine(below: np.ndarray, of: LayerIntegrals) -> np.ndarray:
    """The least `sines` up to the layer that this one's block leads to, (2, N, N)."""
    for stage in of.stages:
        if stage.stage.activation.kinked:
            here = sines(stage.metric, stage.ratio)
            below = np.minimum(below, np.stack([here, here if of.layer > 1 else np.ones_like(here)]))
    return below


def _packed(
    layers: list[LayerIntegrals],
    n: int,
    sets: np.ndarray,
    names: tuple[str, ...],
    indices: Indices,
    means: bool,
) -> list[dict[str, np.ndarray]]:
    """The packed tensors of each layer, some sets at a time."""
    k, S = sets.shape
    out = [{name: np.empty((TENSORS[name].orbits(k)[1].shape[1], S)) for name in names} for _ in layers]
    size = max(1, _NUMBERS_AT_ONCE // k**4)
    for start in range(0, S, size):
        columns = slice(start, start + size)
        parts = tensors_on_sets(layers, n, sets[:, columns], indices.of_sets(columns), means)
        for whole, part in zip(out, parts, strict=True):
            for name, packed in whole.items():
                packed[:, columns] = TENSORS[name].pack(part[name])
    return out
