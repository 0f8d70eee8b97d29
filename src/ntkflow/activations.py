"""Activation functions with the properties that the integrals use; a registry by name."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _elementwise as elementwise
from ._checks.shown import shown
from ._checks.spelling import did_you_mean
from ._machine.forks import refuse_forks
from .errors import ActivationError

# A preactivation so small that derivatives there are those at 0, on one side of a kink.
NEXT_TO_ZERO = 1e-200

_MOST_DEGREE = {"monomial": 64, "polynomial": 32}  # beyond, compiling takes minutes and accuracy is lost
_SIZES = np.append(np.logspace(-6, 6, 1201), 2.0)


@dataclass(frozen=True)
class Activation:
    """An elementwise activation σ.

    Attributes:
        name: the registry's name, or the callable's own.
        function: σ as a JAX function of one array, applied elementwise.
        parameters: the registry's parameters, e.g. ``{"slope": 0.1}``.
        slopes: ``(σ'(z<0), σ'(z>0))`` of a piecewise-linear σ with σ(0) = 0 and its kink at 0; None otherwise.
        kinks: where σ is continuous but not smooth, ascending. Those of a callable are to be declared, see `kinked`;
            the error estimates show what a kink costs that is not.
        exponentials: (c_m, λ_m) where σ(z) = Σ_m c_m e^{λ_m z} is known, closed under complex conjugation.
        registered: False for a user's callable, which a file can't hold.
    """

    name: str
    function: Callable
    parameters: tuple[tuple[str, Any], ...] = ()
    slopes: tuple[float, float] | None = None
    kinks: tuple[float, ...] = ()
    exponentials: tuple[tuple[complex, complex], ...] = ()
    registered: bool = True

    def __call__(self, z):
        return self.function(z)

    @property
    def kinked(self) -> bool:
        """Whether σ has a kink."""
        return bool(self.kinks)

    @functools.cached_property
    def parity(self) -> int:
        """1 where σ(-z) = σ(z), -1 where σ(-z) = -σ(z), 0 elsewhere: as far as some thousand values show it."""
        negative, positive = self._sides
        return next((sign for sign in (1, -1) if np.allclose(negative, sign * positive, 1e-13, 0.0)), 0)

    @functools.cached_property
    def degree(self) -> float | None:
        """p where σ(cz) = c^p σ(z) for every c > 0, None where there is no such p: as far as some thousand values show it."""
        at_1, at_2 = (self._sides[:, size == _SIZES] for size in (1, 2))
        larger = np.argmax(np.abs(at_1))
        if not (at_1[larger] * at_2[larger] > 0 and np.isfinite(at_2[larger])):
            return None
        p = float(np.log2(at_2[larger, 0] / at_1[larger, 0]))
        with np.errstate(over="ignore", invalid="ignore"):
            return p if np.allclose(self._sides, at_1 * _SIZES**p, 1e-13, 0.0) else None

    @functools.cached_property
    def _sides(self) -> np.ndarray:
        """σ at -z and at z, for sizes z that are far apart: (2, sizes)."""
        with jax.enable_x64(True):
            return np.stack([np.asarray(self.function(jnp.asarray(side * _SIZES))) for side in (-1, 1)])

    def derivatives(self, z, order: int) -> list:
        """[σ(z), σ'(z), …, σ^(order)(z)], elementwise; on each side of a kink, the value of that side."""
        return [jax.vmap(d)(jnp.ravel(z)).reshape(jnp.shape(z)) for d in _derivatives(self.function, order)]

    def to_spec(self) -> str | dict:
        """The form in which a specification names this activation."""
        return {"name": self.name, **dict(self.parameters)} if self.parameters else self.name


@functools.lru_cache(maxsize=64)
def _derivatives(function: Callable, order: int) -> tuple[Callable, ...]:
    chain = [function]
    for _ in range(order):
        chain.append(_derivative(chain[-1]))
    return tuple(chain)


def _derivative(function: Callable) -> Callable:
    return lambda z: jax.jvp(function, (z,), (jnp.ones_like(z),))[1]


def _check_positive(name: str, key: str, value) -> None:
    _check_finite(name, key, value)
    if value <= 0:
        raise ActivationError(f"{name}: {key} must be positive, not {shown(value)}")


def _linear_pieces(
    name: str, negative: float, positive: float, function: Callable, **parameters
) -> Activation:
    return Activation(
        name,
        function,
        tuple(parameters.items()),
        (negative, positive),
        (0.0,) if negative != positive else (),
    )


def _smooth(name: str, function: Callable, exponentials=()) -> Callable[[], Activation]:
    return lambda: Activation(name, function, exponentials=exponentials)


def _check_finite(name: str, key: str, value) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ActivationError(f"{name}: {key} must be a finite number, not {shown(value)}")


def _leaky_relu(slope: float = 0.01) -> Activation:
    _check_finite("leaky_relu", "slope", slope)
    # jax.nn.leaky_relu's derivative at 0 is the positive side's; kept as it is.
    return _linear_pieces(
        "leaky_relu",
        slope,
        1.0,
        functools.partial(jax.nn.leaky_relu, negative_slope=slope),
        slope=float(slope),
    )


def _elu(alpha: float = 1.0) -> Activation:
    _check_finite("elu", "alpha", alpha)
    return Activation(
        "elu", functools.partial(jax.nn.elu, alpha=alpha), (("alpha", float(alpha)),), kinks=(0.0,)
    )


def _monomial(degree: int = 2) -> Activation:
    if (
        isinstance(degree, bool)
        or not isinstance(degree, Real)
        or degree not in range(1, _MOST_DEGREE["monomial"] + 1)
    ):
        raise ActivationError(
            f"monomial: degree must be a whole number from 1 to {_MOST_DEGREE['monomial']}, not {shown(degree)}"
        )
    return Activation("monomial", lambda z: z ** int(degree), (("degree", int(degree)),))


def _polynomial(coefficients=(0.0, 1.0)) -> Activation:
    if not isinstance(coefficients, list | tuple):
        raise ActivationError(
            f"polynomial: coefficients must be a list, lowest power first, not {shown(coefficients)}"
        )
    if len(coefficients) > 1 + (most := _MOST_DEGREE["polynomial"]):
        raise ActivationError(
            f"polynomial: there may be at most {1 + most} coefficients, not {len(coefficients)}"
        )
    c = tuple(float(value) for value in coefficients)
    if not c or not np.all(np.isfinite(c)):
        raise ActivationError(
            f"polynomial: coefficients must be finite numbers, lowest power first, not {c!r}"
        )
    return Activation(
        "polynomial",
        lambda z: jnp.polyval(jnp.asarray(c[::-1], jnp.result_type(z, 0.0)), z),
        (("coefficients", c),),
    )


def _softplus(beta: float = 1.0) -> Activation:
    _check_positive("softplus", "beta", beta)
    if beta == 1:
        return Activation("softplus", elementwise.softplus)
    return Activation("softplus", lambda z: elementwise.softplus(beta * z) / beta, (("beta", float(beta)),))


def _celu(alpha: float = 1.0) -> Activation:
    _check_positive("celu", "alpha", alpha)
    return Activation(
        "celu", functools.partial(jax.nn.celu, alpha=alpha), (("alpha", float(alpha)),), kinks=(0.0,)
    )


def _hardtanh(low: float = -1.0, high: float = 1.0) -> Activation:
    for key, value in (("low", low), ("high", high)):
        _check_finite("hardtanh", key, value)
    if low >= high:
        raise ActivationError(f"hardtanh: low must be less than high, not {low!r} and {high!r}")
    parameters = (("high", float(high)), ("low", float(low)))
    return Activation(
        "hardtanh", functools.partial(elementwise.clip, low=low, high=high), parameters, kinks=(low, high)
    )


def _softshrink(size: float = 0.5) -> Activation:
    _check_positive("softshrink", "size", size)
    return Activation(
        "softshrink",
        lambda z: z - elementwise.clip(z, -size, size),
        (("size", float(size)),),
        kinks=(-size, size),
    )


def _maximum(least: float = 0.0) -> Activation:
    _check_finite("maximum", "least", least)
    return Activation(
        "maximum",
        functools.partial(elementwise.at_least, least=least),
        (("least", float(least)),),
        kinks=(float(least),),
    )


def _with_kinks(name: str, function: Callable, *kinks: float) -> Callable[[], Activation]:
    return lambda: Activation(name, function, kinks=kinks)


_REGISTRY: dict[str, Callable[..., Activation]] = {
    "linear": lambda: _linear_pieces("linear", 1.0, 1.0, lambda z: z),
    "relu": lambda: _linear_pieces("relu", 0.0, 1.0, jax.nn.relu),
    "leaky_relu": _leaky_relu,
    "abs": lambda: _linear_pieces("abs", -1.0, 1.0, jnp.abs),
    "tanh": _smooth("tanh", elementwise.tanh),
    "sin": _smooth("sin", jnp.sin, ((-0.5j, 1j), (0.5j, -1j))),
    "cos": _smooth("cos", jnp.cos, ((0.5, 1j), (0.5, -1j))),
    "erf": _smooth("erf", jax.scipy.special.erf),
    "sigmoid": _smooth("sigmoid", elementwise.sigmoid),
    "softplus": _softplus,
    "gelu": _smooth("gelu", lambda z: 0.5 * z * jax.scipy.special.erfc(-z / math.sqrt(2.0))),
    "silu": _smooth("silu", elementwise.silu),
    "swish": _smooth("swish", elementwise.silu),
    "gelu_tanh": _smooth("gelu_tanh", elementwise.gelu_tanh),
    "mish": _smooth("mish", elementwise.mish),
    "logsigmoid": _smooth("logsigmoid", lambda z: -elementwise.softplus(-z)),
    "tanhshrink": _smooth("tanhshrink", elementwise.tanhshrink),
    "elu": _elu,
    "celu": _celu,
    "selu": _with_kinks("selu", jax.nn.selu, 0.0),
    "softsign": _with_kinks("softsign", jax.nn.soft_sign, 0.0),
    "hardtanh": _hardtanh,
    "relu6": _with_kinks("relu6", functools.partial(elementwise.clip, low=0.0, high=6.0), 0.0, 6.0),
    "hardsigmoid": _with_kinks("hardsigmoid", elementwise.hardsigmoid, -3.0, 3.0),
    "hardswish": _with_kinks("hardswish", lambda z: z * elementwise.hardsigmoid(z), -3.0, 3.0),
    "softshrink": _softshrink,
    "maximum": _maximum,
    "exp": _smooth("exp", jnp.exp, ((1.0, 1.0),)),
    "monomial": _monomial,
    "polynomial": _polynomial,
}


@functools.lru_cache(maxsize=256)
def _build(name: str, parameters: tuple) -> Activation:
    # Cached so that one name is one Activation object: the compiled integrals are keyed by it.
    return _REGISTRY[name](**dict(parameters))


def is_registered(name: str) -> bool:
    """Whether `activation` knows this name."""
    return name in _REGISTRY


def activation(spec: str | Mapping | Callable | Activation) -> Activation:
    """The activation that a specification names: ``"tanh"``, ``{"name": "leaky_relu", "slope": 0.1}`` or a callable.

    Raises:
        ActivationError: the name or a parameter is unknown, or the callable is not elementwise or not finite.
    """
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str):
        spec = {"name": spec}
    if isinstance(spec, Mapping):
        parameters = dict(spec)
        if "name" not in parameters:
            raise ActivationError(f"activation: the key 'name' is missing in {shown(spec)}")
        name = parameters.pop("name")
        if not isinstance(name, str) or name not in _REGISTRY:
            raise ActivationError(
                f"activation {shown(name)} is unknown{did_you_mean(name, _REGISTRY)}; known are {', '.join(sorted(_REGISTRY))}"
            )
        allowed = list(inspect.signature(_REGISTRY[name]).parameters)
        for key in parameters:
            if key not in allowed:
                raise ActivationError(
                    f"activation {name!r} has no parameter {shown(key)}{did_you_mean(key, allowed)}; allowed: {allowed or 'none'}"
                )
        frozen = tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in sorted(parameters.items()))
        try:
            return _build(name, frozen)
        except (TypeError, ValueError, OverflowError) as error:
            raise ActivationError(f"activation {name!r}: {error}") from error
    if callable(spec):
        return _from_callable(spec)
    raise ActivationError(f"activation must be a name, a table with a name, or a callable, not {shown(spec)}")


def _from_callable(function: Callable) -> Activation:
    refuse_forks()
    name = getattr(function, "__qualname__", type(function).__name__)
    probe = np.array([[-1.3, 0.0, 0.2], [0.7, -0.4, 2.1]])
    with jax.enable_x64(True):
        try:
            of_array = np.asarray(function(jnp.asarray(probe)))
            of_numbers = np.array([[np.asarray(function(jnp.asarray(z))) for z in row] for row in probe])
        except Exception as error:
            raise ActivationError(f"activation {name}: a call on an array failed: {error}") from error
    if of_array.dtype.kind != "f":
        raise ActivationError(f"activation {name} must return real numbers, not {of_array.dtype}")
    elementwise = of_array.shape == probe.shape == of_numbers.shape
    if elementwise and not np.all(np.isfinite(of_array)):
        raise ActivationError(f"activation {name} is not finite near 0")
    if not elementwise or not np.allclose(of_array, of_numbers, rtol=1e-9):
        raise ActivationError(f"activation {name} is not elementwise")
    return _with_kink_at_zero(Activation(name, function, registered=False))


def kinked(function: Callable, at: Sequence[float]) -> Activation:
    """A callable of the user's that is smooth but for kinks at z in `at`: `MLP(activation=kinked(f, at=(0.0, 1.5)))`.

    A callable that is passed as it is must be smooth, but for a kink at 0, which is looked for.

    Raises:
        ActivationError: `at` is not a list of finite numbers, or the callable is no activation or jumps there.
    """
    try:
        kinks = tuple(sorted({float(z) for z in at}))
    except (TypeError, ValueError) as error:
        raise ActivationError(f"kinked: at must list numbers, not {at!r}") from error
    if not kinks or not np.all(np.isfinite(kinks)):
        raise ActivationError(f"kinked: at must list at least one finite number, and only such, not {at!r}")
    sigma = _from_callable(function)
    if sigma.kinks:
        kinks = tuple(sorted({0.0, *kinks}))
    with jax.enable_x64(True):
        values = np.asarray(jnp.stack(sigma.derivatives(jnp.asarray(beside(np.array(kinks))), 1)))
    if not np.all(np.isfinite(values)):
        raise ActivationError(f"activation {sigma.name} or its derivative is not finite at a kink")
    if np.any(np.abs(values[0, 0] - values[0, 1]) > 1e-9 * (1 + np.abs(values).max())):
        raise ActivationError(f"activation {sigma.name} jumps at a kink; it must be continuous")
    return dataclasses.replace(sigma, kinks=kinks, slopes=sigma.slopes if kinks == (0.0,) else None)


def beside(kinks: np.ndarray) -> np.ndarray:
    """The preactivations next to each kink, below and above: (2, m)."""
    return np.stack(
        [np.where(kinks == 0, side * NEXT_TO_ZERO, np.nextafter(kinks, side * np.inf)) for side in (-1, 1)]
    )


def _with_kink_at_zero(smooth: Activation) -> Activation:
    """The activation with its kink at 0, if it has one, and its slopes, if it is piecewise linear."""
    sides = np.array([-NEXT_TO_ZERO, NEXT_TO_ZERO])
    far = np.logspace(-8, 8, 97)
    probe = np.concatenate([-far, far])
    try:
        with jax.enable_x64(True):
            around = np.stack(smooth.derivatives(jnp.asarray(sides), 5))
            values, slope = (np.asarray(d) for d in smooth.derivatives(jnp.asarray(probe), 1))
    except Exception as error:
        raise ActivationError(
            f"activation {smooth.name} is not a function that JAX can differentiate; write it with jax.numpy"
        ) from error
    if not np.all(np.abs(around[:2]) < 1e30):
        raise ActivationError(f"activation {smooth.name}: its derivative at 0 is not finite")
    # Higher derivatives may be infinite next to 0.
    jumps = np.abs(np.diff(np.clip(around, -1e300, 1e300), axis=1))[:, 0]
    if not np.any(jumps > 1e-9 * (1 + np.abs(around).max())):
        return smooth
    if jumps[0] > 1e-9 * (1 + np.abs(around[0]).max()):
        raise ActivationError(f"activation {smooth.name} jumps at 0; it must be continuous")
    left, right = around[1].tolist()
    straight = np.where(probe < 0, left, right)
    pieces = np.allclose(slope, straight, atol=1e-13) and np.allclose(
        values, straight * probe, rtol=1e-13, atol=0
    )
    return dataclasses.replace(smooth, kinks=(0.0,), slopes=(left, right) if pieces else None)
