"""The four-point vertex V of the preactivations."""

from .contract import outer, over_both


def V(h, e, t):
    """V'_(12)(34), PDLT chapter 4."""
    return (
        h.C_W**2 * (e.ssss - outer(e.Phi, e.Phi))
        + h.r / 4 * h.C_W**2 * over_both(e.J_ss, t.V, e.J_ss)
    )  # fmt: skip
