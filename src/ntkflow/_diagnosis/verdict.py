"""From measurements to a verdict in words. Limits are measured: see `tests/diagnosis/trained_networks.json`."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from .._report.describe import span
from ..errors import NtkflowError
from ..network.mlp import MLP
from ..network.network import Network
from ..tuning import Criticality, critical
from .blocks import CRITICAL, initialised
from .measurements import LARGE_SPREAD, Measurements

# Of 53 networks of three depths and four activations, trained on digits at the best of eight learning rates.
_DEAD_CONTRAST = 4e-4  # below it none passed 26 %
_FAINT_CONTRAST = 3e-3  # above it all passed 97 %, but for those that explode or are too narrow
_EXPLODED = 1e7  # variance of the outputs: at 1e5 they learn 70 %, at 1e12 nothing
_LARGE = 1e3
_TOO_NARROW = 2.5  # leading relative sd of the NTK: at 2.7 they learn 25 %, at 1.5 as well as any
_MERGED = 1e-2  # 1 - ρ
_DEAD_PRODUCT = 1e-5  # of all χ_⊥, if there is but one input
_CHAOTIC = 0.5  # contrast
_DRIVEN = 2.0  # by which the closest inputs of a stream are further apart at its end
_AT_FIRST = 3.0  # times 1 - ρ of the last hidden layer: inputs that are no further apart in layer 1 were so from the start
_ORDINARY_SQUARES = (0.1, 10.0)  # of inputs
_NEAR_CRITICAL = 0.02  # relative to C_W


class Verdict(NamedTuple):
    """Attributes:
    trainable: whether gradient descent will find its way.
    cause: "alive", "merging", "vanishing", "exploding", "too narrow" or "frozen".
    words: why; advice: what to do; remarks: what else to know. Sentences.
    """

    trainable: bool
    cause: str
    words: str
    advice: list[str]
    remarks: list[str]
    distance: str


def judge(mlp: MLP | Network, m: Measurements) -> Verdict:
    """The verdict on a network from its measurements."""
    points = _critical_points(mlp)
    cause = _cause(m)
    words = {
        "frozen": _frozen, "exploding": _exploding, "too narrow": _narrow, "merging": _merging, "vanishing": _vanishing,
        "alive": _alive,
    }[cause](m)  # fmt: skip
    advice = []
    if cause == "merging" and _alike(m):
        advice = ["Pass inputs that differ, or leave out those that are nearly the same."]
    elif cause in ("exploding", "merging", "vanishing"):
        advice = [_initialise(mlp, m, points)]
    elif cause == "too narrow":
        advice = [_widen(mlp, m)]
    elif cause == "frozen":
        advice = ["Give some lambda_b or lambda_W, or parameters that are not frozen."]
    return Verdict(
        cause == "alive", cause, words, advice, _remarks(mlp, m, cause, points), _distance(mlp, points)
    )


def _cause(m: Measurements) -> str:
    if m.overflow is not None or m.metric[-1] > _EXPLODED:
        return "exploding"
    if not np.any(m.weight_share + m.bias_share):
        return "frozen"
    if m.ntk_std_leading[-1] > _TOO_NARROW:
        return "too narrow"
    if np.isnan(m.contrast):
        dead = _chi_product(m) < _DEAD_PRODUCT or m.metric[-1] == 0
        return ("vanishing" if m.metric[-1] < _DEAD_PRODUCT else "merging") if dead else "alive"
    if m.contrast < _DEAD_CONTRAST:
        return "merging" if _apart_below_output(m) < _MERGED else "vanishing"
    return "alive"


def _chi_product(m: Measurements) -> float:
    return float(np.prod(m.chi_perpendicular[:-1]))


def _apart_below_output(m: Measurements) -> float:
    return float(m.apart[max(len(m.apart) - 2, 0)])


def _frozen(m: Measurements) -> str:
    return "Nothing learns: the NTK is zero, for every learning rate is."


def _exploding(m: Measurements) -> str:
    if m.overflow is not None:
        return f"The signal explodes: its variance leaves the range of float64 in layer {m.overflow}."
    return (
        f"The signal explodes: its variance grows from {m.metric[0]:.2g} in layer 1 to {m.metric[-1]:.2g} at the output, which no "
        f"learning rate of ordinary size can undo (chi_parallel is {_typical(m.chi_parallel):.3g} a layer)."
    )


def _narrow(m: Measurements) -> str:
    layer = _first_layer_beyond(m.ntk_std_leading, _TOO_NARROW)
    return (
        f"The network is too narrow for its depth: from layer {layer} on the NTK of one seed differs from that of another by more than its "
        "mean, so that most seeds hardly learn."
    )


def _merging(m: Measurements) -> str:
    if len(m.samples) == 1:
        return (
            f"Inputs merge: what tells two neighbouring inputs apart shrinks by {_chi_product(m):.1g} on the way to the output "
            f"(chi_perpendicular is {_typical(m.chi_perpendicular):.3g} a layer)."
        )
    apart = _apart_below_output(m)
    if _alike(m):
        return (
            f"The inputs are nearly the same to begin with: 1 - rho = {m.apart[0]:.1g} between two of them in layer 1, and {apart:.1g} in the last "
            f"hidden layer. The gradient cannot tell them apart (contrast {m.contrast:.1g}, where {_FAINT_CONTRAST:g} is enough)."
        )
    rate = _fall_per_layer(m.apart[:-1])
    where = (
        "all inputs look the same to float64"
        if apart < 1e-12
        else f"two inputs differ by 1 - rho = {apart:.1g}"
    )
    words = f"Inputs merge: in the last hidden layer {where}"
    if rate is not None:
        words += f"; every {1 / rate:.2g} layers take another factor 10"
    return (
        words
        + f". The gradient cannot tell samples apart (contrast {m.contrast:.1g}, where {_FAINT_CONTRAST:g} is enough)."
    )


def _alike(m: Measurements) -> bool:
    """Whether the inputs hardly differ, whatever the network."""
    return len(m.samples) > 1 and bool(m.apart[0] <= _AT_FIRST * _apart_below_output(m))


def _vanishing(m: Measurements) -> str:
    words = f"The signal vanishes: its variance is {m.metric[0]:.2g} in layer 1 and {m.metric[-1]:.1g} at the output"
    if np.isnan(m.contrast):
        return f"{words}."
    return (
        f"{words}, and with it goes what the weights contribute to the gradient (contrast {m.contrast:.1g}, where {_FAINT_CONTRAST:g} is "
        "enough)."
    )


def _alive(m: Measurements) -> str:
    contrast = (
        "" if np.isnan(m.contrast) else f" and the gradient tells samples apart (contrast {m.contrast:.2g})"
    )
    return f"The network is trainable: the signal reaches the output{contrast}."


def _remarks(
    mlp: MLP | Network, m: Measurements, cause: str, points: dict[str, Criticality | None]
) -> list[str]:
    remarks = []
    if cause == "alive":
        if m.contrast < _FAINT_CONTRAST:
            remarks.append(
                f"It is close to dead: inputs are {_apart_below_output(m):.1g} apart in the last hidden layer. Expect a long plateau."
            )
        if m.metric[-1] > _LARGE:
            remarks.append(
                f"Outputs are large at initialisation, some {m.metric[-1] ** 0.5:.2g}: training needs tiny learning rates, and is poor."
                + (f" {_initialise(mlp, m, points)}" if isinstance(mlp, Network) else "")
            )
        if m.contrast > _CHAOTIC and _drives_apart(mlp, m):
            remarks.append(
                "It is chaotic: neighbouring inputs are driven apart, so that little carries over from one to another. "
                + _initialise(mlp, m, points)
            )
        remarks += _of_seeds(mlp, m)
        starved = _starved(m)
        if starved:
            remarks.append(starved)
    low, high = _ORDINARY_SQUARES
    scale_matters = any(sigma.slopes is None for sigma in mlp.activation)
    if scale_matters and not low <= m.input_square <= high:
        bend = "far beyond where it bends" if m.input_square > high else "where it is straight"
        remarks.append(
            f"Inputs are of size {m.input_square**0.5:.2g}, not 1, which takes {mlp.activation[0].name} {bend}: divide X by "
            f"{m.input_square**0.5:.2g}."
        )
    if len(m.samples) == 1:
        remarks.append("With one input nothing can be said of how well inputs are told apart: pass more.")
    return remarks


def _drives_apart(mlp: MLP | Network, m: Measurements) -> bool:
    """Whether neighbouring inputs end further apart than they begin. In a stream that grows χ_⊥ is above 1 though they don't."""
    if isinstance(mlp, Network):
        return len(m.apart) > 2 and bool(m.apart_least[-2] > _DRIVEN * m.apart_least[0])
    return _typical(m.chi_perpendicular) > 1


def _starved(m: Measurements) -> str | None:
    """Layers whose weights have next to no share in the NTK, or one that has nearly all."""
    share = m.weight_share + m.bias_share
    if len(share) < 3:
        return None
    if share.max() > 0.9:
        return f"Layer {int(share.argmax()) + 1} has {share.max():.0%} of the NTK: nearly all that is learnt, is learnt there."
    starved = np.flatnonzero(m.weight_share < 1e-3 * share.max()) + 1
    if len(starved):
        return f"Weights of layer{'s' if len(starved) > 1 else ''} {_ranges(starved)} have less than a thousandth of the largest share in the NTK."
    return None


def _ranges(layers: np.ndarray) -> str:
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"


def _of_seeds(mlp: MLP | Network, m: Measurements) -> list[str]:
    """How much seeds matter, and at which width or depth they would matter much."""
    spread = m.ntk_std[-1]
    if not spread > 0:
        return []
    layer = _first_layer_beyond(m.ntk_std, LARGE_SPREAD)
    if layer is not None:
        return [f"Seeds matter from layer {layer} on. {_widen(mlp, m)}"]
    words = f"Over seeds the NTK varies by {spread:.0%}"
    hidden = max(mlp.widths[1:-1], default=1) * m.widths_at_half
    return [
        f"{words}; by {LARGE_SPREAD:.0%} at hidden widths of about {_round(hidden)}."
        if hidden >= 2
        else f"{words}."
    ]


def _widen(mlp: MLP | Network, m: Measurements) -> str:
    hidden = max(mlp.widths[1:-1], default=1)
    narrow = np.flatnonzero(m.ntk_std <= LARGE_SPREAD)
    # A stream of another depth may have other skips.
    told = isinstance(mlp, MLP) and len(narrow) and narrow[-1] >= 1
    depth = f", or {narrow[-1] + 1} layers at this width" if told else ""
    return (
        f"For an sd of {LARGE_SPREAD:.0%} take hidden widths {m.widths_at_half:.2g} times as large (about "
        f"{_round(hidden * m.widths_at_half)}){depth}."
    )


def _round(width: float) -> int:
    """To two digits."""
    unit = 10 ** max(int(np.log10(width)) - 1, 0)
    return int(np.ceil(width / unit) * unit)


def _initialise(mlp: MLP | Network, m: Measurements, points: dict[str, Criticality | None]) -> str:
    if isinstance(mlp, Network):
        return initialised(mlp, points)
    sentences = []
    for name, point in points.items():
        if point is None or point.C_W is None or point.C_b is None:
            reason = "" if point is None else f": {point.words}"
            sentences.append(
                f"{name} has no critical initialisation{reason}" + ("" if reason.endswith(".") else ".")
            )
            continue
        if all(abs(C_W / point.C_W - 1) < _NEAR_CRITICAL for C_W in mlp.C_W[1:-1]):
            sentences.append(
                f"{name} is at its critical C_W already: take fewer layers, or skip connections."
            )
            continue
        first = ""
        if point.K_star:
            first = f"; in layer 1 C_W = {(point.K_star - point.C_b) / max(m.input_square, 1e-300):.4g}, which sets K*"
        biases = "0" if point.C_b == 0 else f"normal of variance C_b = {point.C_b:.4g}"
        sentences.append(
            f"Initialise {name} layers critically: weights normal with std sqrt(C_W / fan_in), C_W = {point.C_W:.4g} (yours: "
            f"{span(mlp.C_W[1:], ' to ')}), biases {biases}{first}."
        )
    return " ".join(sentences)


def _distance(mlp: MLP | Network, points: dict[str, Criticality | None]) -> str:
    """Critical C_W and C_b beside the network's own; empty without activations."""
    if isinstance(mlp, Network):
        return CRITICAL
    parts = []
    for name, point in points.items():
        if point is None or point.C_W is None or point.C_b is None:
            parts.append(f"{name} has no critical point")
        else:
            at = f" at K* {point.K_star:.4g}" if point.K_star is not None else ""
            parts.append(f"{name} is critical with C_W {point.C_W:.4g}, C_b {point.C_b:.4g}{at}")
    this_network = f"this network has C_W {span(mlp.C_W, ' to ')}, C_b {span(mlp.C_b, ' to ')}"
    text = f"{'; '.join(parts)}; {this_network}."
    return text[0].upper() + text[1:] if parts else ""


def _critical_points(mlp: MLP | Network) -> dict[str, Criticality | None]:
    points: dict[str, Criticality | None] = {}
    for sigma in dict.fromkeys(mlp.activation):
        try:
            points[sigma.name] = critical(sigma)
        except NtkflowError:
            points[sigma.name] = None
    return points


def _typical(chi: np.ndarray) -> float:
    """The geometric mean."""
    chi = chi[np.isfinite(chi) & (chi > 0)]
    return float(np.exp(np.mean(np.log(chi)))) if len(chi) else np.nan


def _fall_per_layer(apart: np.ndarray) -> float | None:
    """Factors of 10 that 1 - ρ loses a layer, above rounding and in the upper half of the layers; None if it does not fall."""
    usable = apart[apart > 1e-12]
    usable = usable[len(usable) // 2 :]
    if len(usable) < 2:
        return None
    rate = -float(np.polyfit(np.arange(len(usable)), np.log10(usable), 1)[0])
    return rate if rate > 0.02 else None


def _first_layer_beyond(values: np.ndarray, limit: float) -> int | None:
    """The first layer, from 1, whose value and all later ones exceed the limit."""
    beyond = list(itertools.takewhile(lambda value: value > limit, values[::-1]))
    return len(values) - len(beyond) + 1 if beyond else None
