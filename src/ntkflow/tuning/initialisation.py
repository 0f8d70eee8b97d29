"""C_b and C_W of every layer of a network: critical, on the user's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import ActivationError, DataError
from ..network.mlp import MLP
from .criticality import Criticality, critical_points
from .single_input import single_input

_FAR = 4.0  # a factor between K and K* beyond which depth tells


class Initialisation(NamedTuple):
    """A network with critical C_b and C_W, and what to know of them, in sentences."""

    mlp: MLP
    notes: tuple[str, ...]


def critical_initialisation(
    mlp: MLP, X: np.ndarray, samples: np.ndarray, output_variance: float
) -> Initialisation:
    """The network with critical C_b and C_W, PDLT chapter 5.

    The first layer sets the inputs' mean K to K*; to 1 where any K will do or K* = 0. A layer's C_W makes χ_∥ = χ_⊥ = 1 for the activation
    below it, and its C_b sets K to the K* of the activation above it. The last layer's are multiplied by one factor, which makes the outputs'
    mean variance `output_variance`.

    Args:
        X: (N, n_0), which set C_W of the first layer.
        samples: some of them, which set the last layer's.

    Raises:
        ActivationError: an activation has no critical point.
        DataError: all inputs are zero, or no output would vary.
    """
    with np.errstate(over="ignore", under="ignore"):
        square, of_samples = (np.einsum("an,an->a", x, x) / x.shape[1] for x in (X, samples))
    if not X.any():
        raise DataError("all inputs are zero: no C_W of the first layer gives them a signal")
    if not 1e-100 < square.mean() < 1e100:
        raise DataError(f"the mean square of X's entries is {square.mean():.1g}: scale X to about 1")
    points = critical_points(mlp.activation)
    for layer, point in enumerate(points, start=1):
        if point.kind == "none":
            raise ActivationError(f"hidden layer {layer}: {point.words}")
    target, bias = _first(points)
    C_b, C_W = [bias], [(target - bias) / square.mean()]
    K = C_b[0] + C_W[0] * square
    notes = _about_range(points, K)
    K = C_b[0] + C_W[0] * of_samples
    for layer, point in enumerate(points, start=2):
        assert point.C_W is not None and point.C_b is not None
        fed = point.C_W * single_input(point.activation, K).g
        if layer == mlp.depth:
            bias = point.C_b
        else:
            bias, note = _bias(point, points[layer - 1], float(fed.mean()), layer)
            notes += note
        C_b.append(bias)
        C_W.append(point.C_W)
        K = bias + fed
    if not K.mean() > 0:
        raise DataError("the outputs do not vary over seeds: no signal reaches them")
    factor = output_variance / float(K.mean())
    C_b[-1], C_W[-1] = factor * C_b[-1], factor * C_W[-1]
    return Initialisation(mlp.replace(C_b=C_b, C_W=C_W), tuple(notes))


def _first(points: Sequence[Criticality]) -> tuple[float, float]:
    """K of the first layer, and its C_b: K* of the first activation that has one, if all before it pass any K on."""
    bias = points[0].C_b if points and points[0].kind == "half-stable" else 0.0
    for point in points:
        if point.kind == "half-stable":
            return float(point.K_star or 0.0), float(bias or 0.0)
        if point.kind != "scale-invariant":
            break
    return 1.0, 0.0


def _bias(below: Criticality, above: Criticality, fed: float, layer: int) -> tuple[float, list[str]]:
    """C_b of a hidden layer between two activations, fed being C_W g(K) of the one below."""
    if above.kind != "half-stable":
        return 0.0, []
    if above.activation == below.activation:
        return float(below.C_b or 0.0), []
    K_star = float(above.K_star or 0.0)
    if fed <= K_star:
        return K_star - fed, []
    return 0.0, [
        f"layer {layer}: K is {fed:.4g}, above K* = {K_star:.4g} of its activation {above.activation.name}, and no C_b >= 0 lowers it"
    ]


def _about_range(points: Sequence[Criticality], K: np.ndarray) -> list[str]:
    """Whether inputs of very different lengths are far from a K* that only one length can have."""
    K_star = next((point.K_star for point in points if point.kind == "half-stable"), None)
    if K_star is None or K_star / _FAR <= K.min() and K.max() <= K_star * _FAR:
        return []
    reach = f"K of layer 1 runs from {K.min():.3g} to {K.max():.3g} and is to be K* = {K_star:.4g}"
    return [f"the inputs differ in length: {reach}; scale each input to the same length"]
