"""Error estimates of G and H without a second run: round-off and integration errors carried from layer to layer.

Errors are bounded relative to the samples' own kernels, |δG_αβ| ≤ ε √(G_αα G_ββ), |δH_αβ| ≤ η √(H_αα H_ββ), with one ε
and one η a layer. Price's theorem gives the derivatives of an expectation, and Cauchy–Schwarz their bounds:

    |∂⟨f1 g2⟩/∂G12| = |⟨f'1 g'2⟩| ≤ ‖f'‖ ‖g'‖,   |∂⟨f1 g2⟩/∂G11| = ½ |⟨f''1 g2⟩| ≤ ½ ‖f''‖ ‖g‖.

Where σ has a kink, ⟨σ'1σ'2⟩ holds an arcsine of the correlation, of unbounded slope: there η gains a table (N, N2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from ..._gaussian.closed_forms import closed_form
from ..._gaussian.mehler import mean_squares
from ...activations import Activation
from ...network.mlp import MLP
from .core import LINE
from .tiles import Block

_EPS = np.finfo(float).eps
_CLOSED_FORM = 16 * _EPS  # of the closed forms and of a series' summation, relative to √(⟨f²⟩⟨g²⟩)
_FEWER_NODES = 150

_mean_squares = jax.jit(mean_squares, static_argnums=(0, 2, 3, 4))


@dataclass(frozen=True)
class RelativeErrors:
    """epsilon, eta: (L,), of G and H of each layer; kinks: (L - 1,), 2 q² / (π ⟨σ'²⟩) of a kinked σ, else 0."""

    epsilon: np.ndarray
    eta: np.ndarray
    kinks: np.ndarray

    def of_kinks(
        self, layer: int, G: np.ndarray, variance: tuple[np.ndarray, np.ndarray], parallel: np.ndarray
    ) -> np.ndarray:
        """What hidden layer `layer` (from 0) adds to η, (N, N2), from its G and G_αα; nothing for parallel samples."""
        scale = np.multiply.outer(*variance)
        square = np.divide(G * G, scale, out=np.zeros_like(G), where=scale > 0)
        return np.where(parallel, 0.0, self._shift(layer, square))

    def of_kinks_at_most(self, squares: np.ndarray) -> np.ndarray:
        """The largest of `of_kinks` of each hidden layer, (L - 1,), from the largest ρ² of samples not parallel."""
        return np.array([self._shift(layer, square) for layer, square in enumerate(squares)])

    def _shift(self, layer: int, square: np.ndarray) -> np.ndarray:
        """How much errors of the correlation change ⟨σ'1σ'2⟩ / ⟨σ'²⟩ where ρ² = `square`."""
        shift = 2 * self.epsilon[layer]
        sine = np.sqrt(np.maximum(1 - square, 1e-300))
        return self.kinks[layer] * np.minimum(2 * shift / sine, 2 * np.sqrt(shift))


def relative_errors(mlp: MLP, blocks: Sequence[Block], tails: Sequence[float]) -> RelativeErrors:
    """Of every layer, from each sample's own integrals; `tails` are the integrals' errors, one a hidden layer."""
    start = _EPS * (4 + np.sqrt(mlp.widths[0]))
    epsilon, eta, kinks = [start], [start], []
    variance = (
        [np.asarray(b.layers[0].variance)[: b.stop - b.start] for b in blocks] if mlp.activation else []
    )
    v = np.concatenate(variance) if variance else np.zeros(0)
    for layer, activation in enumerate(mlp.activation):
        of_blocks = [b.mean_squares[layer] for b in blocks]
        sizes = [b.stop - b.start for b in blocks]
        Phi, dPhi = (
            np.concatenate([np.asarray(e[k])[:n] for e, n in zip(of_blocks, sizes, strict=True)])
            for k in (0, 1)
        )
        integral = tails[layer] + _CLOSED_FORM
        if activation.slopes:
            left, right = activation.slopes
            q = (right - left) / 2
            kinks.append(2 * q * q / np.pi / max((left * left + right * right) / 2, 1e-300))
            along, twice, thrice = dPhi, np.zeros_like(v), np.zeros_like(v)
            bent = 2 * q * q / np.pi * v
        else:
            kinks.append(0.0)
            squares = _squares(activation, v, LINE[1], 3)
            if closed_form(activation) is None:
                fewer = _squares(activation, v, _FEWER_NODES, 1)
                integral += float(np.max(_ratio(np.abs(fewer - squares[:2]), squares[:2])))
            along = dPhi
            twice, thrice = np.sqrt(squares[2]), np.sqrt(squares[3])
            bent = twice * np.sqrt(Phi) * v
        above = mlp.layers[layer + 1]
        next_v = above.C_b + above.C_W * Phi
        change = epsilon[-1] * (along * v + bent)
        slope = epsilon[-1] * (twice**2 * v + thrice * np.sqrt(dPhi) * v)
        epsilon.append(float(np.max(_ratio(above.C_W * (change + integral * Phi), next_v))) + 4 * _EPS)
        of_Phi = float(np.max(_ratio(change, Phi))) + integral
        of_dPhi = float(np.max(_ratio(slope, dPhi))) + integral
        eta.append(max(of_Phi, of_dPhi + eta[-1]) + 4 * _EPS)
        v = next_v
    return RelativeErrors(np.array(epsilon), np.array(eta), np.array(kinks))


def _squares(activation: Activation, v: np.ndarray, nodes: int, order: int) -> np.ndarray:
    step = 1024
    parts = [v[start : start + step] for start in range(0, len(v), step)]
    squares = [np.asarray(_mean_squares(activation, part, LINE[0], nodes, order)) for part in parts]
    return np.concatenate(squares, axis=1)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
