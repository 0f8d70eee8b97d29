"""The NTK's first and second derivatives in one network: by nested derivatives for what is asked, and by forward equations for everything.

They say how the NTK changes while the network is trained. With every contraction of parameters weighted by λ,

    dĤ_{i0 i1 i2; 012}      = ∇²z_0 (∇z_1, ∇z_2),
    ddĤ_I,{i0 i1 i2 i3; 0123}  = ∇³z_0 (∇z_1, ∇z_2, ∇z_3),
    ddĤ_II,{i1 i2 i3 i4; 1234} = ∇z_3 · ∇²z_1 · ∇²z_2 · ∇z_4.

dĤ/dt = -(dĤ_12a + dĤ_21a) ε_a under gradient flow, ε_a the derivative of the loss by z_a.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._machine.memory import check_memory
from .._report.describe import counted
from ..errors import SpecError
from ..network.mlp import MLP
from ..network.network import Network, refuse_blocks
from .learning_rates import LearningRates, checked_rates
from .parameters import Parameters, checked, in_their_precision, inputs, layer_number
from .preactivations import preactivations
from .tangent_kernel import chosen_neurons, forward_ntk


class NTKDerivatives(NamedTuple):
    """The derivatives dĤ, ddĤ_I and ddĤ_II of one network's NTK, on I neurons and N samples: neurons first, then samples, legs in their order."""

    dH: jax.Array
    """(I, I, I, N, N, N), symmetric in legs 1 and 2."""
    ddH_I: jax.Array
    """(I, I, I, I, N, N, N, N), symmetric in legs 1, 2 and 3."""
    ddH_II: jax.Array
    """(I, I, I, I, N, N, N, N), legs 1, 2, 3, 4; symmetric under the exchange of 1 with 2 and 3 with 4 together."""

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self._asdict().items())
        return f"NTKDerivatives of {counted(self.dH.shape[0], 'neuron')}, {counted(self.dH.shape[3], 'sample')}: {shapes}"


@in_their_precision
def ntk_derivatives(
    mlp: MLP | Network, params: Parameters, X, *, layer: int = -1, neurons=None, rates: LearningRates | None = None
) -> NTKDerivatives:  # fmt: skip
    """dĤ, ddĤ_I and ddĤ_II of a layer, by nested derivatives. PDLT chapters 11 and ∞.

    For M = I N legs and P parameters time is that of M³ / 6 evaluations of the network, memory M² P + 2 M⁴ numbers.

    Args:
        X: (N, n_0).
        layer, neurons, rates: as of `ntk`.

    Raises:
        ParameterError, DataError, ComponentError: an argument doesn't fit the network.
        MemoryRequestError: the result would not fit in memory.
        SpecError: an activation has a kink, where second derivatives are no functions.

    Example:
        >>> derivatives = finite.ntk_derivatives(mlp, finite.init(mlp, 0), X[:2], neurons=[0])
    """
    params, X, top = checked(mlp, params), inputs(mlp, params, X), layer_number(mlp, layer)
    check_smooth(mlp)
    chosen, below = chosen_neurons(mlp, top, neurons), params[:top]
    legs, count = len(X) * len(chosen), sum(array.size for array in jax.tree.leaves(below))
    _check_memory(X, legs**2 * count + 2 * legs**4, "neurons=… or fewer samples")
    arrays = _nested(mlp.architecture, checked_rates(mlp, rates), below, X, chosen)
    return NTKDerivatives(*arrays)


@in_their_precision
def ntk_derivatives_layers(
    mlp: MLP | Network, params: Parameters, X, *, rates: LearningRates | None = None
) -> tuple[NTKDerivatives, ...]:
    """dĤ, ddĤ_I and ddĤ_II of every layer and all its neurons, by the forward equations. PDLT chapters 11 and ∞.

    Time is N⁴ n⁵, memory N⁴ n⁴ numbers: of narrow networks.

    Raises:
        As of `ntk_derivatives`; SpecError if the network has blocks, too.
    """
    refuse_blocks(mlp)
    params, X = checked(mlp, params), inputs(mlp, params, X)
    check_smooth(mlp)
    widest = max(mlp.widths[1:])
    _check_memory(X, 4 * (len(X) * widest) ** 4, "`ntk_derivatives` of chosen neurons")
    return _forward(mlp, checked_rates(mlp, rates), params, X)


def check_smooth(mlp: MLP | Network) -> None:
    """SpecError where σ'' is no function."""
    for a in mlp.activation:
        if a.kinked:
            raise SpecError(f"activation {a.name} has a kink: the NTK's derivatives hold its δ's")


def _check_memory(X, numbers: int, instead: str) -> None:
    check_memory(X.dtype.itemsize * numbers, "the NTK's derivatives", instead)


class Legs:
    """z of chosen neurons of a network's last layer, as a function of its parameters, and its derivatives; traceable, nothing is checked.

    A leg is a sample and one of its I neurons. Parameters are changed in units of √λ, so that λ is 1.

    Args:
        mlp: may have further layers above those of `params`.
    """

    def __init__(self, mlp: MLP | Network, rates: LearningRates, params: Parameters, X, chosen):
        self._mlp, self._params, self._X, self._chosen = mlp, params, X, chosen
        each = [
            rate for index, of_layer in enumerate(params) for rate in rates.of_parameters(index, of_layer)
        ]
        roots = [jnp.sqrt(jnp.asarray(rate, X.dtype)) for rate in each]
        self._roots = jax.tree.unflatten(jax.tree.structure(params), roots)
        self._zero = jax.tree.map(jnp.zeros_like, params)
        self._gradients = jax.jacrev(self._z)(self._zero)  # leaves (M, *)
        self._shape = len(X), len(chosen)

    def first(self) -> jax.Array:
        """dĤ, (I, I, I, N, N, N)."""
        # Of legs in ascending order: the others are the same.
        twos = self._ascending(2)
        second = jax.lax.map(
            lambda pair: self._along(self._along(self._z, pair[0]), pair[1])(self._zero), twos
        )
        return self._by_neurons(jnp.moveaxis(_spread(second, twos, self._count), -1, 0))

    def second(self) -> tuple[jax.Array, jax.Array]:
        """ddĤ_I and ddĤ_II, (I, I, I, I, N, N, N, N) each."""
        M, threes = self._count, self._ascending(3)
        third = jax.lax.map(
            lambda legs: self._along(self._along(self._along(self._z, legs[0]), legs[1]), legs[2])(
                self._zero
            ),
            threes,
        )
        # ∇²z_1 ∇z_3 at [3, 1], leaves (M, M, *).
        products = jax.lax.map(
            lambda number: self._along(jax.jacrev(self._z), number)(self._zero), np.arange(M)
        )
        flat = jnp.concatenate([x.reshape(M * M, -1) for x in jax.tree.leaves(products)], axis=1)
        gram = (flat @ flat.T).reshape((M,) * 4)  # [3, 1, 4, 2]
        return (
            self._by_neurons(jnp.moveaxis(_spread(third, threes, M), -1, 0)),
            self._by_neurons(gram.transpose(1, 3, 0, 2)),
        )

    @property
    def _count(self) -> int:
        samples, neurons = self._shape
        return samples * neurons

    def _z(self, change: Parameters) -> jax.Array:
        moved = jax.tree.map(lambda p, root, dp: p + root * dp, self._params, self._roots, change)
        return preactivations(self._mlp, moved, self._X)[-1][:, self._chosen].ravel()

    def _along(self, function: Callable, number):
        """The derivative of a function of the parameters along a leg's gradient."""
        direction = jax.tree.map(lambda g: g[number], self._gradients)
        return lambda change: jax.jvp(function, (change,), (direction,))[1]

    def _ascending(self, k: int) -> np.ndarray:
        return np.array([c for c in np.ndindex(*(self._count,) * k) if list(c) == sorted(c)])

    def _by_neurons(self, array):
        """(i0, i1, …, a0, a1, …) from legs."""
        array = array.reshape(self._shape * array.ndim)
        return array.transpose(*range(1, array.ndim, 2), *range(0, array.ndim, 2))


@functools.partial(jax.jit, static_argnums=0)
def _nested(architecture: MLP | Network, rates: LearningRates, params: Parameters, X, chosen):
    legs = Legs(architecture, rates, params, X, chosen)
    return legs.first(), *legs.second()


def _spread(values, combinations: np.ndarray, M: int):
    """Values of ascending combinations of legs (C, M), on all of them: (M, …, M, M)."""
    k = combinations.shape[1]
    places = np.sort(np.stack(np.meshgrid(*[np.arange(M)] * k, indexing="ij"), axis=-1), axis=-1)
    number = np.zeros((M,) * k, int)
    number[tuple(combinations.T)] = np.arange(len(combinations))
    return values[number[tuple(np.moveaxis(places, -1, 0))]]


@jax.jit
def _forward(mlp: MLP | Network, rates: LearningRates, params: Parameters, X):
    z, kernels = preactivations(mlp, params, X), forward_ntk(mlp, rates, params, X, X)
    n, N = mlp.widths[1], len(X)
    states = [NTKDerivatives(*(jnp.zeros((n,) * k + (N,) * k, X.dtype) for k in (3, 4, 4)))]
    for layer, weight, p, z_below, H in zip(
        mlp.layers[1:], rates.weight[1:], params[1:], z, kernels, strict=False
    ):
        assert layer.activation is not None
        values = layer.activation.derivatives(z_below.T, 3)  # (n, N) each
        states.append(_above(weight, p.W, values, H, states[-1]))
    return tuple(states)


def _above(weight, W, values, H, below: NTKDerivatives) -> NTKDerivatives:
    """The next layer's, from λ_WW, σ's derivatives (n, N), and Ĥ (n, n, N, N) of the layer below.

    Letters: neurons j, k of the layer below and i, m, n, o of this one; samples a, b, c, d. (a↔b) swaps neuron and sample of two legs.
    """
    s, d, e, f = values
    same = jnp.eye(len(W), dtype=W.dtype)
    carry = jnp.einsum("mk,kb->mkb", W, d)  # a leg's σ'W
    h = jnp.einsum("jkab,mkb->jmab", H, carry)
    dH_one = jnp.einsum("jklabc,mlc->jkmabc", below.dH, carry)  # of its last leg alone
    dH = jnp.einsum("jkmabc,nkb->jnmabc", dH_one, carry)
    ddI = jnp.einsum("jklpabcd,mkb,nlc,opd->jmnoabcd", below.ddH_I, carry, carry, carry, optimize=True)
    ddII = jnp.einsum("jklpabcd,nlc,opd->jknoabcd", below.ddH_II, carry, carry, optimize=True)

    by_weight = weight * jnp.einsum("im,ja,jb,jnac->imnabc", same, d, s, h)
    dH_above = (
        jnp.einsum("ij,ja,jmab,jnac->imnabc", W, e, h, h, optimize=True)
        + jnp.einsum("ij,ja,jmnabc->imnabc", W, d, dH)
        + by_weight + by_weight.transpose(0, 2, 1, 3, 5, 4)
    )  # fmt: skip

    mixed = jnp.einsum("ij,ja,jmnabc,joad->imnoabcd", W, e, dH, h, optimize=True)  # σ'' dĤ_012 h_03
    by_weight = weight * (
        jnp.einsum("im,jb,ja,jnac,joad->imnoabcd", same, s, e, h, h, optimize=True)
        + jnp.einsum("im,jb,ja,jnoacd->imnoabcd", same, s, d, dH, optimize=True)
    )
    ddI_above = (
        jnp.einsum("ij,ja,jmab,jnac,joad->imnoabcd", W, f, h, h, h, optimize=True)
        + mixed + _swapped(mixed, 2, 3) + _swapped(mixed, 1, 3)
        + jnp.einsum("ij,ja,jmnoabcd->imnoabcd", W, d, ddI)
        + by_weight + _swapped(by_weight, 1, 2) + _swapped(by_weight, 1, 3)
    )  # fmt: skip

    # Legs of ddĤ_II: (i, a), (m, b), (n, c), (o, d) are 1, 2, 3, 4.
    one_sided = jnp.einsum("ij,mk,ja,kb,jnac,kjobad->imnoabcd", W, W, e, d, h, dH_one, optimize=True)
    by_weight = weight * (
        jnp.einsum("in,jc,ja,mk,kb,jkab,kobd->imnoabcd", same, s, d, W, e, H, h, optimize=True)
        + jnp.einsum("in,jc,ja,mk,kb,kjobad->imnoabcd", same, s, d, W, d, dH_one, optimize=True)
    )
    ddII_above = (
        jnp.einsum("ij,mk,ja,kb,jkab,jnac,kobd->imnoabcd", W, W, e, e, H, h, h, optimize=True)
        + one_sided + _both_swapped(one_sided)
        + jnp.einsum("ij,mk,ja,kb,jknoabcd->imnoabcd", W, W, d, d, ddII, optimize=True)
        + weight * jnp.einsum("im,ja,jb,jnac,jobd->imnoabcd", same, d, d, h, h, optimize=True)
        + by_weight + _both_swapped(by_weight)
        + weight**2 * jnp.einsum("in,mo,jc,ja,kd,kb,jkab->imnoabcd", same, same, s, d, s, d, H, optimize=True)
    )  # fmt: skip
    return NTKDerivatives(dH_above, ddI_above, ddII_above)


def _swapped(array, a: int, b: int):
    """Of four legs, a and b in each other's place, neuron and sample."""
    return array.swapaxes(a, b).swapaxes(4 + a, 4 + b)


def _both_swapped(array):
    """Legs 1 ↔ 2 and 3 ↔ 4."""
    return _swapped(_swapped(array, 0, 1), 2, 3)
