"""Any layers, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from ..activations import Activation
from ..errors import SpecError
from .dense import Dense
from .layer import Layer
from .mlp import checked_widths


@jax.tree_util.register_pytree_node_class
class Network:
    """Layers of any kind, one after the other; to JAX a tree of their hyperparameters.

    Args:
        widths: (n_0, …, n_L); n_0 is the input dimension.
        layers: L of them, of which the first reads the inputs: a `Dense` without σ.

    Raises:
        SpecError: there is not one layer for each width but n_0, a width does not suit its layer, or a dense layer that is not the first has no σ.
    """

    def __init__(self, widths: Sequence[int], layers: Sequence[Layer]):
        if len(widths) != len(layers) + 1 or not layers:
            raise SpecError(f"a network of {len(layers)} layers has one width more, not {len(widths)}")
        first, *above = layers
        if not isinstance(first, Dense) or first.activation is not None:
            raise SpecError(
                f"the first layer reads the inputs: it must be a Dense without activation, not {first!r}"
            )
        for number, layer in enumerate(above, start=2):
            if isinstance(layer, Dense) and layer.activation is None:
                raise SpecError(f"layer {number}: a Dense above the first needs an activation")
        self.widths, self.layers = checked_widths(widths), tuple(layers)
        for layer, fan_in, width in zip(self.layers, self.widths, self.widths[1:], strict=False):
            layer.shapes(fan_in, width)

    @property
    def depth(self) -> int:
        """L."""
        return len(self.layers)

    @property
    def activation(self) -> tuple[Activation, ...]:
        """The σ's of those layers that have one."""
        return tuple(layer.activation for layer in self.layers if layer.activation is not None)

    @property
    def architecture(self) -> Network:
        """The network itself: programs that don't depend on hyperparameters are not shared."""
        return self

    def to_spec(self) -> dict[str, Any]:
        """What it is, fit for JSON."""
        return {"widths": list(self.widths), "layers": [repr(layer) for layer in self.layers]}

    def __repr__(self) -> str:
        layers = ", ".join(repr(layer) for layer in self.layers)
        return f"Network(widths={self.widths}, layers=[{layers}])"

    def tree_flatten(self):
        return (self.layers,), self.widths

    @classmethod
    def tree_unflatten(cls, widths, children) -> Network:
        # Nothing is checked: JAX puts all kinds of things in the leaves' places.
        network = object.__new__(cls)
        network.widths, (network.layers,) = widths, children
        return network
