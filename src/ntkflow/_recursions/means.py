"""The leading means: the kernel G and the mean NTK H."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def G(h, e):
    """G' = C_b + C_W ⟨σσ⟩, PDLT (8.22)."""
    return h.C_b + h.C_W * e.Phi


def H(h, e, H):
    """H' = λ_b + λ_W ⟨σσ⟩ + C_W ⟨σ'σ'⟩ H, PDLT (8.63)."""
    return h.lambda_b + weight_share(h, e) + carried(h, e) * H


def carried(h, e):
    """What of each layer's share in H passes on to the next layer: C_W ⟨σ'σ'⟩, PDLT (8.63)."""
    return h.C_W * e.dPhi


def weight_share(h, e):
    """What the weights of layer ℓ+1 add to H': λ_W ⟨σσ⟩, PDLT (8.63); its biases add λ_b."""
    return h.lambda_W * e.Phi


class Contributions:
    """H split by the layers whose biases and weights it comes from: it is linear in the λ's. O(N²) memory a layer."""

    def __init__(self, bias, weight):
        """What the biases and weights of the first layer add to H: a number and an array (N, N)."""
        self._lambda_b, self._weight, self._carried = [bias], [weight], []

    def append(self, bias, weight, carried) -> None:
        """What the biases and weights of the next layer add to H, and by what they multiply the H of the layer below."""
        self._lambda_b.append(bias)
        self._weight.append(weight)
        self._carried.append(carried)

    def of_biases(self, layer: int) -> np.ndarray:
        """(layer, N, N)."""
        return self._carried_to(layer, [np.full_like(self._weight[0], b) for b in self._lambda_b[:layer]])

    def of_weights(self, layer: int) -> np.ndarray:
        """(layer, N, N)."""
        return self._carried_to(layer, self._weight[:layer])

    def _carried_to(self, layer: int, added: Sequence[np.ndarray]) -> np.ndarray:
        share = np.ones_like(added[0])
        out = np.empty((layer, *share.shape))
        for source in reversed(range(layer)):
            out[source] = share * added[source]
            if source:
                share *= self._carried[source - 1]
        return out
