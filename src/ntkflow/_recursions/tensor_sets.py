"""Sets of samples, and the tensors that flow on them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._gaussian.sample_sets import SampleSets
from .tensors import TENSORS, Tensor, Tensors


class TensorSets(SampleSets):
    """`SampleSets` of the moments that these tensors read.

    Attributes:
        names: the tensors'.
    """

    def __init__(self, sets: np.ndarray, samples: int, names: tuple[str, ...]):
        super().__init__(sets, samples, moments_of(names))
        self.names = names


def moments_of(names: Iterable[str]) -> tuple[str, ...]:
    """The words that these tensors ask for."""
    return tuple(sorted({word for declared in declarations(names) for word in declared.moments}))


def declarations(names: Iterable[str]) -> list[Tensor]:
    """What is declared of these tensors."""
    return [TENSORS[name] for name in names]


def first_layer(names: Iterable[str], k: int, S: int) -> Tensors:
    """Layer 1 is Gaussian with a deterministic NTK, PDLT (8.21), (8.23): all zero, packed, on S sets of k samples."""
    return Tensors(
        {declared.name: np.zeros((declared.orbits(k)[1].shape[1], S)) for declared in declarations(names)}
    )
