"""The NTK of one network: by the backward equation for what is asked, and by the forward equation for everything.

Backward: with J^(ℓ) = dz^(L)/dz^(ℓ), PDLT (8.17), and what one neuron of layer ℓ contributes,
k^(ℓ)_12 = λ_b + λ_W (1/n_{ℓ-1}) Σ_k σ_k;1 σ_k;2,

    Ĥ_{i1 i2; 12} = Σ_ℓ k^(ℓ)_12 Σ_j J^(ℓ)_{i1 j; 1} J^(ℓ)_{i2 j; 2}.

In a block the sum is over all that has parameters: its stages and their norms, from below. For N samples, I neurons and widths n, time
N I n² + N² I² n a layer and memory N² I² + N I n: the parameters' Jacobian, N I n², is never built.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks.inputs import as_array
from .._machine.memory import check_memory
from ..errors import ComponentError
from ..network.blocks import Block
from ..network.mlp import MLP
from ..network.network import Network
from .learning_rates import LearningRates, checked_rates
from .parameters import Parameters, checked, in_their_precision, inputs, layer_number
from .preactivations import preactivations

_BLOCKS = 8  # of rows, of which the symmetric half is computed


@in_their_precision
def ntk(
    mlp: MLP | Network, params: Parameters, X, X2=None, *, layer: int = -1, neurons=None, pairs=None,
    rates: LearningRates | None = None,
) -> jax.Array:  # fmt: skip
    """The NTK Ĥ of a layer, PDLT (8.4), by the backward equation (8.16)-(8.18).

    Args:
        X: (N, n_0). X2: (N2, n_0), by default X itself.
        layer: counted from 1, or from the last as -1.
        neurons: indices of the layer's neurons; by default all.
        pairs: (P, 2), row by row the index of a sample of X and of one of X2; by default all N × N2.
        rates: the learning-rate tensor; by default λ_b and λ_W / n_{ℓ-1} of `mlp`, otherwise such as `plain(mlp)`.

    Returns:
        (I, I, N, N2), axes i1, i2, α1, α2; or (I, I, P).

    Raises:
        ParameterError, DataError, ComponentError: an argument doesn't fit the network.
        MemoryRequestError: the result would not fit in memory; the message says what to ask instead.
    """
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    X2 = None if X2 is None else inputs(mlp, params, X2, "X2")
    top = layer_number(mlp, layer)
    chosen = chosen_neurons(mlp, top, neurons)
    others = len(X) if X2 is None else len(X2)
    rows = _jacobian_entries(mlp, top, len(chosen), len(X) + (0 if X2 is None else others))
    if pairs is None:
        _check_memory(X, rows + len(chosen) ** 2 * len(X) * others)
        return _backward_ntk(mlp, top, checked_rates(mlp, rates), params, X, X2, chosen)
    pairs = _pairs(pairs, len(X), others)
    _check_memory(X, rows + len(pairs) * (len(chosen) ** 2 + 2 * len(chosen) * max(mlp.widths[:top])))
    return _paired_ntk(mlp, top, checked_rates(mlp, rates), params, X, X if X2 is None else X2, chosen, pairs)


@in_their_precision
def ntk_trace(
    mlp: MLP | Network, params: Parameters, X, X2=None, *, layer: int = -1, rates: LearningRates | None = None
) -> jax.Array:
    """The average over neurons (1/n_ℓ) Σ_i Ĥ_{ii; α1 α2}: (N, N2). Arguments and errors as of `ntk`."""
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    X2 = X if X2 is None else inputs(mlp, params, X2, "X2")
    top = layer_number(mlp, layer)
    _check_memory(X, _jacobian_entries(mlp, top, mlp.widths[top], len(X) + len(X2)) + len(X) * len(X2))
    return _trace(mlp, top, checked_rates(mlp, rates), params, X, X2)


@in_their_precision
def ntk_contributions(
    mlp: MLP | Network,
    params: Parameters,
    X,
    X2=None,
    *,
    layer: int = -1,
    neurons=None,
    rates: LearningRates | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The NTK split into the biases' and the weights' part of each layer 1 … ℓ, PDLT (8.7).

    Returns:
        Biases and weights, each (ℓ, I, I, N, N2); their sum over both and over layers is `ntk`.
    """
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    X2 = X if X2 is None else inputs(mlp, params, X2, "X2")
    top = layer_number(mlp, layer)
    chosen = chosen_neurons(mlp, top, neurons)
    rows = _jacobian_entries(mlp, top, len(chosen), len(X) + len(X2))
    _check_memory(X, rows + 2 * top * len(chosen) ** 2 * len(X) * len(X2))
    return _contributions(mlp, top, checked_rates(mlp, rates), params, X, X2, chosen)


@in_their_precision
def ntk_layers(
    mlp: MLP | Network, params: Parameters, X, X2=None, *, rates: LearningRates | None = None
) -> tuple[jax.Array, ...]:
    """Ĥ^(1) … Ĥ^(L), each (n_ℓ, n_ℓ, N, N2) with all neurons, by the forward equation, PDLT (8.12).

    Time N N2 n³ and memory N N2 n² a layer. Raises as `ntk`.
    """
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    X2 = X if X2 is None else inputs(mlp, params, X2, "X2")
    _check_memory(X, len(X) * len(X2) * (sum(n * n for n in mlp.widths[1:]) + max(mlp.widths) ** 2))
    return forward_ntk(mlp, checked_rates(mlp, rates), params, X, X2)


@in_their_precision
def jacobian(
    mlp: MLP | Network, params: Parameters, X, upper: int = -1, lower: int = 1, neurons=None
) -> jax.Array:
    """dz^(upper)/dz^(lower) on each sample, PDLT (8.17): (N, I, n_lower), I the chosen neurons of layer `upper`."""
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    top, bottom = layer_number(mlp, upper), layer_number(mlp, lower)
    if bottom > top:
        raise ComponentError(f"jacobian: layer {bottom} does not lie below layer {top}")
    chosen = chosen_neurons(mlp, top, neurons)
    _check_memory(X, _jacobian_entries(mlp, top, len(chosen), len(X)))
    return _jacobian(mlp, top, bottom, params, X, chosen)


@in_their_precision
def interlayer_ntk(
    mlp: MLP | Network,
    params: Parameters,
    X,
    X2=None,
    *,
    layers: tuple[int, int],
    rates: LearningRates | None = None,
) -> jax.Array:
    """Σ λ_μν (dz^(l1)_{i1;α1}/dθ_μ)(dz^(l2)_{i2;α2}/dθ_ν) between two layers: (n_l1, n_l2, N, N2)."""
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    X2 = X if X2 is None else inputs(mlp, params, X2, "X2")
    if not isinstance(layers, tuple | list) or len(layers) != 2:
        raise ComponentError(f"layers must be two layers (l1, l2), not {layers!r}")
    first, second = (layer_number(mlp, layer) for layer in layers)
    rows = (_jacobian_entries(mlp, top, mlp.widths[top], len(x)) for top, x in ((first, X), (second, X2)))
    _check_memory(X, sum(rows) + mlp.widths[first] * mlp.widths[second] * len(X) * len(X2))
    return _interlayer(mlp, first, second, checked_rates(mlp, rates), params, X, X2)


def chosen_neurons(mlp: MLP | Network, layer: int, neurons) -> np.ndarray:
    width = mlp.widths[layer]
    chosen = (
        np.arange(width) if neurons is None else np.atleast_1d(as_array(neurons, "neurons", ComponentError))
    )
    if (
        chosen.ndim != 1
        or len(chosen) == 0
        or chosen.dtype.kind not in "iu"
        or np.any((chosen < 0) | (chosen >= width))
    ):
        raise ComponentError(f"neurons must be indices 0 … {width - 1} of layer {layer}, not {neurons!r}")
    return chosen


def _pairs(pairs, N: int, N2: int) -> np.ndarray:
    pairs = as_array(pairs, "pairs", ComponentError)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0 or pairs.dtype.kind not in "iu":
        raise ComponentError("pairs must have shape (P, 2), P ≥ 1, and hold sample indices")
    if np.any((pairs < 0) | (pairs >= (N, N2))):
        raise ComponentError(f"pairs: sample indices must be below {N} and {N2}")
    return pairs


def _jacobian_entries(mlp: MLP | Network, top: int, neurons: int, samples: int) -> int:
    """Numbers in all the J^(ℓ) = dz^(top)/dz^(ℓ) of the chosen neurons, and in those by what stages of blocks make."""
    entries = sum(mlp.widths[1:top])
    for ell, layer in enumerate(mlp.layers[:top]):
        if isinstance(layer, Block):
            shapes: Any = layer.shapes(mlp.widths[ell], mlp.widths[ell + 1])
            entries += sum(W[0] + 2 * W[1] for W, _ in shapes)
    return neurons * samples * entries


def _check_memory(X: jax.Array, entries: int) -> None:
    check_memory(
        X.dtype.itemsize * entries, "the NTK's components",
        "chosen neurons=…, for pairs=… of samples, for ntk_trace, or for fewer samples at a time",
    )  # fmt: skip


def layer_kernels(
    mlp: MLP | Network, rates: LearningRates, params: Parameters, z, z2, X, X2, product=lambda s, s2: s @ s2.T
) -> list[list[tuple]]:
    """λ_b and λ_WW Σ_k σ_k;1 σ_k;2 of each layer whose parameters are given, what one neuron's own biases and weights contribute: lists of `Layer.own_ntk`."""
    below = zip((X, *z), (X2, *z2), strict=True)
    return [
        layer.own_ntk(rates.of_layer(index), p, *sides, product)
        for index, (layer, p, sides) in enumerate(zip(mlp.layers, params, below, strict=False))
    ]


def flat(of_layers: list[list]) -> list:
    """What is listed layer by layer, in one list."""
    return list(itertools.chain.from_iterable(of_layers))


def pull_back(mlp: MLP | Network, params: Parameters, z, top: int, chosen) -> list[list[jax.Array]]:
    """Derivatives of z^(top) by what has parameters in layers 1 … top, PDLT (8.17), listed as by `layer_kernels`.

    The last of those of layer ℓ < top is J^(ℓ) = dz^(top)/dz^(ℓ), (I, N, n_ℓ); that of layer `top`, the identity, is left out.
    """
    if top == 1:
        return [[]]
    of_layer, rows = mlp.layers[top - 1].jacobian(params[top - 1], z[top - 2], chosen)
    of_layers = [of_layer]
    for ell in range(top - 2, 0, -1):
        of_layer, rows = mlp.layers[ell].pulled_back(params[ell], z[ell - 1], rows)
        of_layers.append(of_layer)
    return [[rows], *of_layers[::-1]]


def _gram(J: jax.Array, J2: jax.Array) -> jax.Array:
    """Σ_j J_{i1 α1 j} J2_{i2 α2 j}: (I, I, N, N2)."""
    product = J.reshape(-1, J.shape[-1]) @ J2.reshape(-1, J2.shape[-1]).T
    return product.reshape(*J.shape[:2], *J2.shape[:2]).swapaxes(1, 2)


@functools.partial(jax.jit, static_argnums=1)
def _backward_ntk(mlp: MLP | Network, top: int, rates, params, X, X2, chosen):
    z = preactivations(mlp, params[:top], X)
    J = flat(pull_back(mlp, params, z, top, chosen))
    same = (chosen[:, None] == chosen)[..., None, None]
    if X2 is not None:
        z2 = preactivations(mlp, params[:top], X2)
        J2 = flat(pull_back(mlp, params, z2, top, chosen))
        *below, top_kernel = _summed_kernels(mlp, rates, params[:top], z, z2, X, X2)
        return same * top_kernel + sum(k * _gram(j, j2) for k, j, j2 in zip(below, J, J2, strict=True))
    *below, top_kernel = _summed_kernels(mlp, rates, params[:top], z, z, X, X)
    return same * top_kernel + _symmetric_sum(below, J) if J else same * top_kernel


def _summed_kernels(mlp: MLP | Network, rates, params: Parameters, z, z2, X, X2, *product) -> list[jax.Array]:
    """Biases' and weights' part together, in one list."""
    return [b + w for b, w in flat(layer_kernels(mlp, rates, params, z, z2, X, X2, *product))]


def _symmetric_sum(kernels, J) -> jax.Array:
    """Σ_ℓ k^(ℓ) Gram(J^(ℓ)), the blocks of i1 ≤ i2 alone; the others are their transposes."""
    edges = np.linspace(0, len(J[0]), min(len(J[0]), _BLOCKS) + 1).astype(int).tolist()
    halves, rows = [], []
    for start, stop in itertools.pairwise(edges):
        mirrored = [half[:, start - first : stop - first].transpose(1, 0, 3, 2) for first, half in halves]
        half = sum(k * _gram(j[start:stop], j[start:]) for k, j in zip(kernels, J, strict=True))
        halves.append((start, half))
        rows.append(jnp.concatenate([*mirrored, half], axis=1))
    return jnp.concatenate(rows)


@functools.partial(jax.jit, static_argnums=1)
def _paired_ntk(mlp: MLP | Network, top: int, rates, params, X, X2, chosen, pairs):
    z, z2 = (preactivations(mlp, params[:top], x) for x in (X, X2))
    paired = functools.partial(_product_of_pairs, pairs)
    *below, top_kernel = _summed_kernels(mlp, rates, params[:top], z, z2, X, X2, paired)
    J, J2 = (flat(pull_back(mlp, params, x, top, chosen)) for x in (z, z2))
    products = (
        jnp.einsum("ipn,jpn->ijp", j[:, pairs[:, 0]], j2[:, pairs[:, 1]]) for j, j2 in zip(J, J2, strict=True)
    )
    return (chosen[:, None] == chosen)[..., None] * top_kernel + sum(
        k * p for k, p in zip(below, products, strict=True)
    )


def _product_of_pairs(pairs, s: jax.Array, s2: jax.Array) -> jax.Array:
    return jnp.einsum("pn,pn->p", s[pairs[:, 0]], s2[pairs[:, 1]])


@functools.partial(jax.jit, static_argnums=1)
def _trace(mlp: MLP | Network, top: int, rates, params, X, X2):
    z, z2 = (preactivations(mlp, params[:top], x) for x in (X, X2))
    *below, top_kernel = _summed_kernels(mlp, rates, params[:top], z, z2, X, X2)
    chosen = np.arange(mlp.widths[top])
    J, J2 = (flat(pull_back(mlp, params, x, top, chosen)) for x in (z, z2))
    products = (jnp.einsum("ian,ibn->ab", j, j2) for j, j2 in zip(J, J2, strict=True))
    return top_kernel + sum(k * p for k, p in zip(below, products, strict=True)) / mlp.widths[top]


@functools.partial(jax.jit, static_argnums=1)
def _contributions(mlp: MLP | Network, top: int, rates, params, X, X2, chosen):
    z, z2 = (preactivations(mlp, params[:top], x) for x in (X, X2))
    kernels = layer_kernels(mlp, rates, params[:top], z, z2, X, X2)
    J, J2 = (pull_back(mlp, params, x, top, chosen) for x in (z, z2))
    same = jnp.broadcast_to(
        (chosen[:, None] == chosen)[..., None, None], (len(chosen),) * 2 + (len(X), len(X2))
    )
    grams = [[_gram(j, j2) for j, j2 in zip(*of_layer, strict=True)] for of_layer in zip(J, J2, strict=True)]
    grams[-1].append(same)
    bias, weight = (
        jnp.stack(
            [
                sum((k[part] * g for k, g in zip(*of_layer, strict=True)), 0.0 * same)
                for of_layer in zip(kernels, grams, strict=True)
            ]
        )
        for part in (0, 1)
    )
    return bias, weight


@jax.jit
def forward_ntk(mlp: MLP | Network, rates, params, X, X2):
    z, z2 = (preactivations(mlp, params, x) for x in (X, X2))
    kernels = []
    for ell, (*_, (bias, weight)) in enumerate(layer_kernels(mlp, rates, params, z, z2, X, X2)):
        H = jnp.eye(mlp.widths[ell + 1], dtype=X.dtype)[..., None, None] * (bias + weight)
        if ell > 0:
            H += mlp.layers[ell].carried_ntk(
                rates.of_layer(ell), params[ell], z[ell - 1], z2[ell - 1], kernels[-1]
            )
        kernels.append(H)
    return tuple(kernels)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _jacobian(mlp: MLP | Network, top: int, bottom: int, params, X, chosen):
    if top == bottom:
        return jnp.broadcast_to(
            jnp.eye(mlp.widths[top], dtype=X.dtype)[chosen], (len(X), len(chosen), mlp.widths[top])
        )
    z = preactivations(mlp, params[:top], X)
    return pull_back(mlp, params, z, top, chosen)[bottom - 1][-1].swapaxes(0, 1)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _interlayer(mlp: MLP | Network, first: int, second: int, rates, params, X, X2):
    z, z2 = preactivations(mlp, params[:first], X), preactivations(mlp, params[:second], X2)
    shared = min(first, second)
    kernels = _summed_kernels(mlp, rates, params[:shared], z[:shared], z2[:shared], X, X2)

    def rows(z, top):
        jacobians = pull_back(mlp, params, z, top, np.arange(mlp.widths[top]))
        identity = jnp.broadcast_to(
            jnp.eye(mlp.widths[top], dtype=X.dtype)[:, None], (mlp.widths[top], len(z[0]), mlp.widths[top])
        )
        jacobians[-1] = [*jacobians[-1], identity]
        return flat(jacobians[:shared])

    return sum(k * _gram(j, j2) for k, j, j2 in zip(kernels, rows(z, first), rows(z2, second), strict=True))
