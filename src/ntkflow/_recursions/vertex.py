"""The four-point vertex V of the preactivations."""

from .cancellation import where_merged
from .contract import outer, over_both
from .tensors import Covariance, Truncation, tensor


@tensor(
    "1234", equal=("2134", "1243", "3412"), moments=("ssss",), made_of="GGGG",
    measured=Covariance("G", "G"), cancellation=where_merged, truncation=Truncation(lambda expansion, B: 0.64 * expansion.largest_spread),
)  # fmt: skip
def V(h, e, t):
    """V'_(12)(34), PDLT chapter 4."""
    return (
        h.C_W**2 * (e.ssss - outer(e.Phi, e.Phi))
        + h.r / 4 * h.C_W**2 * over_both(e.J_ss, t.V, e.J_ss)
    )  # fmt: skip
