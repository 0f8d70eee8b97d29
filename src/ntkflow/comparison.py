"""A flow against an ensemble: prediction, measurement and what the difference means, tensor by tensor and layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .errors import ComponentError, DataError
from .flow_result import Flow
from .sampling import Ensemble, LayerEstimates
from .statistics import TENSORS, LayerStatistics

FALSE_ALARM = 1e-3
"""Of the whole comparison or verification, if theory and sampling agree."""
_PER_LAYER = 5.0  # A of layer 4 is off by 4.7 / n on THEORY's inputs


@dataclass(frozen=True, eq=False)
class Difference:
    """One tensor of one layer; arrays have the tensor's shape, G and H with their 1/n corrections."""

    layer: int
    name: str
    predicted: np.ndarray
    measured: np.ndarray
    error: np.ndarray
    """Standard error of the measurement and error estimate of the prediction, together."""
    allowed: float
    """What the neglected order may amount to, in units of the largest predicted component: a rule of thumb."""
    threshold: float
    """The z-score that noise alone exceeds anywhere in the comparison with probability 1e-3."""

    @property
    def scale(self) -> float:
        """The largest predicted component."""
        return float(np.nanmax(np.abs(self.predicted)))

    @property
    def z(self) -> np.ndarray:
        """(measured - predicted) / error."""
        return z_scores(self.measured - self.predicted, self.error, self.scale)

    @property
    def relative(self) -> float:
        """The largest difference relative to the largest component; 0 where both vanish."""
        worst = float(np.nanmax(np.abs(self.measured - self.predicted)))
        return worst / self.scale if self.scale else float(worst > 0)

    @property
    def verdict(self) -> str:
        """ "noise": within noise; "1/n": within noise and the expected next order; "differs"."""
        if np.nanmax(np.abs(self.z)) <= self.threshold:
            return "noise"
        beyond = np.abs(self.measured - self.predicted) - self.threshold * self.error
        return "1/n" if np.nanmax(beyond) <= self.allowed * self.scale else "differs"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every tensor that flow and ensemble both hold."""

    differences: list[Difference]
    draws: int

    def __iter__(self):
        return iter(self.differences)

    @property
    def agrees(self) -> bool:
        """Whether no tensor differs by more than noise and the expected next order in 1/n."""
        return all(d.verdict != "differs" for d in self)

    @property
    def words(self) -> str:
        """The outcome in a sentence."""
        differing = [f"{d.name} of layer {d.layer}" for d in self if d.verdict == "differs"]
        beyond = [f"{d.name} of layer {d.layer}" for d in self if d.verdict == "1/n"]
        if differing:
            return f"They differ, by more than noise and the expected O(1/n): {', '.join(differing)}."
        if beyond:
            return (
                "They agree within noise and the O(1/n) that the theory leaves out, which these need: "
                f"{', '.join(beyond)}. `verify` tests whether it is O(1/n)."
            )
        return "They agree within noise."


def compare(flow: Flow, ensemble: Ensemble) -> Comparison:
    """Compare predictions with measurements of the same network on the same inputs.

    The expected next order is taken as 5 (ℓ-2) / n of a tensor's largest component, n the smallest width below layer ℓ, and
    its square for the means, whose 1/n corrections are predicted; layers 1 and 2 are exact.

    Raises:
        DataError: networks or inputs are not the same.
        ComponentError: their tensors are on different sets of samples.
    """
    _check_kinds(flow, ensemble)
    ours, theirs = flow.mlp.to_spec(), ensemble.mlp.to_spec()
    other = [f"{key} are {ours[key]} and {theirs[key]}" for key in ours if ours[key] != theirs[key]]
    if other:
        raise DataError(f"the flow and the ensemble are of different networks: their {'; '.join(other)}")
    if flow.X.shape != ensemble.X.shape or not np.array_equal(flow.X, ensemble.X):
        raise DataError("the flow and the ensemble are of different inputs")
    names = ("G", "H")
    if "mean" not in (flow.components, ensemble.components):
        if flow.components != ensemble.components:
            raise ComponentError("the flow and the ensemble hold tensors on different sets of samples")
        names = ("G", "H", *TENSORS)
    found = []
    for predicted, measured in zip(flow, ensemble, strict=True):
        n = min(flow.mlp.widths[1 : predicted.layer], default=1)
        next_order = _PER_LAYER * max(predicted.layer - 2, 0) / n
        for name in names:
            values, errors = mean_or_tensor(predicted, name)
            if np.all(np.isnan(measured.values[name])):
                continue
            found.append((predicted.layer, name, values, errors, measured, next_order))
    threshold = joint_threshold(sum(row[2].size for row in found))
    differences = [
        Difference(
            layer, name, values, measured.values[name], np.hypot(errors, measured.error(name)),
            next_order**2 if name in ("G", "H") else next_order, threshold,
        )
        for layer, name, values, errors, measured, next_order in found
    ]  # fmt: skip
    return Comparison(differences, ensemble.draws)


def _check_kinds(flow, ensemble) -> None:
    if isinstance(flow, Ensemble) and isinstance(ensemble, Flow):
        raise DataError("the flow comes first, the ensemble second: compare(flow, ensemble)")
    for name, value, kind in (("flow", flow, Flow), ("ensemble", ensemble, Ensemble)):
        if not isinstance(value, kind):
            raise DataError(f"{name} must be of the type {kind.__name__}, not {type(value).__name__}")


def mean_or_tensor(layer: LayerStatistics | LayerEstimates, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A predicted tensor and its error; of G and H with the 1/n correction, if the flow holds it."""
    if name in ("G", "H") and name + "1" in layer.values:
        correction = np.nan_to_num(getattr(layer, name + "1")) / layer.fan_in
        error = np.nan_to_num(layer.error(name + "1")) / layer.fan_in
        return getattr(layer, name) + correction, layer.error(name) + error
    return getattr(layer, name), layer.error(name)


def z_scores(difference: np.ndarray, error: np.ndarray, scale: float) -> np.ndarray:
    """difference / error, with round-off of numbers of size `scale` as the least error."""
    return difference / np.hypot(error, 1e-9 * scale or 1e-300)


def joint_threshold(tests: int) -> float:
    """The z-score that none of `tests` normal numbers exceeds, in either direction, but with probability 1e-3."""
    return -NormalDist().inv_cdf(FALSE_ALARM / (2 * max(tests, 1)))
