"""The numbers of a diagnosis: signal, gradient, seeds and conditioning, layer by layer."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from dataclasses import dataclass

import numpy as np

from .._theory.flow import flow
from .._theory.quadratic_forms import variances
from .._theory.statistics import LayerStatistics
from .._theory.truncation import widths_at_spread
from ..errors import NonFiniteError
from ..network.mlp import MLP
from ..network.network import Network, has_blocks
from ..tuning.spread import relative_mean, subset
from .blocks import chi_of_blocks

MOST_SAMPLES = 200  # for means, of which the kernel's N³ eigenvalues are found
_TENSOR_SAMPLES = 12  # for fluctuations: every pair of them takes a hundred integrals a layer
_RTOL = 1e-4
LARGE_SPREAD = 0.5  # of the NTK over seeds, relative to its mean
_ACCURACY = 0.05  # of the sd of eigenvalues


@dataclass(frozen=True, eq=False)
class Measurements:
    """Numbers by layer, (L,), if not said otherwise; NaN where there are none.

    Attributes:
        metric, metric_least, metric_most: G_αα, its mean and range over samples.
        correlation: mean of G_αβ / √(G_αα G_ββ) over pairs of different inputs.
        apart, apart_least: mean and least of 1 - that, accurate next to 0 too. Pairs with an input of G = 0 are left out.
        chi_parallel, chi_perpendicular: χ_∥ and χ_⊥ of the step from layer ℓ to ℓ + 1 at the mean G_αα; NaN at L.
        weight_share, bias_share: shares of the layer's weights and biases in the mean diagonal of the output's NTK.
        eigenvalues: of the output's infinite-width NTK, ascending, (N,).
        contrast: mean of the N - 1 eigenvalues of the weights' part of the output's NTK, centred over samples, relative to λ_max / N
            of the whole. One number.
        ntk_std, ntk_std_leading, ntk_std_truncation: sd of Ĥ_{ii;αα} over seeds, resummed and to leading order, and the resummed
            one's truncation error, relative to H_αα, means over the samples `fluctuating`. Of networks of blocks all is leading order, and the
            truncation error NaN.
        widths_at_half: the factor on the hidden widths at which that sd is 50 % at the output; NaN where no width has it.
        extreme_eigenvalues: λ_min and λ_max of the mean NTK of the samples `fluctuating`, at infinite width, (2,).
        eigenvalue_shift: H1/n's part in them, relative, (2,).
        eigenvalue_std: their sd over seeds, relative, (2,); NaN of networks of blocks, as the shift.
        input_square: mean square of X's entries. One number.
        overflow: the layer beyond float64, if any; layers from there on are left out.
        samples: which rows of X; fluctuating: which of these the last ones are of.
    """

    metric: np.ndarray
    metric_least: np.ndarray
    metric_most: np.ndarray
    correlation: np.ndarray
    apart: np.ndarray
    apart_least: np.ndarray
    chi_parallel: np.ndarray
    chi_perpendicular: np.ndarray
    weight_share: np.ndarray
    bias_share: np.ndarray
    eigenvalues: np.ndarray
    contrast: float
    ntk_std: np.ndarray
    ntk_std_leading: np.ndarray
    ntk_std_truncation: np.ndarray
    widths_at_half: float
    extreme_eigenvalues: np.ndarray
    eigenvalue_shift: np.ndarray
    eigenvalue_std: np.ndarray
    input_square: float
    overflow: int | None
    samples: np.ndarray
    fluctuating: np.ndarray


def measure(mlp: MLP | Network, X: np.ndarray, seed: int) -> Measurements:
    """The measurements on at most 200 of the inputs X (N, n_0), and their fluctuations on at most 12."""
    rng = np.random.default_rng(seed)
    samples = subset(len(X), MOST_SAMPLES, rng)
    X = X[samples]
    mlp, means, overflow = _means(mlp, X)
    fluctuating = subset(len(X), _TENSOR_SAMPLES, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Of streams every pair would take as many integrals as there are pairs of layers.
        components = [[i] for i in range(len(fluctuating))] if has_blocks(mlp) else "pairs"
        tensors = flow(mlp, X[fluctuating], components, rtol=_RTOL).layers if overflow is None else None
    return Measurements(
        **_signal(mlp, means),
        **_gradient(means[-1]),
        **_seeds(means, tensors, seed),
        input_square=float(np.mean(X**2)),
        overflow=overflow,
        samples=samples,
        fluctuating=fluctuating,
    )


def _means(mlp: MLP | Network, X: np.ndarray) -> tuple[MLP | Network, list[LayerStatistics], int | None]:
    """The mean flow of as many layers as float64 holds, the network of these, and the first layer that it does not hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(NonFiniteError):
            return mlp, flow(mlp, X, "mean").layers, None
        low, high = 1, mlp.depth
        while high - low > 1:
            depth = (low + high) // 2
            try:
                flow(_first_layers(mlp, depth), X, "mean")
                low = depth
            except NonFiniteError:
                high = depth
        shallow = _first_layers(mlp, low)
        return shallow, flow(shallow, X, "mean").layers, high


def _first_layers(mlp: MLP | Network, depth: int) -> MLP | Network:
    if isinstance(mlp, Network):
        return Network(mlp.widths[: depth + 1], mlp.layers[:depth])
    cut = {name: getattr(mlp, name)[:depth] for name in ("C_b", "C_W", "lambda_b", "lambda_W")}
    return dataclasses.replace(
        mlp, widths=mlp.widths[: depth + 1], activation=mlp.activation[: depth - 1], **cut
    )


def _signal(mlp: MLP | Network, layers: list[LayerStatistics]) -> dict:
    metrics = np.array([np.diag(layer.G) for layer in layers])
    apart = [_apart(layer.G) for layer in layers]
    # A dense layer is a block of one stage.
    network = mlp if isinstance(mlp, Network) else Network(mlp.widths, mlp.layers)
    chi = chi_of_blocks(network, metrics.mean(axis=1))
    mean, least = (np.array([of(row) if len(row) else np.nan for row in apart]) for of in (np.mean, np.min))
    return {
        "metric": metrics.mean(axis=1),
        "metric_least": metrics.min(axis=1),
        "metric_most": metrics.max(axis=1),
        "correlation": 1 - mean,
        "apart": mean,
        "apart_least": least,
        "chi_parallel": chi[0],
        "chi_perpendicular": chi[1],
    }


def _apart(G: np.ndarray) -> np.ndarray:
    """1 - ρ for every pair of different samples with a signal."""
    a, b = np.triu_indices(len(G), 1)
    sizes = np.sqrt(np.diag(G))
    scale = sizes[a] * sizes[b]
    return np.maximum(1 - G[a, b][scale > 0] / scale[scale > 0], 0.0)


def _gradient(last: LayerStatistics) -> dict:
    weights, biases = (
        np.array([np.mean(np.diag(part)) for part in parts])
        for parts in (last.weight_contributions, last.bias_contributions)
    )
    H = float(np.mean(np.diag(last.H)))
    eigenvalues = np.linalg.eigvalsh(last.H)
    N = len(last.H)
    of_weights = last.weight_contributions.sum(axis=0)
    centred = of_weights - of_weights.mean(axis=0) - of_weights.mean(axis=1)[:, None] + of_weights.mean()
    usable = N > 1 and eigenvalues[-1] > 0
    return {
        "weight_share": weights / H if H else 0 * weights,
        "bias_share": biases / H if H else 0 * biases,
        "eigenvalues": eigenvalues,
        "contrast": float(max(np.trace(centred), 0.0) / (N - 1) * N / eigenvalues[-1]) if usable else np.nan,
    }


def _seeds(means: list[LayerStatistics], tensors: list[LayerStatistics] | None, seed: int) -> dict:
    names = ("ntk_std", "ntk_std_leading", "ntk_std_truncation")
    if tensors is None:
        missing: dict = dict.fromkeys(names, np.full(len(means), np.nan))
        missing["widths_at_half"] = np.nan
        return missing | dict.fromkeys(
            ("extreme_eigenvalues", "eigenvalue_shift", "eigenvalue_std"), np.full(2, np.nan)
        )
    last = tensors[-1]
    if has_blocks(last.mlp):
        leading = np.array([relative_mean(s, s.ntk_std()) for s in tensors])
        nothing = np.full(2, np.nan)
        return {
            "ntk_std": leading,
            "ntk_std_leading": leading,
            "ntk_std_truncation": np.full(len(leading), np.nan),
            "widths_at_half": (leading[-1] / LARGE_SPREAD) ** 2 or np.nan,
            "extreme_eigenvalues": np.linalg.eigvalsh(last.H)[[0, -1]],
            "eigenvalue_shift": nothing,
            "eigenvalue_std": nothing,
        }
    rows = [
        tuple(relative_mean(s, x) for x in (s.ntk_std(), s.ntk_std(order=1), s.truncation("ntk_std")))
        for s in tensors
    ]
    eigenvalues, vectors = np.linalg.eigh(last.H)
    extreme, vectors = eigenvalues[[0, -1]], vectors[:, [0, -1]]
    shifts = np.einsum("ak,ab,bk->k", vectors, last.H1 / last.fan_in, vectors)
    variance = variances(last.mlp, last.X, last.layer, vectors, seed, _ACCURACY).total
    scale = np.where(extreme > 1e-12 * extreme[1], extreme, np.nan)
    return {
        **dict(zip(names, np.array(rows).T, strict=True)),
        "widths_at_half": widths_at_spread(tensors, LARGE_SPREAD),
        "extreme_eigenvalues": extreme,
        "eigenvalue_shift": shifts / scale,
        "eigenvalue_std": np.sqrt(variance) / scale,
    }
