"""A flow against an ensemble: prediction, measurement and a verdict on their difference, by tensor and layer."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from .._recursions import TENSORS
from .._report import describe
from .._report.describe import InNotebooks
from .._theory.result import Flow
from .._theory.scales import KERNELS
from .._theory.statistics import LayerStatistics
from ..errors import ComponentError, DataError, warn
from ..network.blocks import Block
from ..network.mlp import MLP
from ..network.network import Network, has_blocks
from ..sampling import Ensemble, LayerEstimates
from ..sampling.estimators import measured_tensors

if TYPE_CHECKING:
    from os import PathLike

    from rich.table import Table

    from .._report.picture import Picture

_FEW_DRAWS = 100
FALSE_ALARM = 1e-3
"""The probability that a whole comparison or verification fails though theory and sampling agree."""
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
    """The size of the neglected order by a rule of thumb, in units of the largest predicted component."""
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
        """ "noise": within noise; "1/n": within noise and the expected next order; "differs"; "?": two draws don't tell the errors."""
        if np.any(np.isinf(self.error)):
            return "?"
        if np.nanmax(np.abs(self.z)) <= self.threshold:
            return "noise"
        beyond = np.abs(self.measured - self.predicted) - self.threshold * self.error
        return "1/n" if np.nanmax(beyond) <= self.allowed * self.scale else "differs"


@dataclass(frozen=True, eq=False)
class Comparison(InNotebooks):
    """Every tensor that flow and ensemble both hold."""

    differences: list[Difference]
    draws: int
    mlp: MLP
    samples: int
    """How many samples there are."""
    components: str | list
    """Those that both hold; elsewhere arrays are NaN."""

    def __repr__(self) -> str:
        layers = max((d.layer for d in self), default=0)
        names = dict.fromkeys(d.name for d in self)
        return (
            f"Comparison with {self.draws} networks of {self.mlp!r}\n"
            f"{self.samples} samples; {describe.components(self.components)}\n"
            f"layers 1 … {layers}; {', '.join(names)}\n{self.words}"
        )

    def table(self) -> Table:
        """The table that `ntkflow compare` prints."""
        from .._report.table import comparison_table

        return comparison_table(self)

    def plot(self, path: str | PathLike | None = None) -> Picture:
        """The picture of `ntkflow compare --plot`, which notebooks show; written to `path` if there is one, replacing what is there."""
        from .._report.plot import plot_comparison

        return plot_comparison(self, path)

    def report(self, path: str | PathLike) -> None:
        """Write one HTML file that needs no network: verdict, tables, measured against predicted components, and how to do it again.

        Args:
            path: ending in .html; what is there is replaced.

        Raises:
            FileError: the file can't be written.
            MissingExtraError: jinja2 is not installed.

        Example:
            >>> ntkflow.compare(flow, ensemble).report("comparison.html")
        """
        from .._report.html import comparisons

        comparisons.report(self, path)

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
        unknown = dict.fromkeys(d.name for d in self if d.verdict == "?")
        if differing:
            words = f"They differ, by more than noise and the expected O(1/n): {', '.join(differing)}."
        elif beyond:
            words = (
                "They agree within noise and the O(1/n) that the theory leaves out, which these need: "
                f"{', '.join(beyond)}. `verify` tests whether it is O(1/n)."
            )
        else:
            words = "They agree within noise."
        if unknown:
            words += f" That can't be told of {', '.join(unknown)}, whose standard errors are not known."
        return words


def warn_of_few(draws: int) -> None:
    """Warn where standard errors come from so few networks that they may be far too small."""
    if draws < _FEW_DRAWS:
        warn(
            f"{draws} networks are too few for a verdict: their standard errors are not known themselves; draw {_FEW_DRAWS} or more"
        )


def compare(flow: Flow, ensemble: Ensemble) -> Comparison:
    """Compare predictions with measurements of the same network on the same inputs.

    The expected next order is taken as 5 (ℓ-2) / n of a tensor's largest component, n the smallest width below layer ℓ, and
    its square for the means where the flow holds their 1/n corrections; layers 1 and 2 are exact. In networks of blocks layer 1 alone
    is: there it is 5 (ℓ-1) / n. Where flow and ensemble hold
    different components, those that both hold are compared.

    Raises:
        DataError: networks or inputs are not the same.
        ComponentError: they hold no component in common.
    """
    _check_kinds(flow, ensemble)
    flow_spec, ensemble_spec = flow.mlp.to_spec(), ensemble.mlp.to_spec()
    different = [
        f"{key} are {flow_spec[key]} and {ensemble_spec[key]}"
        for key in flow_spec
        if flow_spec[key] != ensemble_spec[key]
    ]
    if different:
        raise DataError(f"the flow and the ensemble are of different networks: their {'; '.join(different)}")
    if flow.X.shape != ensemble.X.shape or not np.array_equal(flow.X, ensemble.X):
        raise DataError("the flow and the ensemble are of different inputs")
    with_tensors = "mean" not in (flow.components, ensemble.components)
    training = flow.training and ensemble.training
    names = (*KERNELS, *measured_tensors(training, has_blocks(flow.mlp))) if with_tensors else KERNELS
    smaller, sets = _common(flow, ensemble) if with_tensors else ("mean", None)
    warn_of_few(ensemble.draws)
    rows = []
    for predicted, measured in zip(flow, ensemble, strict=True):
        next_order = _PER_LAYER * max(predicted.layer - exact_layers(flow.mlp), 0)
        next_order /= smallest_width(flow.mlp, predicted.layer)
        for name in names:
            tables = *mean_or_tensor(predicted, name), measured.values[name], measured.error(name)
            if sets is not None and name in TENSORS:
                tables = (
                    *(on_sets(table, predicted.sets, sets, TENSORS[name].rank) for table in tables[:2]),
                    *(on_sets(table, measured.sets, sets, TENSORS[name].rank) for table in tables[2:]),
                )
            common = np.isfinite(tables[0]) & np.isfinite(tables[2])
            if common.any():
                # A flow of means has no 1/n correction: the order left out is then the first.
                order = 2 if name + "1" in predicted.values else 1
                values = (np.where(common, table, np.nan) for table in tables)
                rows.append((predicted.layer, name, *values, next_order**order))
    if not rows:
        raise ComponentError(
            f"the flow, of {describe.components(flow.components)}, and the ensemble, of "
            f"{describe.components(ensemble.components)}, hold no component in common"
        )
    threshold = joint_threshold(sum(int(np.isfinite(row[2]).sum()) for row in rows))
    differences = [
        Difference(layer, name, values, measurements, np.hypot(errors, noise), allowed, threshold)
        for layer, name, values, errors, measurements, noise, allowed in rows
    ]
    return Comparison(differences, ensemble.draws, flow.mlp, len(flow.X), smaller)


def exact_layers(network: MLP | Network) -> int:
    """How many layers, from the first, are as predicted at any width."""
    return 1 if has_blocks(network) else 2


def smallest_width(network: MLP | Network, layer: int) -> int:
    """The neurons of the narrowest layer below a layer, those within blocks too; 1 below the first."""
    widths = list(network.widths[1:layer])
    for block, width in zip(network.layers[1:layer], network.widths[2 : layer + 1], strict=True):
        widths += block.inner_widths(width)[:-1] if isinstance(block, Block) else []
    return min(widths, default=1)


def _common(flow: Flow, ensemble: Ensemble) -> tuple[str | list, np.ndarray | None]:
    """The components, and their sets (S, k), of the result that holds fewer; no sets where both hold the same."""
    flow_sets, ensemble_sets = flow[1].sets, ensemble[1].sets
    assert flow_sets is not None and ensemble_sets is not None
    if np.array_equal(flow_sets, ensemble_sets):
        return flow.components, None
    flow_size, ensemble_size = (len(sets) * sets.shape[1] ** 4 for sets in (flow_sets, ensemble_sets))
    if flow_size <= ensemble_size:
        return flow.components, flow_sets
    return ensemble.components, ensemble_sets


def on_sets(table: np.ndarray, table_sets: np.ndarray | None, sets: np.ndarray, rank: int) -> np.ndarray:
    """A tensor's components on the samples of `sets` (S, k): (S, k, k, k, k), NaN where `table` has none.

    Args:
        table: (N, N, N, N), or (sets, k, k, k, k) on `table_sets` (sets, k); or with one axis of samples less.
        rank: axes of samples.
    """
    if table_sets is None or len(table_sets) == 1 and table.shape == (len(table_sets[0]),) * rank:
        return table[tuple(sets[(slice(None), *_axis(slot, rank))] for slot in range(rank))]
    rows: dict[int, set[int]] = {}
    for row, samples in enumerate(table_sets.tolist()):
        for sample in samples:
            rows.setdefault(sample, set()).add(row)
    out = np.full((len(sets), *[sets.shape[1]] * rank), np.nan)
    for place, samples in enumerate(sets.tolist()):
        for row in set().union(*(rows.get(sample, set()) for sample in samples)):
            row_samples = table_sets[row].tolist()
            slots = [slot for slot, sample in enumerate(samples) if sample in row_samples]
            source = [row_samples.index(samples[slot]) for slot in slots]
            out[place][np.ix_(*[slots] * rank)] = table[row][np.ix_(*[source] * rank)]
    return out


def _axis(slot: int, rank: int) -> tuple:
    """The index that puts a set's samples along one of so many axes."""
    return tuple(slice(None) if axis == slot else None for axis in range(rank))


def _check_kinds(flow, ensemble) -> None:
    if isinstance(flow, Ensemble) and isinstance(ensemble, Flow):
        raise DataError("the flow comes first, the ensemble second: compare(flow, ensemble)")
    for name, value, kind in (("flow", flow, Flow), ("ensemble", ensemble, Ensemble)):
        if not isinstance(value, kind):
            raise DataError(f"{name} must be of the type {kind.__name__}, not {type(value).__name__}")


def mean_or_tensor(layer: LayerStatistics | LayerEstimates, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A predicted tensor and its error; of G and H with the 1/n correction, if the flow holds it."""
    if name in KERNELS and name + "1" in layer.values:
        correction, error = layer[name + "1"] / layer.fan_in, layer.error(name + "1") / layer.fan_in
        return layer[name] + correction, layer.error(name) + error
    return layer[name], layer.error(name)


def z_scores(difference: np.ndarray, error: np.ndarray, scale: float) -> np.ndarray:
    """difference / error, with round-off of numbers of size `scale` as the least error."""
    return difference / np.hypot(error, 1e-9 * scale or 1e-300)


def joint_threshold(tests: int) -> float:
    """The z-score that none of `tests` normal numbers exceeds, in either direction, but with probability 1e-3."""
    return -NormalDist().inv_cdf(FALSE_ALARM / (2 * max(tests, 1)))
