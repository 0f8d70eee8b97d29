"""MLP: architecture and hyperparameters, validated once, here."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.core import Tracer

from .._checks.shown import shown
from .._checks.spelling import did_you_mean
from .._report.describe import mlp_call
from ..activations import Activation, activation
from ..errors import FileError, NtkflowError, SpecError
from .dense import Dense

ActivationSpec = str | Mapping | Callable | Activation
_HYPERPARAMETERS = ("C_b", "C_W", "lambda_b", "lambda_W")
_MOST_LAYERS = 10_000
_KEYS = ("widths", "activation", *_HYPERPARAMETERS)


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, init=False)
class MLP:
    """A multilayer perceptron with Gaussian initialisation, PDLT (8.5), (8.9), (8.20).

    z^(ℓ+1) = b + W σ(z^(ℓ)), Var b = C_b, Var W = C_W / n_{ℓ-1}; learning rates λ_b and λ_W / n_{ℓ-1}.

    To JAX it is a tree, of which C_b, C_W, λ_b and λ_W are the leaves: a compiled function may take it as an argument, and `jax.grad` and
    `jax.vmap` act on it.

    Args:
        widths: (n_0, …, n_L), whole numbers of at least 1; n_0 is the input dimension.
        activation: a name, ``{"name": …, parameter: …}`` or a JAX callable; or a list of them, one for each
            hidden layer 1 … L-1.
        C_b, C_W, lambda_b, lambda_W: finite numbers of at least 0, one for all layers or a list of L; or traced by JAX.

    Raises:
        SpecError, ActivationError: an argument is not of this form; the message names it.
    """

    widths: tuple[int, ...]
    activation: tuple[Activation, ...]
    C_b: tuple[float, ...]
    C_W: tuple[float, ...]
    lambda_b: tuple[float, ...]
    lambda_W: tuple[float, ...]

    def __init__(
        self,
        widths: Sequence[int],
        activation: ActivationSpec | Sequence[ActivationSpec] = "tanh",
        C_b: float | Sequence[float] = 0.0,
        C_W: float | Sequence[float] = 1.0,
        lambda_b: float | Sequence[float] = 1.0,
        lambda_W: float | Sequence[float] = 1.0,
    ):
        set_field = object.__setattr__.__get__(self)
        set_field("widths", checked_widths(widths))
        set_field("activation", _activations(activation, self.depth))
        for name, value in zip(_HYPERPARAMETERS, (C_b, C_W, lambda_b, lambda_W), strict=True):
            set_field(name, _per_layer(name, value, self.depth))

    def tree_flatten(self):
        return tuple(getattr(self, name) for name in _HYPERPARAMETERS), (self.widths, self.activation)

    @classmethod
    def tree_unflatten(cls, architecture, hyperparameters) -> MLP:
        # Nothing is checked: JAX puts all kinds of things in the leaves' places.
        mlp = object.__new__(cls)
        for name, value in zip(_KEYS, (*architecture, *hyperparameters), strict=True):
            object.__setattr__(mlp, name, value)
        return mlp

    def replace(self, **changes: Any) -> MLP:
        """The MLP with other arguments in the place of some; raises as MLP itself.

        Example:
            >>> ntkflow.MLP((64, 128, 10), "relu").replace(C_W=2.0).C_W
            (2.0, 2.0)
        """
        unknown = [name for name in changes if name not in _KEYS]
        if unknown:
            raise SpecError(
                f"an MLP has no {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)}; it has {', '.join(_KEYS)}"
            )
        arguments = {name: getattr(self, name) for name in _KEYS} | changes
        return MLP(**arguments)

    @property
    def depth(self) -> int:
        """L, the number of layers of weights."""
        return len(self.widths) - 1

    @functools.cached_property
    def layers(self) -> tuple[Dense, ...]:
        """What leads from the inputs to layer 1, and from each layer to the next."""
        hyperparameters = zip(self.C_b, self.C_W, self.lambda_b, self.lambda_W, strict=True)
        activations = (None, *self.activation)
        return tuple(Dense(*h, f) for h, f in zip(hyperparameters, activations, strict=True))

    @property
    def architecture(self) -> MLP:
        """The MLP of these widths and activations whose hyperparameters are all 0: for programs that don't depend on them."""
        return self.tree_unflatten((self.widths, self.activation), ((0.0,) * self.depth,) * 4)

    @classmethod
    def from_spec(cls, spec: Mapping) -> MLP:
        """An MLP from a table whose keys are MLP's argument names (`widths` is required)."""
        if not isinstance(spec, Mapping):
            raise SpecError(f"a specification must be a table, not {shown(spec)}")
        for key in spec:
            if key not in _KEYS:
                raise SpecError(
                    f"unknown key {key!r}{did_you_mean(key, _KEYS)}; the keys are {', '.join(_KEYS)}"
                )
        if "widths" not in spec:
            raise SpecError("the key 'widths' is missing")
        return cls(**spec)

    @classmethod
    def from_toml(cls, path) -> MLP:
        """An MLP from a TOML file, also one of `Recipe.save`; FileError if the file can't be read."""
        return network_and_recipe(path)[0]

    def __repr__(self) -> str:
        return mlp_call(self)

    def to_spec(self) -> dict:
        """The table that `from_spec` reads, fit for JSON; a callable activation is named only."""
        spec: dict = {"widths": list(self.widths), "activation": [a.to_spec() for a in self.activation]}
        return spec | {name: list(getattr(self, name)) for name in _HYPERPARAMETERS}


def network_and_recipe(path) -> tuple[MLP, Any]:
    """The MLP of a TOML file and what the file has as `recipe`, None without it; raises as `MLP.from_toml`."""
    spec = read_toml(path)
    recipe = spec.pop("recipe", None)
    try:
        return MLP.from_spec(spec), recipe
    except NtkflowError as error:
        raise type(error)(f"{path}: {error}") from error


def read_toml(path) -> dict:
    """The table of a TOML file; FileError if it can't be read, SpecError if it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FileError(f"cannot read the specification {path}: {reason}") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of whole numbers that are too long for Python
        raise SpecError(f"{path} is not TOML that can be read: {error}") from error


def checked_widths(widths) -> tuple[int, ...]:
    """`widths` as a tuple; SpecError if they are none."""
    if isinstance(widths, (str, int)) or not isinstance(widths, Sequence | np.ndarray) or len(widths) < 2:
        raise SpecError(f"widths must list n_0 and at least one layer, not {shown(widths)}")
    if len(widths) > 1 + _MOST_LAYERS:
        raise SpecError(f"widths: a network has at most {_MOST_LAYERS} layers, not {len(widths) - 1}")
    return tuple(width(n, "widths: every width") for n in widths)


def width(n, name: str = "width") -> int:
    """A width as it is; SpecError if it is none."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n < 2**31:
        raise SpecError(f"{name} must be a whole number of at least 1, not {shown(n)}")
    return int(n)


def _activations(spec, depth: int) -> tuple[Activation, ...]:
    if isinstance(spec, list | tuple):
        if len(spec) != depth - 1:
            raise SpecError(
                f"activation: a list needs one entry per hidden layer, {depth - 1}, not {len(spec)}"
            )
        return tuple(activation(item) for item in spec)
    return (activation(spec),) * (depth - 1)


def _per_layer(name: str, value, depth: int) -> tuple[float, ...]:
    values = list(value) if isinstance(value, list | tuple) or np.ndim(value) else [value] * depth
    if len(values) != depth:
        raise SpecError(f"{name}: a list needs one entry per layer, {depth}, not {len(values)}")
    return tuple(number(name, x) for x in values)


def number(name: str, x, signed: bool = False) -> float:
    """A hyperparameter as a float, or as it is if JAX traces it; SpecError if it is none."""
    if isinstance(x, Tracer) and x.ndim == 0:
        return cast(float, x)
    x = np.asarray(x)[()] if isinstance(x, jax.Array) else x
    if (
        isinstance(x, bool | str)
        or not isinstance(x, int | float | np.integer | np.floating)
        or not (-1e300 if signed else 0) <= x <= 1e300
    ):
        raise SpecError(f"{name} must be a finite number{'' if signed else ' of at least 0'}, not {shown(x)}")
    return float(x)
