"""How fast a single input's K and the product of its χ_⊥ fall with depth, measured on the flow: as ℓ^(-p_0) and ℓ^(-p_⊥)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._report.describe import InNotebooks
from .single_input import SingleInput

if TYPE_CHECKING:
    from rich.table import Table

_DOUBLINGS = 11
_SETTLED = 0.01  # relatively


@dataclass(frozen=True, eq=False)
class Exponents(InNotebooks):
    """Exponents of K and of Π χ_⊥, PDLT chapter 5.

    Attributes:
        depths: ℓ = 2, 4, 8, …, 2048, (m,).
        slopes_0, slopes_perp: -d ln K / d ln ℓ and -d ln Π χ_⊥ / d ln ℓ between ℓ/2 and ℓ, (m,): how the exponents drift.
        p_0, p_perp: what the slopes tend to.
        settled: whether they do. Otherwise K falls by no power of depth, and p_0, p_perp are the slopes of the last doubling.
    """

    depths: np.ndarray
    slopes_0: np.ndarray
    slopes_perp: np.ndarray
    p_0: float
    p_perp: float
    settled: bool

    def __repr__(self) -> str:
        state = "settled" if self.settled else "not settled: those of the last doubling"
        return f"Exponents p_0 {self.p_0:.4g}, p_perp {self.p_perp:.4g}, {state}\nmeasured at depths {self.depths[0]} … {self.depths[-1]}"

    def table(self) -> Table:
        """How the exponents drift with depth."""
        from .._report.table import exponents_table

        return exponents_table(self)


def constant_exponents() -> Exponents:
    """The exponents of a K that does not change with depth."""
    depths = 2 ** np.arange(1, _DOUBLINGS + 1)
    return Exponents(depths, np.zeros(_DOUBLINGS), np.zeros(_DOUBLINGS), 0.0, 0.0, True)


def measured_exponents(averages: Callable[[float], SingleInput], C_W: float, K: float) -> Exponents:
    """The exponents of the flow K' = C_W g(K) that starts at K in layer 1."""
    log_K, log_product = [np.log(K)], [0.0]
    product = 0.0
    for ell in range(1, 2**_DOUBLINGS):
        of_layer = averages(K)
        product += float(np.log(C_W * of_layer.slope_squared))
        K = C_W * float(of_layer.g)
        if (ell + 1) & ell == 0:  # a power of two
            log_K.append(np.log(K))
            log_product.append(product)
    slopes_0, slopes_perp = -local_powers(log_K), -local_powers(log_product)
    limits = [extrapolated(slopes) for slopes in (slopes_0, slopes_perp)]
    settled = all(drift < max(_SETTLED * limit, 1e-6) for limit, drift in limits)
    p_0, p_perp = (
        limit if settled else float(slopes[-1])
        for (limit, _), slopes in zip(limits, (slopes_0, slopes_perp), strict=True)
    )
    return Exponents(2 ** np.arange(1, _DOUBLINGS + 1), slopes_0, slopes_perp, p_0, p_perp, settled)


def local_powers(logarithms) -> np.ndarray:
    """d ln T / d ln ℓ between successive doublings of ℓ, (m,), from ln T at each, (m + 1,)."""
    return np.diff(logarithms) / np.log(2)


def extrapolated(powers: np.ndarray) -> tuple[float, float]:
    """What local powers (m,), m ≥ 3, tend to, their part of order 1/ℓ taken off; and by how much the last doubling has changed it."""
    limits = 2 * powers[1:] - powers[:-1]
    return float(limits[-1]), float(abs(limits[-1] - limits[-2]))
