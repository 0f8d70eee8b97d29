"""The leading means: the kernel G and the mean NTK H."""

import numpy as np


def G(h, e):
    """G' = C_b + C_W ⟨σσ⟩, PDLT (8.22)."""
    return h.C_b + h.C_W * e.Phi


def H(h, e, H):
    """H' = λ_b + λ_W ⟨σσ⟩ + C_W ⟨σ'σ'⟩ H, PDLT (8.63)."""
    return h.lambda_b + h.lambda_W * e.Phi + h.C_W * e.dPhi * H


def contributions(h, e, bias, weight):
    """H split by the layer whose biases and weights it comes from, each (ℓ, N, N): it is linear in the λ's."""
    carried = h.C_W * e.dPhi
    ones = np.ones_like(e.Phi)
    return (
        np.concatenate([carried * bias, (h.lambda_b * ones)[None]]),
        np.concatenate([carried * weight, (h.lambda_W * e.Phi)[None]]),
    )
