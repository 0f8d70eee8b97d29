"""The two computations of all layers, as of `two_runs`, of a network of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._gaussian import COARSE, FINE, Rule
from .._gaussian.layer_products import product_index
from .._recursions import TENSORS, TensorSets
from .._streams.integrals import Indices, LayerIntegrals, network_integrals
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
    indices = None
    if sets is not None:
        indices = Indices(*(product_index(sets.sets, len(X), same) for same in (True, False)))
    rng = np.random.default_rng(0)
    nudges: list[Callable] = [lambda G: G, lambda G: G * (1 + NUDGE * symmetric_noise(rng, len(G)))]
    fine, coarse = (
        _run(network, X, sets, indices, rule.to_accuracy(rtol), nudge)
        for rule, nudge in zip((FINE, COARSE), nudges, strict=True)
    )
    for (kernels, values), (_, others) in zip(fine, coarse, strict=True):
        yield kernels, values, errors_of(values, others, kernels.layer, kernels.least_sine, sets)


def _run(
    network: Network,
    X: np.ndarray,
    sets: TensorSets | None,
    indices: Indices | None,
    rule: Rule,
    nudge: Callable,
) -> Iterator[tuple[Kernels, dict[str, np.ndarray]]]:
    kernels = first_kernels(network, X)
    try:
        layers = list(
            network_integrals(network, kernels.G, kernels.H, kernels.parallel, indices, rule, nudge)
        )
    except OverflowError as error:
        raise NonFiniteError("G overflows, or a variance; scale X or C_W") from error
    tensors = _tensors(layers, network.widths[1], sets, indices)
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


def _least_sine(below: np.ndarray, of: LayerIntegrals) -> np.ndarray:
    """The least `sines` up to the layer that this one's block leads to, (2, N, N)."""
    for stage in of.stages:
        if stage.stage.activation.kinked:
            here = sines(stage.metric, stage.ratio)
            below = np.minimum(below, np.stack([here, here if of.layer > 1 else np.ones_like(here)]))
    return below


def _tensors(
    layers: list[LayerIntegrals], n: int, sets: TensorSets | None, indices: Indices | None
) -> list[dict[str, np.ndarray]]:
    """The packed tensors of each layer, some sets at a time."""
    if sets is None or indices is None:
        return [{} for _ in layers]
    k, S = sets.sets.shape
    out = [{name: np.empty((TENSORS[name].orbits(k)[1].shape[1], S)) for name in sets.names} for _ in layers]
    size = max(1, _NUMBERS_AT_ONCE // k**4)
    for start in range(0, S, size):
        columns = slice(start, start + size)
        of_columns = Indices(*(index.of_sets(columns) for index in indices))
        for whole, part in zip(
            out, tensors_on_sets(layers, n, sets.sets[:, columns], of_columns), strict=True
        ):
            for name, packed in whole.items():
                packed[:, columns] = TENSORS[name].pack(part[name])
    return out
