"""Powers of depth: how one input's kernels and fluctuations grow with depth at criticality, measured, beside the theory's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._report.describe import InNotebooks
from .._report.digits import uncertain
from .._report.page import aligned
from .._theory.flow import flow
from ..activations import Activation
from ..errors import ActivationError
from ..network.mlp import MLP
from .criticality import Criticality, critical
from .exponents import extrapolated, local_powers

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr
    from rich.table import Table

    from .._report.picture import Picture

_DOUBLINGS = 7
_THEORY = {
    "K*=0": {"G": -1, "H": 1, "V": -1, "D": 1, "F": 1, "A": 3, "B": 3},
    "scale-invariant": {"G": 0, "H": 1, "V": 1, "D": 2, "F": 2, "A": 3, "B": 3},
}
"""PDLT chapters 5, 8 and 9, with λ_b = λ_W = 1, the first for p_0 = p_⊥ = 1."""
_WIDTH = 2**30  # powers don't depend on it, and no network is too narrow
_IN_CLASS = 0.02  # of p_0 and p_⊥


@dataclass(frozen=True, eq=False, repr=False)
class DepthPowers(InNotebooks):
    """The result of `depth_powers`: d ln T / d ln ℓ of one input's G, H, V, D, F, A and B.

    Attributes:
        activation: σ.
        depths: ℓ = 4, 8, 16, …, 128, (m,).
        slopes: by the tensor's name, the power between ℓ/2 and ℓ, (m,); NaN where the tensor vanishes.
        power: what the slopes tend to.
        drift: by how much the last doubling changed that: its error.
        theory: the powers of its universality class; None for a class of which the theory lists none.
    """

    activation: Activation
    depths: np.ndarray
    slopes: dict[str, np.ndarray]
    power: dict[str, float]
    drift: dict[str, float]
    theory: dict[str, int] | None

    def __repr__(self) -> str:
        rows = [
            ["", *self.power],
            ["measured", *(uncertain(self.power[t], self.drift[t]) for t in self.power)],
        ]
        if self.theory is not None:
            rows.append(["theory", *map(str, self.theory.values())])
        title = f"Powers of depth of {self.activation.name} at criticality, lambda_b = lambda_W = 1, measured up to depth {self.depths[-1]}"
        return "\n".join([title, *aligned(rows)])

    def table(self) -> Table:
        """The powers between successive depths, what they tend to, and the theory's."""
        from .._report.table import powers_table

        return powers_table(self.to_xarray())

    def plot(self, path: str | PathLike | None = None) -> Picture:
        """The powers against depth, with the theory's as lines; written to `path` if there is one, replacing what is there.

        Raises:
            FileError: the picture can't be written.
        """
        from .sweep_picture import plot_powers

        return plot_powers(self.to_xarray(), path)

    def to_xarray(self) -> xr.Dataset:
        """`power`, `power_drift` and `power_theory` (NaN where there is none) by `tensor`, and `power_slope` by `doubled_depth` too."""
        import xarray as xr

        theory = self.theory or dict.fromkeys(self.power, np.nan)
        data = {
            "power": ("tensor", list(self.power.values()), {"long_name": "measured power of depth at criticality"}),
            "power_drift": ("tensor", list(self.drift.values()), {"long_name": "change of it by the last doubling"}),
            "power_theory": ("tensor", np.array([*theory.values()], float), {"long_name": "power of depth by theory"}),
            "power_slope": (
                ("tensor", "doubled_depth"), list(self.slopes.values()),
                {"long_name": "power of depth between half the depth and the depth"},
            ),
        }  # fmt: skip
        for _, _, attributes in data.values():
            attributes["units"] = "1"
        coords = {
            "tensor": list(self.power),
            "doubled_depth": ("doubled_depth", self.depths, {"units": "layers of weights"}),
        }
        return xr.Dataset(data, coords, {"powers_of": self.activation.name})


def depth_powers(activation: str | Mapping | Callable | Activation) -> DepthPowers:
    """Powers of depth with which one input's kernels and fluctuations grow at criticality, with λ_b = λ_W = 1.

    Measured on a flow of 128 layers with critical C_b and C_W, whose first layer sets K = K*, or K = 1 where any K will do or K* = 0. V, D, F, A
    and B are those of the flow, coefficients of 1/n, divided by nothing: of sizes G², G H, G H, H² and H². Relative to these tanh's
    and relu's all grow as ℓ.

    The theory's are those of PDLT for two universality classes: scale-invariant activations, such as relu (V 1, D 2, F 2, A 3, B 3), and K* = 0
    with p_0 = p_⊥ = 1, such as tanh (V -1, D 1, F 1, A 3, B 3). Others have none: at a half-stable K*, such as gelu's, D and A settle at no power
    before K has left K*.

    Args:
        activation: as of `critical`.

    Raises:
        ActivationError: it has no critical point, or as of `critical`.

    Example:
        >>> ntkflow.tuning.depth_powers("tanh").power["V"]
        -1.0056
    """
    point = critical(activation)
    if point.C_W is None or point.C_b is None:
        raise ActivationError(f"powers of depth: {point.words}")
    basin = point.point.basin
    K = point.K_star or (1.0 if basin is None or basin > 1 else float(point.point.knee or basin))
    depths = 2 ** np.arange(1, _DOUBLINGS + 1)
    L = int(depths[-1])
    widths = [1, *[_WIDTH] * L]
    layers = flow(MLP(widths, point.activation, point.C_b, [K - point.C_b, *[point.C_W] * (L - 1)]), [[1.0]])
    slopes, power, drift = {}, {}, {}
    for name in _THEORY["K*=0"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms = np.log([abs(layers[int(ell)][name].item()) for ell in depths])
            slopes[name] = local_powers(logarithms)
            power[name], drift[name] = extrapolated(slopes[name])
    return DepthPowers(point.activation, depths[1:], slopes, power, drift, _theory(point))


def _theory(point: Criticality) -> dict[str, int] | None:
    if point.kind == "K*=0":
        assert point.exponents is not None
        powers = (point.exponents.p_0, point.exponents.p_perp)
        if not (point.exponents.settled and np.allclose(powers, 1, rtol=0, atol=_IN_CLASS)):
            return None
    return _THEORY.get(point.kind)
