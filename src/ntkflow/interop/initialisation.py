"""C_W and C_b of a network, read from its weights: with standard errors, the schemes that they agree with, and what speaks against
independent Gaussian entries.

Of n_{ℓ-1} mean(W²) the relative standard error is √((2 + κ)/entries), κ the fourth cumulant of the standardised entries: 0 for a Gaussian, -1.2
for a uniform distribution, whose bound tells its variance far better. Where the measurement agrees with one known scheme alone, the scheme's
value is exact and is taken.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from ..activations import Activation
from . import independence

_AGREES = 3.5  # standard errors
_CHANCE = 1e-5  # of one variance for several layers to be refused though it holds
_DECIDES = 9.0  # of χ²: between two schemes that both agree
_FEWEST = 20  # entries that have a fourth cumulant
_SHOWN = 3  # departures in a warning
_ENOUGH_WEIGHTS = 2000  # of a distribution without a bound: fewer agree with something by chance
_ENOUGH = 30  # biases: fewer are recognised only beside weights of the same scheme
_FOURTH = {"Gaussian": 0.0, "truncated Gaussian": -0.634, "uniform": -1.2}
_BOUND = {"truncated Gaussian": 2.274, "uniform": 3**0.5}  # of entries, in standard deviations


@dataclass(frozen=True)
class LayerWeights:
    """One layer's weights (n_ℓ, n_{ℓ-1}) and biases (n_ℓ,), or None, and the relative precision in which they were drawn."""

    name: str
    W: np.ndarray
    b: np.ndarray | None
    epsilon: float = 0.0


@dataclass(frozen=True)
class Initialisation:
    """Each layer's C_W, C_b and scheme of initialisation, read from the weights.

    Attributes:
        layers: the layers' names.
        C_W, C_b: variances, as `MLP` takes them.
        C_W_error, C_b_error: their standard errors, 0 where a scheme's exact value is taken.
        weights, biases: the scheme, or the distribution that was measured, in words.
        distributions: "Gaussian", "uniform", "truncated Gaussian", "zero" or "other" for each layer's weights.
        departures: sentences on what independent entries of mean zero would not do; empty at initialisation.
    """

    layers: tuple[str, ...]
    C_W: tuple[float, ...]
    C_W_error: tuple[float, ...]
    C_b: tuple[float, ...]
    C_b_error: tuple[float, ...]
    weights: tuple[str, ...]
    biases: tuple[str, ...]
    distributions: tuple[str, ...]
    departures: tuple[str, ...]

    def __str__(self) -> str:
        width = max(map(len, self.layers))
        lines = [
            f"{name:{width}}  C_W = {_with_error(W, W_error)} ({weights}), C_b = {_with_error(b, b_error)} ({biases})"
            for name, W, W_error, weights, b, b_error, biases in zip(
                self.layers, self.C_W, self.C_W_error, self.weights, self.C_b, self.C_b_error, self.biases, strict=True
            )
        ]  # fmt: skip
        return "\n".join([*lines, *self.departures])

    def warnings(self) -> list[str]:
        """Sentences that a user should read before applying the theory to such a network."""
        if self.departures:
            more = len(self.departures) - _SHOWN
            shown = "; ".join(self.departures[:_SHOWN]) + (
                f"; and {more} more such marks" if more > 0 else ""
            )
            return [
                (
                    f"the model does not look like at initialisation ({shown}). The theory is about random networks: the numbers are"
                    " those of networks drawn with the variances of these weights, not of this one. Pass the model before training, or"
                    " an ntkflow.MLP with the C_W and C_b that are meant"
                )
            ]
        return [
            f"the weights of {_listed(names)} are {kind}, the theory's Gaussian: their fourth cumulant, {_FOURTH[kind]:g}, gives G1, H1 and"
            " the standard deviation over seeds of a neuron's own NTK a further part of order 1/n, which lowers that by 10 to 20 % at width 64 and less at larger ones; G, H, V, D, F, A and B hold."
            " ntkflow.interop.torch.gaussian_init_ draws Gaussian weights"
            for kind in ("uniform", "truncated Gaussian")
            if (names := [n for n, d in zip(self.layers, self.distributions, strict=True) if d == kind])
        ]


@dataclass(frozen=True)
class _Measured:
    """A layer's n_{ℓ-1} mean(W²), or the like of its biases, with its relative standard error."""

    value: float
    relative_error: float
    entries: int
    fan_in: int
    fan_out: int
    activation: Activation | None
    distributions: tuple[str, ...]
    """The distributions that it agrees with, the likeliest first."""
    largest: float
    """n_{ℓ-1} max(W²)."""
    epsilon: float


_Value = tuple[float, float, str]
"""A value, its standard error, and where it comes from."""
_Scheme = tuple[str, tuple[str, ...], Callable[[_Measured], float | None]]
_DEFAULT = "torch's default"
_ANY = ("Gaussian", "truncated Gaussian", "uniform")
# Critical initialisations of the activation before the layer, PDLT (5.67) and section 5.3.
_CRITICAL = {
    "gelu": 1.983058257,
    "gelu_tanh": 1.982888240,
    "silu": 1.988004678,
    "mish": 2.013524070,
    "selu": 0.476776624,
}
_SCHEMES: tuple[_Scheme, ...] = (
    (_DEFAULT, ("uniform",), lambda m: 1 / 3),
    ("LeCun", _ANY, lambda m: 1.0),
    ("He", _ANY, lambda m: 2.0),
    ("Xavier", _ANY, lambda m: 2 * m.fan_in / (m.fan_in + m.fan_out)),
    ("He with tanh's gain", _ANY, lambda m: 25 / 9),
    ("Xavier with relu's gain", _ANY, lambda m: 4 * m.fan_in / (m.fan_in + m.fan_out)),
    ("Xavier with tanh's gain", _ANY, lambda m: 50 / 9 * m.fan_in / (m.fan_in + m.fan_out)),
    ("He by fan-out", _ANY, lambda m: 2 * m.fan_in / m.fan_out),
    ("critical", _ANY, lambda m: _critical(m.activation)),
)  # fmt: skip


def _critical(activation: Activation | None) -> float | None:
    if activation is None:
        return None
    if activation.slopes is not None and any(activation.slopes):
        return 2 / (activation.slopes[0] ** 2 + activation.slopes[1] ** 2)
    return _CRITICAL.get(activation.name)


def read(layers: Sequence[LayerWeights], activations: Sequence[Activation]) -> Initialisation:
    """C_W and C_b of each layer; a layer without biases has C_b = 0. `activations` stand between the layers.

    Of a network that departs from independent entries no scheme is recognised: its values are as measured.
    """
    # No activation stands before the first layer: the first one counts, for a C_W as of the other layers.
    measured = [
        _measure(*pair) for pair in zip(layers, [*activations[:1], *activations] or [None], strict=True)
    ]
    departures = [
        f"{layer.name}: {reason}"
        for layer, m in zip(layers, measured, strict=True)
        for reason in _departures(layer, m)
    ]
    schemes = () if departures else _SCHEMES
    weights = _weights(measured, schemes)
    C_W, C_W_error, scheme = _columns(weights)
    C_b, C_b_error, bias_scheme = _columns(_biases(layers, measured, weights))
    kinds = tuple(words.rpartition(", ")[2] for words in scheme)
    return Initialisation(
        tuple(layer.name for layer in layers),
        C_W,
        C_W_error,
        C_b,
        C_b_error,
        scheme,
        bias_scheme,
        kinds,
        tuple(departures),
    )


def _departures(layer: LayerWeights, m: _Measured) -> list[str]:
    reasons = independence.of_weights(layer.W, _FOURTH.get(m.distributions[0], 0.0))
    if m.distributions == ("other",) and layer.W.std():
        kappa = _fourth_cumulant(layer.W)
        if abs(kappa - _FOURTH["uniform"]) < 5 * (24 / layer.W.size) ** 0.5:
            beyond = (m.largest / (3 * m.value)) ** 0.5
            reasons.append(f"its weights are nearly uniform, but the largest is {beyond:.2f} times the bound")
        else:
            reasons.append(f"the fourth cumulant of its weights is {kappa:.2g}, a Gaussian's is 0")
    return reasons if layer.b is None else reasons + independence.of_biases(layer.b)


def _measure(layer: LayerWeights, activation: Activation | None) -> _Measured:
    n_out, n_in = layer.W.shape
    squares = np.square(layer.W, dtype=np.float64)
    mean = float(squares.mean())
    error = float(squares.std() / mean / squares.size**0.5) if mean else 0.0
    return _Measured(
        n_in * mean, error, squares.size, n_in, n_out, activation, _distributions(layer.W),
        n_in * float(squares.max()), layer.epsilon,
    )  # fmt: skip


def _distributions(W: np.ndarray) -> tuple[str, ...]:
    """The distributions that agree with the fourth cumulant, whose standard error is at most a Gaussian's √(24/entries), and their bounds.

    The likeliest comes first: a Gaussian unless it is excluded.
    """
    if not np.any(W):
        return ("zero",)
    if W.size > 1 and W.std() == 0:
        return ("other",)
    kappa, error = (_fourth_cumulant(W), np.sqrt(24 / W.size)) if W.size >= _FEWEST else (0.0, np.inf)
    largest = float(np.abs(W).max() / np.sqrt(np.mean(np.square(W, dtype=np.float64))))
    allowed = [
        name
        for name, fourth in _FOURTH.items()
        # Among few Gaussian entries large cumulants are less rare than small ones.
        if -5 * error < kappa - fourth < 5 * error * (1 + 30 / W.size**0.5)
        and largest < _BOUND.get(name, np.inf) * (1 + 4 * W.size**-0.5)
    ]
    if "Gaussian" not in allowed:
        allowed.sort(key=lambda name: abs(kappa - _FOURTH[name]))
    return tuple(allowed) or ("other",)


def _fourth_cumulant(W: np.ndarray) -> float:
    z = (W - W.mean()) / W.std()
    return float(np.mean(z**4) - 3)


def _weights(measured: list[_Measured], schemes: tuple[_Scheme, ...]) -> list[_Value]:
    """C_W of each layer: by one scheme for all, by a scheme for each, or as measured."""
    common = _recognised([m for m in measured if m.value], schemes)
    # One layer alone may agree with a scheme by chance, unless the bound of a uniform distribution tells its variance.
    layer_schemes = [
        (common or (_recognised([m], schemes) if m.distributions[0] == "uniform" else None))
        if m.value
        else None
        for m in measured
    ]
    values = [
        None if scheme is None else (scheme[2](m) or 0.0, 0.0, f"{scheme[0]}, {_kind(m, scheme)}")
        for scheme, m in zip(layer_schemes, measured, strict=True)
    ]
    return _completed(values, measured)


def _recognised(measured: list[_Measured], schemes: tuple[_Scheme, ...]) -> _Scheme | None:
    """The one scheme that all layers agree with; None where there is none, or where others with other values agree nearly as well."""
    agreeing = []
    if sum(m.entries for m in measured if m.distributions[0] != "uniform") in range(1, _ENOUGH_WEIGHTS):
        schemes = tuple(scheme for scheme in schemes if scheme[0] == _DEFAULT)
    for scheme in schemes if measured else ():
        values = [value for value in (scheme[2](m) for m in measured) if value is not None]
        if len(values) == len(measured) and all(map(_agrees, measured, itertools.repeat(scheme), values)):
            agreeing.append(
                (scheme, values, sum(_distance(m, v) ** 2 for m, v in zip(measured, values, strict=True)))
            )
    if not agreeing:
        return None
    _, best, least = min(agreeing, key=lambda item: item[2])
    same = [np.allclose(values, best, rtol=1e-9) for _, values, _ in agreeing]
    if any(not equal and item[2] < least + _DECIDES for equal, item in zip(same, agreeing, strict=True)):
        return None
    return agreeing[same.index(True)][0]


def _kind(m: _Measured, scheme: _Scheme) -> str:
    return next(kind for kind in m.distributions if kind in scheme[1])


def _distance(m: _Measured, value: float) -> float:
    """The distance of a measurement from a scheme's value, in standard errors."""
    return (m.value / value - 1) / max(m.relative_error, 1e-300)


def _agrees(m: _Measured, scheme: _Scheme, value: float) -> bool:
    kinds = [kind for kind in m.distributions if kind in scheme[1]]
    if not kinds or abs(_distance(m, value)) > _AGREES:
        return False
    # The largest entry must not exceed the bound, and of a uniform distribution it must come close to it.
    reached = m.largest / value / _BOUND.get(kinds[0], np.inf) ** 2 - 1
    return reached < 1e-6 + 8 * m.epsilon and (
        kinds[0] != "uniform" or reached > -40 / m.entries - 8 * m.epsilon
    )


def _biases(layers: Sequence[LayerWeights], measured: list[_Measured], weights: list[_Value]) -> list[_Value]:
    """C_b of each layer. There are few biases: those of all layers are looked at together, in units of 1/√n_{ℓ-1}."""
    b = [np.zeros(0) if layer.b is None else layer.b.astype(np.float64) for layer in layers]
    scaled = [x * m.fan_in**0.5 for x, m in zip(b, measured, strict=True)]
    of_default = [words.startswith(_DEFAULT) for *_, words in weights]
    drawn = [k for k, x in enumerate(b) if np.any(x)]
    together = _is_default([scaled[k] for k in drawn], all(of_default[k] for k in drawn), layers[0].epsilon)
    values: list[_Value | None] = []
    squares = []
    for layer, x, m, default in zip(layers, scaled, measured, of_default, strict=True):
        if layer.b is None or not np.any(x):
            values.append((0.0, 0.0, "no bias" if layer.b is None else "zero"))
        elif together or _is_default([x], default, layer.epsilon):
            values.append((1 / 3, 0.0, f"{_DEFAULT}, uniform"))
        else:
            values.append(None)
        mean = float(np.mean(x**2)) if x.size else 0.0
        squares.append(dataclasses.replace(m, value=mean, entries=x.size, distributions=("measured",)))
    return [
        (value / m.fan_in, error / m.fan_in, words)
        for (value, error, words), m in zip(_completed(values, squares), measured, strict=True)
    ]


def _is_default(scaled: list[np.ndarray], with_weights: bool, epsilon: float) -> bool:
    """Whether b √n_{ℓ-1} is uniform within ±1."""
    x = np.concatenate([*scaled, np.zeros(0)])
    if x.size < (1 if with_weights else _ENOUGH) or np.abs(x).max() > 1 + 1e-6 + 8 * epsilon:
        return False
    error = (4 / 45 / x.size) ** 0.5  # of the mean of x²
    return abs(np.mean(x**2) - 1 / 3) < _AGREES * error and np.abs(x).max() > 1 - 20 / x.size


def _completed(values: list[_Value | None], measured: list[_Measured]) -> list[_Value]:
    """`values`, with measured ones in place of None: one for all such layers together, if one variance or one C explains them."""
    unexplained = [m for value, m in zip(values, measured, strict=True) if value is None and m.value]
    fits = [fit for power in (0, 1) if (fit := _common(unexplained, power)) is not None]
    common = min(fits, key=lambda fit: fit[2], default=None)
    completed = []
    for value, m in zip(values, measured, strict=True):
        if value is not None:
            completed.append(value)
        elif not m.value:
            completed.append((0.0, 0.0, "zero"))
        elif common is None:
            completed.append((m.value, m.value * _relative_error(m.entries), m.distributions[0]))
        else:
            C, power, _ = common
            C *= m.fan_in**power
            completed.append(
                (C, C * _relative_error(sum(r.entries for r in unexplained)), m.distributions[0])
            )
    return completed


def _common(measured: list[_Measured], power: int) -> tuple[float, int, float] | None:
    """The mean C / n_{ℓ-1}^power, the power and χ² of the layers' deviations from it; None where they are too large."""
    if not measured:
        return None
    entries = np.array([m.entries for m in measured])
    values = np.array([m.value / m.fan_in**power for m in measured])
    mean = float(np.average(values, weights=entries))
    chi2 = float(np.sum(((values / mean - 1) / _relative_error(entries)) ** 2))
    freedom = max(len(measured) - 1, 1)
    return (mean, power, chi2) if special.gammaincc(freedom / 2, chi2 / 2) > _CHANCE else None


def _relative_error(entries):
    """The relative standard error of the mean square of so many Gaussian entries; less for a uniform distribution."""
    return (2 / entries) ** 0.5


def _columns(values: list[_Value]) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    return tuple(v for v, _, _ in values), tuple(e for _, e, _ in values), tuple(w for *_, w in values)


def _with_error(value: float, error: float) -> str:
    return f"{value:.4g} ± {error:.1g}" if error else f"{value:.4g}"


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, …, {names[-1]}"
