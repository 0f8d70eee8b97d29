"""A comparison in a report: prediction against measurement, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ..._comparison.comparison import FALSE_ALARM
from ..describe import components, evenly
from ..table import comparison_table
from .document import write
from .parts import Section, Verdict, of_terminal
from .pictures import Chart, Choice, Series
from .provenance import Provenance, selection

if TYPE_CHECKING:
    from ..._comparison.comparison import Comparison, Difference

_MOST_POINTS = 150  # of a tensor and layer
_OF_SAMPLING = "by sampling and integration"


def report(
    comparison: Comparison, path: str | PathLike, files: Sequence[str] = (), X: np.ndarray | None = None, inputs: bool = True
) -> None:  # fmt: skip
    """Write a comparison's report, with the inputs X where they are known; raises as `write`."""
    chosen = selection(comparison.components)
    calls = [
        f"flow = ntkflow.flow(network, X, {chosen})",
        f"ensemble = ntkflow.ensemble(network, X, {comparison.draws}, components={chosen})  # with a seed of yours",
        'ntkflow.compare(flow, ensemble).report("again.html")',
    ]
    shape = f"{comparison.samples} samples of {comparison.mlp.widths[0]} numbers"
    file = " and ".join(files) or None
    write(
        path,
        [section(comparison)],
        Provenance(comparison.mlp, calls, X, inputs, file, shape=shape),
        _OF_SAMPLING,
    )


def section(comparison: Comparison) -> Section:
    """The verdict, the components against one another, and the table."""
    heading = "Theory and sampling agree" if comparison.agrees else "Theory and sampling differ"
    verdict = Verdict(heading, [comparison.words], "good" if comparison.agrees else "bad")
    of = f"{comparison.draws} networks, {comparison.samples} samples, {components(comparison.components)}"
    return Section(
        f"Comparison with {of}", verdict, (), _pictures(comparison), [of_terminal(comparison_table(comparison), "By layer and tensor")],
    )  # fmt: skip


def _pictures(comparison: Comparison) -> list[Choice]:
    names = list(dict.fromkeys(difference.name for difference in comparison))
    of = {name: [difference for difference in comparison if difference.name == name] for name in names}
    caption = (
        "Bars are the standard error of the measurement and the error of the prediction together. "
        f"Of many components {_MOST_POINTS} of every size are shown."
    )
    threshold = max(difference.threshold for difference in comparison)
    agreement = [
        Chart(f"{name}", "", "predicted", "measured", [_agreement(d) for d in of[name]], whole=False, from_zero=False, points_only=True, diagonal=True)
        for name in names
    ]  # fmt: skip
    residuals = [
        Chart(f"{name}", "", "layer", "difference / error", [_residuals(d) for d in of[name]], from_zero=False, points_only=True)
        for name in names
    ]  # fmt: skip
    return [
        Choice("Measured against predicted", caption, "Tensor", agreement),
        Choice(
            "Differences in units of their errors",
            f"Noise alone exceeds ±{threshold:.3g} anywhere in the comparison with probability {FALSE_ALARM:g}.",
            "Tensor",
            residuals,
        ),
    ]


def _chosen(difference: Difference) -> np.ndarray:
    """Some of the components, from the least to the largest predicted one."""
    predicted = np.ravel(difference.predicted)
    known = np.flatnonzero(np.isfinite(predicted) & np.isfinite(np.ravel(difference.error)))
    return known[np.argsort(predicted[known])][evenly(len(known), _MOST_POINTS)] if len(known) else known


def _names(difference: Difference, chosen: np.ndarray) -> list[str]:
    places = np.transpose(np.unravel_index(chosen, difference.predicted.shape))
    return [f"component {tuple(place)}" for place in places.tolist()]


def _agreement(difference: Difference) -> Series:
    chosen = _chosen(difference)
    predicted, measured, error = (
        np.ravel(a)[chosen] for a in (difference.predicted, difference.measured, difference.error)
    )
    return Series(f"layer {difference.layer}", predicted, measured, error, names=_names(difference, chosen))


def _residuals(difference: Difference) -> Series:
    chosen = _chosen(difference)
    # Components of a layer stand side by side, in the order of their sizes.
    place = difference.layer + (np.arange(len(chosen)) + 0.5) / max(1, len(chosen)) * 0.8 - 0.4
    return Series(
        f"layer {difference.layer}", place, np.ravel(difference.z)[chosen], names=_names(difference, chosen)
    )
