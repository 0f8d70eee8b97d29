"""What leads from one layer of a network to the next, and the loop over layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import jax

from .._gaussian import Expectations
from .._gaussian.sample_sets import OnSets, on_sets
from .._recursions.tensors import Tensors
from ..activations import Activation
from .parallel import Parallel


class Layer(Protocol):
    """One layer of a network: its part in the theory, and its equations in one network.

    A tree to JAX, whose leaves are its hyperparameters. Methods take NumPy's or JAX's arrays, traced ones too. Below, z are the
    preactivations (N, n) of the layer below, or the inputs, and p this layer's parameters, of which `p.W` and `p.b` may be empty.
    """

    @property
    def activation(self) -> Activation | None:
        """The σ whose expectations on the metric of the layer below it reads; None if it reads none."""
        ...

    @property
    def without_activation(self) -> Layer:
        """The layer for what reads expectations alone: σ is no part of it."""
        ...

    def means(self, e: Any, G: Any, H: Any) -> tuple[Any, Any]:
        """G and H of this layer from those of the layer below, and from e.Phi and e.dPhi there; arrays of one shape."""
        ...

    def shares(self, e: Any) -> tuple[Any, Any, Any]:
        """How H comes about, H = biases + weights + carried · (H of the layer below): these three."""
        ...

    def added(self, G: Any, H: Any) -> tuple[Any, Any]:
        """What its biases and its weights add to H, from its own G and H."""
        ...

    def tensors(self, r: Any, e: OnSets | None, t: Tensors) -> Tensors:
        """The tensors of this layer, as coefficients of 1/n_{ℓ-1}, from those of the layer below, of 1/n_{ℓ-2}; r = n_{ℓ-1} / n_{ℓ-2}."""
        ...

    def parallel(self, samples: Parallel) -> Parallel:
        """Which samples are one variable after this layer, if `samples` tells it of the layer below."""
        ...

    def shapes(self, fan_in: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of W and b; SpecError if the layer does not lead from `fan_in` neurons to `width`."""
        ...

    def draw(self, fan_in: int, width: int, normal: Callable[[int, tuple[int, ...]], Any]) -> tuple[Any, ...]:
        """W and b of a random network; `normal(0, shape)`, `normal(1, shape)` and so on are independent unit Gaussians."""
        ...

    def learning_rates(self, fan_in: int) -> tuple[Any, ...]:
        """λ_bb and λ_WW, the factors of η for each bias and each weight."""
        ...

    def forward(self, p: Any, z: Any) -> Any:
        """The preactivations of this layer, (N, n')."""
        ...

    @property
    def read_out(self) -> Any:
        """What has C_b, C_W, λ_b, λ_W if the layer's weights read the layer below and may be integrated out; None otherwise."""
        ...

    def own_ntk(
        self, rates: tuple[Any, ...], p: Any, z: Any, z2: Any, product: Callable[[Any, Any], Any]
    ) -> list[tuple[Any, Any]]:
        """What one neuron's own biases and weights contribute to the NTK, a pair; `product(s, s2)` is Σ_k s_k;1 s2_k;2 on the pairs wanted.

        It is the last of a list of pairs: those before it are of what has parameters between z and z'.
        """
        ...

    def jacobian(self, p: Any, z: Any, neurons: Any) -> tuple[list[Any], Any]:
        """The derivatives of the chosen z' by what `own_ntk` lists but for the last, (I, N, ·) each, and by all z, (I, N, n)."""
        ...

    def pulled_back(self, p: Any, z: Any, rows: Any) -> tuple[list[Any], Any]:
        """Derivatives by all that `own_ntk` lists, the last of which are `rows`, and by z, from those by this layer's z', `rows` (I, N, n')."""
        ...

    def carried_ntk(self, rates: tuple[Any, ...], p: Any, z: Any, z2: Any, H: Any) -> Any:
        """The NTK of z', (n', n', N, N2), but for what `own_ntk` lists last, from the NTK Ĥ of the layer below: (dz'/dz) Ĥ (dz'/dz)ᵀ, and more."""
        ...

    def carried_ntk_of_pairs(self, rates: tuple[Any, ...], p: Any, below: Any) -> Any:
        """The same on p pairs of samples, (p, n', n'); `below` is a `sampling.networks.SampledLayer`."""
        ...


def tensors_on_sets(
    layer: Layer, r: Any, e: Expectations | None, H: Any, sets: Any, rows: Any, t: Tensors, moments: tuple[str, ...]
) -> Tensors:  # fmt: skip
    """`Layer.tensors` on packed tensors, with the expectations gathered on sets (k, S); arguments otherwise as of `on_sets`."""
    gathered = None if e is None else on_sets(e, H, sets, rows, moments)
    return layer.tensors(r, gathered, t.unpacked(len(sets))).packed()


compiled_tensors = jax.jit(tensors_on_sets, static_argnames="moments")


def packed_tensors(layer: Layer, *arguments: Any, moments: tuple[str, ...]) -> Tensors:
    """`tensors_on_sets`, compiled once for layers that differ in σ alone."""
    return compiled_tensors(layer.without_activation, *arguments, moments=moments)


State = TypeVar("State")


def through_layers(
    network: Any, first: State, step: Callable[[Layer, float, State], State],
    carried: Callable[[State], State] = lambda state: state,
) -> Iterator[State]:  # fmt: skip
    """The state of each layer, from that of layer 1: `step(layer, r, state below)`.

    A state may be large: only its `carried` part is kept while the next state is computed.
    """
    below = carried(first)
    yield first
    for number, layer in enumerate(network.layers[1:], start=2):
        states = [step(layer, network.widths[number - 1] / network.widths[number - 2], below)]
        below = carried(states[0])
        yield states.pop()
