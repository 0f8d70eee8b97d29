"""The tensors of all layers of a network of blocks, on sets of samples; the equations are in `through`, `carry`, `close` and `means`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .._recursions.contract import swap
from .carry import behind_stage, carry, longer
from .close import close, remembered
from .correlations import Correlation, ReadLayer
from .functions import stage_functions
from .integrals import Indices, LayerIntegrals, StageIntegrals
from .means import Corrected, Corrections
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
    layers: Iterable[LayerIntegrals], n: int, sets: np.ndarray, indices: Indices, means: bool
) -> Iterator[dict[str, np.ndarray]]:
    """V, D, F, A, B, K, L and M of each layer, (k, …, k, S) on sets (k, S); with `means` G1 and H1, too.

    Args:
        n: the stream's width, of whose inverse they are coefficients.
        indices: of these sets.
    """
    k, S = sets.shape
    t, past, corrected = State.of_embedding(k, S), [], Corrected(*np.zeros((2, k, k, S)))
    for of in layers:
        layer = _read_layer(of.stages[0], sets, means) if of.stages else _last_layer(of, sets)
        with_past = [
            (source, Correlation(layer, source.layer, source.gamma, layer.words, moments, indices.other))
            for source, moments in zip(past, of.lower, strict=True)
        ]
        X = with_fluctuations(layer, with_past)
        reported = _reported(layer, t, with_past, X)
        yield {**reported, **(corrected._asdict() if means else {})}
        if of.block is not None:
            first = None
            if means:
                first = Corrections(
                    layer, t, corrected, n / of.width, with_past, X, reported["K"], reported["L"]
                ).after_stage()
            t, past, corrected = _through_block(
                of, n, layer, t, past, with_past, X, sets, indices, corrected, first
            )


def _read_layer(of: StageIntegrals, sets: np.ndarray, means: bool) -> ReadLayer:
    pairs = sets[:, None], sets[None]
    tables, H, nu = of.tables.on_sets(sets, means), of.H[pairs], of.nu[sets]
    return ReadLayer(of.G[pairs], H, nu, tables, stage_functions(of.stage, tables, H, nu))


def _last_layer(of: LayerIntegrals, sets: np.ndarray) -> ReadLayer:
    pairs = sets[:, None], sets[None]
    return ReadLayer(of.G[pairs], of.H[pairs], np.ones(sets.shape), None, None)


def _through_block(
    of: LayerIntegrals, n: int, layer: ReadLayer, t: State, past: list[Past], with_past: list[tuple[Past, Correlation]],
    X: WithFluctuations, sets: np.ndarray, indices: Indices, corrected: Corrected, of_u: Corrected | None,
) -> tuple[State, list[Past], Corrected]:  # fmt: skip
    """The state of the next layer, what is remembered there, and its corrected means.

    Args:
        corrected: G1 and H1 of the layer. of_u: of the first stage's u; None where they are not wanted.
    """
    assert of.block is not None and layer.functions is not None
    shape, γ = t.V.shape, of.block.gamma
    f_m, kappa_p = f_with_memory(with_past, shape), kappa_with_memory(layer, with_past, shape)
    own = own_terms(_own(layer, of.stages[0], indices), n / of.width)
    u, inside = through(layer.functions, t, X, f_m, own)
    chain = Chain.of_one_stage(*layer.nu.shape)
    for stage, width in zip(of.stages[1:], of.inner_widths, strict=False):
        inner = _read_layer(stage, sets, of_u is not None)
        assert inner.functions is not None
        if of_u is not None:
            of_u = Corrections(inner, u, of_u, n / width, [], None, None, None).after_stage()
        own = own_terms(_own(inner, stage, indices), n / width)
        u, inside = behind_stage(inner.functions, u, own), carry(inner.functions, inside, own)
        chain = longer(chain, inner.functions)
    state = close(γ, layer.functions, chain, t, u, inside, f_m, kappa_p)
    if of_u is not None:
        corrected = Corrected(*(γ**2 * below + added for below, added in zip(corrected, of_u, strict=True)))
    return state, remembered(past, γ, layer, chain), corrected


def _own(layer: ReadLayer, of: StageIntegrals, indices: Indices) -> Correlation:
    assert layer.functions is not None
    return Correlation(layer, layer, 1.0, tuple(layer.functions.omega.products), of.own, indices.same)


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
