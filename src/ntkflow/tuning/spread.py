"""How much the NTK varies over seeds, and how wide and how deep a network may be for it: relative variance (A + 2B) / (n H²)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._checks.inputs import checked_inputs
from .._theory.flow import flow
from .._theory.statistics import LayerStatistics
from .._theory.truncation import widths_at_spread
from ..errors import DataError, NonFiniteError, SpecError
from ..network import as_mlp
from ..network.mlp import MLP

SAMPLES = 12
"""Of which the sd is a mean."""
DEEPEST = 256
"""The depth at which the search for the largest one ends."""
TRAINED, FAILED = 0.5, 1.2
"""Relative sd of the NTK up to which networks trained well on digits, and above which they did not."""
RTOL = 1e-4
"""Of what is integrated: much less than what the expansion leaves open."""
_WIDTH = 128
"""At which the search for the least one begins."""


def width_for(network: Any, X, sd: float = 0.5) -> int:
    """The least width of all hidden layers at which the NTK's relative sd over seeds is `sd`, with the network's depth and hyperparameters.

    It is the sd of Ĥ_{ii;αα} / H_αα of the output, resummed, a mean over 12 of the inputs. On digits networks with an sd of up to 0.5 trained
    well, and those above 1.2 did not.

    Args:
        network: as of `flow`.
        X: (N, n_0) inputs.
        sd: relative, larger than 0.

    Returns:
        A width; 1 where any width will do, as for a network without hidden layers.

    Raises:
        DataError, SpecError, InteropError, ActivationError: see their descriptions.

    Example:
        >>> ntkflow.width_for(ntkflow.MLP((64, 32, 32, 32, 10), "relu", C_W=2.0), X, sd=0.3)
        137
    """
    mlp, X = _checked(network, X, sd)
    return least_width(one_by_one(evenly_wide(mlp, _WIDTH), X), sd)


def depth_for(network: Any, X, sd: float = 0.5) -> int:
    """The largest depth at which the NTK's relative sd over seeds is at most `sd`: more or fewer layers like the last hidden one.

    Args:
        network: as of `flow`; with two layers of weights at least. Its first and its last layer stay what they are.
        X, sd: as of `width_for`.

    Returns:
        A number of layers of weights, from 1, a network without hidden layers, up to 256, where the search ends.

    Raises:
        As `width_for`.

    Example:
        >>> ntkflow.depth_for(ntkflow.MLP((64, 128, 128, 10), "relu", C_W=2.0), X)
        12
    """
    mlp, X = _checked(network, X, sd)
    check_hidden(mlp, "depth_for")
    return largest_depth(lambda depth: with_depth(mlp, depth), mlp.depth, X, sd)


def with_depth(mlp: MLP, depth: int) -> MLP:
    """The network with `depth` ≥ 1 layers of weights, the last one as it is, hidden ones like its last hidden layer, of which it has one."""
    kept = min(depth, mlp.depth) - 1
    more = depth - 1 - kept

    def per_layer(values: tuple) -> list:
        return [*values[:kept], *[values[mlp.depth - 2]] * more, values[-1]]

    return MLP(
        [*mlp.widths[: kept + 1], *[mlp.widths[-2]] * more, mlp.widths[-1]],
        [*mlp.activation[:kept], *[mlp.activation[-1]] * more],
        *map(per_layer, (mlp.C_b, mlp.C_W, mlp.lambda_b, mlp.lambda_W)),
    )


def evenly_wide(mlp: MLP, n: int) -> MLP:
    """The network with n neurons in each hidden layer."""
    return mlp.replace(widths=(mlp.widths[0], *[n] * (mlp.depth - 1), mlp.widths[-1]))


def at_width(layers: Sequence[LayerStatistics], n: int) -> list[LayerStatistics]:
    """The statistics of the layers of an evenly wide network at hidden width n.

    Exact, without integrating again: tensors are coefficients of 1/n, and depend on ratios of hidden widths alone.
    """
    mlp = evenly_wide(layers[0].mlp, n)
    wider: list[LayerStatistics] = []
    for layer in layers:
        wider.append(dataclasses.replace(layer, mlp=mlp, below=wider[-1] if wider else None))
    return wider


def least_width(layers: Sequence[LayerStatistics], sd: float) -> int:
    """As `width_for`, from the statistics of all layers of a network."""
    mlp = layers[0].mlp
    if len(set(mlp.widths[1:-1])) > 1:
        layers = one_by_one(evenly_wide(mlp, _WIDTH), layers[0].X)
    factor = widths_at_spread(at_width(layers, _WIDTH), sd)
    return 1 if np.isnan(factor) else max(1, int(np.ceil(_WIDTH * factor)))


def largest_depth(of_depth: Callable[[int], MLP], start: int, X: np.ndarray, sd: float) -> int:
    """The largest depth up to 256 at which the sd is at most `sd`, `of_depth` being the network of that depth.

    The sd grows as the root of the depth: the next guess is where that law meets `sd`.
    """
    low, high, guess = 1, DEEPEST + 1, max(start, 2)
    while high - low > 1:
        try:
            spread = relative_sd(one_by_one(of_depth(guess), X)[-1])
        except NonFiniteError:
            spread = np.inf
        low, high = (guess, high) if spread <= sd else (low, guess)
        law = guess * (sd / spread) ** 2 if spread > 0 else DEEPEST
        guess = int(np.clip(law, low + 1, max(high - 1, low + 1)))
    return low


def one_by_one(mlp: MLP, X: np.ndarray) -> list[LayerStatistics]:
    """Every layer's statistics with the tensors of single samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the network is too narrow is what is asked
        return flow(mlp, X, [[i] for i in range(len(X))], rtol=RTOL).layers


def relative_sd(layer: LayerStatistics) -> float:
    """The resummed sd of Ĥ_{ii;αα} over seeds, relative to H_αα: mean over samples."""
    return relative_mean(layer, layer.ntk_std())


def relative_mean(layer: LayerStatistics, table: np.ndarray) -> float:
    """The mean of a table's diagonal relative to H's."""
    H = np.diag(layer.H)
    return float(np.mean(np.diag(table)[H > 0] / H[H > 0])) if np.any(H > 0) else 0.0


def subset(N: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """All of N samples, or a random `most` of them, ascending: (min(N, most),)."""
    return np.arange(N) if N <= most else np.sort(rng.choice(N, most, replace=False))


def checked_sd(sd: float) -> float:
    """DataError if the relative sd is not a finite number above 0."""
    if isinstance(sd, bool) or not isinstance(sd, int | float | np.number) or not 0 < sd < np.inf:
        raise DataError(f"sd must be a relative standard deviation above 0, such as 0.5, not {sd!r}")
    return float(sd)


def check_hidden(mlp: MLP, function: str) -> None:
    """SpecError, which begins with the function's name, if there is no hidden layer that more can be like."""
    if mlp.depth < 2:
        raise SpecError(f"{function}: a network without hidden layers does not say what to add; give it one")


def few_of(X: np.ndarray) -> np.ndarray:
    """The inputs (N, n_0), or a random 12 of them."""
    return X[subset(len(X), SAMPLES, np.random.default_rng(0))]


def _checked(network: Any, X, sd: float) -> tuple[MLP, np.ndarray]:
    checked_sd(sd)
    mlp = as_mlp(network)
    return mlp, few_of(checked_inputs(mlp, X))
