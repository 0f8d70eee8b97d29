"""Sums over a block of draws, on all local devices."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from .._machine.memory import check_memory
from .._recursions.tensors import Derivative, Expectation
from ..finite.parameters import init
from ..network.mlp import MLP
from ..network.network import has_blocks
from .derivatives import derivatives_on_layers, memory_of_derivatives
from .draws import draw_key
from .estimators import Sums, measured_derivatives, measured_expectations, terms
from .networks import Measure, direct_means, low_noise, low_noise_means

# What the arrays of the networks under way may take: what fits a CPU's cache, and a part of a GPU's memory.
_CPU_BUDGET = 2**20
_GPU_SHARE = 0.2


@dataclass(frozen=True)
class Batch:
    """How much is under way at once on each device: networks, and sets of samples of each of them."""

    networks: int
    sets: int


def block_sums(
    mlp: MLP, measure: Measure, dtype: str, X: np.ndarray, sets: np.ndarray, reference: np.ndarray, seed: int,
    start: int, stop: int, batch: Batch, training: bool,
) -> list[Sums]:  # fmt: skip
    """The sums of each measured layer over draws start … stop - 1, float64 arrays with the sets (S,) as first axis.

    Time grows as the draws; memory does not.

    Args:
        X: (N, n_0). sets: (S, k) sample indices. reference: (S, L, 2p). training: whether to measure the NTK's derivatives.
    """
    with jax.enable_x64(True):
        sums = _compiled(measure, _asked(mlp, training), dtype, batch, tuple(jax.local_devices()))(
            mlp, jnp.asarray(X, dtype), sets, jnp.asarray(reference, dtype), seed, start, stop
        )
        return jax.tree.map(np.asarray, sums)


def sums_shapes(mlp: MLP, measure: Measure, sets: np.ndarray, N: int, training: bool) -> list[Sums]:
    """The shapes of what `block_sums` returns, as a tree of jax.ShapeDtypeStruct."""
    numbers = sets.shape[1] * (sets.shape[1] + 1)
    if isinstance(mlp, MLP):
        mlp = MLP(mlp.widths, "linear")  # shapes don't depend on the activation, which a file may lack
    with jax.enable_x64(True):
        X, near = np.zeros((N, mlp.widths[0])), np.zeros((len(sets), mlp.depth, numbers))
        run = functools.partial(
            _one_network, mlp, measure, _asked(mlp, training), "float64", 1, X, sets, near, 0
        )
        return jax.eval_shape(run, 0)


def batch_for(mlp: MLP, measure: Measure, sets: np.ndarray, dtype: str, block: int, training: bool) -> Batch:
    """The largest batch that memory holds, at most one block of draws; MemoryRequestError if one network doesn't fit."""
    shapes = jax.eval_shape(lambda: init(mlp, 0))
    widest = max(array.shape[0] for array in jax.tree.leaves(shapes))
    k, itemsize = sets.shape[1], np.dtype(dtype).itemsize
    pairs = k * (k + 1) // 2
    if measure in (low_noise_means, direct_means):
        one_set = itemsize * (8 * pairs + 4 * k * widest**2)
    else:
        one_set = itemsize * 4 * pairs * (widest**2 + 16 * pairs)
    parameters = itemsize * sum(array.size for array in jax.tree.leaves(shapes))
    if training:
        one_set += memory_of_derivatives(k, parameters, itemsize)
    what, instead = ("NTKs and their derivatives", "") if training else ("NTKs", ', "mean"')
    check_memory(
        one_set, f"the {what} of {k} samples and {widest} neurons of one network",
        f'components="pairs"{instead} or a list of smaller sets of samples',
    )  # fmt: skip
    devices = jax.local_devices()
    stats = devices[0].memory_stats() or {}
    budget = _GPU_SHARE * stats["bytes_limit"] if "bytes_limit" in stats else _CPU_BUDGET
    at_once = int(min(len(sets), max(1, budget // one_set)))
    networks = int(budget // (at_once * one_set + 3 * parameters))
    return Batch(max(1, min(networks, -(-block // len(devices)))), at_once)


class _Asked(NamedTuple):
    """What is measured besides covariances."""

    expectations: tuple[Expectation, ...]
    derivatives: tuple[Derivative, ...]


def _asked(mlp: MLP, training: bool) -> _Asked:
    expectations = measured_expectations(has_blocks(mlp))
    return _Asked(tuple(expectations.values()), tuple(measured_derivatives(training).values()))


def _one_network(mlp, measure, asked: _Asked, dtype, at_once, X, sets, reference, seed, draw) -> list[Sums]:
    key = draw_key(seed, draw)
    params = init(mlp, key, dtype)

    def one_set(chosen, near):
        samples = jnp.asarray(X)[chosen]
        measured = measure(mlp, asked.expectations, params, samples, near)
        if asked.derivatives:
            on_layers = derivatives_on_layers(
                mlp, asked.derivatives, params, samples, key, measure is low_noise
            )
            measured = [
                layer.with_derivatives(arrays)
                for layer, arrays in zip(measured, on_layers[len(on_layers) - len(measured) :], strict=True)
            ]
        return [terms(layer) for layer in measured]

    if len(sets) == 1:
        return jax.tree.map(lambda x: x[None], one_set(sets[0], reference[0]))
    return jax.lax.map(lambda args: one_set(*args), (sets, reference), batch_size=at_once)


@functools.lru_cache
def _compiled(measure: Measure, asked: _Asked, dtype: str, batch: Batch, devices: tuple):
    mesh = Mesh(np.array(devices), ("draws",))
    stride = batch.networks * len(devices)

    def local(mlp, X, sets, reference, seed, start, stop):
        network = functools.partial(
            _one_network, mlp, measure, asked, dtype, batch.sets, X, sets, reference, seed
        )
        first = start + batch.networks * jax.lax.axis_index("draws")

        def add(i, sums):
            draws = first + i * stride + jnp.arange(batch.networks)
            of_batch = jax.vmap(network)(draws)
            counted = draws < stop

            def total(x):
                return jnp.where(counted.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0).sum(axis=0)

            return jax.tree.map(lambda old, x: old + total(x), sums, of_batch)

        shapes = jax.eval_shape(network, start)
        zero = jax.tree.map(
            lambda s: jax.lax.pcast(jnp.zeros(s.shape, s.dtype), "draws", to="varying"), shapes
        )
        sums = jax.lax.fori_loop(0, -(-(stop - start) // stride), add, zero)
        return jax.lax.psum(sums, "draws")

    everywhere = PartitionSpec()
    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(everywhere,) * 7, out_specs=everywhere))
