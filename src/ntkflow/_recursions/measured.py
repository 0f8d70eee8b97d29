"""F and B, and K, L and M of streams, on sampled networks, for each pair of samples, smaller index first: the other order exchanges the neurons."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .tensors import Expectation


def pair_index(k: int) -> np.ndarray:
    """Which of the k(k+1)/2 pairs a ≤ b, in the order of `np.triu_indices(k)`, two samples are: (k, k)."""
    index = np.zeros((k, k), int)
    index[np.triu_indices(k)] = np.arange(k * (k + 1) // 2)
    return np.maximum(index, index.T)


def _direct_F(layer):
    """z_{i;1} z_{j;2} Ĥ_{ij;34} at [34, 1, 2], over i ≠ j."""
    z, same = layer.z, layer.ntk.of_one_neuron()
    between = layer.ntk.between(z) - jnp.einsum("ia,pi,ib->pab", z, same, z, optimize=True)
    return between / layer.pairs_of_neurons


def _expanded_F(mean: np.ndarray, k: int) -> np.ndarray:
    """F_1324 from its [34, 1, 2]."""
    pair, i = pair_index(k), np.arange(k)
    a1, a3, a2, a4 = i[:, None, None, None], i[:, None, None], i[:, None], i
    return np.where(a3 <= a4, mean[:, pair[a3, a4], a1, a2], mean[:, pair[a3, a4], a2, a1])


def _direct_B(layer):
    """Ĥ_{ij;12} Ĥ_{ij;34} at [0, 12, 34], and Ĥ_{ij;12} Ĥ_{ij;43} at [1, 12, 34], over i ≠ j."""
    same = layer.ntk.of_one_neuron()
    return (layer.ntk.products() - same @ same.T) / layer.pairs_of_neurons


def _expanded_B(mean: np.ndarray, k: int) -> np.ndarray:
    """B_1324 from its [0, 12, 34] and B_1423 at [1, 12, 34]."""
    pair, i = pair_index(k), np.arange(k)
    a1, a3, a2, a4 = i[:, None, None, None], i[:, None, None], i[:, None], i
    return mean[:, ((a1 <= a2) != (a3 <= a4)).astype(int), pair[a1, a2], pair[a3, a4]]


def _direct_K(layer):
    """z_{i;1} z_{j;2} z_{j;3} at [1, 23], over i ≠ j."""
    z, (first, second) = layer.z, layer.of_pairs
    return _of_others(z, first * second) / layer.pairs_of_neurons


def _direct_L(layer):
    """z_{i;1} ΔĤ_{jj;23} at [1, 23], over i ≠ j."""
    return _of_others(layer.z, layer.ntk.of_one_neuron() - layer.H[:, None]) / layer.pairs_of_neurons


def _of_others(z, products):
    """Σ_{i≠j} z_i;1 products_{23;j}: (k, p)."""
    return jnp.outer(z.sum(axis=0), products.sum(axis=1)) - (products @ z).T


def _direct_M(layer):
    """z_{i;1} Ĥ_{ij;23} at [0, 1, 23], and z_{i;1} Ĥ_{ji;23} at [1, 1, 23], over i ≠ j."""
    H, same = layer.ntk.m, layer.ntk.of_one_neuron()
    sides = jnp.stack([(H.sum(axis=axis) - same) @ layer.z for axis in (2, 1)])
    return sides.swapaxes(1, 2) / layer.pairs_of_neurons


def _expanded_M(mean: np.ndarray, k: int) -> np.ndarray:
    """M_123 from its [0, 1, 23], where 2 is the smaller one, or its [1, 1, 32]."""
    pair, i = pair_index(k), np.arange(k)
    a1, a2, a3 = i[:, None, None], i[:, None], i
    return mean[:, (a2 > a3).astype(int), a1, pair[a2, a3]]


def _none_of_pairs(C_W, n, below):
    """Behind a dense layer K and L vanish."""
    del C_W, n
    return jnp.zeros((below.s.shape[1], len(below.ntk.m)), below.s.dtype)


MEASURED_K = Expectation(_none_of_pairs, _direct_K, lambda mean, k: mean[:, :, pair_index(k)])
MEASURED_L = Expectation(_none_of_pairs, _direct_L, lambda mean, k: mean[:, :, pair_index(k)])
MEASURED_M = Expectation(
    lambda C_W, n, below: jnp.stack([_none_of_pairs(C_W, n, below)] * 2), _direct_M, _expanded_M
)
MEASURED_F = Expectation(
    low_noise=lambda C_W, n, below: (C_W / n) ** 2 * below.inner.between(below.s),
    direct=_direct_F,
    expanded=_expanded_F,
)
MEASURED_B = Expectation(
    low_noise=lambda C_W, n, below: (C_W / n) ** 2 * below.inner.products(),
    direct=_direct_B,
    expanded=_expanded_B,
)
