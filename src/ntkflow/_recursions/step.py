"""One layer to the next: every tensor of a batch of sample sets.

A step costs O(S k⁴) time and memory for S sets of k samples, besides the integrals.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .._gaussian.sample_sets import OnSets
from .tensors import Tensors


class Hyperparameters(NamedTuple):
    """Of layer ℓ+1, with r = n_ℓ / n_{ℓ-1}."""

    C_b: Any
    C_W: Any
    lambda_b: Any
    lambda_W: Any
    r: Any


def step(h: Hyperparameters, e: OnSets, t: Tensors) -> Tensors:
    """The tensors of layer ℓ+1 from those of layer ℓ and its expectations."""
    return t.map(lambda declared, _: declared.equation(h, e, t))
