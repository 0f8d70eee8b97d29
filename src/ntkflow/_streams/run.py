"""The tensors of all layers of a network of blocks, on sets of samples: ARCHITECTURE of each step in `through`, `carry` and `close`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .._recursions.contract import swap
from .carry import carry, longer
from .close import close, remembered
from .correlations import Correlation, ReadLayer
from .functions import stage_functions
from .integrals import Indices, LayerIntegrals, StageIntegrals
from .memory import (
    Chain,
    Past,
    WithFluctuations,
    f_with_memory,
    kappa_with_memory,
    memory_of_f,
    memory_of_kappa,
    with_fluctuations,
)  # fmt: skip
from .own import own_terms
from .state import State
from .through import through


def tensors_on_sets(
    layers: Iterable[LayerIntegrals], n: int, sets: np.ndarray, indices: Indices
) -> Iterator[dict[str, np.ndarray]]:
    """V, D, F, A, B, K, L and M of each layer, (k, …, k, S) on sets (k, S).

    Args:
        n: the stream's width, of whose inverse they are coefficients.
        indices: of these sets.
    """
    k, S = sets.shape
    t, past = State.of_embedding(k, S), []
    for of in layers:
        layer = _read_layer(of.stages[0], sets) if of.stages else _last_layer(of, sets)
        with_past = [
            (source, Correlation(layer, source.layer, source.gamma, moments, indices.other))
            for source, moments in zip(past, of.lower, strict=True)
        ]
        X = with_fluctuations(layer, with_past)
        yield _reported(layer, t, with_past, X)
        if of.block is not None:
            t, past = _through_block(of, n, layer, t, past, with_past, X, sets, indices)


def _read_layer(of: StageIntegrals, sets: np.ndarray) -> ReadLayer:
    pairs = sets[:, None], sets[None]
    tables, H, nu = of.tables.on_sets(sets), of.H[pairs], of.nu[sets]
    return ReadLayer(of.G[pairs], H, nu, tables, stage_functions(of.stage, tables, H, nu))


def _last_layer(of: LayerIntegrals, sets: np.ndarray) -> ReadLayer:
    pairs = sets[:, None], sets[None]
    return ReadLayer(of.G[pairs], of.H[pairs], np.ones(sets.shape), None, None)


def _through_block(
    of: LayerIntegrals, n: int, layer: ReadLayer, t: State, past: list[Past], with_past: list[tuple[Past, Correlation]],
    X: WithFluctuations, sets: np.ndarray, indices: Indices,
) -> tuple[State, list[Past]]:  # fmt: skip
    """The state of the next layer, and what is remembered there."""
    assert of.block is not None and layer.functions is not None
    shape, γ = t.V.shape, of.block.gamma
    f_m, kappa_p = f_with_memory(with_past, shape), kappa_with_memory(layer, with_past, shape)
    own = own_terms(Correlation(layer, layer, 1.0, of.stages[0].own, indices.same), n / of.width)
    u, inside = through(layer.functions, t, X, f_m, own)
    chain = Chain.of_one_stage(*layer.nu.shape)
    for stage, width in zip(of.stages[1:], of.inner_widths, strict=False):
        inner = _read_layer(stage, sets)
        assert inner.functions is not None
        own = own_terms(Correlation(inner, inner, 1.0, stage.own, indices.same), n / width)
        u, inside = carry(inner.functions, u, inside, own)
        chain = longer(chain, inner.functions)
    state = close(γ, layer.functions, chain, t, u, inside, f_m, kappa_p)
    return state, remembered(past, γ, layer, chain)


def _reported(
    layer: ReadLayer, t: State, with_past: list[tuple[Past, Correlation]], X: WithFluctuations
) -> dict[str, np.ndarray]:
    """PDLT's tensors, in which the layer's own fluctuations are correlated with those that it inherits."""
    ν = layer.nu
    νν = (ν[:, None] * ν)[:, :, None, None]
    M, y_m = memory_of_f(with_past, t.V.shape)
    z_m = y_m / ν[:, None]
    p = memory_of_kappa([source for source, _ in with_past], t.V.shape)
    X_zz = X.G["yy"] / νν
    return {
        "V": t.V + X_zz + swap(X_zz),
        "D": t.D + X.h["yy"] / νν,
        "F": t.F + z_m + swap(z_m),
        "A": t.A,
        "B": t.B + p + swap(p),
        "K": X.G["y"][:, 0] / ν[:, None, None],
        "L": X.h["y"][:, 0] / ν[:, None, None],
        "M": M,
    }
