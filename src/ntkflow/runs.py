"""Two computations of all layers, a fine and a coarse one, and the errors that their difference shows.

What one or two samples determine comes first; the tensors follow, on all closed sets of samples at once or tile by tile.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import few_samples
from .activations import Activation
from .ahead import ahead
from .error_estimates import Errors, errors_of
from .errors import NonFiniteError
from .gaussian import COARSE, FINE, Expectations, Integrals, Rule, SampleSets, integrals, on_pairs
from .gaussian.requests import placements
from .mlp import MLP
from .near_duplicates import closeness
from .recursions import Hyperparameters, Tensors, first_layer, means, packed_step

_PARALLEL = 8 * np.finfo(float).eps  # what rounding leaves between multiples of one input
_NUDGE = 4 * np.finfo(float).eps
_SETS_AT_ONCE = {1: 4096, 2: 4096, 3: 1024, 4: 512}  # what suits a CPU's cache


class Step(NamedTuple):
    """What leads to a layer from the one below: that one's H and expectations, those on more than two samples yet to be made."""

    h: Hyperparameters
    H: np.ndarray
    e: Expectations
    integrals: Integrals


class Kernels(NamedTuple):
    """What one or two samples determine of a layer; `step` is None in layer 1."""

    layer: int
    G: np.ndarray
    H: np.ndarray
    contributions: means.Contributions | None
    """None in the coarse run."""
    close: np.ndarray
    """The least `closeness` in the layers below, and in those of them where tensors do not vanish, (2, N, N)."""
    step: Step | None


def both_runs(
    mlp: MLP, X: np.ndarray, k: int, moments: tuple[str, ...], rtol: float, wanted: np.ndarray | None = None
) -> tuple[Iterator[Kernels], Iterator[Kernels]]:  # fmt: skip
    """The kernels of all layers, layer by layer: by the fine rule, and by the coarse one with metrics changed in their last digits.

    Args:
        X: distinct inputs.
        k: samples in the closed sets that tensors are wanted on; 0 for none.
        moments: the words that these ask for.
        rtol: the accuracy wanted of them.
        wanted: (N, N), pairs of samples outside of which nothing is read; None for all.
    """
    fine, coarse = (rule.to_accuracy(rtol) for rule in (FINE, COARSE))
    return kernels(mlp, X, k, moments, fine, wanted), kernels(mlp, X, k, moments, coarse, wanted, _NUDGE)


def kernels(
    mlp: MLP, X: np.ndarray, k: int, moments: tuple[str, ...], rule: Rule, wanted: np.ndarray | None, nudge: float = 0.0
) -> Iterator[Kernels]:  # fmt: skip
    """The kernels of all layers by one rule, with G's entries changed by relative amounts up to `nudge` before each step."""
    rng = np.random.default_rng(0)
    first = _first_kernels(mlp, X)
    contributions = None if nudge else first.contributions
    G, H, close = first.G, first.H, first.close
    yield first._replace(contributions=contributions)
    ratio = _parallel_inputs(X, mlp.C_b[0])
    for below in range(1, mlp.depth):
        h = _hyperparameters(mlp, below)
        activation = mlp.activation[below - 1]
        if activation.kinked:
            # The tensors of layer 1 are zero.
            here = closeness(G, ratio)
            close = np.minimum(close, np.stack([here, here if below > 1 else np.ones_like(here)]))
        try:
            found = integrals(activation, G * (1 + nudge * _symmetric(rng, len(G))), ratio, rule, wanted)
            e = on_pairs(found, k, moments)
            if contributions is not None:
                contributions.append(h, e)
            step = Step(h, H, e, found)
            G, H = means.G(h, e), means.H(h, e, H)
        except OverflowError as error:
            raise _overflow(below + 1) from error
        ratio = _parallel_after(activation, ratio, h.C_b)
        held = [Kernels(below + 1, G, H, contributions, close, step)]
        # Whoever takes them alone keeps the expectations, which are large.
        del step, e, found
        yield held.pop()


def _first_kernels(mlp: MLP, X: np.ndarray) -> Kernels:
    product = X @ X.T / mlp.widths[0]
    G = mlp.C_b[0] + mlp.C_W[0] * product
    H = mlp.lambda_b[0] + mlp.lambda_W[0] * product
    contributions = means.Contributions(mlp.lambda_b, mlp.lambda_W[0] * product)
    return Kernels(1, G, H, contributions, np.ones((2, *G.shape)), None)


def _hyperparameters(mlp: MLP, below: int) -> Hyperparameters:
    """Of the layer above layer `below`."""
    return Hyperparameters(
        C_b=mlp.C_b[below],
        C_W=mlp.C_W[below],
        lambda_b=mlp.lambda_b[below],
        lambda_W=mlp.lambda_W[below],
        r=mlp.widths[below] / mlp.widths[below - 1],
    )


def layer_values(
    layers: Iterable[Kernels], sets: SampleSets | None, at_once: int | None = None, in_place: bool = False
) -> Iterator[tuple[Kernels, dict[str, np.ndarray]]]:
    """Each layer's kernels, and its values by name: G, H and the packed tensors on `sets`; NonFiniteError if they can't be held.

    `at_once`: sets in one compiled step, by default what suits their number. `in_place`: whether a layer's tensors may be
    written over the last one's, which are then not to be kept.
    """
    tensors = None if sets is None else first_layer(*sets.sets.shape)
    for one in layers:
        values = {"G": one.G, "H": one.H}
        if tensors is not None and sets is not None:
            if one.step is not None:
                held, one = [one.step], one._replace(step=None)
                try:
                    tensors = _tensors(held, tensors, sets, at_once, tensors if in_place else None)
                except OverflowError as error:
                    raise _overflow(one.layer) from error
            values |= tensors
        _check_finite(one.layer, values)
        yield one, values


def _check_finite(layer: int, values: dict[str, np.ndarray]) -> None:
    for name, value in values.items():
        if not np.all(np.isfinite(value)):
            raise NonFiniteError(f"layer {layer}: {name} overflows or is not a number; scale X or C_W")


def _overflow(layer: int) -> NonFiniteError:
    return NonFiniteError(f"layer {layer}: C_W or a tensor overflows; scale X or C_W")


def sets_at_once(k: int, S: int) -> int:
    """How many of S sets of k samples a compiled step takes."""
    return min(_SETS_AT_ONCE[k], 1 << max(S - 1, 7).bit_length())


def _tensors(
    held: list[Step], tensors: Tensors, sets: SampleSets, at_once: int | None, out: Tensors | None
) -> Tensors:
    """The next layer's packed tensors, some sets at a time. `held` is emptied: its expectations may be as large as the tensors."""
    step = held.pop()
    S = sets.sets.shape[1]
    size = at_once or sets_at_once(sets.k, S)
    found = out or tensors.map(lambda _, packed: np.empty_like(packed))
    leaves, tree = jax.tree.flatten(
        step.e._replace(moments=step.integrals.moments(sets.quadruples, placements(sets.moments)))
    )
    h, H = step.h, step.H
    del step
    with jax.enable_x64(True):
        H = jnp.asarray(H)
        for i, leaf in enumerate(leaves):
            # Where it is a copy: those that are made in the background keep all originals.
            leaves[i] = jax.device_put(leaf).block_until_ready()
            del leaf
        e = tree.unflatten(leaves)

    def steps() -> Iterator[tuple[slice, Tensors]]:
        for start in range(0, S, size):
            some = slice(start, min(start + size, S))
            here, own, rows = (_columns(x, some, size) for x in (tensors, sets.sets, sets.rows))
            with jax.enable_x64(True):
                new = packed_step(h, e, H, own, rows, here, moments=sets.moments)
            yield some, new

    for some, new in ahead(steps()):
        for whole, part in zip(found.values(), new.values(), strict=True):
            whole[:, some] = np.asarray(part)[:, : some.stop - some.start]
    return found


def _columns(arrays, some: slice, size: int):
    """Those of each array (…, S), filled up to `size` by their last, so that a step is compiled once."""
    missing = size - (some.stop - some.start)
    return jax.tree.map(
        lambda x: np.pad(x[:, some], ((0, 0), (0, missing)), mode="edge") if missing else x[:, some], arrays
    )


def estimated(
    runs: tuple[Iterable[Kernels], Iterable[Kernels]], sets: SampleSets | None, at_once: int | None = None
) -> Iterator[tuple[Kernels, dict[str, np.ndarray], Errors]]:
    """Each layer's kernels, and its values and their errors by name, tensors packed."""
    values_of_runs = (
        layer_values(run, sets, at_once, in_place) for run, in_place in zip(runs, (False, True), strict=True)
    )
    for (fine, values), (_, others) in zip(*values_of_runs, strict=True):
        yield fine, values, errors_of(values, others, fine.layer, fine.close, sets)


def all_layers(
    mlp: MLP, X: np.ndarray, sets: SampleSets | None, rtol: float
) -> Iterator[tuple[Kernels, dict[str, np.ndarray], Errors]]:
    """`estimated` for these inputs, distinct: by one compiled program a layer if they are few and that will do."""
    if sets is not None and few_samples.serves(mlp, sets) and (found := _few_samples(mlp, X, sets)):
        return found
    return estimated(both_runs(mlp, X, *((sets.k, sets.moments) if sets else (0, ())), rtol), sets)


def _few_samples(mlp: MLP, X: np.ndarray, sets: SampleSets):
    first = _first_kernels(mlp, X)
    rng = np.random.default_rng(0)
    h = [_hyperparameters(mlp, below) for below in range(1, mlp.depth)]
    nudge = np.array([0.0, _NUDGE])[:, None, None]
    noise = np.stack([nudge * _symmetric(rng, len(X)) for _ in h])
    stacked = Hyperparameters(*(np.array(x, float) for x in zip(*h, strict=True)))
    found = few_samples.layers_above(mlp.activation[0], stacked, first.G, first.H, noise, sets)
    return found and _with_errors(first, h, found, sets)


def _with_errors(first: Kernels, h: list[Hyperparameters], found: few_samples.Layers, sets: SampleSets):
    values = {"G": first.G, "H": first.H, **first_layer(*sets.sets.shape)}
    yield first, values, errors_of(values, values, first.layer, first.close, sets)
    assert first.contributions is not None
    for below, following in enumerate(h):
        fine, coarse = (jax.tree.map(operator.itemgetter((below, run)), found) for run in range(2))
        first.contributions.append(following, fine)
        one = first._replace(layer=below + 2, G=fine.G, H=fine.H)
        values, others = ({"G": x.G, "H": x.H, **x.tensors} for x in (fine, coarse))
        _check_finite(one.layer, values)
        yield one, values, errors_of(values, others, one.layer, one.close, sets)


def of_pairs(rtol: float) -> tuple[Callable, Callable]:
    """What `NearDuplicates` asks of networks of other inputs: `computed` on sets of two, and `closest`."""

    def computed(mlp: MLP, X: np.ndarray, sets: SampleSets):
        wanted = np.eye(len(X), dtype=bool)
        wanted[tuple(sets.sets)] = wanted[tuple(sets.sets[::-1])] = True
        for _, values, errors in estimated(both_runs(mlp, X, sets.k, sets.moments, rtol, wanted), sets):
            yield values, errors

    def closest(mlp: MLP, X: np.ndarray) -> float:
        return min(float(one.close[0].min()) for one in kernels(mlp, X, 0, (), COARSE, None))

    return computed, closest


def _symmetric(rng: np.random.Generator, N: int) -> np.ndarray:
    noise = np.triu(rng.uniform(-1, 1, (N, N)))
    return noise + np.triu(noise, 1).T


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


def _parallel_after(activation: Activation, ratio: np.ndarray, C_b: float) -> np.ndarray:
    """What stays parallel: equal samples; without biases opposite ones through an odd σ, and multiples through a homogeneous one."""
    size = np.abs(ratio)
    size = np.where(size == 1, 1.0, np.nan) if activation.degree is None else size**activation.degree
    ratio = size * np.where(ratio > 0, 1.0, activation.parity or np.nan)
    return ratio if C_b == 0 else np.where(ratio == 1, 1.0, np.nan)
