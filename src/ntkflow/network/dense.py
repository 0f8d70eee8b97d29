"""A dense layer, z' = b + W σ(z), PDLT (8.9); its NTK by (8.12), (8.17)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._gaussian.sample_sets import OnSets
from .._recursions import means
from .._recursions.step import Hyperparameters, step
from .._recursions.tensors import Tensors
from ..activations import Activation
from .parallel import Parallel


class OfInputs(NamedTuple):
    """What the first layer reads in the place of ⟨σσ⟩ and ⟨σ'σ'⟩: x·x / n_0 and 0, PDLT (8.21), (8.23)."""

    Phi: Any
    dPhi: float = 0.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Dense:
    """z' = b + W σ(z), PDLT (8.9), with Var b = C_b, Var W = C_W / n; the first layer of a network has no σ and reads its inputs."""

    C_b: Any = 0.0
    C_W: Any = 1.0
    lambda_b: Any = 1.0
    lambda_W: Any = 1.0
    activation: Activation | None = field(default=None, metadata={"static": True})

    @property
    def without_activation(self) -> Dense:
        return replace(self, activation=None)

    def __repr__(self) -> str:
        σ = self.activation
        name = None if σ is None else σ.to_spec() if σ.registered else f"<{σ.name}>"
        return f"Dense(C_b={self.C_b!r}, C_W={self.C_W!r}, lambda_b={self.lambda_b!r}, lambda_W={self.lambda_W!r}, activation={name!r})"

    def means(self, e: Any, G: Any, H: Any) -> tuple[Any, Any]:
        return means.G(self, e), means.H(self, e, H)

    def shares(self, e: Any) -> tuple[Any, Any, Any]:
        return self.lambda_b, means.weight_share(self, e), means.carried(self, e)

    def added(self, G: Any, H: Any) -> tuple[Any, Any]:
        # Without weights nothing is inherited: all but the bias is added.
        return self.lambda_b, self.lambda_W * (G - self.C_b) / self.C_W if self.C_W else H - self.lambda_b

    def tensors(self, r: Any, e: OnSets | None, t: Tensors) -> Tensors:
        assert e is not None
        return step(Hyperparameters(self.C_b, self.C_W, self.lambda_b, self.lambda_W, r), e, t)

    def parallel(self, samples: Parallel) -> Parallel:
        return samples.through(self.activation, self.C_b > 0)

    def shapes(self, fan_in: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (width, fan_in), (width,)

    def draw(self, fan_in: int, width: int, normal: Callable[[int, tuple[int, ...]], Any]) -> tuple[Any, Any]:
        W, b = self.shapes(fan_in, width)
        return root(self.C_W / fan_in) * normal(0, W), root(self.C_b) * normal(1, b)

    def learning_rates(self, fan_in: int) -> tuple[Any, Any]:
        return self.lambda_b, self.lambda_W / fan_in

    def seen(self, z: Any) -> Any:
        """σ(z), or the inputs of the first layer."""
        return z if self.activation is None else self.activation(z)

    def slope(self, z: Any) -> Any:
        """σ'(z)."""
        assert self.activation is not None
        return slope(self.activation, z)

    def forward(self, p: Any, z: Any) -> Any:
        return self.seen(z) @ p.W.T + p.b

    @property
    def read_out(self) -> Dense:
        return self

    def own_ntk(
        self, rates: tuple[Any, Any], p: Any, z: Any, z2: Any, product: Callable[[Any, Any], Any]
    ) -> list[tuple[Any, Any]]:
        bias, weight = rates
        return [(bias, weight * product(self.seen(z), self.seen(z2)))]

    def jacobian(self, p: Any, z: Any, neurons: Any) -> tuple[list[Any], Any]:
        return [], p.W[neurons][:, None] * self.slope(z)

    def pulled_back(self, p: Any, z: Any, rows: Any) -> tuple[list[Any], Any]:
        return [rows], (rows @ p.W) * self.slope(z)

    def carried_ntk(self, rates: Any, p: Any, z: Any, z2: Any, H: Any) -> Any:
        d, d2 = self.slope(z), self.slope(z2)
        inner = d.T[:, None, :, None] * H * d2.T[None, :, None, :]
        return jnp.einsum("ij,jkab,lk->ilab", p.W, inner, p.W, optimize=True)

    def carried_ntk_of_pairs(self, rates: Any, p: Any, below: Any) -> Any:
        return below.inner.pushed(jnp.asarray(p.W))


def slope(activation: Activation, z: Any) -> Any:
    """σ'(z)."""
    return jax.jvp(activation.function, (z,), (jnp.ones_like(z),))[1]


def root(variance):
    """The standard deviation, with the same digits whether the variance is traced or not."""
    return jnp.sqrt(jnp.asarray(variance, float)) if isinstance(variance, Tracer) else np.sqrt(variance)
