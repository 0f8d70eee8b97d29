"""The distribution of a layer's preactivations as a quartic action, PDLT (4.80)-(4.82)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._report import describe
from .._report.describe import InNotebooks
from .._theory.statistics import LayerStatistics
from ..errors import ComponentError, DataError
from .entries import components

if TYPE_CHECKING:
    from rich.table import Table

_SINGULAR = 1e-12


@dataclass(frozen=True, eq=False)
class QuarticAction(InNotebooks):
    """p(z) ∝ exp(-S), S = ½ Σ_i g^12 z_{i;1} z_{i;2} - ⅛ Σ_{i1 i2} v^(12)(34) z_{i1;1} z_{i1;2} z_{i2;3} z_{i2;4}, to order 1/n.

    Attributes:
        g: (k, k), the quadratic coupling, PDLT (4.81), with the metric's own 1/n correction.
        v: (k, k, k, k), the quartic coupling V^(12)(34) / n_{ℓ-1}, indices raised by the inverse metric, PDLT (4.82).
        neurons: how many neurons z holds; g depends on it.
        metric: (k, k), the infinite-width metric.
        constant: what log p(z) is at z = 0.
        layer, samples: the layer's statistics, and on which samples z is.
    """

    g: np.ndarray
    v: np.ndarray
    neurons: int
    metric: np.ndarray
    constant: float
    layer: LayerStatistics
    samples: np.ndarray

    def __repr__(self) -> str:
        layer = self.layer
        return (
            f"QuarticAction of {describe.counted(self.neurons, 'neuron')} in layer {layer.layer} of {layer.mlp.depth} on "
            f"{len(self.samples)} of {len(layer.X)} samples, to order 1/n, n = {layer.fan_in}\n{layer.mlp!r}\n"
            f"g {self.g.shape} up to {np.abs(self.g).max():.4g}, v {self.v.shape} up to {np.abs(self.v).max():.4g}"
        )

    def table(self) -> Table:
        """Metric and couplings of some of the samples."""
        from .report import action_table

        return action_table(self)

    def __call__(self, z) -> np.ndarray:
        """S(z) of z (…, neurons, k)."""
        T = self._products(z)
        return np.tensordot(T, self.g, 2) / 2 - np.einsum("...ab,abcd,...cd->...", T, self.v, T) / 8

    def log_density(self, z) -> np.ndarray:
        """log p(z), normalised to order 1/n, of z (…, neurons, k)."""
        return self.constant - self(z)

    def relative_density(self, z) -> np.ndarray:
        """The truncated expansion p(z) / p_G(z) = 1 + O(1/n), of z (…, neurons, k); where it is negative, it is no density."""
        T = self._products(z)
        gaussian = (
            _gaussian_constant(self.metric, self.neurons) - np.tensordot(T, np.linalg.inv(self.metric), 2) / 2
        )
        return 1 + self.log_density(z) - gaussian

    def _products(self, z) -> np.ndarray:
        """Σ_i z_{i;1} z_{i;2}, (…, k, k)."""
        z = np.asarray(z, float)
        if z.shape[-2:] != (self.neurons, len(self.metric)):
            raise DataError(f"z must have shape (…, {self.neurons}, {len(self.metric)}), not {z.shape}")
        return np.einsum("...ia,...ib->...ab", z, z)


def _gaussian_constant(G: np.ndarray, neurons: int) -> float:
    return -neurons / 2 * (len(G) * np.log(2 * np.pi) + float(np.linalg.slogdet(G)[1]))


def quartic_action(layer: LayerStatistics, neurons: int, samples: np.ndarray) -> QuarticAction:
    """The action of some neurons on some samples.

    Raises:
        ComponentError: the metric is singular there, or tensors are not held.
    """
    n, axes = layer.fan_in, np.ix_(*[samples] * 4)
    G, G1 = (components(layer, name, True, *np.ix_(samples, samples)) for name in ("G", "G1"))
    scale = np.sqrt(np.diag(G))
    if np.any(scale == 0) or np.linalg.eigvalsh(G / np.outer(scale, scale))[0] < _SINGULAR * len(G):
        raise ComponentError(
            f"layer {layer.layer} has no action on samples {samples.tolist()}: their metric is singular"
        )
    raised = np.linalg.inv(G)
    V = components(layer, "V", True, *axes)
    V_up = np.einsum("abcd,ae,bf,cg,dh->efgh", V, raised, raised, raised, raised, optimize=True)
    inner, crossed = np.einsum("abcd,cd->ab", V_up, G), np.einsum("acbd,cd->ab", V_up, G)
    g = raised + (-raised @ G1 @ raised + neurons / 2 * inner + crossed) / n
    first = (
        -neurons / 2 * np.sum(raised * G1)
        + (neurons**2 * np.sum(inner * G) + 2 * neurons * np.sum(crossed * G)) / 8
    )
    return QuarticAction(
        g, V_up / n, neurons, G, _gaussian_constant(G, neurons) + float(first) / n, layer, samples
    )
