"""A tensor that the package does not have, declared in one file: B averaged over the orders of the samples of each Ĥ_ij.

C_(12)(34) = n E[Ĥ_{ij;(12)} Ĥ_{ij;(34)}] = (B_1324 + B_1423) / 2 for i ≠ j, where Ĥ_{ij;(12)} is the mean of Ĥ_{ij;12} and Ĥ_{ij;21}.
"""

from ntkflow._recursions.measured import MEASURED_B, pair_index
from ntkflow._recursions.tensors import Expectation, Truncation, tensor
from ntkflow._recursions.variance import B


def _both_orders(products):
    """From those of MEASURED_B, (2, p, p), to (p, p)."""
    return (products[0] + products[1]) / 2


def _expanded(mean, k):
    pair = pair_index(k)
    return mean[:, pair[:, :, None, None], pair[None, None]]


MEASURED = Expectation(
    low_noise=lambda C_W, n, below: _both_orders(MEASURED_B.low_noise(C_W, n, below)),
    direct=lambda layer: _both_orders(MEASURED_B.direct(layer)),
    expanded=_expanded,
)


@tensor(
    "1234", equal=("2134", "1243", "3412"), moments=("dddd",), made_of="HHHH", measured=MEASURED,
    truncation=Truncation(lambda expansion, B: expansion.relative_variance),
)  # fmt: skip
def C(h, e, t):
    """C'_(12)(34) from B'_1324."""
    B_1324 = B(h, e, t).swapaxes(1, 2)  # its axes are 1, 3, 2, 4
    return (B_1324 + B_1324.swapaxes(2, 3)) / 2
