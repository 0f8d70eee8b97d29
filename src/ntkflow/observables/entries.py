"""Preactivations and elements of the NTK by their neural and sample indices, which are checked where they enter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .._theory.statistics import LayerStatistics
from ..errors import ComponentError
from ..finite.parameters import as_int


class Z(NamedTuple):
    """z_{i;α}: one preactivation, or many as arrays of indices of one shape."""

    neuron: Any
    sample: Any


class NTK(NamedTuple):
    """Ĥ_{i1i2;α1α2}: one element of the NTK, or many as arrays."""

    neuron1: Any
    neuron2: Any
    sample1: Any
    sample2: Any


class ZZ(NamedTuple):
    """z_{i1;α1} z_{i2;α2}: a product of two preactivations, with the order of indices of `NTK`."""

    neuron1: Any
    neuron2: Any
    sample1: Any
    sample2: Any


Entry = TypeVar("Entry", bound=Z | ZZ | NTK)
At = Sequence[int | tuple[int, int]]


def preactivations_at(layer: LayerStatistics, at: At) -> Z:
    """The preactivations that a function takes, z[k] = z_{i_k;α_k}, as arrays (d,).

    Args:
        at: pairs (i, α), or α alone for neuron 0.

    Raises:
        ComponentError: an index is no whole number or out of range.
    """
    if isinstance(at, str) or not isinstance(at, Sequence | np.ndarray):
        raise ComponentError(f"at must list pairs (neuron, sample), or samples of one neuron, not {at!r}")
    pairs = []
    for entry in at:
        pair = (0, entry) if as_int(entry) is not None else entry
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ComponentError(f"at: {entry!r} is neither a sample nor a pair (neuron, sample)")
        pairs.append(_checked(layer, pair[:1], pair[1:]))
    return Z(*np.array(pairs, int).reshape(-1, 2).T)


def ntk_at(layer: LayerStatistics, ntk: Sequence) -> NTK:
    """The elements of the NTK that a function takes, as arrays (K,), from quadruples (i1, i2, α1, α2); or ComponentError."""
    try:
        rows = [tuple(row) for row in ntk]
    except TypeError as error:
        raise ComponentError(f"ntk must list quadruples (i1, i2, α1, α2), not {ntk!r}") from error
    for row in rows:
        if len(row) != 4:
            raise ComponentError(f"ntk: {row!r} is not a quadruple (i1, i2, α1, α2)")
        _checked(layer, row[:2], row[2:])
    return NTK(*np.array(rows, int).reshape(-1, 4).T)


def _checked(layer: LayerStatistics, neurons: Sequence, samples: Sequence) -> list[int]:
    numbers = []
    for kind, indices, count in (("neuron", neurons, layer.width), ("sample", samples, len(layer.G))):
        for index in indices:
            number = as_int(index)
            if number is None or not 0 <= number < count:
                raise ComponentError(
                    f"{index!r} is not a {kind} of layer {layer.layer}; allowed are 0 … {count - 1}"
                )
            numbers.append(number)
    return numbers


def checked_entry(layer: LayerStatistics, entry: Entry) -> Entry:
    """A `Z`, `ZZ` or `NTK` of whole numbers in range; or ComponentError."""
    if not isinstance(entry, Z | ZZ | NTK):
        raise ComponentError(f"{entry!r} is not a Z, ZZ or NTK")
    half = len(entry) // 2
    return type(entry)(*_checked(layer, entry[:half], entry[half:]))  # type: ignore[call-arg]


def components(
    layer: LayerStatistics, name: str, where: np.ndarray | bool, *samples: np.ndarray
) -> np.ndarray:
    """Components of a tensor at arrays of sample indices, 0 except `where` (broadcast together).

    Raises:
        ComponentError: the flow does not hold some; the message names the missing sets of samples.
    """
    nonzero, *indices = np.broadcast_arrays(where, *samples)
    out = np.zeros(nonzero.shape)
    if not nonzero.any():
        return out
    wanted = np.stack([index[nonzero] for index in indices], axis=-1)
    tensor = layer[name]
    if tensor.ndim == len(indices) and not np.isnan(dense := tensor[tuple(wanted.T)]).any():
        out[nonzero] = dense
        return out
    rows, inverse = np.unique(wanted, axis=0, return_inverse=True)
    values, missing = np.zeros(len(rows)), set()
    for k, row in enumerate(rows.tolist()):
        try:
            values[k] = layer.component(name, *row)
        except ComponentError:
            missing.add(tuple(sorted(set(row))))
    if missing:
        largest = sorted(s for s in missing if not any(set(s) < set(other) for other in missing))
        listed = ", ".join(map(str, largest[:5])) + (
            f" and {len(largest) - 5} more" if len(largest) > 5 else ""
        )
        raise ComponentError(
            f"{name} of layer {layer.layer} is not held on the sets of samples {listed}: compute the flow with"
            f' components=[{listed}], or "all"'
        )
    out[nonzero] = values[inverse.ravel()]
    return out
