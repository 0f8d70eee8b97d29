"""What the difference between a fine and a coarse computation says of the errors of every component."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .._recursions import TENSORS, TensorSets, declarations
from .._recursions.symmetry import largest_on_same_samples, orbits_by_samples
from .near_duplicates import any_nearly_parallel, cancelled
from .scales import KERNELS, natural_scales
from .two_byte import TwoByteArray

Errors = dict[str, Any]
"""By name: arrays (N, N) for G and H, a `TwoByteArray` for each packed tensor."""

_COLUMNS = 2**14  # sets at a time
_ROUNDOFF = 32  # eps that rounding leaves in each layer


def errors_of(
    values: dict[str, np.ndarray],
    others: dict[str, np.ndarray],
    layer: int,
    least_sine: np.ndarray,
    sets: TensorSets | None,
) -> Errors:
    """Error estimates: the difference from a coarser and nudged computation, plus round-off, more where terms cancel.

    The difference of one component on three or four samples may vanish by accident: each is taken to be the largest in its
    tensor, or in one where nothing cancels, on the same samples; next to the products of G and H they are made of.

    Args:
        values, others: of one layer, by name, tensors packed; the fine and the coarse ones.
        least_sine: of the layer, as of `Kernels`.
    """
    scales = natural_scales(values)
    errors: Errors = {}
    for name in KERNELS:
        scale = max(scales[name], np.abs(values[name]).max())
        errors[name] = _error(
            np.abs(values[name] - others[name]), layer, scale, cancelled(name, least_sine, None)
        )
    if sets is None:
        return errors
    tensors = [name for name in values if name in TENSORS]
    for name in tensors:
        size = max(scales[name], np.abs(values[name]).max())
        errors[name] = TwoByteArray.empty(values[name].shape, size)
    # Others may vanish too, where rounding makes one sample of two.
    not_zero = [name for name in tensors if layer >= TENSORS[name].vanishes_below]
    cancelling = not_zero if any_nearly_parallel(least_sine) else []
    roots = {kernel: np.sqrt(np.diag(values[kernel])) for kernel in KERNELS}
    for start in range(0, sets.sets.shape[1], _COLUMNS):
        columns = np.s_[:, start : start + _COLUMNS]
        chosen = sets.sets[columns]
        changes = {name: np.abs(values[name][columns] - others[name][columns]) for name in tensors}
        if sets.k > 2:
            _raise_to_largest(changes, {kernel: root[chosen] for kernel, root in roots.items()}, sets.k)
        # On the same samples alone: a component's error then does not depend on the closed set in which it is computed.
        sizes = {
            name: np.maximum(
                scales[name], largest_on_same_samples(TENSORS[name].generators, values[name][columns], sets.k)
            )
            for name in tensors
        }
        for name, change in changes.items():
            lost = 0.0
            if name in cancelling:
                lost = cancelled(name, least_sine, chosen) * _by_size(name, sizes, scales, sets.k)
            errors[name][columns] = _error(change, layer, sizes[name], lost)
    return errors


def _by_size(name: str, sizes: dict[str, np.ndarray], scales: dict[str, float], k: int) -> np.ndarray:
    """By what factor the tensors of `cancels_from` exceed this one, each relative to its products of G and H: (orbits, S), ≥ 1.

    A tensor is made from those of the layer below; taken are this layer's, which are about as large.
    """
    if not scales[name]:
        return np.ones_like(sizes[name])
    relative = sizes[name] / scales[name]
    largest = relative.copy()
    for samples, (rows, _) in orbits_by_samples(TENSORS[name].generators, k).items():
        for other in TENSORS[name].cancels_from:
            others = orbits_by_samples(TENSORS[other].generators, k)[samples][0]
            largest[rows] = np.maximum(
                largest[rows], (sizes[other][others] / (scales[other] or 1.0)).max(axis=0)
            )
    return largest / relative


def _error(change, layer: int, scale, lost):
    return change + (_ROUNDOFF * layer + lost) * np.finfo(float).eps * scale


def _raise_to_largest(changes: dict[str, np.ndarray], roots: dict[str, np.ndarray], k: int) -> None:
    """Raise each of `changes` (orbits, S), by tensor, to the largest on the same three or four samples.

    `roots`: of G's and H's diagonals, (k, S).
    """
    four = [declared for declared in declarations(changes) if declared.rank == 4]
    products = {
        tensor.name: np.prod(
            [roots[kernel][slot] for kernel, slot in zip(tensor.made_of, tensor.orbits(k)[1], strict=True)], axis=0
        )
        for tensor in four
    }  # fmt: skip
    by_samples = {tensor.name: orbits_by_samples(tensor.generators, k) for tensor in four}
    several = [frozenset(slots) for size in (3, 4) for slots in itertools.combinations(range(k), size)]
    for samples in several:
        on = {name: orbits[samples][0] for name, orbits in by_samples.items()}
        largest = {name: _largest(changes[name][rows], products[name][rows]) for name, rows in on.items()}
        for training in (False, True):
            # Of tensors that flow without those of training: what is known of these does not depend on whether those are asked for.
            plain = np.max(
                [largest[t.name] for t in four if not t.cancels_from and t.training <= training], axis=0
            )
            for name in (t.name for t in four if t.training == training):
                rows = on[name]
                least = np.maximum(largest[name], plain) * products[name][rows]
                changes[name][rows] = np.maximum(changes[name][rows], least)


def _largest(change: np.ndarray, product: np.ndarray) -> np.ndarray:
    """(S,), of (orbits, S)."""
    return np.divide(change, product, out=np.zeros_like(change), where=product > 0).max(axis=0)


def poor_tensor(name: str, layer: int, error: float, scale: float, rtol: float) -> list[str]:
    """What to call a tensor whose error, next to its natural scale, exceeds rtol; empty for others."""
    return [f"{name} of layer {layer} ({error / max(scale, 1e-300):.0e})"] if error > rtol * scale else []


def warning_of_errors(poor: list[str], rtol: float) -> str:
    """What users hear of poor tensors."""
    names = ", ".join(poor[:3]) + (f" and {len(poor) - 3} more" if len(poor) > 3 else "")
    return (
        f"by their error estimates, these don't reach the accuracy {rtol:g}: {names}; inputs nearly coincide, or the "
        "activation varies fast, or has a kink that was not declared"
    )
