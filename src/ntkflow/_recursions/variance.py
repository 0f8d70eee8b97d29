"""The NTK's own variance: A and B."""

from .cancellation import of_moments_twice
from .contract import outer, over_both, over_pair, swap
from .measured import MEASURED_B
from .omega import Omega
from .tensors import Covariance, Truncation, tensor


@tensor(
    "1234", equal=("2134", "1243", "3412"), moments=("ssss", "ssdd", "dddd"), made_of="HHHH",
    measured=Covariance("H", "H"), cancels_from=("V", "D"), cancellation=of_moments_twice,
    truncation=Truncation(lambda expansion, B: expansion.growth, of_variance=True),
)  # fmt: skip
def A(h, e, t):
    """A'_(12)(34), PDLT (8.97)."""
    omega = Omega(h, e)
    mixed = e.dPhi * over_pair(omega.J, t.D)
    return (
        omega.with_omega - outer(omega.mean, omega.mean)
        + h.r / 4 * over_both(omega.J, t.V, omega.J)
        + h.r * h.C_W**2 * outer(e.dPhi, e.dPhi) * t.A
        + h.r / 2 * h.C_W * (mixed + swap(mixed))
    )  # fmt: skip


@tensor(
    "1324", equal=("3142", "2413"), moments=("dddd",), made_of="HHHH", measured=MEASURED_B,
    truncation=Truncation(lambda expansion, B: 1.2 * expansion.relative_variance - 1.7 * expansion.relative(B)),
)  # fmt: skip
def B(h, e, t):
    """B'_1324, PDLT (8.89)."""
    dddd_1324 = e.dddd.swapaxes(1, 2)
    H_12, H_34 = e.H[:, None, :, None], e.H[:, None]
    return h.C_W**2 * (dddd_1324 * H_12 * H_34 + h.r * outer(e.dPhi, e.dPhi) * t.B)
