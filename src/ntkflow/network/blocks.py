"""Blocks, z' = γ z + u: a skip over a chain of stages, which may begin with a norm. Residual, pre-norm and normalised networks are made of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks.shown import shown
from .._checks.spelling import did_you_mean
from ..activations import Activation, activation
from ..errors import SpecError
from . import stage_equations
from .dense import root
from .mlp import ActivationSpec, number, width
from .stage_equations import Rates, StageParameters

NORMS = ("none", "rms", "layer")
_HYPERPARAMETERS = ("C_b", "C_W", "lambda_b", "lambda_W", "eps", "lambda_g", "lambda_beta")
_DEFAULTS = {
    "C_b": 0.0,
    "C_W": 1.0,
    "lambda_b": 1.0,
    "lambda_W": 1.0,
    "eps": 0.0,
    "lambda_g": 0.0,
    "lambda_beta": 0.0,
}


@jax.tree_util.register_pytree_node_class
class Stage:
    """u' = b + W φ(g ∘ norm(u) + β), with Var b = C_b, Var W = C_W / fan-in, and g = 1, β = 0 at initialisation.

    Learning rates are λ_b, λ_W / fan-in, λ_g and λ_β. To JAX it is a tree, of which the numbers are the leaves.

    Args:
        activation: φ, in any of the forms of `MLP`; "linear" for none.
        norm: "none"; "rms", u / √(mean_j u_j² + ε); or "layer", (u - mean) / √(var + ε), over neurons j.
        width: neurons of u'; None at the end of a block, where the layer's width says it.
        C_b, C_W, lambda_b, lambda_W: finite numbers of at least 0.
        eps, lambda_g, lambda_beta: likewise; 0 without a norm.

    Raises:
        SpecError, ActivationError: an argument is not of this form; the message names it.
    """

    def __init__(
        self, activation: ActivationSpec = "linear", norm: str = "none", width: int | None = None, *, C_b: float = 0.0, C_W: float = 1.0,
        lambda_b: float = 1.0, lambda_W: float = 1.0, eps: float = 0.0, lambda_g: float = 0.0, lambda_beta: float = 0.0,
    ):  # fmt: skip
        self.activation, self.norm, self.width = _activation(activation), norm, _width(width)
        if norm not in NORMS:
            raise SpecError(
                f"norm must be {', '.join(map(repr, NORMS))}, not {shown(norm)}{did_you_mean(norm, NORMS)}"
            )
        values = C_b, C_W, lambda_b, lambda_W, eps, lambda_g, lambda_beta
        self.C_b, self.C_W, self.lambda_b, self.lambda_W, self.eps, self.lambda_g, self.lambda_beta = (
            number(name, value) for name, value in zip(_HYPERPARAMETERS, values, strict=True)
        )
        without = [name for name in _HYPERPARAMETERS[4:] if norm == "none" and getattr(self, name) != 0]
        if without:
            raise SpecError(f"{without[0]} goes with a norm, and this stage has norm='none'")

    def tree_flatten(self):
        return tuple(getattr(self, name) for name in _HYPERPARAMETERS), (
            self.activation,
            self.norm,
            self.width,
        )

    @classmethod
    def tree_unflatten(cls, architecture, hyperparameters) -> Stage:
        # Nothing is checked: JAX puts all kinds of things in the leaves' places.
        stage = object.__new__(cls)
        stage.activation, stage.norm, stage.width = architecture
        for name, value in zip(_HYPERPARAMETERS, hyperparameters, strict=True):
            setattr(stage, name, value)
        return stage

    def with_width(self, neurons: int | None) -> Stage:
        """The same with another width."""
        hyperparameters, (activation, norm, _) = self.tree_flatten()
        return self.tree_unflatten((activation, norm, neurons), hyperparameters)

    def to_spec(self) -> dict[str, Any]:
        """The table that `Network.from_spec` reads, without the width."""
        spec = {"activation": self.activation.to_spec(), "norm": self.norm}
        count = 4 if self.norm == "none" else len(_HYPERPARAMETERS)
        return spec | {name: getattr(self, name) for name in _HYPERPARAMETERS[:count]}

    def __repr__(self) -> str:
        name = repr(self.activation.to_spec()) if self.activation.registered else f"<{self.activation.name}>"
        arguments = [name, *([repr(self.norm)] if self.norm != "none" else [])]
        arguments += [f"width={self.width}"] if self.width else []
        arguments += [
            f"{key}={getattr(self, key)!r}"
            for key, default in _DEFAULTS.items()
            if getattr(self, key) != default
        ]
        return f"Stage({', '.join(arguments)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and self.tree_flatten() == other.tree_flatten()

    __hash__ = None  # type: ignore[assignment]


@jax.tree_util.register_pytree_node_class
class Block:
    """z' = γ z + u, where u is what a chain of stages makes of z.

    With γ = 0 and one stage it is a layer without a skip, dense where the stage has no norm; with γ ≠ 0 and one stage a residual layer,
    pre-activation residual with a norm; with two stages a transformer's MLP block.

    Args:
        stages: one Stage, or several.
        gamma: γ, a finite number; where it is not 0 the layer is as wide as the one below.

    Raises:
        SpecError: an argument is not of this form, or a stage that is not the last has no width.
    """

    def __init__(self, stages: Stage | Sequence[Stage], gamma: float = 0.0):
        chain = (
            (stages,)
            if isinstance(stages, Stage)
            else tuple(stages)
            if isinstance(stages, list | tuple)
            else ()
        )
        if not chain or not all(isinstance(stage, Stage) for stage in chain):
            raise SpecError(f"a block is made of one Stage or several, not of {shown(stages)}")
        if any(stage.width is None for stage in chain[:-1]):
            raise SpecError("a stage that is not the last of its block needs a width")
        self.stages = chain
        self.gamma = number("gamma", gamma, signed=True)
        self.skips = self.gamma != 0

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Those of its stages."""
        return tuple(stage.activation for stage in self.stages)

    def inner_widths(self, width: int) -> tuple[int, ...]:
        """The neurons of each stage's u', of a layer of this width."""
        return (*(stage.width or 0 for stage in self.stages[:-1]), width)

    def shapes(self, fan_in: int, width: int) -> tuple[tuple[tuple[int, int], tuple[int]], ...]:
        """The shapes of W and b of each stage; SpecError if the block does not lead from `fan_in` neurons to `width`."""
        if self.skips and fan_in != width:
            raise SpecError(
                f"a block with a skip has as many neurons as the layer below, {fan_in}, not {width}"
            )
        if self.stages[-1].width not in (None, width):
            raise SpecError(
                f"the last stage of a block in a layer of {width} neurons has as many, not {self.stages[-1].width}"
            )
        widths = (fan_in, *self.inner_widths(width))
        return tuple(((after, before), (after,)) for before, after in itertools.pairwise(widths))

    @property
    def read_out(self) -> Stage | None:
        """Its stage if that alone leads from the layer below: weights on an average over neurons, which may be integrated out."""
        return self.stages[0] if len(self.stages) == 1 and not self.skips else None

    def draw(
        self, fan_in: int, width: int, normal: Callable[[int, tuple[int, ...]], Any]
    ) -> tuple[StageParameters, ...]:
        """As of `Layer`; stage k takes normal(2k, …) and normal(2k + 1, …)."""
        drawn = []
        for k, (stage, (W, b)) in enumerate(zip(self.stages, self.shapes(fan_in, width), strict=True)):
            of_norm = (jnp.ones(W[1:]), jnp.zeros(W[1:])) if stage.norm != "none" else ()
            W, b = root(stage.C_W / W[1]) * normal(2 * k, W), root(stage.C_b) * normal(2 * k + 1, b)
            drawn.append(StageParameters(W, b, *of_norm))
        return tuple(drawn)

    def learning_rates(self, fan_in: int) -> tuple[tuple, ...]:
        """The λ's of biases and weights, gains and biases of norms, of each stage."""
        fan_ins = (fan_in, *self.inner_widths(0)[:-1])
        rates = [
            Rates(stage.lambda_b, stage.lambda_W / n, stage.lambda_g, stage.lambda_beta)
            for stage, n in zip(self.stages, fan_ins, strict=True)
        ]
        return tuple(zip(*rates, strict=True))

    def forward(self, p: tuple[StageParameters, ...], z: Any) -> Any:
        u = self._below_stages(p, z)[-1]
        return self.gamma * z + u if self.skips else u

    def own_ntk(self, rates: tuple, p: Any, z: Any, z2: Any, product: Callable) -> list[tuple[Any, Any]]:
        below = zip(self._below_stages(p, z)[:-1], self._below_stages(p, z2)[:-1], strict=True)
        kernels = (
            stage_equations.own_ntk(stage, Rates(*of_stage), q, *u, product)
            for stage, of_stage, q, u in zip(self.stages, zip(*rates, strict=True), p, below, strict=True)
        )
        return list(itertools.chain.from_iterable(kernels))

    def jacobian(self, p: Any, z: Any, neurons: Any) -> tuple[list[Any], Any]:
        identity = jnp.eye(len(p[-1].b), dtype=z.dtype)[neurons]
        inner, below = self.pulled_back(
            p, z, jnp.broadcast_to(identity[:, None], (len(identity), len(z), len(p[-1].b)))
        )
        return inner[:-1], below

    def pulled_back(self, p: Any, z: Any, rows: Any) -> tuple[list[Any], Any]:
        at, sources = rows, []
        for stage, q, u in reversed(list(zip(self.stages, p, self._below_stages(p, z)[:-1], strict=True))):
            of_stage, at = stage_equations.pulled_back(stage, q, u, at)
            sources = [*of_stage, *sources]
        return sources, self.gamma * rows + at if self.skips else at

    def carried_ntk(self, rates: tuple, p: Any, z: Any, z2: Any, H: Any) -> Any:
        by_samples = self._carried(rates, p, z[:, None], z2[None], jnp.moveaxis(H, (0, 1), (2, 3)))
        return jnp.moveaxis(by_samples, (2, 3), (0, 1))

    def carried_ntk_of_pairs(self, rates: tuple, p: Any, below: Any) -> Any:
        first, second = below.of_pairs
        return self._carried(rates, p, first, second, below.ntk.m)

    def read(self, rates: tuple, p: tuple[StageParameters, ...], z: Any, H: Any) -> tuple[Any, Any]:
        """Of a read-out φ (k, n) of what its norm makes of z (k, n), and the NTK of that on all pairs of samples, (p, n, n), from that of z."""
        (stage,), (λ,), (q,) = self.stages, zip(*rates, strict=True), p
        first, second = (z[samples] for samples in np.triu_indices(len(z)))
        identity = q._replace(W=jnp.eye(z.shape[1], dtype=z.dtype))
        inner = stage_equations.carried(stage, Rates(*λ), identity, first, second, H)
        return stage.activation(stage_equations.read(stage, q, z)), inner

    def _carried(self, rates: tuple, p: Any, z: Any, z2: Any, H: Any) -> Any:
        """γ² Ĥ + γ (Ĥ^× + Ĥ^×ᵀ) + Ĥ^u, but for the last stage's own biases and weights: (…, n', n'), from z and z2 (…, n).

        Ĥ^× = Σ λ (du/dθ)(dz/dθ) is the NTK between what the stages make of z and z itself.
        """
        u, u2, of_u, left, right = z, z2, H, H, H
        for k, (stage, of_stage, q) in enumerate(
            zip(self.stages, zip(*rates, strict=True), p, strict=True), start=1
        ):
            λ = Rates(*of_stage)
            of_u = stage_equations.carried(stage, λ, q, u, u2, of_u)
            if self.skips:
                left, right = (
                    stage_equations.from_left(stage, q, u, left),
                    stage_equations.from_right(stage, q, u2, right),
                )
            if k < len(self.stages):
                seen, seen2 = (stage.activation(stage_equations.read(stage, q, x)) for x in (u, u2))
                added = λ.bias + λ.weight * jnp.sum(seen * seen2, axis=-1)
                of_u = of_u + added[..., None, None] * jnp.eye(len(q.b), dtype=of_u.dtype)
                u, u2 = (stage_equations.forward(stage, q, x) for x in (u, u2))
        return self.gamma**2 * H + self.gamma * (left + right) + of_u if self.skips else of_u

    def _below_stages(self, p: Any, z: Any) -> list[Any]:
        """What each stage reads, and what the last one makes of it."""
        us = [z]
        for stage, q in zip(self.stages, p, strict=True):
            us.append(stage_equations.forward(stage, q, us[-1]))
        return us

    def tree_flatten(self):
        return (self.gamma, self.stages), self.skips

    @classmethod
    def tree_unflatten(cls, skips, children) -> Block:
        block = object.__new__(cls)
        block.skips, (block.gamma, block.stages) = skips, children
        return block

    def __repr__(self) -> str:
        stages = repr(self.stages[0]) if len(self.stages) == 1 else f"[{', '.join(map(repr, self.stages))}]"
        return f"Block({stages}{f', gamma={self.gamma!r}' if self.gamma != 0 else ''})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and self.tree_flatten() == other.tree_flatten()

    __hash__ = None  # type: ignore[assignment]


def stage_from(table: Mapping) -> Stage:
    """A Stage from a table; SpecError if it is none."""
    if not isinstance(table, Mapping):
        raise SpecError(f"a stage must be a table, not {shown(table)}")
    keys = ("activation", "norm", "width", *_HYPERPARAMETERS)
    for key in table:
        if key not in keys:
            raise SpecError(f"unknown key {key!r}{did_you_mean(key, keys)}; the keys are {', '.join(keys)}")
    return Stage(**table)


def _activation(spec: ActivationSpec) -> Activation:
    return spec if isinstance(spec, Activation) else activation(spec)


def _width(value: Any) -> int | None:
    return None if value is None else width(value)
