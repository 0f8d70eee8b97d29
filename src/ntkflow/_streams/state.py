"""What is carried from layer to layer, on S sets of k samples; coefficients of 1/n, n the width of the stream."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    """Of a layer of the stream, or of one inside a block.

    V, D and A are the covariances of the fluctuations δG and δh of the layer's random metric and mean NTK, F and B what is left of PDLT's
    without the memory of the stream. Behind a dense layer, as inside a block, there is none, and all of them are PDLT's tensors.
    """

    V: np.ndarray
    D: np.ndarray
    A: np.ndarray
    F: np.ndarray
    B: np.ndarray

    @staticmethod
    def of_embedding(k: int, S: int) -> State:
        """Layer 1 is Gaussian with a deterministic NTK."""
        return State(*(np.zeros((k, k, k, k, S)) for _ in range(5)))


class Inside(NamedTuple):
    """What is carried inside of a block besides the state of its layer u, in the order of `State`.

    Attributes:
        V: n Cov(δG, δG_u) of the stream at the block's beginning and u. D: n Cov(δG, δh_u). D_of_u: n Cov(δG_u, δh). A: n Cov(δh, δh_u).
        F: what the weights of the block itself add; of B that is u's.
    """

    V: np.ndarray
    D: np.ndarray
    D_of_u: np.ndarray
    A: np.ndarray
    F: np.ndarray
