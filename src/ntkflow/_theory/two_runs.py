"""Two computations of all layers, a fine and a coarse one, and the errors that their difference shows.

What one or two samples determine comes first; the tensors follow, on all closed sets of samples at once or tile by tile.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._gaussian import COARSE, FINE, Expectations, Integrals, Rule, integrals, on_pairs
from .._gaussian.requests import placements
from .._machine.ahead import ahead
from .._recursions import Tensors, TensorSets, first_layer, means
from ..errors import NonFiniteError
from ..network.dense import OfInputs
from ..network.layer import Layer, packed_tensors, through_layers
from ..network.mlp import MLP
from ..network.network import Network
from ..network.parallel import Parallel, parallel_inputs
from . import few_samples
from .error_estimates import Errors, errors_of
from .near_duplicates import sines

_SAME = 8 * np.finfo(float).eps  # what rounding leaves between multiples of one input
NUDGE = 4 * np.finfo(float).eps
_SETS_AT_ONCE = {1: 4096, 2: 4096, 3: 1024, 4: 512}  # what suits a CPU's cache


class Step(NamedTuple):
    """What leads to a layer from the one below: that one's H and expectations, those on more than two samples yet to be made."""

    layer: Layer
    r: float
    H: np.ndarray
    e: Expectations | None
    integrals: Integrals | None


class Kernels(NamedTuple):
    """What one or two samples determine of a layer; `step` is None in layer 1."""

    layer: int
    G: np.ndarray
    H: np.ndarray
    contributions: means.Contributions | None
    """None in the coarse run."""
    parallel: Parallel
    least_sine: np.ndarray
    """The least `sines` in the layers below, and in those of them where tensors do not vanish, (2, N, N)."""
    step: Step | None


def with_integrals(kernels: Kernels, integrals: Any) -> Kernels:
    """The kernels, whose integrals on several samples are made by others."""
    assert kernels.step is not None
    return kernels._replace(step=kernels.step._replace(integrals=integrals))


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
    return kernels(mlp, X, k, moments, fine, wanted), kernels(mlp, X, k, moments, coarse, wanted, NUDGE)


def kernels(
    mlp: MLP, X: np.ndarray, k: int, moments: tuple[str, ...], rule: Rule, wanted: np.ndarray | None, nudge: float = 0.0
) -> Iterator[Kernels]:  # fmt: skip
    """The kernels of all layers by one rule, with G's entries changed by relative amounts up to `nudge` before each step."""
    rng = np.random.default_rng(0)

    def step(layer: Layer, r: float, below: Kernels) -> Kernels:
        activation, least_sine = layer.activation, below.least_sine
        if activation is not None and activation.kinked:
            # The tensors of layer 1 are zero.
            sines_below = sines(below.G, below.parallel.ratio)
            least_sine = np.minimum(
                least_sine,
                np.stack([sines_below, sines_below if below.layer > 1 else np.ones_like(sines_below)]),
            )
        try:
            of_layer = e = None
            if activation is not None:
                changed = below.G * (1 + nudge * symmetric_noise(rng, len(below.G)))
                of_layer = integrals(activation, changed, below.parallel.ratio, rule, wanted)
                e = on_pairs(of_layer, k, moments)
            if below.contributions is not None:
                below.contributions.append(*layer.shares(e))
            G, H = layer.means(e, below.G, below.H)
        except OverflowError as error:
            raise _overflow(below.layer + 1) from error
        return Kernels(
            below.layer + 1, G, H, below.contributions, layer.parallel(below.parallel), least_sine,
            Step(layer, r, below.H, e, of_layer),
        )  # fmt: skip

    first = first_kernels(mlp, X)
    first = first._replace(contributions=None) if nudge else first
    return through_layers(mlp, first, step, lambda kernels: kernels._replace(step=None))


def first_kernels(mlp: MLP | Network, X: np.ndarray) -> Kernels:
    """Of layer 1, which reads the inputs."""
    layer = mlp.layers[0]
    e = OfInputs(X @ X.T / mlp.widths[0])
    G, H = layer.means(e, np.zeros_like(e.Phi), np.zeros_like(e.Phi))
    contributions = means.Contributions(*layer.shares(e)[:2])
    parallel = parallel_inputs(X, layer.C_b > 0, _SAME)
    return Kernels(1, G, H, contributions, parallel, np.ones((2, *G.shape)), None)


def layer_values(
    layers: Iterable[Kernels], sets: TensorSets | None, at_once: int | None = None, in_place: bool = False
) -> Iterator[tuple[Kernels, dict[str, np.ndarray]]]:
    """Each layer's kernels, and its values by name: G, H and the packed tensors on `sets`; NonFiniteError if they can't be held.

    `at_once`: sets in one compiled step, by default what suits their number. `in_place`: whether to write a layer's tensors over
    those of the layer below; the caller must then be done with these.
    """
    tensors = None if sets is None else first_layer(sets.names, *sets.sets.shape)
    for kernels in layers:
        values = {"G": kernels.G, "H": kernels.H}
        if tensors is not None and sets is not None:
            if kernels.step is not None:
                step_list, kernels = [kernels.step], kernels._replace(step=None)
                try:
                    tensors = _tensors(step_list, tensors, sets, at_once, tensors if in_place else None)
                except OverflowError as error:
                    raise _overflow(kernels.layer) from error
            values |= tensors
        check_finite(kernels.layer, values)
        yield kernels, values


def check_finite(layer: int, values: dict[str, np.ndarray]) -> None:
    """NonFiniteError if an array of the layer has other numbers."""
    for name, value in values.items():
        if not np.all(np.isfinite(value)):
            raise NonFiniteError(f"layer {layer}: {name} overflows or is not a number; scale X or C_W")


def _overflow(layer: int) -> NonFiniteError:
    return NonFiniteError(f"layer {layer}: C_W or a tensor overflows; scale X or C_W")


def sets_at_once(k: int, S: int) -> int:
    """How many of S sets of k samples a compiled step takes."""
    return min(_SETS_AT_ONCE[k], 1 << max(S - 1, 7).bit_length())


def _tensors(
    step_list: list[Step], tensors: Tensors, sets: TensorSets, at_once: int | None, out: Tensors | None
) -> Tensors:
    """The next layer's packed tensors, some sets at a time.

    `step_list` must hold the only reference to its one step, and is emptied: the step's expectations may be as large as the tensors.
    """
    step = step_list.pop()
    S = sets.sets.shape[1]
    size = at_once or sets_at_once(sets.k, S)
    above = out or tensors.map(lambda _, packed: np.empty_like(packed))
    e = step.e
    if e is not None and step.integrals is not None:
        e = e._replace(moments=step.integrals.moments(sets.quadruples, placements(sets.moments)))
    leaves, tree = jax.tree.flatten(e)
    layer, r, H = step.layer, step.r, step.H
    del step, e
    with jax.enable_x64(True):
        H = jnp.asarray(H)
        for i, leaf in enumerate(leaves):
            # Wait here if it copies: a copy that is made in the background keeps its original in memory.
            leaves[i] = jax.device_put(leaf).block_until_ready()
            del leaf
        e = tree.unflatten(leaves)

    def steps() -> Iterator[tuple[slice, Tensors]]:
        for start in range(0, S, size):
            columns = slice(start, min(start + size, S))
            below, members, rows = (_columns(x, columns, size) for x in (tensors, sets.sets, sets.rows))
            with jax.enable_x64(True):
                new = packed_tensors(layer, r, e, H, members, rows, below, moments=sets.moments)
            yield columns, new

    for columns, new in ahead(steps()):
        for whole, part in zip(above.values(), new.values(), strict=True):
            whole[:, columns] = np.asarray(part)[:, : columns.stop - columns.start]
    return above


def _columns(arrays, columns: slice, size: int):
    """These columns of each array (…, S), the last one repeated to fill up to `size`, so that a step is compiled once."""
    missing = size - (columns.stop - columns.start)
    return jax.tree.map(
        lambda x: np.pad(x[:, columns], ((0, 0), (0, missing)), mode="edge") if missing else x[:, columns],
        arrays,
    )


def estimated(
    runs: tuple[Iterable[Kernels], Iterable[Kernels]], sets: TensorSets | None, at_once: int | None = None
) -> Iterator[tuple[Kernels, dict[str, np.ndarray], Errors]]:
    """Each layer's kernels, and its values and their errors by name, tensors packed."""
    values_of_runs = (
        layer_values(run, sets, at_once, in_place) for run, in_place in zip(runs, (False, True), strict=True)
    )
    for (fine, values), (_, others) in zip(*values_of_runs, strict=True):
        yield fine, values, errors_of(values, others, fine.layer, fine.least_sine, sets)


def all_layers(
    mlp: MLP, X: np.ndarray, sets: TensorSets | None, rtol: float
) -> Iterator[tuple[Kernels, dict[str, np.ndarray], Errors]]:
    """`estimated` for these distinct inputs. If they are few, and its series converge, one compiled program does each layer."""
    if sets is not None and few_samples.serves(mlp, sets) and (layers := _few_samples(mlp, X, sets)):
        return layers
    return estimated(both_runs(mlp, X, *((sets.k, sets.moments) if sets else (0, ())), rtol), sets)


def _few_samples(mlp: MLP, X: np.ndarray, sets: TensorSets):
    first, rng = first_kernels(mlp, X), np.random.default_rng(0)
    layers = few_samples.layers_above(
        mlp,
        first.G,
        first.H,
        lambda: np.array([0.0, NUDGE])[:, None, None] * symmetric_noise(rng, len(X)),
        sets,
    )
    return None if layers is None else _with_errors(mlp, first, layers, sets)


def _with_errors(mlp: MLP, first: Kernels, layers: list[few_samples.BothRuns], sets: TensorSets):
    values = {"G": first.G, "H": first.H, **first_layer(sets.names, *sets.sets.shape)}
    yield first, values, errors_of(values, values, first.layer, first.least_sine, sets)
    assert first.contributions is not None
    for number, (layer, both) in enumerate(zip(mlp.layers[1:], layers, strict=True), start=2):
        fine, coarse = (jax.tree.map(operator.itemgetter(run), both) for run in range(2))
        first.contributions.append(*layer.shares(fine))
        kernels = first._replace(layer=number, G=fine.G, H=fine.H)
        values, others = ({"G": x.G, "H": x.H, **x.tensors} for x in (fine, coarse))
        check_finite(number, values)
        yield kernels, values, errors_of(values, others, number, kernels.least_sine, sets)


def of_pairs(rtol: float) -> tuple[Callable, Callable]:
    """The two functions that `NearDuplicates` calls for other inputs: `computed`, on sets of two, and `closest`."""

    def computed(mlp: MLP, X: np.ndarray, sets: TensorSets):
        wanted = np.eye(len(X), dtype=bool)
        wanted[tuple(sets.sets)] = wanted[tuple(sets.sets[::-1])] = True
        for _, values, errors in estimated(both_runs(mlp, X, sets.k, sets.moments, rtol, wanted), sets):
            yield values, errors

    def closest(mlp: MLP, X: np.ndarray) -> float:
        return min(float(of_layer.least_sine[0].min()) for of_layer in kernels(mlp, X, 0, (), COARSE, None))

    return computed, closest


def symmetric_noise(rng: np.random.Generator, N: int) -> np.ndarray:
    """Random numbers between -1 and 1, (N, N)."""
    noise = np.triu(rng.uniform(-1, 1, (N, N)))
    return noise + np.triu(noise, 1).T
