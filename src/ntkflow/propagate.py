"""The main job: a network and inputs in, the statistics of every layer out."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np

from .errors import ComponentError, DataError, NonFiniteError
from .gaussian import COARSE, FINE, Rule, SampleSets, expectations
from .mean_kernels import block_of, has_tiles, mean_flow, write_kernels
from .memory import check_memory
from .mlp import MLP
from .recursions import Hyperparameters, Tensors, means, step
from .statistics import TENSORS, Flow, LayerStatistics, natural_scale

_PARALLEL = 1e-13
_POOR = 1e-3
_NUDGE = 4 * np.finfo(float).eps

Progress = Callable[[int, int, str], None]


def flow(
    mlp: MLP,
    X,
    components: str | Sequence[Sequence[int]] = "all",
    progress: Progress | None = None,
    X2=None,
) -> Flow:
    """The RG flow of the statistics of preactivations and NTK, PDLT chapter 8.

    Args:
        mlp: the network.
        X: (N, n_0) finite inputs.
        components: "all" (every component; time and memory grow as N⁴), "pairs" (those on at most two distinct
            samples, N²), "mean" (G and H alone) or a list of sample sets, each a few sample indices.
        progress: called as progress(done, total, message) before the first and after each layer, or tile.
        X2: (N2, n_0), with "mean" only: G and H of each layer are then the (N, N2) block between X and X2.

    Returns:
        A Flow; `flow[3]` is layer 3. Every array is float64 and comes with an error estimate: the difference from a
        second run through all layers, with coarser integration and metrics changed in their last digits, plus
        round-off; for "mean" a bound that is carried from layer to layer.

    Raises:
        DataError, ComponentError, MemoryRequestError, NonFiniteError: see their descriptions.
    """
    X = checked_inputs(mlp, X)
    sets = sample_sets(components, len(X))
    if X2 is not None and sets is not None:
        raise ComponentError(
            'X2 goes with components="mean" only; for a block of tensors use flow[-1].block(…)'
        )
    X2 = None if X2 is None else checked_inputs(mlp, X2, "X2")
    _check_memory(mlp, len(X), sets)
    _warn_of_zeros(mlp, X, X2)
    report = progress or (lambda done, total, message: None)
    if sets is None and has_tiles(mlp):
        return mean_flow(mlp, X, X2, report)
    if X2 is not None:
        return block_of(flow(mlp, np.concatenate([X, X2]), components, progress), X, X2)
    distinct, index = _distinct_rows(X)
    grouped = None if sets is None else SampleSets(index[sets], len(distinct))
    total = 2 * (mlp.depth - 1)
    report(0, total, "fine integration")
    # What overflows is found and named after each layer.
    with np.errstate(all="ignore"):
        fine = _run(
            mlp, distinct, grouped, FINE, 0.0, lambda layer: report(layer - 1, total, f"layer {layer}")
        )
        rough = _run(
            mlp, distinct, grouped, COARSE, _NUDGE,
            lambda layer: report(mlp.depth + layer - 2, total, f"errors of layer {layer}"),
        )  # fmt: skip
    layers = []
    for number, (values, others) in enumerate(zip(fine, rough, strict=True), start=1):
        errors = {name: _error(name, values, others, number) for name in values}
        values, errors = _expand(values, index, sets), _expand(errors, index, sets)
        layers.append(
            LayerStatistics(number, mlp.widths[number], mlp.widths[number - 1], sets, values, errors)
        )
    _warn_of_errors(layers)
    return Flow(mlp, X, components if isinstance(components, str) else [list(s) for s in components], layers)


def store_kernels(
    mlp: MLP,
    X,
    path,
    X2=None,
    tile: int = 1024,
    layers: str = "all",
    overwrite: bool = False,
    progress: Progress | None = None,
):
    """G and H of every layer, as `flow(…, components="mean")` has them, written to a Zarr store tile by tile.

    Args:
        mlp, X, X2: as for `flow`.
        path: ends in `.zarr`; written whole or not at all.
        tile: about how many rows and columns are computed and written at a time: memory is 32 L tile² bytes, and for an
            activation without a closed form 3 kB a sample and layer.
        layers: "all" or "last".
        overwrite: whether to replace a store that exists.
        progress: called as progress(done, total, message) after each tile.

    Returns:
        What `open_kernels(path)` returns: an xarray Dataset that reads from disk what is indexed.

    Raises:
        DataError, ComponentError, ActivationError, NonFiniteError, FileError: see their descriptions.
    """
    X = checked_inputs(mlp, X)
    X2 = None if X2 is None else checked_inputs(mlp, X2, "X2")
    _warn_of_zeros(mlp, X, X2)
    return write_kernels(
        mlp, X, path, X2, tile, layers, overwrite, progress or (lambda done, total, message: None)
    )


def _warn_of_zeros(mlp: MLP, *inputs: np.ndarray | None) -> None:
    zero = any(X is not None and not np.all(np.any(X, axis=1)) for X in inputs)
    if zero and mlp.C_b[0] == 0 and any(a.kinked for a in mlp.activation):
        warnings.warn(
            "an input is zero: a kinked activation takes JAX's value of its derivative at 0", stacklevel=3
        )


def _warn_of_errors(layers: list[LayerStatistics]) -> None:
    poor = [
        f"{name} of layer {s.layer}" for s in layers for name in s.values
        if np.nanmax(s.errors[name]) > _POOR * natural_scale(s.values, name)
    ]  # fmt: skip
    if poor:
        names = ", ".join(poor[:3]) + (f" and {len(poor) - 3} more" if len(poor) > 3 else "")
        warnings.warn(
            f"errors above {_POOR:.1%} are estimated for {names}: inputs nearly coincide or the activation varies fast",
            stacklevel=3,
        )


def checked_inputs(mlp: MLP, X, name: str = "X") -> np.ndarray:
    """X as (N, n_0) float64; DataError, which calls it `name`, if it is not of that form, or not finite."""
    try:
        X = np.asarray(X)
    except ValueError as error:
        raise DataError(f"{name} must be an array of numbers: {error}") from error
    if X.dtype.kind not in "iuf":
        raise DataError(f"{name} must be an array of real numbers, not of {X.dtype}")
    X = X.astype(np.float64)
    if X.ndim != 2 or X.size == 0:
        raise DataError(f"{name} must have shape (N, n_0) with N ≥ 1, not {X.shape}")
    if X.shape[1] != mlp.widths[0]:
        raise DataError(f"{name} has {X.shape[1]} columns but the network's n_0 is {mlp.widths[0]}")
    bad = np.argwhere(~np.isfinite(X))
    if len(bad):
        raise DataError(f"{name} must be finite; {name}[{bad[0][0]}, {bad[0][1]}] is {X[tuple(bad[0])]}")
    return X


def sample_sets(components, N: int) -> np.ndarray | None:
    """The sets (S, k) of sample indices that `components` asks for; None for the means alone; or ComponentError."""
    if isinstance(components, str):
        if components == "mean":
            return None
        if components == "all":
            return np.arange(N)[None]
        if components == "pairs":
            return np.array(list(itertools.combinations(range(N), 2))) if N > 1 else np.zeros((1, 1), int)
        raise ComponentError(
            f'components must be "all", "pairs", "mean" or a list of sample sets, not {components!r}'
        )
    try:
        rows = [list(s) for s in components]
    except TypeError as error:
        raise ComponentError(f"components must be a list of sample sets, not {components!r}") from error
    if not rows or not all(rows):
        raise ComponentError("components: a list of sample sets needs at least one set, and no empty one")
    for sample in itertools.chain.from_iterable(rows):
        if isinstance(sample, bool) or not isinstance(sample, int | np.integer) or not 0 <= sample < N:
            raise ComponentError(f"components: {sample!r} is not a sample index; allowed are 0 … {N - 1}")
    size = max(map(len, rows))
    # A smaller set is filled up with its first sample: coinciding slots are exact.
    return np.array([row + row[:1] * (size - len(row)) for row in rows])


def _check_memory(mlp: MLP, N: int, sets: np.ndarray | None) -> None:
    if sets is None:
        return
    k = sets.shape[1]
    # Five tensors and their errors at each layer, and about twenty-five arrays of a step under way.
    need = 8 * len(sets) * k**4 * (15 * mlp.depth + 25)
    check_memory(
        need, f"these components of {N} samples", 'components="pairs", "mean" or a list of sample sets'
    )


def _distinct_rows(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct inputs in their order of appearance, and for each input the one it equals."""
    _, first, inverse = np.unique(X, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return X[first[order]], rank[inverse.ravel()]


def _parallel_inputs(X: np.ndarray, C_b: float) -> np.ndarray:
    """c where z_b = c z_a identically in layer 1, up to round-off; NaN elsewhere: (N, N)."""
    N = len(X)
    first, c = np.arange(N), np.ones(N)
    square = np.einsum("an,an->a", X, X)
    for b in range(N):
        scale = X[: b + 1] @ X[b] / np.where(square[: b + 1] > 0, square[: b + 1], 1.0)
        if C_b > 0:
            scale = np.ones(b + 1)
        apart = np.abs(X[b] - scale[:, None] * X[: b + 1]).max(axis=1)
        if not np.any(X[b]):
            first[b] = b
            continue
        first[b] = np.argmax(apart <= _PARALLEL * np.abs(X[b]).max())
        c[b] = 1.0 if abs(scale[first[b]] - 1) < _PARALLEL else scale[first[b]]
    return np.where(first[:, None] == first, c / c[:, None], np.nan)


def _parallel_after(activation, ratio: np.ndarray, C_b: float) -> np.ndarray:
    """What stays parallel: equal samples; and multiples through a homogeneous σ when there are no biases."""
    if not activation.slopes or C_b > 0:
        return np.where(ratio == 1, 1.0, np.nan)
    left, right = activation.slopes
    sign = np.sign(ratio) if left == right else 1.0 if left == -right else np.where(ratio > 0, 1.0, np.nan)
    return np.abs(ratio) * sign


def _run(
    mlp: MLP, X: np.ndarray, sets: SampleSets | None, rule: Rule, nudge: float, report: Callable[[int], None]
) -> list[dict]:
    """Every layer's tensors; before each step G's entries are changed by relative amounts of at most `nudge`."""
    rng = np.random.default_rng(0)
    product = X @ X.T / mlp.widths[0]
    G = mlp.C_b[0] + mlp.C_W[0] * product
    H = mlp.lambda_b[0] + mlp.lambda_W[0] * product
    bias = np.full((1, *H.shape), mlp.lambda_b[0])
    weight = (mlp.lambda_W[0] * product)[None]
    tensors = None if sets is None else Tensors.first_layer(*sets.sets.shape)
    ratio = _parallel_inputs(X, mlp.C_b[0])
    layers = [_checked(1, G, H, bias, weight, tensors)]
    for layer in range(1, mlp.depth):
        activation = mlp.activation[layer - 1]
        h = Hyperparameters(
            C_b=mlp.C_b[layer],
            C_W=mlp.C_W[layer],
            lambda_b=mlp.lambda_b[layer],
            lambda_W=mlp.lambda_W[layer],
            r=mlp.widths[layer] / mlp.widths[layer - 1],
        )
        try:
            e = expectations(activation, G * (1 + nudge * _symmetric(rng, len(G))), ratio, sets, rule)
            bias, weight = means.contributions(h, e, bias, weight)
            G, H, tensors = step(h, e, G, H, tensors, sets)
        except OverflowError as error:
            raise NonFiniteError(f"layer {layer + 1}: C_W or a tensor overflows; scale X or C_W") from error
        layers.append(_checked(layer + 1, G, H, bias, weight, tensors))
        ratio = _parallel_after(activation, ratio, h.C_b)
        report(layer + 1)
    return layers


def _symmetric(rng: np.random.Generator, N: int) -> np.ndarray:
    noise = np.triu(rng.uniform(-1, 1, (N, N)))
    return noise + np.triu(noise, 1).T


def _checked(layer: int, G, H, bias, weight, tensors: Tensors | None) -> dict[str, np.ndarray]:
    values = {"G": G, "H": H, "bias_contributions": bias, "weight_contributions": weight}
    if tensors is not None:
        values |= {f.name: getattr(tensors, f.name) for f in fields(tensors)}
    for name, value in values.items():
        if not np.all(np.isfinite(value)):
            raise NonFiniteError(f"layer {layer}: {name} overflows or is not a number; scale X or C_W")
    return values


def _expand(
    values: dict[str, np.ndarray], index: np.ndarray, sets: np.ndarray | None
) -> dict[str, np.ndarray]:
    """From distinct inputs to the user's; G1 and H1 from sets to (N, N)."""
    N = len(index)
    out = {}
    for name, value in values.items():
        if name in ("G1", "H1"):
            assert sets is not None
            table = np.full((N, N), np.nan)
            table[sets[:, :, None], sets[:, None, :]] = value
            out[name] = table
        elif name in TENSORS:
            assert sets is not None
            whole = len(sets) == 1 and sets.shape[1] == N and np.array_equal(sets[0], np.arange(N))
            out[name] = value[0] if whole else value
        else:
            out[name] = value[..., index[:, None], index]
    return out


def _error(name: str, values: dict[str, np.ndarray], others: dict[str, np.ndarray], layer: int) -> np.ndarray:
    """How much a coarser and nudged computation differs, and round-off of the G's and H's that a tensor is made of."""
    scale = max(natural_scale(values, name), np.abs(values[name]).max())
    roundoff = 32 * layer * np.finfo(float).eps * scale
    return np.abs(values[name] - others[name]) + roundoff
