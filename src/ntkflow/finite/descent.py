"""One step of tensorial gradient descent, θ_μ → θ_μ - η Σ_ν λ_μν dL/dθ_ν, and what the NTK says of it beforehand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..errors import ParameterError
from ..network.mlp import MLP
from ..network.network import Network
from .learning_rates import LearningRates, checked_rates
from .parameters import Parameters, checked, in_their_precision, inputs
from .preactivations import preactivations

Loss = Callable[[jax.Array, jax.Array], jax.Array]
Observable = Callable[[tuple[jax.Array, ...]], jax.Array]


@in_their_precision
def gradient_step(
    mlp: MLP | Network, params: Parameters, X, y, loss: Loss, eta: float, rates: LearningRates | None = None
) -> Parameters:
    """The parameters after one step on the whole of X, PDLT (8.1).

    Args:
        X: (N, n_0). y: targets, in the form that `loss` takes.
        loss: loss(z, y), a scalar JAX function of the outputs z (N, n_L). It is compiled once for each function
            object: define it once, not in a loop, and don't change what it refers to afterwards.
        eta: the global learning rate η.
        rates: the learning-rate tensor; by default that of `mlp`, or `plain(mlp)`.

    Raises:
        ParameterError, DataError: an argument doesn't fit the network.
    """
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    rate = checked_eta(eta)
    rates_of_all = stacked(checked_rates(mlp, rates), params)
    return stepped(
        mlp.architecture, rates_of_all, checked_function(loss, "loss"), params, X, jnp.asarray(y), rate
    )


@in_their_precision
def predicted_loss_change(
    mlp: MLP | Network, params: Parameters, X, y, loss: Loss, eta: float, rates: LearningRates | None = None
) -> jax.Array:
    """ΔL = -η Σ ε_{i1;1} ε_{i2;2} Ĥ_{i1 i2;12} of one step, PDLT (8.13), right up to O(η²).

    The sum is taken without building Ĥ: it is -η Σ λ_μν (dL/dθ_μ)(dL/dθ_ν), at the cost of one gradient.
    """
    params = checked(mlp, params)
    X, loss, y = inputs(mlp, params, X), checked_function(loss, "loss"), jnp.asarray(y)
    # A loss looks at targets that are numbers, not traced: it is asked once before it is compiled.
    jax.eval_shape(lambda z: loss(z, y), jax.ShapeDtypeStruct((len(X), mlp.widths[-1]), X.dtype))
    velocity = _velocity(mlp.architecture, stacked(checked_rates(mlp, rates), params), loss, params, X, y)
    return checked_eta(eta) * _change(mlp, _OfOutput(loss), params, velocity, X, y)


@in_their_precision
def predicted_change(
    mlp: MLP | Network, params: Parameters, X, y, loss: Loss, eta: float, observable: Observable, X_observed=None,
    rates: LearningRates | None = None,
) -> jax.Array:  # fmt: skip
    """ΔO = -η Σ (dL/dz_{i1;α}) (∂O/∂z_{i2;δ}) Ĥ_{i1 i2;αδ} of one step, PDLT (8.3), right up to O(η²).

    Args:
        observable: O(z), a JAX function of the preactivations z = (z^(1), …, z^(L)), z^(ℓ) (N', n_ℓ), of any layers.
        X_observed: (N', n_0), the samples that O is taken on; by default X.
        mlp, params, X, y, loss, eta, rates: as of `gradient_step`.

    Returns:
        An array of the observable's shape. Neither the NTK nor the interlayer NTKs are built: what they multiply is
        pushed forward, at the cost of a gradient on X and a forward pass on X_observed.
    """
    params = checked(mlp, params)
    X = inputs(mlp, params, X)
    observed = X if X_observed is None else inputs(mlp, params, X_observed, "X_observed")
    loss, observable = checked_function(loss, "loss"), checked_function(observable, "observable")
    velocity = _velocity(
        mlp.architecture, stacked(checked_rates(mlp, rates), params), loss, params, X, jnp.asarray(y)
    )
    return checked_eta(eta) * _change(mlp, observable, params, velocity, observed)


@dataclass(frozen=True)
class _OfOutput:
    """A loss as a function of all layers' preactivations."""

    loss: Loss

    def __call__(self, z, y):
        return self.loss(z[-1], y)


@functools.partial(jax.jit, static_argnums=1)
def _change(mlp: MLP | Network, observable: Callable, params: Parameters, velocity: Parameters, X, *targets):
    return jax.jvp(lambda p: observable(preactivations(mlp, p, X), *targets), (params,), (velocity,))[1]


def checked_eta(eta):
    """η, traced or a finite number; ParameterError for anything else."""
    if not isinstance(eta, Tracer) and not (np.ndim(eta) == 0 and np.isreal(eta) and np.isfinite(eta)):
        raise ParameterError(f"eta must be a finite number, not {eta!r}")
    return eta


def checked_function(function: Callable, name: str) -> Callable:
    """`function`; ParameterError for what can't be called, or can't be hashed to be compiled once."""
    if not callable(function) or not isinstance(function, Hashable):
        raise ParameterError(f"{name} must be a hashable function, not {function!r}")
    return function


def stacked(rates: LearningRates, params: Parameters) -> jax.Array:
    """The learning rate of each array of the parameters, in their order and precision: one argument of a program, not 2 L."""
    each = [rate for index, of_layer in enumerate(params) for rate in rates.of_parameters(index, of_layer)]
    return jnp.asarray(each, params[0].W.dtype)


@functools.partial(jax.jit, static_argnums=(0, 2))
def stepped(
    architecture: MLP | Network, rates: jax.Array, loss: Loss, params: Parameters, X, y, eta
) -> Parameters:
    """`gradient_step` without checks; arguments as of `_velocity`."""
    velocity = _velocity(architecture, rates, loss, params, X, y)
    return jax.tree.map(lambda p, v: p + jnp.asarray(eta, p.dtype) * v, params, velocity)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _velocity(architecture: MLP | Network, rates: jax.Array, loss: Loss, params, X, y) -> Parameters:
    """dθ/dη = -Σ_ν λ_μν dL/dθ_ν; `architecture` as of `MLP`, `rates` as of `stacked`."""
    gradient = jax.grad(lambda p: loss(preactivations(architecture, p, X)[-1], y))(params)
    arrays, tree = jax.tree.flatten(gradient)
    return tree.unflatten([-rate * array for rate, array in zip(rates, arrays, strict=True)])
