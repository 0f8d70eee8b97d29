"""How much the NTK varies over seeds, and how wide and how deep a network may be for it: relative variance (A + 2B) / (n H²)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
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
_RTOL = 1e-4


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
    return least_width(mlp, X, sd)


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
    if mlp.depth < 2:
        raise SpecError("depth_for: a network without hidden layers does not say what to add; give it one")
    return largest_depth(lambda depth: with_depth(mlp, depth), mlp.depth, X, sd)


def with_depth(mlp: MLP, depth: int) -> MLP:
    """The network with `depth` ≥ 2 layers of weights, hidden ones like its last hidden layer."""
    kept = min(depth, mlp.depth) - 1
    more = depth - 1 - kept

    def per_layer(values: tuple) -> list:
        return [*values[:kept], *[values[mlp.depth - 2]] * more, values[-1]]

    return MLP(
        [*mlp.widths[: kept + 1], *[mlp.widths[-2]] * more, mlp.widths[-1]],
        [*mlp.activation[:kept], *[mlp.activation[-1]] * more],
        *map(per_layer, (mlp.C_b, mlp.C_W, mlp.lambda_b, mlp.lambda_W)),
    )


def least_width(mlp: MLP, X: np.ndarray, sd: float) -> int:
    """As `width_for`."""
    n = 128
    even = mlp.replace(widths=(mlp.widths[0], *[n] * (mlp.depth - 1), mlp.widths[-1]))
    factor = widths_at_spread(one_by_one(even, X), sd)
    return 1 if np.isnan(factor) else max(1, int(np.ceil(n * factor)))


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
        return flow(mlp, X, [[i] for i in range(len(X))], rtol=_RTOL).layers


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


def _checked(network: Any, X, sd: float) -> tuple[MLP, np.ndarray]:
    checked_sd(sd)
    mlp = as_mlp(network)
    X = checked_inputs(mlp, X)
    return mlp, X[subset(len(X), SAMPLES, np.random.default_rng(0))]
