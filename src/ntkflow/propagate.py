"""The main job: a network and inputs in, the statistics of every layer out."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_dtypes import bfloat16

from .components import Layout, sample_sets
from .errors import DataError, NonFiniteError
from .gaussian import COARSE, FINE, Expectations, Rule, SampleSets, expectations
from .memory import check_memory
from .mlp import MLP
from .near_duplicates import NearDuplicates, cancelled, closeness
from .recursions import Hyperparameters, Tensors, first_layer, means, packed_step
from .recursions.symmetry import SYMMETRIES, orbits
from .statistics import TENSORS, Flow, LayerStatistics, Tables, natural_scale

_PARALLEL = 1e-13
_POOR = 1e-3
_NUDGE = 4 * np.finfo(float).eps
_SETS_AT_ONCE = {1: 4096, 2: 4096, 3: 1024, 4: 512}  # what suits a CPU's cache

Progress = Callable[[int, int, str], None]


def flow(
    mlp: MLP, X, components: str | Sequence[Sequence[int]] = "all", progress: Progress | None = None
) -> Flow:
    """The RG flow of the statistics of preactivations and NTK, PDLT chapter 8.

    Args:
        mlp: the network.
        X: (N, n_0) finite inputs.
        components: "all" (every component; time and memory grow as N⁴), "pairs" (those on at most two distinct
            samples, N²), "mean" (G and H alone) or a list of sample sets, each a few sample indices.
        progress: called as progress(done, total, message) before the first and after each layer.

    Returns:
        A Flow; `flow[3]` is layer 3. Every array is float64 and comes with an error estimate: the difference from a
        second run through all layers, with coarser integration and metrics changed in their last digits, plus
        round-off.

    Raises:
        DataError, ComponentError, MemoryRequestError, NonFiniteError: see their descriptions.
    """
    X = checked_inputs(mlp, X)
    asked = sample_sets(components, len(X))
    _check_memory(mlp, asked)
    distinct, index = _distinct_rows(X)
    if mlp.C_b[0] == 0 and not np.all(np.any(X, axis=1)) and any(a.kinked for a in mlp.activation):
        warnings.warn(
            "an input is zero: a kinked activation takes JAX's value of its derivative at 0", stacklevel=2
        )
    layout = None if asked is None else Layout(asked, index)
    sets = None if layout is None else SampleSets(layout.closed, len(distinct))
    report = progress or (lambda done, total, message: None)
    report(0, mlp.depth, "compiling")
    # What overflows is found and named after each layer.
    with np.errstate(all="ignore"):
        runs = _Run(mlp, distinct, sets, FINE), _Run(mlp, distinct, sets, COARSE, _NUDGE)
        near = NearDuplicates(mlp, distinct, _of_pairs)
        layers, poor = [], []
        for layer in range(1, mlp.depth + 1):
            values, errors = _advance(runs)
            if sets is not None:
                values, errors = near.mend(layer, runs[0].close[0], sets.sets, values, errors)
            poor += [
                f"{name} of layer {layer}" for name in values
                if errors[name].max() > _POOR * natural_scale(values, name)
            ]  # fmt: skip
            splits = _splits(runs[0].contributions, runs[1].contributions, layer, index)
            tables = (
                Tables({name: _on_inputs(name, x, index, layout) for name, x in found.items()} | split)
                for found, split in zip((values, errors), splits, strict=True)
            )
            layers.append(LayerStatistics(layer, mlp.widths[layer], mlp.widths[layer - 1], asked, *tables))
            report(layer, mlp.depth, f"layer {layer}")
    _warn_of_errors(poor)
    return Flow(mlp, X, components if isinstance(components, str) else [list(s) for s in components], layers)


def _warn_of_errors(poor: list[str]) -> None:
    if poor:
        names = ", ".join(poor[:3]) + (f" and {len(poor) - 3} more" if len(poor) > 3 else "")
        warnings.warn(
            f"errors above {_POOR:.1%} are estimated for {names}: inputs nearly coincide or the activation varies fast",
            stacklevel=3,
        )


def checked_inputs(mlp: MLP, X) -> np.ndarray:
    """X as (N, n_0) float64; DataError if it is not of that form, or not finite."""
    try:
        X = np.asarray(X)
    except ValueError as error:
        raise DataError(f"X must be an array of numbers: {error}") from error
    if X.dtype.kind not in "iuf":
        raise DataError(f"X must be an array of real numbers, not of {X.dtype}")
    X = X.astype(np.float64)
    if X.ndim != 2 or X.size == 0:
        raise DataError(f"X must have shape (N, n_0) with N ≥ 1, not {X.shape}")
    if X.shape[1] != mlp.widths[0]:
        raise DataError(f"X has {X.shape[1]} columns but the network's n_0 is {mlp.widths[0]}")
    bad = np.argwhere(~np.isfinite(X))
    if len(bad):
        raise DataError(f"X must be finite; X[{bad[0][0]}, {bad[0][1]}] is {X[tuple(bad[0])]}")
    return X


def _check_memory(mlp: MLP, asked: np.ndarray | None) -> None:
    if asked is None:
        return
    S, k = asked.shape
    sets, size = S * math.comb(k, min(k, 4)), min(k, 4)
    # Packed components and single-precision errors of each layer, two runs' own, and two that are looked at.
    components = sum(orbits(name, size)[1].shape[1] for name in TENSORS)
    need = sets * components * (12 * mlp.depth + 32) + 16 * S * k**4
    check_memory(
        need, f"these components on {S} sets of {k} samples" if S > 1 else f"these components of {k} samples",
        'components="pairs", "mean" or a list of sample sets',
    )  # fmt: skip


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
        c[b] = scale[first[b]] if abs(abs(scale[first[b]]) - 1) > _PARALLEL else np.sign(scale[first[b]])
    return np.where(first[:, None] == first, c / c[:, None], np.nan)


def _parallel_after(activation, ratio: np.ndarray, C_b: float) -> np.ndarray:
    """What stays parallel: equal samples; and multiples through a homogeneous σ when there are no biases."""
    if activation.slopes:
        left, right = activation.slopes
        sign = (
            np.sign(ratio) if left == right else 1.0 if left == -right else np.where(ratio > 0, 1.0, np.nan)
        )
        ratio = np.abs(ratio) * sign
        if C_b == 0:
            return ratio
    return np.where(ratio == 1, 1.0, np.nan)


class _Run:
    """One computation of all layers, a layer at a time: with one rule, and G's entries changed by relative amounts up to `nudge`."""

    def __init__(self, mlp: MLP, X: np.ndarray, sets: SampleSets | None, rule: Rule, nudge: float = 0.0):
        self.mlp, self.sets, self.rule, self.nudge = mlp, sets, rule, nudge
        self.rng = np.random.default_rng(0)
        self.layer = 0
        product = X @ X.T / mlp.widths[0]
        self.G = mlp.C_b[0] + mlp.C_W[0] * product
        self.H = mlp.lambda_b[0] + mlp.lambda_W[0] * product
        self.contributions = means.Contributions(mlp.lambda_b, mlp.lambda_W[0] * product)
        self.tensors = None if sets is None else first_layer(*sets.sets.shape)
        self.ratio = _parallel_inputs(X, mlp.C_b[0])
        self.close = np.ones((2, *self.G.shape))

    def advance(self) -> dict[str, np.ndarray]:
        """The next layer's values, tensors packed; NonFiniteError if they can't be held."""
        self.layer += 1
        if self.layer > 1:
            try:
                self._step()
            except OverflowError as error:
                raise NonFiniteError(
                    f"layer {self.layer}: C_W or a tensor overflows; scale X or C_W"
                ) from error
        values = {"G": self.G, "H": self.H}
        if self.tensors is not None:
            values |= self.tensors._asdict()
        for name, value in values.items():
            if not np.all(np.isfinite(value)):
                raise NonFiniteError(
                    f"layer {self.layer}: {name} overflows or is not a number; scale X or C_W"
                )
        return values

    def _step(self) -> None:
        mlp, below = self.mlp, self.layer - 1
        h = Hyperparameters(
            C_b=mlp.C_b[below],
            C_W=mlp.C_W[below],
            lambda_b=mlp.lambda_b[below],
            lambda_W=mlp.lambda_W[below],
            r=mlp.widths[below] / mlp.widths[below - 1],
        )
        activation = mlp.activation[below - 1]
        G = self.G * (1 + self.nudge * _symmetric(self.rng, len(self.G)))
        if activation.kinked:
            # The tensors of layer 1 are zero.
            some = slice(None) if below > 1 else slice(1)
            self.close[some] = np.minimum(self.close[some], closeness(self.G, self.ratio))
        e = expectations(activation, G, self.ratio, self.sets, self.rule)
        if self.tensors is not None and self.sets is not None:
            self.tensors = _tensors(h, e, self.H, self.tensors, self.sets)
        self.contributions.append(h, e)
        self.G, self.H = means.G(h, e), means.H(h, e, self.H)
        self.ratio = _parallel_after(activation, self.ratio, h.C_b)


def _advance(runs: tuple[_Run, _Run]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The next layer's values, tensors packed, and their errors."""
    values, others = (run.advance() for run in runs)
    return values, {name: _error(name, values, others, runs[0]) for name in values}


def _of_pairs(mlp: MLP, X: np.ndarray, sets: SampleSets):
    """`_advance` through all layers, without mending: what `NearDuplicates` interpolates."""
    runs = _Run(mlp, X, sets, FINE), _Run(mlp, X, sets, COARSE, _NUDGE)
    for _ in range(mlp.depth):
        yield _advance(runs)


def _tensors(
    h: Hyperparameters, e: Expectations, H: np.ndarray, tensors: Tensors, sets: SampleSets
) -> Tensors:
    """The next layer's packed tensors, some sets at a time."""
    S = sets.sets.shape[1]
    size = min(_SETS_AT_ONCE[sets.k], 1 << max(S - 1, 7).bit_length())
    found = Tensors(*(np.empty_like(x) for x in tensors))
    with jax.enable_x64(True):
        e, H = jax.tree.map(jnp.asarray, (e, H))
        for start in range(0, S, size):
            # Filled up to one size, so that a step is compiled once.
            some = np.minimum(np.arange(start, start + size), S - 1)
            here = Tensors(*(x[:, some] for x in tensors))
            new = packed_step(h, e, H, sets.sets[:, some], sets.rows[:, some], here, k=sets.k)
            stop = min(start + size, S)
            for whole, part in zip(found, new, strict=True):
                whole[:, start:stop] = np.asarray(part)[:, : stop - start]
    return found


def _symmetric(rng: np.random.Generator, N: int) -> np.ndarray:
    noise = np.triu(rng.uniform(-1, 1, (N, N)))
    return noise + np.triu(noise, 1).T


def _on_inputs(name: str, value: np.ndarray, index: np.ndarray, layout: Layout | None):
    """From distinct inputs to the user's; tensors are expanded when they are looked at."""
    if name in SYMMETRIES and layout is not None:
        return functools.partial(layout.expand, name, value)
    return value if value.shape[-1] == len(index) else value[..., index[:, None], index]


def _splits(fine: means.Contributions, rough: means.Contributions, layer: int, index: np.ndarray):
    """`bias_contributions` and `weight_contributions`, made when they are looked at, and their errors."""

    def value(split):
        return split(fine, layer)[:, index[:, None], index]

    def error(split):
        exact = split(fine, layer)
        return (np.abs(exact - split(rough, layer)) + _roundoff(layer, np.abs(exact).max()))[
            :, index[:, None], index
        ]

    parts = {
        "bias_contributions": means.Contributions.of_biases,
        "weight_contributions": means.Contributions.of_weights,
    }
    return [
        {name: functools.partial(made, split) for name, split in parts.items()} for made in (value, error)
    ]


def _roundoff(layer: int, scale: float) -> float:
    return 32 * layer * np.finfo(float).eps * scale


def _error(name: str, values: dict[str, np.ndarray], others: dict[str, np.ndarray], run: _Run) -> np.ndarray:
    """How much a coarser and nudged computation differs, and round-off of the G's and H's that a tensor is made of."""
    scale = max(natural_scale(values, name), np.abs(values[name]).max())
    sets = None if run.sets is None else run.sets.sets
    lost = cancelled(name, run.close, sets) if values[name].any() else 0.0
    error = (
        np.abs(values[name] - others[name]) + _roundoff(run.layer, scale) + lost * np.finfo(float).eps * scale
    )
    # Tensors are large, and two digits of an error are enough: rounded up.
    return (error * (1 + 2**-7)).astype(bfloat16) if name in SYMMETRIES else error
