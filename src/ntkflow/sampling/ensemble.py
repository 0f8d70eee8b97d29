"""Ensemble: the tensors measured on sampled networks, with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._recursions import TENSORS
from .._report import describe
from .._theory.deferred import Tables
from .._theory.result import Layered
from .._theory.scales import KERNELS
from .._theory.statistics import LayerStatistics
from ..errors import ComponentError
from ..network.dense import OfInputs
from ..network.mlp import MLP
from ..network.network import fan_in, has_blocks
from .estimators import Sums, estimates, measured_tensors

if TYPE_CHECKING:
    from os import PathLike

    from rich.table import Table

    from .._report.picture import Picture


class LayerEstimates(LayerStatistics):
    """One layer's statistics as measured on sampled networks: LayerStatistics with standard errors as errors.

    `G` and `H` are the means at the real width, what a flow has as G + G1 / n_{ℓ-1} and H + H1 / n_{ℓ-1}: there is no G1 or
    H1. `zH` (N, N, N), axes α1, α3, α4, is E[z_{i;1} ΔĤ_{ii;34}], which must vanish, PDLT (8.35), but in a stream with skips. Where "all" components were
    not asked for, it has the sets in front, and G and H are NaN on pairs that are in no set.
    """

    ELSEWHERE: ClassVar = (
        "is not held by this ensemble: G1 and H1 are parts of G and H, tensors need components"
    )

    @property
    def zH(self) -> np.ndarray:
        """E[z_{i;1} ΔĤ_{ii;34}], (N, N, N) or (S, k, k, k), axes α1, α3, α4."""
        return self["zH"]

    @property
    def names(self) -> tuple[str, ...]:
        return (*KERNELS, *measured_tensors(training=True, streams=True), "zH")

    def ntk_mean(self) -> np.ndarray:
        """The mean NTK at the real width, (N, N)."""
        return self.H

    def truncation(self, name: str, order: int | None = None) -> np.ndarray:
        """ComponentError: nothing is expanded in 1/n."""
        raise ComponentError(
            f"what is measured on networks has no truncation error; there is error({name!r})"
        )

    def _sampled_variances(self, v: np.ndarray) -> np.ndarray:
        raise ComponentError('eigenvalue_std of an ensemble needs every component: ask for components="all"')

    def _resums(self, order: int | None) -> bool:
        """Measured variances are those of the real width."""
        return False


@dataclass(frozen=True, eq=False)
class Ensemble(Layered[LayerEstimates]):
    """Each layer's statistics, measured on `draws` networks of `seed`: `ensemble[1]` … `ensemble[L]`, `ensemble[-1]` the last."""

    mlp: MLP
    X: np.ndarray
    components: str | list
    layers: list[LayerEstimates]
    draws: int
    seed: int
    estimators: str

    def __repr__(self) -> str:
        return describe.ensemble(self)

    def table(self) -> Table:
        """The table that `ntkflow show` prints."""
        from .._report.table import ensemble_table

        return ensemble_table(self)

    def plot(self, path: str | PathLike | None = None) -> Picture:
        """Mean and spread of the NTK by layer, which notebooks show; written to `path` if there is one, replacing what is there."""
        from .._report.plot import plot_ensemble

        return plot_ensemble(self, path)

    @property
    def attributes(self) -> dict[str, Any]:
        """The whole specification, draws, seed and estimators."""
        return super().attributes | {
            "draws": self.draws,
            "seed": self.seed,
            "estimators": self.estimators,
        }

    @classmethod
    def load(cls, path, activation=None) -> Ensemble:
        """Read a store of `ensemble`, also an unfinished one: the blocks that are done, from the first up to a gap.

        Raises:
            FileError: it is missing, damaged, no ensemble, or holds no more than one network.
        """
        from .runner import load

        return load(path, activation)


def assembled(
    mlp: MLP, X: np.ndarray, sets: np.ndarray, components: str | list, estimators: str, sums: list[Sums],
    reference: np.ndarray, draws: int, training: bool,
) -> list[LayerEstimates]:  # fmt: skip
    """Every layer's estimates from the sums over `draws` ≥ 2 networks; arguments as of `block_sums`."""
    N, k = len(X), sets.shape[1]
    with_tensors, streams = components != "mean", has_blocks(mlp)
    layers = []
    for ell in range(1, mlp.depth + 1):
        if estimators == "low-noise" and ell == 1:
            values = _first_layer(mlp, X, sets, measured_tensors(training, streams) if with_tensors else None)
            errors = {name: np.zeros_like(value) for name, value in values.items()}
        else:
            layer_sums = sums[ell - 1 - (estimators == "low-noise")]
            values, errors = estimates(
                layer_sums, reference[:, ell - 1], draws, fan_in(mlp, ell), k, training, streams
            )
        values, errors = (_on_inputs(table, sets, N, components == "all") for table in (values, errors))
        tensor_sets = sets if with_tensors else None
        tables = Tables(values), Tables(errors)
        layers.append(LayerEstimates(mlp, X, ell, tensor_sets, *tables))
    return layers


def _first_layer(
    mlp: MLP, X: np.ndarray, sets: np.ndarray, tensors: tuple[str, ...] | None
) -> dict[str, np.ndarray]:
    """Layer 1 with its weights integrated out: exact, PDLT (8.21), (8.23)."""
    product = (X @ X.T / mlp.widths[0])[sets[:, :, None], sets[:, None, :]]
    G, H = mlp.layers[0].means(OfInputs(product), 0.0, 0.0)
    values = {"G": G, "H": H}
    if tensors is not None:
        S, k = sets.shape
        values |= {name: np.zeros((S, *[k] * TENSORS[name].rank)) for name in tensors}
        values["zH"] = np.zeros((S, k, k, k))
    return values


def _on_inputs(values: dict[str, np.ndarray], sets: np.ndarray, N: int, whole: bool) -> dict[str, np.ndarray]:
    """G and H from sets to (N, N); the others without the sets' axis if the one set is the `whole`."""
    on_inputs = {}
    for name, value in values.items():
        if name in ("G", "H"):
            on_inputs[name] = np.full((N, N), np.nan)
            on_inputs[name][sets[:, :, None], sets[:, None, :]] = value
        else:
            on_inputs[name] = value[0] if whole else value
    return on_inputs


def relative_errors(layers: list[LayerEstimates], names: tuple[str, ...]) -> dict[str, float]:
    """The largest relative error of each tensor over layers; NaN if it vanishes in all."""
    return {
        name: max(
            (s.relative_error(name) for s in layers if np.any(np.abs(s[name]) > 0)),
            default=np.nan,
        )
        for name in names
    }
