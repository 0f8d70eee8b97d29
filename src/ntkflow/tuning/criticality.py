"""`critical`: the initialisation at which one input's K neither grows nor decays exponentially with depth, and says so in words."""

from __future__ import annotations

import functools
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from .._report.describe import InNotebooks
from ..activations import Activation
from ..activations import activation as activation_of
from ..errors import ActivationError
from ..network import as_mlp, is_network
from ..network.mlp import MLP
from .critical_point import CriticalPoint, FixedPoint, Kind, Side, critical_point, straight_point
from .exponents import Exponents, constant_exponents, measured_exponents
from .line_rule import line_rule
from .single_input import averages_of, single_input

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, eq=False, repr=False)
class Criticality(InNotebooks):
    """The result of `critical`: where χ_∥ = χ_⊥ = 1 at a fixed point of K' = C_b + C_W g(K), PDLT chapter 5.

    Attributes:
        activation: σ.
        point: the solution and its properties.
        shifted: the critical point of σ - σ(0), where σ has none and that has one.
    """

    activation: Activation
    point: CriticalPoint
    shifted: CriticalPoint | None = None

    @property
    def kind(self) -> Kind:
        """ "scale-invariant" (C_W serves every K), "K*=0" (K falls to 0), "half-stable" (an isolated K* > 0) or "none"."""
        return self.point.kind

    @property
    def C_b(self) -> float | None:
        """The critical C_b of every layer but the first; None for "none"."""
        return self.point.C_b

    @property
    def C_W(self) -> float | None:
        """The critical C_W of every layer but the first; None for "none"."""
        return self.point.C_W

    @property
    def K_star(self) -> float | None:
        """K*; None for "scale-invariant", where any K will do, and "none"."""
        return self.point.K_star

    @property
    def attracted(self) -> Side | None:
        """From which side of K* a single input's K flows to it: "above", "below", "both sides" or "neither side"; None without K*."""
        return self.point.attracted

    @property
    def c(self) -> float | None:
        """c in K' - K* = c (K - K*)² next to a half-stable K*; None elsewhere."""
        return self.point.c

    @property
    def other_fixed_points(self) -> tuple[FixedPoint, ...]:
        """Other K = C_b + C_W g(K) > 0 with C_b and C_W of a half-stable K*, K ascending: each with K, chi_parallel, and whether it attracts."""
        return self.point.other_fixed_points

    def chi_parallel(self, K) -> np.ndarray:
        """χ_∥ = C_W g'(K) at the critical C_W, an array like K ≥ 0: how a small change of one input's K is passed on.

        Raises:
            ActivationError: there is no critical C_W.
            DataError: as of `single_input`.
        """
        return self._critical_C_W() * single_input(self.activation, K).g_prime

    def chi_perpendicular(self, K) -> np.ndarray:
        """χ_⊥ = C_W ⟨σ'σ'⟩_K at the critical C_W, an array like K ≥ 0: how a small distance of two inputs is passed on.

        Raises:
            As `chi_parallel`.
        """
        return self._critical_C_W() * single_input(self.activation, K).slope_squared

    @functools.cached_property
    def exponents(self) -> Exponents | None:
        """How K and the product of χ_⊥ fall with depth, measured on 2048 layers of the flow; None for "none"."""
        if self.kind == "none":
            return None
        if self.kind != "K*=0":
            return constant_exponents()
        rule = line_rule(self.activation)
        return measured_exponents(
            lambda K: averages_of(rule, np.asarray(K))[0], self._critical_C_W(), float(self.point.knee or 1.0)
        )

    @property
    def p_0(self) -> float | None:
        """p_0 in K ∝ ℓ^(-p_0); 0 where K stays at K*, None for "none"."""
        return None if self.exponents is None else self.exponents.p_0

    @property
    def p_perp(self) -> float | None:
        """p_⊥ in Π χ_⊥ ∝ ℓ^(-p_⊥); 0 where K stays at K*, None for "none"."""
        return None if self.exponents is None else self.exponents.p_perp

    @property
    def words(self) -> str:
        """The outcome in plain sentences; for "none", why, and whether σ - σ(0) has a critical point."""
        name = self.activation.name
        if self.kind == "scale-invariant":
            return (
                f"{name} is scale-invariant: at C_W = {self.C_W:.10g} and C_b = 0 K stays what the first layer makes it, "
                "whatever that is."
            )
        if self.kind == "half-stable":
            return f"{name} has a half-stable critical point. {_half_stable_words(self.point)}"
        if self.kind == "none":
            return f"{name} has no critical point: {self.point.reason}. {self._shifted_words()}"
        start = (
            "" if self.point.basin == np.inf else f" from below K = {self.point.basin:.3g}, not from above"
        )
        return f"{name} is critical at K* = 0: with C_W = {self.C_W:.10g} and C_b = 0 K falls to 0{start}. {self._fall()}"

    def table(self) -> Table:
        """Susceptibilities about K*; ActivationError for "none"."""
        from .._report.table import criticality_table

        return criticality_table(self)

    def _fall(self) -> str:
        exponents = self.exponents
        assert exponents is not None
        shown = [2, 5, 8, 10]
        drift = ", ".join(
            f"{_power(exponents.slopes_0[i])} and {_power(exponents.slopes_perp[i])} at depth {exponents.depths[i]}"
            for i in shown
        )
        if exponents.settled:
            return (
                f"K falls as depth^(-p_0) and the product of chi_perpendicular as depth^(-p_perp), p_0 = {_power(exponents.p_0)}, "
                f"p_perp = {_power(exponents.p_perp)} (measured: {drift})."
            )
        return f"K falls as no power of depth, and ever more slowly (local powers p_0 and p_perp: {drift})."

    def _shifted_words(self) -> str:
        at_zero = 0.0 if self.activation.slopes is not None else line_rule(self.activation).at_zero
        if self.shifted is None:
            return "Nor has sigma - sigma(0)." if at_zero else "Choose another activation."
        sign = "-" if at_zero > 0 else "+"
        shift = f"{self.activation.name}(z) {sign} {abs(at_zero):.10g}"
        place = {"scale-invariant": "at any K", "K*=0": "at K* = 0"}.get(
            self.shifted.kind, f"at K* = {self.shifted.K_star:.10g}" if self.shifted.K_star else ""
        )
        return f"{shift} is critical {place} with C_W = {self.shifted.C_W:.10g} and C_b = {self.shifted.C_b:.10g}."

    def _critical_C_W(self) -> float:
        if self.C_W is None:
            raise ActivationError(
                f"activation {self.activation.name} has no critical C_W: {self.point.reason}"
            )
        return self.C_W

    def __repr__(self) -> str:
        numbers = [
            f"{label} = {value:.10g}"
            for label, value in (("C_W", self.C_W), ("C_b", self.C_b), ("K*", self.K_star))
            if value is not None
        ]
        if self.kind == "scale-invariant":
            numbers.append("any K")
        parameters = ", ".join(f"{name} = {value}" for name, value in self.activation.parameters)
        lines = [
            f"Criticality of {self.activation.name}{f' ({parameters})' if parameters else ''}: {self.kind}"
        ]
        if numbers:
            lines.append("  " + "   ".join(numbers))
        return "\n".join([*lines, textwrap.fill(self.words, 78, initial_indent="  ", subsequent_indent="  ")])


@overload
def critical(activation: MLP) -> tuple[Criticality, ...]: ...
@overload
def critical(activation: str | Mapping | Callable | Activation) -> Criticality: ...


def critical(
    activation: str | Mapping | Callable | Activation | MLP,
) -> Criticality | tuple[Criticality, ...]:
    """The critical initialisation of an activation, measured: `critical("gelu").C_W` is 1.983058257.

    Args:
        activation: a name, ``{"name": "leaky_relu", "slope": 0.1}``, an elementwise JAX callable, an `Activation` or a torch module.
            It may have kinks anywhere, declared or not. Or a network, as of `flow`.

    Returns:
        A `Criticality`. Its kind is "none" where no C_b ≥ 0 and C_W make both susceptibilities 1 at a fixed point that can be used.
        Of a network, one for the activation of each hidden layer 1 … L-1.

    Raises:
        ActivationError: as of `Activation`; or σ jumps, its derivative is not finite or not that of its values, or it varies too fast
            to be integrated.
        InteropError: the torch module is not supported.
    """
    if is_network(activation):
        return critical_points(as_mlp(activation).activation)
    sigma = activation_of(_lifted(activation))
    if sigma.slopes is not None:
        return Criticality(sigma, straight_point(sigma.slopes))
    rule = line_rule(sigma)
    point = critical_point(rule)
    if point.kind != "none":
        return Criticality(sigma, point)
    shifted = critical_point(rule.shifted())
    return Criticality(sigma, point, shifted if shifted.kind != "none" else None)


def critical_points(activations: Sequence[Activation]) -> tuple[Criticality, ...]:
    """The critical initialisation of each activation; of equal ones it is found once."""
    points = {sigma: critical(sigma) for sigma in dict.fromkeys(activations)}
    return tuple(points[sigma] for sigma in activations)


def _lifted(activation: Any):
    """The activation of a torch module, anything else as it is. torch is not imported for it."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(activation, torch.nn.Module):
        return activation
    from ..interop.torch import lifted

    model = torch.nn.Sequential()
    # Errors name the module by its place.
    model.add_module("before", torch.nn.Linear(1, 1))
    model.add_module("activation", activation)
    model.add_module("after", torch.nn.Linear(1, 1))
    return lifted(model).activations[0]


def _half_stable_words(point: CriticalPoint) -> str:
    sides = {
        "above": "flows to K* from above, and away from it from below",
        "below": "flows to K* from below, and away from it from above",
        "both sides": "flows to K* from both sides",
        "neither side": "flows away from K* on both sides",
    }
    words = (
        f"With C_W = {point.C_W:.10g} and C_b = {point.C_b:.10g} K stays at K* = {point.K_star:.10g}. The first layer must set it there, or "
        f"next to it: C_W of layer 1 = (K* - C_b) / mean of x.x/n_0. Nearby K {sides[point.attracted or 'neither side']}, no faster than "
        f"K' - K* = c (K - K*)^2, c = {point.c:.2e}: do not wait for it."
    )
    if point.other_fixed_points:
        words += f" The same C_W and C_b have {_fixed_point_words(point.other_fixed_points)}."
    if point.interval:
        low, high = point.interval
        words += f" The same holds for any K* between {low:.3g} and {high:.3g}, with C_W and C_b of its own."
    if point.others:
        words += f" Further half-stable points: K* = {', '.join(f'{K:.6g}' for K in point.others)}."
    return words


def _fixed_point_words(points: Sequence[FixedPoint]) -> str:
    listed = [
        f"K = {point.K:.5g}, which {'attracts' if point.attracts else 'repels'} (chi_parallel = {_next_to_one(point.chi_parallel)})"
        for point in points
    ]
    return f"{'another fixed point' if len(points) == 1 else 'other fixed points'}: {', and '.join(listed)}"


def _next_to_one(chi: float) -> str:
    """Of a χ next to 1 how far it is from it: 1 - 7.6e-07."""
    return f"{chi:.3g}" if abs(chi - 1) > 0.01 else f"1 {'-' if chi < 1 else '+'} {abs(chi - 1):.2g}"


def _power(exponent: float) -> str:
    return f"{round(exponent, 2) + 0.0:.2f}"  # not -0.00
