"""The cross-correlations D and F of two preactivations with the NTK."""

import numpy as np

from .cancellation import of_moments
from .contract import outer, over_both, over_first, over_pair, swap
from .measured import MEASURED_F
from .omega import Omega
from .tensors import Covariance, Truncation, tensor


@tensor(
    "1234", equal=("2134", "1243"), moments=("ssss", "ssdd"), made_of="GGHH", measured=Covariance("G", "H"),
    cancels_from=("V",), cancellation=of_moments, truncation=Truncation(lambda expansion, B: 1.6 * expansion.growth),
)  # fmt: skip
def D(h, e, t):
    """D'_1234, PDLT (8.77)."""
    omega = Omega(h, e)
    return (
        h.C_W * (omega.with_ss - outer(e.Phi, omega.mean))
        + h.r / 4 * h.C_W * over_both(e.J_ss, t.V, omega.J)
        + h.r / 2 * h.C_W**2 * e.dPhi * over_pair(e.J_ss, t.D)
    )


@tensor(
    "1324", equal=("2413",), moments=("ssdd",), made_of="GHGH", measured=MEASURED_F,
    truncation=Truncation(lambda expansion, B: 0.45 * np.sqrt(expansion.largest_spread * expansion.relative_variance)),
)  # fmt: skip
def F(h, e, t):
    """F'_1324, PDLT (8.79)."""
    ssdd_1324 = e.ssdd.swapaxes(1, 2)
    H_34 = e.H[:, None]
    return (
        h.C_W**2 * ssdd_1324 * H_34
        + h.r * h.C_W**2 * swap(over_first(e.K_sd, swap(over_first(e.K_sd, t.F))))
    )  # fmt: skip
