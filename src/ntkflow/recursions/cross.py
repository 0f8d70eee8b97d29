"""The cross-correlations D and F of two preactivations with the NTK."""

from .contract import outer, over_both, over_first, over_pair, swap


def D(h, e, omega, t):
    """D'_1234, PDLT (8.77)."""
    return (
        h.C_W * (omega.with_ss - outer(e.Phi, omega.mean))
        + h.r / 4 * h.C_W * over_both(e.J_ss, t.V, omega.J)
        + h.r / 2 * h.C_W**2 * e.dPhi * over_pair(e.J_ss, t.D)
    )


def F(h, e, t):
    """F'_1324, PDLT (8.79)."""
    ssdd_1324 = e.ssdd.swapaxes(1, 2)
    H_34 = e.H[:, None]
    return (
        h.C_W**2 * ssdd_1324 * H_34
        + h.r * h.C_W**2 * swap(over_first(e.K_sd, swap(over_first(e.K_sd, t.F))))
    )  # fmt: skip
