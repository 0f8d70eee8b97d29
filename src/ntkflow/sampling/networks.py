"""What is measured on one network: per layer, the random numbers whose averages over seeds are the tensors.

A set of k samples has p = k(k+1)/2 pairs (a ≤ b), in the order of `np.triu_indices(k)`. The NTK of each pair flows through the
layers on its own: with widths n, time p n³ + p² n² and memory p n² a layer. For the means alone the Jacobians do: time
k n³ + k² n² and memory k n² for each pair of layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._recursions.tensors import Expectation
from ..finite.learning_rates import tensorial
from ..finite.parameters import Parameters
from ..finite.preactivations import preactivations
from ..finite.tangent_kernel import flat, layer_kernels, pull_back
from ..network.blocks import Block, Stage
from ..network.dense import Dense
from ..network.mlp import MLP


class Measured(NamedTuple):
    """One network, one layer, one set of samples; but for y all are None where the means alone are asked for.

    With Cov over seeds and n the fan-in, the layer's tensors are n Cov[y, y] and n E of the others, PDLT (8.67), (8.82).
    """

    y: jax.Array
    """(2p,): what G is the mean of, for each pair, and then what H is the mean of."""
    yy: jax.Array | None = None
    """(2p, 2p): V, D and A are n times its mean less the product of the means of y."""
    expectations: tuple[jax.Array, ...] | None = None
    """Of the tensors that are declared as an `Expectation`, in their order; then of those of training that are asked for; and last z_{i;1} ΔĤ_{ii;34}, (k, p), which vanishes on
    average, PDLT (8.35)."""

    def with_derivatives(self, arrays: tuple[jax.Array, ...]) -> Measured:
        """With the NTK's derivatives before the last of the expectations."""
        assert self.expectations is not None
        *expectations, zH = self.expectations
        return self._replace(expectations=(*expectations, *arrays, zH))


Measure = Callable[[MLP, tuple[Expectation, ...], Parameters, jax.Array, jax.Array], list[Measured]]


def low_noise(
    mlp: MLP, expectations: tuple[Expectation, ...], params: Parameters, X: jax.Array, reference: jax.Array
) -> list[Measured]:
    """Layers 2 … L from averages over the layer below, the layer's own weights integrated out, PDLT (8.69), (8.83).

    Layers without weights of their own on all that reaches them, blocks with a skip or several stages, are measured as by `direct`.

    Args:
        expectations: what to measure besides covariances.
        X: (k, n_0).
        reference: (L, 2p), numbers near the means of y, taken off y; only the precision depends on them.
    """
    measured = []
    for (below, sampled), above, n, near in zip(
        itertools.pairwise(layers(mlp, params, X, reference)),
        mlp.layers[1:],
        mlp.widths[1:],
        reference[1:],
        strict=False,
    ):
        read_out = above.read_out
        if read_out is None:
            measured.append(_direct(sampled, expectations, near))
            continue
        y = _integrated(read_out, n, below.s, below.inner.trace()) - near
        # zH is odd in the weights that are integrated out.
        zH = jnp.zeros((len(X), len(y) // 2), y.dtype)
        arrays = (*(expectation.low_noise(read_out.C_W, n, below) for expectation in expectations), zH)
        measured.append(Measured(y, jnp.outer(y, y), arrays))
    return measured


def direct(
    mlp: MLP, expectations: tuple[Expectation, ...], params: Parameters, X: jax.Array, reference: jax.Array
) -> list[Measured]:
    """Layers 1 … L from their own neurons, by the definitions PDLT (8.67), (8.82).

    Averages over all neurons, and over all pairs of different ones: NaN for the tensors of a layer of one neuron.
    Arguments as of `low_noise`.
    """
    return [
        _direct(layer, expectations, near)
        for layer, near in zip(layers(mlp, params, X, reference), reference, strict=True)
    ]


def _direct(layer: SampledLayer, expectations: tuple[Expectation, ...], near: jax.Array) -> Measured:
    z = layer.z
    n, (a, b) = len(z), np.triu_indices(z.shape[1])
    each = jnp.concatenate([(z[:, a] * z[:, b]).T, layer.ntk.of_one_neuron()]) - near[:, None]
    total = each.sum(axis=1)
    zH = (each[len(a) :] @ z).T / n
    return Measured(
        total / n,
        (jnp.outer(total, total) - each @ each.T) / layer.pairs_of_neurons,
        (*(expectation.direct(layer) for expectation in expectations), zH),
    )


def low_noise_means(
    mlp: MLP, expectations: tuple[Expectation, ...], params: Parameters, X: jax.Array, reference: jax.Array
) -> list[Measured]:
    """`low_noise` for the means alone."""
    z = preactivations(mlp, params, X)
    kernels = _kernels(mlp, params, z, X)
    measured = []
    for ell, above in enumerate(mlp.layers[1:], start=1):
        # A norm couples neurons.
        if not isinstance(above, Dense):
            measured.append(_direct_means(mlp, params, z, kernels, ell + 1, reference[ell]))
            continue
        d = above.slope(z[ell - 1])
        *inner_kernels, kernel = flat(kernels[:ell])
        inner = kernel * (d @ d.T)
        jacobians = flat(pull_back(mlp, params, z, ell, np.arange(mlp.widths[ell])))
        for kernel, j in zip(inner_kernels, jacobians, strict=True):
            rows = (d.T[:, :, None] * j).swapaxes(0, 1).reshape(len(X), -1)
            inner += kernel * (rows @ rows.T)
        y = _integrated(above, mlp.widths[ell], above.seen(z[ell - 1]).T, _vech(inner))
        measured.append(Measured(y - reference[ell]))
    return measured


def direct_means(
    mlp: MLP, expectations: tuple[Expectation, ...], params: Parameters, X: jax.Array, reference: jax.Array
) -> list[Measured]:
    """`direct` for the means alone."""
    z = preactivations(mlp, params, X)
    kernels = _kernels(mlp, params, z, X)
    return [_direct_means(mlp, params, z, kernels, ell, near) for ell, near in enumerate(reference, start=1)]


def _direct_means(
    mlp: MLP, params: Parameters, z, kernels: list[list[jax.Array]], ell: int, near: jax.Array
) -> Measured:
    n = mlp.widths[ell]
    *inner_kernels, H = flat(kernels[:ell])
    for kernel, j in zip(inner_kernels, flat(pull_back(mlp, params, z, ell, np.arange(n))), strict=True):
        rows = j.swapaxes(0, 1).reshape(len(H), -1)
        H += kernel * (rows @ rows.T) / n
    y = jnp.concatenate([_vech(z[ell - 1] @ z[ell - 1].T / n), _vech(H)])
    return Measured(y - near)


def _integrated(above: Dense | Stage, n: int, s: jax.Array, trace: jax.Array) -> jax.Array:
    """Ĝ' and λ_b + Ω̂ of layer ℓ+1 for each pair, from σ (n, k) and Σ_j σ'σ'Ĥ_jj (p,) of layer ℓ, PDLT (8.49)."""
    ss = _vech(s.T @ s)
    G = above.C_b + above.C_W / n * ss
    H = above.lambda_b + above.lambda_W / n * ss + above.C_W / n * trace
    return jnp.concatenate([G, H])


class SampledLayer(NamedTuple):
    """One layer of one network: z (n, k), its NTK, σ(z) (n, k), and what a dense layer above makes its NTK of, σ'Ĥσ'.

    Behind a norm σ is taken of what the norm makes of z, and Ĥ is the NTK of that.
    """

    z: jax.Array
    ntk: PairMatrices
    s: jax.Array
    inner: PairDiagonals | PairMatrices
    H: jax.Array
    """(p,), numbers near the mean NTK; only the precision depends on them."""

    @property
    def of_pairs(self) -> tuple[jax.Array, jax.Array]:
        """z of the first and of the second sample of each pair, (p, n)."""
        a, b = np.triu_indices(self.z.shape[1])
        return self.z.T[a], self.z.T[b]

    @property
    def pairs_of_neurons(self) -> float:
        """n (n - 1), the number of ordered pairs of different neurons; NaN for one neuron, which has none."""
        n = len(self.z)
        return float(n * (n - 1)) or np.nan


def layers(mlp: MLP, params: Parameters, X: jax.Array, near: jax.Array) -> list[SampledLayer]:
    """The forward equations, PDLT (8.9), (8.12). The compiler drops those whose results are not used.

    Args:
        near: as `reference` of `low_noise`.
    """
    a, b = np.triu_indices(len(X))
    z, rates = preactivations(mlp, params, X), tensorial(mlp)
    below: list[SampledLayer] = []
    for ell, (layer, (*_, kernel)) in enumerate(zip(mlp.layers, _kernels(mlp, params, z, X), strict=True)):
        above = mlp.layers[ell + 1] if ell + 1 < mlp.depth else None
        on_pairs = kernel[a, b]
        H = on_pairs[:, None, None] * jnp.eye(mlp.widths[ell + 1], dtype=X.dtype)
        if ell > 0:
            H += layer.carried_ntk_of_pairs(rates.of_layer(ell), params[ell], below[-1])
        if isinstance(above, Block) and above.read_out is not None:
            s, inner_ntk = above.read(rates.of_layer(ell + 1), params[ell + 1], z[ell], H)
            inner = PairMatrices(inner_ntk)
        else:
            s, d = (
                (above.seen(z[ell]), above.slope(z[ell]))
                if isinstance(above, Dense)
                else (z[ell], jnp.ones_like(z[ell]))
            )
            inner = (
                PairDiagonals(on_pairs[:, None] * d[a] * d[b])
                if ell == 0
                else PairMatrices(d[a][:, :, None] * H * d[b][:, None, :])
            )
        below.append(SampledLayer(z[ell].T, PairMatrices(H), s.T, inner, near[ell, len(a) :]))
    return below


def _kernels(mlp: MLP, params: Parameters, z, X: jax.Array) -> list[list[jax.Array]]:
    """λ_b + λ_W (1/n_{ℓ-1}) Σ_k σ_k;1 σ_k;2 of each layer, (k, k): lists as of `layer_kernels`."""
    of_layers = layer_kernels(mlp, tensorial(mlp), params, z, z, X, X)
    return [[bias + weight for bias, weight in of_layer] for of_layer in of_layers]


def _vech(table: jax.Array) -> jax.Array:
    return table[np.triu_indices(len(table))]


class PairDiagonals(NamedTuple):
    """σ'_{j;1} σ'_{k;2} Ĥ_{jk;12} of layer 1, where it is zero unless j = k: (p, n)."""

    m: jax.Array

    def trace(self) -> jax.Array:
        return self.m.sum(axis=1)

    def between(self, s: jax.Array) -> jax.Array:
        return jnp.einsum("pj,ja,jb->pab", self.m, s, s, optimize=True)

    def products(self) -> jax.Array:
        gram = self.m @ self.m.T
        return jnp.stack([gram, gram])

    def pushed(self, W: jax.Array) -> jax.Array:
        return jnp.einsum("ij,pj,lj->pil", W, self.m, W, optimize=True)


class PairMatrices(NamedTuple):
    """Ĥ_{jk;12} or σ'_{j;1} σ'_{k;2} Ĥ_{jk;12} of any layer: (p, n, n)."""

    m: jax.Array

    def trace(self) -> jax.Array:
        return jnp.trace(self.m, axis1=1, axis2=2)

    def of_one_neuron(self) -> jax.Array:
        """m_{jj}, (p, n)."""
        return jnp.diagonal(self.m, axis1=1, axis2=2)

    def between(self, s: jax.Array) -> jax.Array:
        """Σ_jk s_{j;1} s_{k;2} m_{jk;34}: (p, k, k)."""
        return jnp.einsum("ja,pjk,kb->pab", s, self.m, s, optimize=True)

    def products(self) -> jax.Array:
        """Σ_jk m_{jk;12} m_{jk;34}, and with m_{jk;43} = m_{kj;34}: (2, p, p)."""
        rows, turned = (m.reshape(len(m), -1) for m in (self.m, self.m.swapaxes(1, 2)))
        return jnp.stack([rows @ rows.T, rows @ turned.T])

    def pushed(self, W: jax.Array) -> jax.Array:
        """Σ_jk W_ij m_jk W_lk: (p, n', n')."""
        return jnp.einsum("ij,pjk,lk->pil", W, self.m, W, optimize=True)
