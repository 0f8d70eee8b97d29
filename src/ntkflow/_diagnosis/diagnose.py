"""`diagnose`: will this network train on these inputs, and if not, why and what to do."""

from __future__ import annotations

import dataclasses
import functools
import json
import warnings
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks.inputs import checked_inputs
from .._report.page import Page
from ..errors import DataError, warn
from ..finite.parameters import whole_number
from ..network import as_network
from ..network.mlp import MLP
from ..network.network import Network
from ..version import __version__
from .measurements import Measurements, measure
from .report import report
from .silent_inputs import about_silent
from .verdict import Verdict, judge

if TYPE_CHECKING:
    import xarray as xr

_DIMENSIONS = {
    "eigenvalues": "eigenvalue", "extreme_eigenvalues": "extreme", "eigenvalue_shift": "extreme", "eigenvalue_std": "extreme",
    "samples": "sample", "fluctuating": "fluctuating_sample",
}  # fmt: skip
"""Dimensions of the arrays that are not by layer."""


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Page):
    """The result of `diagnose` for a network on its inputs; printed, it is a page of text.

    Attributes:
        mlp: the network.
        inputs: how many inputs were given.
        measurements: the numbers.
        notes: what reading the network's weights warned of, such as that it is trained; and which inputs are all zeros.
        X: the inputs that were looked at, (samples, n_0).
    """

    mlp: MLP | Network
    inputs: int
    measurements: Measurements
    notes: tuple[str, ...] = ()
    X: np.ndarray | None = None

    @functools.cached_property
    def verdict(self) -> Verdict:
        """Cause, words, advice and remarks, one by one."""
        verdict = judge(self.mlp, self.measurements)
        return verdict._replace(remarks=[*verdict.remarks, *(f"Note: {note}." for note in self.notes)])

    @property
    def trainable(self) -> bool:
        """Whether gradient descent will find its way from this initialisation."""
        return self.verdict.trainable

    @property
    def words(self) -> str:
        """The verdict, what to do, and what else to know, in plain sentences."""
        return " ".join([self.verdict.words, *self.verdict.advice, *self.verdict.remarks])

    def report(self, path: str | PathLike | None = None, *, inputs: bool = True) -> str:
        """One page: the words, and the numbers they rest on.

        Args:
            path: of an HTML file to write as well, ending in .html: the same with pictures, in one file that needs no network. What is there is replaced.
            inputs: whether that file carries the inputs that were looked at.

        Raises:
            FileError: the file can't be written.
            MissingExtraError: jinja2 is not installed, which the file takes.

        Example:
            >>> diagnosis.report("diagnosis.html", inputs=False)
        """
        if path is not None:
            from .._report.html import diagnoses

            diagnoses.report(self, path, inputs)
        return report(self)

    def to_xarray(self) -> xr.Dataset:
        """Every number, by `layer` where it is one of a layer; names as of `Measurements`."""
        import xarray as xr

        data = {}
        for field in dataclasses.fields(self.measurements):
            value = getattr(self.measurements, field.name)
            if isinstance(value, np.ndarray):
                data[field.name] = (_DIMENSIONS.get(field.name, "layer"), value)
            else:
                data[field.name] = np.nan if value is None else value
        layers = np.arange(1, len(self.measurements.metric) + 1)
        attributes = {
            "mlp": json.dumps(self.mlp.to_spec()),
            "trainable": int(self.trainable),
            "cause": self.verdict.cause,
            "words": self.words,
            "ntkflow_version": __version__,
        }
        return xr.Dataset(data, {"layer": layers, "extreme": ["least", "largest"]}, attributes)

    def plot(self, path: str | PathLike | None = None):
        """The picture of the diagnosis, a matplotlib Figure; written to `path` too, replacing what is there.

        Raises:
            FileError: it cannot be written.
        """
        from .picture import draw

        return draw(self, path)


def diagnose(network: Any, X, seed: int = 0, optimizer: Any = None) -> Diagnosis:
    """Whether a network will train on inputs X from its initialisation; if not, why, and what to do.

    The verdict rests on the theory alone; nothing is sampled or trained. It was calibrated on networks that were trained by plain
    gradient descent on digits: for other optimisers and for losses on another scale it is a good guess. Of networks with skips and norms
    the limits are those of MLPs, and the spread over seeds is the leading order in 1/n, without an error.

    Args:
        network: an MLP or a Network, a torch `nn.Module`, or another model that `as_network` takes.
        X: (N, n_0) finite inputs. Above 200 a random sample of them is taken; what varies over seeds is found on 12.
        seed: of those samples, and of what is integrated by sampling.
        optimizer: as of `as_network`.

    Returns:
        A Diagnosis: `trainable`, `words`, `report()`, `to_xarray()`, `plot()`.

    Raises:
        DataError, SpecError, InteropError, ActivationError: see their descriptions.

    Example:
        >>> ntkflow.diagnose(model, X_train).trainable
        False
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mlp = as_network(network, optimizer)
    notes = tuple(str(warning.message) for warning in caught)
    for note in notes:
        warn(note)
    X = checked_inputs(mlp, X)
    seed = whole_number(seed, "seed", 0, 2**63 - 1, DataError)
    measurements = measure(mlp, X, seed)
    return Diagnosis(mlp, len(X), measurements, (*notes, *about_silent(mlp, X)), X[measurements.samples])
