"""One layer to the next: every tensor of a batch of sample sets.

A step costs O(S k⁴) time and memory for S sets of k samples, besides the integrals.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._gaussian.sample_sets import OnSets
from .tensors import TENSORS, Tensors


class Hyperparameters(NamedTuple):
    """Of layer ℓ+1, with r = n_ℓ / n_{ℓ-1}."""

    C_b: Any
    C_W: Any
    lambda_b: Any
    lambda_W: Any
    r: Any


def first_layer(k: int, S: int) -> Tensors:
    """Layer 1 is Gaussian with a deterministic NTK, PDLT (8.21), (8.23): all zero, packed."""
    return Tensors(
        {name: np.zeros((declared.orbits(k)[1].shape[1], S)) for name, declared in TENSORS.items()}
    )


def step(h: Hyperparameters, e: OnSets, t: Tensors) -> Tensors:
    """The tensors of layer ℓ+1 from those of layer ℓ and its expectations."""
    return t.map(lambda declared, _: declared.equation(h, e, t))
