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
_TOP, _BOTTOM = 46, 30
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
    def name(self) -> str:
        if self.first == 0:
            return "inputs"
        return f"layer {self.first}" if self.first == self.last else f"layers {self.first} … {self.last}"


def drawing(network: Any) -> str:
    """The SVG of an MLP or a Network; all text in it is escaped."""
    steps = _chosen(_grouped(network))
    widest = math.log(max(network.widths) + 1)
    width, height = _GAP * len(steps) + 20, _TOP + _TALLEST + _BOTTOM
    middle = _TOP + _TALLEST / 2
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" style="min-width: {min(width, _LEGIBLE)}px" role="img" aria-label="the network, from inputs to outputs">'
    ]

    def text(x: float, y: float, words: str, quiet: bool = False) -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle"{" class=quiet" * quiet}>{escape(words)}</text>'

    for k, step in enumerate(steps):
        x = 20 + _GAP * k
        size = _LEAST + (_TALLEST - _LEAST) * math.log(step.width + 1) / widest
        title = f"{step.name}: {counted(step.width, 'neuron')}{' each' * (step.last > step.first)}{step.hyperparameters and '; ' + step.hyperparameters}"
        if k:
            before, words = x - _GAP + _BOX, step.inside
            jumped = step.first - steps[k - 1].last > 1
            dashes = ' stroke-dasharray="4 4"' if jumped else ""
            parts.append(f'<path d="M{before} {middle:.0f}H{x - 2}m-5 -4l5 4l-5 4"{dashes}/>')
            centre = (before + x) / 2
            for line, word in enumerate(words.split("\n")):
                parts.append(text(centre, middle - 8 + 24 * line - 12 * (words.count("\n") > 1), word, True))
            if step.skip:
                parts.append(
                    f'<path class="skip" d="M{x - _GAP + _BOX / 2} {_TOP - 4}C{x - _GAP + _BOX / 2} {_TOP - 26} {x + _BOX / 2} {_TOP - 26} {x + _BOX / 2} {_TOP - 4}"/>'
                )
                parts.append(text(centre, _TOP - 26, f"γ {step.skip:.3g}"))
        parts.append(
            f'<rect x="{x}" y="{middle - size / 2:.1f}" width="{_BOX}" height="{size:.1f}" rx="4"><title>{escape(title)}</title></rect>'
        )
        parts.append(text(x + _BOX / 2, middle + 4, str(step.width)))
        number = (
            "inputs"
            if step.first == 0
            else (str(step.first) if step.first == step.last else f"{step.first}…{step.last}")
        )
        parts.append(text(x + _BOX / 2, _TOP + _TALLEST + 20, number))
    return "".join([*parts, "</svg>"])


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
