"""The flow as a pure function that JAX can compile, batch and differentiate, to optimise hyperparameters or inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._gaussian.traced import traced_expectations
from .._recursions import Tensors, TensorSets, first_layer
from ..errors import ComponentError, DataError
from ..network.dense import OfInputs
from ..network.layer import Layer, packed_tensors, through_layers
from ..network.lift import without_blocks
from ..network.mlp import MLP
from .components import Layout, sample_sets, tensors_of
from .layers import Layers
from .mean_kernels import kernels
from .named_arrays import NamedArrays


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TracedLayer(NamedArrays[jax.Array]):
    """One layer's statistics as JAX arrays, shapes as of `LayerStatistics`; a ComponentError for tensors of the means alone."""

    values: dict[str, jax.Array]

    def __getitem__(self, name: str) -> jax.Array:
        if name not in self.values:
            raise ComponentError(f"{name} is not held; held are {', '.join(self.values)}")
        return self.values[name]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TracedFlow(Layers[TracedLayer]):
    """Every layer: `traced[1]` … `traced[L]`, `traced[-1]` the last."""

    layers: list[TracedLayer]


def traced_flow(
    network: Any, X, components: str | Sequence[Sequence[int]] = "all", *, training: bool = False
) -> TracedFlow:
    """`flow` under `jax.jit`, `vmap` and `grad`: X and the network's hyperparameters may be traced.

    The integrals' rules are fixed, not chosen by the metric, and there are no error estimates: compare with `flow` where it matters.
    Inputs that coincide need not be told apart; kinked activations that are not piecewise linear are refused.

    Args:
        network: as of `flow`; an MLP may be an argument of the compiled function, or made in it, as by `mlp.replace(C_W=…)`.
        X: (N, n_0).
        components, training: as of `flow`; known beforehand.

    Returns:
        The layers, `traced[1]` … `traced[L]`: a tree of arrays, which a compiled function may return.

    Raises:
        DataError: JAX's x64 mode is off, or a shape does not fit.
        ActivationError, ComponentError: see their descriptions.
    """
    if jnp.asarray(0.0).dtype != jnp.float64:
        raise DataError(
            'traced_flow needs float64: call jax.config.update("jax_enable_x64", True) first, or use `with jax.enable_x64(True):`'
        )
    mlp = without_blocks(network)
    X = jnp.asarray(X, jnp.float64)
    if X.ndim != 2 or X.shape[1] != mlp.widths[0]:
        raise DataError(f"X must have shape (N, {mlp.widths[0]}), not {X.shape}")
    N = len(X)
    asked = sample_sets(components, N)
    if asked is None and isinstance(mlp, MLP):
        G, H = kernels(mlp, X)
        return TracedFlow([TracedLayer({"G": g, "H": h}) for g, h in zip(G, H, strict=True)])
    layout = None if asked is None else Layout(asked, np.arange(N), components == "all")
    if layout is None:
        sets = TensorSets(np.empty((2, 0), int), N, names=())
    else:
        sets = TensorSets(layout.closed, N, tensors_of(mlp, training))

    def step(layer: Layer, r: float, below: _State) -> _State:
        e = None if layer.activation is None else traced_expectations(layer.activation, below.G, sets)
        G, H = layer.means(e, below.G, below.H)
        if layout is None:
            return _State(G, H, Tensors())
        tensors = packed_tensors(
            layer, r, e, below.H, sets.sets, sets.rows, below.tensors, moments=sets.moments
        )
        return _State(G, H, tensors)

    e = OfInputs(X @ X.T / mlp.widths[0])
    tensors = Tensors() if layout is None else first_layer(sets.names, *sets.sets.shape)
    first = _State(*mlp.layers[0].means(e, 0.0, 0.0), tensors)
    return TracedFlow([_expanded(state, layout) for state in through_layers(mlp, first, step)])


class _State(NamedTuple):
    G: jax.Array
    H: jax.Array
    tensors: Tensors
    """Packed."""


def _expanded(state: _State, layout: Layout | None) -> TracedLayer:
    expanded = {}
    for name, packed in state.tensors.items():
        # Where each component stands among the packed ones; NaN where it is not held.
        assert layout is not None
        place = layout.expand(name, np.arange(packed.size, dtype=float).reshape(packed.shape))
        present = ~np.isnan(place)
        value = jnp.ravel(packed)[np.where(present, place, 0).astype(int)]
        expanded[name] = jnp.where(present, value, jnp.nan)
    return TracedLayer({"G": state.G, "H": state.H, **expanded})
