"""A dense layer, z' = b + W σ(z)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from ..activations import Activation
from ..gaussian.sample_sets import OnSets
from ..parallel import Parallel
from ..recursions import means
from ..recursions.step import Hyperparameters, step
from ..recursions.tensors import Tensors


class OfInputs(NamedTuple):
    """What the first layer reads in the place of ⟨σσ⟩ and ⟨σ'σ'⟩: x·x / n_0 and 0, PDLT (8.21), (8.23)."""

    Phi: Any
    dPhi: float = 0.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dense:
    """z' = b + W σ(z), PDLT (8.9), with Var b = C_b, Var W = C_W / n; the first layer of a network has no σ and reads its inputs."""

    C_b: Any
    C_W: Any
    lambda_b: Any
    lambda_W: Any
    activation: Activation | None = field(metadata={"static": True})

    def means(self, e: Any, G: Any, H: Any) -> tuple[Any, Any]:
        return means.G(self, e), means.H(self, e, H)

    def shares(self, e: Any) -> tuple[Any, Any, Any]:
        return self.lambda_b, means.own(self, e), means.carried(self, e)

    def tensors(self, r: Any, e: OnSets | None, t: Tensors) -> Tensors:
        assert e is not None
        return step(Hyperparameters(self.C_b, self.C_W, self.lambda_b, self.lambda_W, r), e, t)

    def parallel(self, samples: Parallel) -> Parallel:
        return samples.through(self.activation, self.C_b > 0)
