"""K, L and M, which a stream with skips has besides: E[z z z] and E[z ΔĤ], zero behind a dense layer and for odd activations.

    E[z_{i1;1} z_{i2;2} z_{i3;3}] = (1/n) [δ_{i2i3} K_123 + δ_{i1i3} K_213 + δ_{i1i2} K_312]
    E[z_{i1;1} ΔĤ_{i2i3;23}] = (1/n) [δ_{i2i3} L_123 + δ_{i1i2} M_123 + δ_{i1i3} M_132]

What makes them in a stream, and all its other tensors, is in `_streams`.
"""

from .measured import MEASURED_K, MEASURED_L, MEASURED_M
from .tensors import tensor


@tensor("123", equal=("132",), made_of="GGG", measured=MEASURED_K, streams=True)
def K(h, e, t):
    """K' = 0: behind a dense layer neurons are Gaussian given the metric."""
    return 0.0 * t.K


@tensor("123", equal=("132",), made_of="GHH", measured=MEASURED_L, streams=True)
def L(h, e, t):
    """L' = 0, PDLT (8.35)."""
    return 0.0 * t.L


@tensor("123", equal=(), made_of="GHH", measured=MEASURED_M, streams=True)
def M(h, e, t):
    """M' = 0, PDLT (8.35)."""
    return 0.0 * t.M
