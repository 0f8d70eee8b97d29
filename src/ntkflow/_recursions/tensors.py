"""What a tensor of the 1/n expansion is: declared once, beside its equation; all else of the program follows from that.

A declaration says which components are equal, what products of G and H the tensor is made of, what cancels in it, how sampled networks
measure it, and what cutting the expansion at 1/n costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from .._gaussian.requests import orders_of
from .cancellation import Nearness, once
from .symmetry import Generators, orbits


class Covariance(NamedTuple):
    """A tensor is n_{ℓ-1} times the covariance over seeds of what two kernels, "G" or "H", are the means of, PDLT (8.67), (8.82)."""

    first: str
    second: str


class Expectation(NamedTuple):
    """A tensor is n_{ℓ-1} times the expectation over seeds of an array of any shape, which `expanded` takes to the tensor's axes.

    Attributes:
        low_noise: of the layer below, with the layer's own weights integrated out: (C_W, n, below) to the array; `below` is an
            `ntkflow.sampling.networks.SampledLayer`, C_W and n = n_{ℓ-1} are the layer's.
        direct: by the definition, from the layer's own neurons.
        expanded: (array (S, …), k) to (S, k, …, k), a step that only moves and repeats numbers.
    """

    low_noise: Callable[[Any, int, Any], jax.Array]
    direct: Callable[[Any], jax.Array]
    expanded: Callable[[np.ndarray, int], np.ndarray]


class Derivative(NamedTuple):
    """A tensor is n_{ℓ-1} times the expectation over seeds of a derivative of the NTK between neurons 0 and 1.

    Attributes:
        array: "dH_z", dĤ_012 z_3, or "ddH_I" or "ddH_II", with axes of four neurons and then of four samples, in ascending order.
        neurons: the four, as (0, 1, 1, 0).
    """

    array: str
    neurons: tuple[int, int, int, int]


class Correction(NamedTuple):
    """A tensor is n_{ℓ-1} times the difference of a kernel's mean at the real width from that kernel."""

    kernel: str


Measurement = Covariance | Expectation | Derivative | Correction


class Truncation(NamedTuple):
    """The error of a tensor's components that cutting the expansion at 1/n leaves, measured on sampled networks.

    Attributes:
        share: of a component on one sample, (N,), from the layer's `truncation.Expansion` on the diagonal and from B_αααα / n.
        of_variance: whether the share is one of the NTK's variance instead.
    """

    share: Callable[[Any, np.ndarray], np.ndarray]
    of_variance: bool = False


@dataclass(frozen=True)
class Tensor:
    """One tensor of a layer, G1, H1, V, D, F, A, B or any other that flows on closed sets of at most four samples.

    Attributes:
        equation: (h, e, t) to the tensor of layer ℓ+1, (k, …, k, S), from the `Hyperparameters` of that layer, the expectations
            `OnSets` on layer ℓ, and that layer's `Tensors`.
        subscripts: the samples in the order of its axes, "1324" for F.
        generators: permutations of axes that leave it as it is.
        moments: the words (`gaussian.requests`) of the expectations that its equation reads besides the tables of `OnSets`.
        made_of: the product of G and H that a component is as large as: for each of its axes √G or √H of the sample there.
        measured: how sampled networks give it.
        vanishes_below: it is zero in the layers below this one.
        cancels_from: the other tensors of the layer below that it is made from with coefficients that diverge, and cancel, where two
            samples nearly coincide at a kink; empty where nothing cancels.
        cancellation: the round-off that this leaves, in units of eps and of products of G and H.
        powers: of the separation of two such samples, by which it vanishes towards coincidence where σ has two straight pieces of one slope
            up to a sign: if they differ in norm too, and in direction alone.
        truncation: None where no estimate is known.
        training: whether flows have it only where they are asked for the tensors of training.
        smooth: whether it exists only for a σ without kinks.
        streams: whether networks of blocks alone have it.
    """

    name: str
    equation: Callable[[Any, Any, Tensors], Any]
    subscripts: str
    generators: Generators
    moments: tuple[str, ...]
    made_of: str
    measured: Measurement | None
    vanishes_below: int
    cancels_from: tuple[str, ...]
    cancellation: Callable[[Nearness], np.ndarray]
    powers: tuple[int, int]
    truncation: Truncation | None
    training: bool
    smooth: bool
    streams: bool

    @property
    def rank(self) -> int:
        return len(self.subscripts)

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of its axes in files, "alpha1" for the first sample."""
        return tuple(f"alpha{sample}" for sample in self.subscripts)

    def orbits(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(orbit of each component, an array of `k`s; one component of each orbit, (axes, orbits))."""
        return orbits(self.generators, k)

    def pack(self, tensor):
        """(orbits, S) from (k, …, k, S)."""
        return tensor[tuple(self.orbits(len(tensor))[1])]

    def unpack(self, packed, k: int):
        """(k, …, k, S) from (orbits, S)."""
        return packed[self.orbits(k)[0]]


TENSORS: dict[str, Tensor] = {}
"""All that are declared, in the order in which they are."""


def tensor(
    subscripts: str, *, equal: tuple[str, ...], made_of: str, moments: tuple[str, ...] = (),
    measured: Measurement | None = None, vanishes_below: int = 2,
    cancels_from: tuple[str, ...] = (), cancellation: Callable[[Nearness], np.ndarray] = once,
    powers: tuple[int, int] = (0, 0), truncation: Truncation | None = None, training: bool = False, smooth: bool = False,
    streams: bool = False,
):  # fmt: skip
    """Declare the tensor of the name and with the equation of the function that this decorates; arguments as of `Tensor`.

    From then on every flow and every ensemble of components has it, or those that are asked for the tensors of training.

    Args:
        equal: other orders of the subscripts, the tensor being the same: ("2413",) for F_1324 = F_2413.

    Raises:
        ValueError: a tensor of this name is declared, a word is none, or the arguments don't fit each other.
    """

    def declare(equation: Callable) -> Callable:
        name = equation.__name__
        if name in TENSORS:
            raise ValueError(f"the tensor {name} is declared already")
        if len(made_of) != len(subscripts) or any(sorted(other) != sorted(subscripts) for other in equal):
            raise ValueError(f"the tensor {name}: made_of and equal must fit the subscripts {subscripts}")
        for word in moments:
            orders_of(word)
        generators = tuple(
            tuple(subscripts.index(sample) for sample in other) for other in equal or (subscripts,)
        )
        TENSORS[name] = Tensor(
            name, equation, subscripts, generators, moments, made_of, measured, vanishes_below, cancels_from,
            cancellation, powers, truncation, training, smooth, streams,
        )  # fmt: skip
        return equation

    return declare


@jax.tree_util.register_pytree_node_class
class Tensors(dict[str, Any]):
    """One layer's tensors by name, which are attributes too: (k, …, k, S) on S sets of k samples, axes as their subscripts.

    Packed, each is (orbits, S): see `symmetry`.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def map(self, function: Callable[[Tensor, Any], Any]) -> Tensors:
        """function(declaration, array) of each."""
        return Tensors({name: function(TENSORS[name], array) for name, array in self.items()})

    def packed(self) -> Tensors:
        return self.map(lambda declared, array: declared.pack(array))

    def unpacked(self, k: int) -> Tensors:
        return self.map(lambda declared, array: declared.unpack(array, k))

    def tree_flatten(self):
        return tuple(self.values()), tuple(self)

    @classmethod
    def tree_unflatten(cls, names, arrays):
        return cls(zip(names, arrays, strict=True))


def flowing(training: bool, kinked: bool) -> tuple[str, ...]:
    """The names of the tensors that a flow of dense layers has.

    Args:
        training: whether those of training are asked for.
        kinked: whether an activation of the network has a kink.
    """
    return tuple(
        name
        for name, declared in TENSORS.items()
        if (training or not declared.training) and not (kinked and declared.smooth) and not declared.streams
    )
