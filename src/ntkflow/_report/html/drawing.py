"""The network drawn as SVG: a box for each layer, as high as it is wide; skips as arcs above."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..describe import SYMBOLS, counted, evenly, listed

_MOST_BOXES = 9
_GAP, _BOX, _TALLEST, _LEAST = 96, 34, 110, 24  # pixels
_TOP, _BOTTOM, _EDGE = 46, 30, 20
_MIDDLE = _TOP + _TALLEST / 2
_LEGIBLE = 540
"""The least width of a drawing of many boxes, on a screen that is narrower."""


@dataclass(frozen=True)
class _Step:
    """A layer, or several alike one after the other.

    Attributes:
        first, last: their numbers; 0 is the inputs.
        width: neurons.
        inside: what leads to each: activations and norms, in their order.
        skip: γ, 0 without a skip.
        hyperparameters: in words.
    """

    first: int
    last: int
    width: int
    inside: str
    skip: float
    hyperparameters: str

    @property
    def number(self) -> str:
        """Which layers they are, in short."""
        if self.first == 0:
            return "inputs"
        return str(self.first) if self.first == self.last else f"{self.first}…{self.last}"

    @property
    def name(self) -> str:
        if self.first == 0:
            return self.number
        return f"layer{'s' if self.last > self.first else ''} {self.number}"


def drawing(network: Any) -> str:
    """The SVG of an MLP or a Network; all text in it is escaped."""
    steps = _chosen(_grouped(network))
    width, height = _GAP * len(steps) + _EDGE, _TOP + _TALLEST + _BOTTOM
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" style="min-width: {min(width, _LEGIBLE)}px"'
    parts = [f'<svg {size} role="img" aria-label="the network, from inputs to outputs">']
    for k, step in enumerate(steps):
        x = _EDGE + _GAP * k
        if k:
            parts += _arrow(step, x, left_out=step.first - steps[k - 1].last > 1)
        parts += _box(step, x, math.log(step.width + 1) / math.log(max(network.widths) + 1))
    return "".join([*parts, "</svg>"])


def _box(step: _Step, x: float, share: float) -> list[str]:
    """A step's box, at `share` of the range of heights, with its width in it and its number below."""
    height, centre = _LEAST + (_TALLEST - _LEAST) * share, x + _BOX / 2
    each = " each" if step.last > step.first else ""
    title = f"{step.name}: {counted(step.width, 'neuron')}{each}"
    if step.hyperparameters:
        title += f"; {step.hyperparameters}"
    return [
        f'<rect x="{x}" y="{_MIDDLE - height / 2:.1f}" width="{_BOX}" height="{height:.1f}" rx="4"><title>{escape(title)}</title></rect>',
        _text(centre, _MIDDLE + 4, str(step.width)),
        _text(centre, _TOP + _TALLEST + 20, step.number),
    ]


def _arrow(step: _Step, x: float, left_out: bool) -> list[str]:
    """The arrow to the box at x, dashed where layers are left out, with what is inside; and an arc for a skip."""
    start, end = x - _GAP + _BOX, x - 2
    dashes = ' stroke-dasharray="4 4"' if left_out else ""
    parts = [f'<path d="M{start} {_MIDDLE:.0f}H{end}m-5 -4l5 4l-5 4"{dashes}/>']
    # The first line stands above the arrow, the second below.
    for line, word in enumerate(step.inside.split("\n")):
        parts.append(_text((start + x) / 2, _MIDDLE - 8 + 24 * line, word, ' class="quiet"'))
    if step.skip:
        left, right, foot, top = start - _BOX / 2, x + _BOX / 2, _TOP - 4, _TOP - 26
        parts.append(f'<path class="skip" d="M{left} {foot}C{left} {top} {right} {top} {right} {foot}"/>')
        parts.append(_text((left + right) / 2, top, f"γ {step.skip:.3g}"))
    return parts


def _text(x: float, y: float, words: str, attributes: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle"{attributes}>{escape(words)}</text>'


def caption(network: Any) -> str:
    """What the drawing shows, in words."""
    steps = _grouped(network)
    sentences = ["Boxes are layers with their numbers of neurons; layers that are alike share one."]
    if any(step.skip for step in steps):
        sentences.append("Arcs are skips, γ times the layer below.")
    if len(steps) > _MOST_BOXES:
        sentences.append(f"{_MOST_BOXES} of {len(steps)} different ones are drawn, evenly spread.")
    return " ".join(sentences)


def _grouped(network: Any) -> list[_Step]:
    layers = [_Step(0, 0, network.widths[0], "", 0.0, "")]
    layers += [_layer(network, ell) for ell in range(1, len(network.widths))]
    groups = itertools.groupby(
        layers, lambda step: (step.first == 0, step.width, step.inside, step.skip, step.hyperparameters)
    )
    runs = [list(run) for _, run in groups]
    return [
        _Step(run[0].first, run[-1].last, run[0].width, run[0].inside, run[0].skip, run[0].hyperparameters)
        for run in runs
    ]


def _chosen(steps: list[_Step]) -> list[_Step]:
    return [steps[k] for k in evenly(len(steps), _MOST_BOXES)]


def _layer(network: Any, ell: int) -> _Step:
    layer = network.layers[ell - 1]
    stages = getattr(layer, "stages", None)
    if stages is None:
        activation = getattr(layer, "activation", None)
        inside = "" if activation is None else activation.name
        return _Step(
            ell,
            ell,
            network.widths[ell],
            _short(inside),
            0.0,
            _hyperparameters(layer, inside and f"{inside}, "),
        )
    words = [
        word
        for stage in stages
        for word in (stage.norm if stage.norm != "none" else "", stage.activation.name)
        if word and word != "linear"
    ]
    of_stages = "; ".join(_hyperparameters(stage, f"{stage.activation.name}, ") for stage in stages)
    return _Step(
        ell, ell, network.widths[ell], "\n".join(map(_short, _lines(words))), float(layer.gamma), of_stages
    )


def _lines(words: Sequence[str]) -> list[str]:
    """At most two lines of an arrow's label."""
    return list(words) if len(words) <= 2 else [listed(words[:-1], " ", 3), words[-1]]


def _short(word: str) -> str:
    return word if len(word) <= 12 else f"{word[:11]}…"


def _hyperparameters(part: Any, before: str) -> str:
    values = [
        f"{symbol} {float(getattr(part, name)):.4g}"
        for name, symbol in SYMBOLS.items()
        if hasattr(part, name)
    ]
    return before + ", ".join(values) if values else before.removesuffix(", ")
