"""The main job: a network and inputs in, the statistics of every layer out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, cast

import jax
import numpy as np
from jax.core import Tracer

from .._checks.inputs import checked_inputs
from .._jobs.tasks import checked_executor
from .._machine.memory import check_memory, give_back
from .._recursions import TENSORS, TensorSets, declarations
from .._report.progress import Report, shows_progress, silent
from ..errors import ComponentError, DataError, SpecError, warn
from ..network import as_mlp, as_network
from ..network.mlp import MLP
from ..network.network import has_blocks
from .block_runs import block_layers
from .components import Layout, PackedTensor, sample_sets, tensors_of
from .duplicates import distinct_rows, kernel_tables
from .error_estimates import poor_tensor, warning_of_errors
from .mean_kernels import block_of, has_tiles, mean_flow, write_kernels
from .near_duplicates import NearDuplicates
from .result import Flow
from .scales import natural_scales
from .statistics import LayerStatistics
from .tiles.run import stored_flow
from .truncation import warning_of_width
from .two_byte import TwoByteArray
from .two_runs import all_layers, of_pairs

_SMALL = 2**12  # numbers
_LARGE = 2**26  # bytes


@shows_progress
def flow(
    network: Any, X, components: str | Sequence[Sequence[int]] = "all", progress: Report | None = None, *,
    training: bool = False, X2=None, rtol: float = 1e-6, store=None, memory: int = 2**30, resume: bool = False,
    executor: Executor | None = None, part: tuple[int, int] | None = None,
) -> Flow:  # fmt: skip
    """The RG flow of the statistics of preactivations and NTK, PDLT chapter 8.

    Args:
        network: an MLP; without a store also an `ntkflow.Network`; or a torch, Equinox or Flax model, as `as_network` takes it.
        X: (N, n_0) finite inputs, in any of the forms that people have them in: see `ntkflow._checks.inputs.checked_inputs`.
        components: "all" (every component; time and memory grow as N⁴), "pairs" (those on at most two distinct
            samples, N²), "mean" (G and H alone) or a list of sample sets, each a few sample indices.
        progress: called as progress(done, total, message) before the first and after each layer, tile or batch; by default a bar on a
            terminal and in a notebook, and nothing elsewhere.
        training: whether layers also have the tensors of training, P and Q, and R, S, T, U where no activation has a kink: the first
            derivatives of the NTK by the parameters and the second ones, on average over seeds. See docs/training.md.
        X2: (N2, n_0), with "mean" only: G and H of each layer are then the (N, N2) block between X and X2.
        rtol: the accuracy wanted, relative to the products of G and H that a tensor is made of, between 0 and 1. What costs
            little is computed to round-off anyway; where error estimates exceed rtol, a warning names the tensors.
        store: a path ending in `.zarr` where the tensors are written as they come, for so many samples that they don't fit in memory: with
            "all" by tiles, otherwise by batches of sets. The Flow then reads them when they are looked at.
        memory: with `store`, bytes to work in, besides the some 400 MB that the program itself takes.
        resume: go on with the store at that path, which must be of the same network and inputs.
        executor: with `store`, whose workers compute them: `ntkflow.workers(4)`, Dask's
            `distributed.Client(…).get_executor()`, any `concurrent.futures.Executor`. They share a file system with this process, and
            have `memory` each.
        part: with `store`, (k, n): compute the k-th of n parts, in a process, or a job of an array, of its own. The store is
            made by whichever part comes first.

    Returns:
        A Flow; `flow[3]` is layer 3. Every array is float64 and comes with an error estimate: the difference from a
        second run through all layers, with coarser integration and metrics changed in their last digits, plus
        round-off; for "mean" a bound that is carried from layer to layer.

    Raises:
        DataError, ComponentError, MemoryRequestError, NonFiniteError: see their descriptions; and as of `as_network`.
        FileError: the store exists and `resume` is not set, is of another job, damaged, in use or can't be written.
        UnfinishedError: this part is done, and others are not.
        WorkerError: workers died or can't work; what they have done is kept, and `resume` goes on.
    """
    mlp = _untraced(cast(MLP, as_network(network)))
    X = checked_inputs(mlp, X)
    if isinstance(rtol, bool) or not isinstance(rtol, int | float) or not 0 < rtol < 1:
        raise DataError(f"rtol must be a number between 0 and 1, not {rtol!r}")
    asked = sample_sets(components, len(X))
    if X2 is not None and asked is not None:
        raise ComponentError(
            'X2 goes with components="mean" only; for a block of tensors use flow[-1].block(…)'
        )
    if training and asked is None:
        raise ComponentError(
            'training goes with components="all", "pairs" or a list of sample sets, not with "mean"'
        )
    X2 = None if X2 is None else checked_inputs(mlp, X2, "X2")
    _warn_of_zeros(mlp, X, X2)
    report = progress or silent
    names = () if asked is None else tensors_of(mlp, training)
    checked_executor(executor, part, store)
    if store is not None:
        if not isinstance(mlp, MLP):
            raise SpecError("a store holds the flow of an MLP, not of a Network of other layers or blocks")
        if asked is None:
            raise ComponentError('a store of components="mean" is what `store_kernels` writes')
        result, poor = stored_flow(
            mlp, X, _listed(components), names, rtol, store, memory, resume, report, executor, part
        )
    else:
        if resume:
            raise DataError("resume needs a store")
        if asked is None and not has_blocks(mlp) and has_tiles(mlp):
            return mean_flow(mlp, X, X2, report)
        if X2 is not None:
            return block_of(flow(mlp, np.concatenate([X, X2]), components, progress, rtol=rtol), X, X2)
        result, poor = _flow(mlp, X, components, asked, names, rtol, report)
    if poor:
        warn(warning_of_errors(poor, rtol))
    if asked is not None and (narrow := warning_of_width(result.layers)):
        warn(narrow)
    return result


@shows_progress
def store_kernels(
    network: Any,
    X,
    path,
    X2=None,
    tile: int = 1024,
    layers: str = "all",
    overwrite: bool = False,
    progress: Report | None = None,
    *,
    resume: bool = False,
    executor: Executor | None = None,
    part: tuple[int, int] | None = None,
):
    """G and H of every layer, as `flow(…, components="mean")` has them, written to a Zarr store tile by tile.

    Args:
        network, X, X2: as for `flow`.
        path: ends in `.zarr`; it is there from the first tile on, and can be read when it is finished.
        tile: about how many rows and columns are computed and written at a time: memory is 32 L tile² bytes, and for an
            activation without a closed form 3 kB a sample and layer.
        layers: "all" or "last".
        overwrite: whether to replace a store that exists, as soon as the new one is begun.
        progress: as of `flow`; called after each tile.
        resume: go on with the store at that path, which must be of the same network, inputs, `tile` and `layers`: tiles that are done are
            kept.
        executor, part: as of `flow`.

    Returns:
        What `open_kernels(path)` returns: an xarray Dataset that reads from disk what is indexed, and verifies it.

    Raises:
        DataError, ComponentError, ActivationError, NonFiniteError, FileError, UnfinishedError, WorkerError: see their descriptions.
    """
    mlp = _untraced(as_mlp(network))
    X = checked_inputs(mlp, X)
    X2 = None if X2 is None else checked_inputs(mlp, X2, "X2")
    _warn_of_zeros(mlp, X, X2)
    checked_executor(executor, part, path)
    return write_kernels(
        mlp, X, path, X2, tile, layers, overwrite, resume, progress or silent, executor, part
    )


def _untraced(mlp: MLP) -> MLP:
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(mlp)):
        raise DataError(
            "the network's hyperparameters are traced by JAX; inside of jit, vmap and grad use ntkflow.traced_flow or ntkflow.kernels"
        )
    return mlp


def _warn_of_zeros(mlp: MLP, *inputs: np.ndarray | None) -> None:
    zero = any(X is not None and not np.all(np.any(X, axis=1)) for X in inputs)
    if zero and mlp.layers[0].C_b == 0 and any(0.0 in a.kinks for a in mlp.activation):
        warn("an input is zero: an activation with its kink there takes JAX's value of its derivative at 0")


def _flow(
    mlp: MLP, X: np.ndarray, components: str | Sequence[Sequence[int]], asked: np.ndarray | None,
    names: tuple[str, ...], rtol: float, report: Report,
) -> tuple[Flow, list[str]]:  # fmt: skip
    """The flow, all components at once, and the tensors whose errors are poor."""
    blocks = has_blocks(mlp)
    _check_memory(mlp, asked, names)
    distinct, index = distinct_rows(X)
    layout = None if asked is None else Layout(asked, index, components == "all")
    sets = None if layout is None else TensorSets(layout.closed, len(distinct), names)
    report(0, mlp.depth, "compiling")
    layers, poor = [], []
    # What overflows is found and named after each layer.
    with np.errstate(all="ignore"):
        near = None if sets is None or blocks else NearDuplicates(mlp, distinct, names, *of_pairs(rtol))
        for fine, values, errors in (block_layers if blocks else all_layers)(mlp, distinct, sets, rtol):
            layer = fine.layer
            if sets is not None and near is not None:
                values, errors = near.mend(layer, fine.least_sine[0], sets.sets, values, errors)
            scales = natural_scales(values)
            for name in values:
                poor += poor_tensor(name, layer, float(errors[name].max()), scales[name], rtol)
            tables = kernel_tables(fine, errors, index)
            if layout is not None:
                for table, packed in zip(tables, (values, errors), strict=True):
                    table |= {name: _expanded(name, packed[name], layout) for name in names}
            layers.append(LayerStatistics(mlp, X, layer, asked, *tables, layers[-1] if layers else None))
            if sum(value.nbytes for value in values.values()) > _LARGE:
                give_back()
            report(layer, mlp.depth, f"layer {layer}")
    return Flow(mlp, X, _listed(components), layers), poor


def _listed(components: str | Sequence[Sequence[int]]) -> str | list[list[int]]:
    return components if isinstance(components, str) else [list(map(int, s)) for s in components]


def _expanded(name: str, packed: np.ndarray | TwoByteArray, layout: Layout):
    """A tensor on all inputs: expanded when it is looked at, or now if it is large and smaller then."""
    tensor = PackedTensor(layout, name, packed)
    if packed.size <= max(layout.expanded_size(name), _SMALL):
        # One of two samples is kept as soon as it was looked at, and then its entries are at hand.
        return tensor if TENSORS[name].rank > 2 else tensor.__call__
    return tensor.rearranged().floats if isinstance(packed, TwoByteArray) else tensor()


def _check_memory(mlp: MLP, asked: np.ndarray | None, names: tuple[str, ...]) -> None:
    if asked is None:
        return
    S, k = asked.shape
    sets, size = S * math.comb(k, min(k, 4)), min(k, 4)
    packed = sets * sum(tensor.orbits(size)[1].shape[1] for tensor in declarations(names))
    per_layer = min(packed, len(names) * S * k**4)
    # Values and errors of each layer; packed, both runs' and the next layer's; two tensors that are looked at.
    need = 10 * mlp.depth * per_layer + 32 * packed + 16 * S * k**4
    check_memory(
        need, f"these components on {S} sets of {k} samples" if S > 1 else f"these components of {k} samples",
        'components="pairs", "mean" or a list of sample sets, or for a store',
    )  # fmt: skip
