"""What there is of a layer besides tensors, and how large each is by nature."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .._recursions import TENSORS

KERNELS = ("G", "H")
"""The infinite-width means; the other statistics of a layer are the declared tensors."""
SPLIT = ("bias_contributions", "weight_contributions")
"""How H splits by the layers that it comes from."""
ZH = ("alpha1", "alpha3", "alpha4")
"""The axes of zH, which ensembles measure besides."""


def natural_scales(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The size of the products of G and H that each tensor is made of."""
    largest = {kernel: float(np.abs(values[kernel]).max()) for kernel in KERNELS}
    made_of = {name: declared.made_of for name, declared in TENSORS.items()}
    made_of |= {"G": "GG", "H": "HH", "zH": "GHH"} | dict.fromkeys(SPLIT, "HH")
    return {
        name: math.prod(largest[kernel] ** 0.5 for kernel in kernels) for name, kernels in made_of.items()
    }
