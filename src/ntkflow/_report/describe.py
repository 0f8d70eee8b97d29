"""Descriptions of results: network, inputs and arrays; in a line, in a few lines, and in a notebook."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

_MANY = 6  # entries of a list
_SMALL = 2**20  # numbers, at which a look at all of them takes no time
_WIDTH = 100  # characters of a table in a notebook
_VALUES = 4  # of a hyperparameter that are listed; of more the range is said
SYMBOLS = {"C_b": "C_b", "C_W": "C_W", "lambda_b": "λ_b", "lambda_W": "λ_W"}


class InNotebooks:
    """A result that notebooks show by its `repr`, and its `table` where there is one."""

    def _repr_html_(self) -> str:
        from html import escape

        from ..errors import ActivationError, ComponentError

        html, table = f"<pre>{escape(repr(self))}</pre>", getattr(self, "table", None)
        if table is None:
            return html
        try:
            return html + _as_html(table())
        except (
            ActivationError,
            ComponentError,
        ):  # such as kernels between two sets of inputs, which have no table
            return html


def _as_html(table: Table) -> str:
    import io

    from rich.console import Console

    console = Console(record=True, file=io.StringIO(), width=_WIDTH, legacy_windows=False)
    console.print(table)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def mlp_call(mlp: Any) -> str:
    """The call that makes an MLP, without what is the default; a callable is named only."""
    activation = [_activation(a) for a in mlp.activation]
    arguments = [f"widths=({listed(runs(mlp.widths, '*[{}] * {}'), ', ', 4 * _MANY)})"]
    if activation:
        arguments.append(
            f"activation={activation[0] if len(set(activation)) == 1 else f'[{listed(activation)}]'}"
        )
    for name in SYMBOLS:
        values = getattr(mlp, name)
        if len(set(values)) > 1:
            arguments.append(f"{name}=[{listed([f'{value:g}' for value in values])}]")
        elif values[0] != 1.0 or name in ("C_b", "C_W"):
            arguments.append(f"{name}={values[0]:g}")
    return f"MLP({', '.join(arguments)})"


def network(mlp: Any, N: int | None = None, N2: int | None = None) -> str:
    """One line for titles: widths, activation, hyperparameters and the number of samples."""
    parts = [architecture(mlp), *hyperparameters(mlp)]
    samples = [] if N is None else [f"N = {N}" if N2 is None else f"N = {N} and {N2}"]
    return ", ".join(parts + samples)


def hyperparameters(mlp: Any) -> list[str]:
    """Each hyperparameter with its symbol; none of a network of layers of any kind."""
    values = {symbol: getattr(mlp, name, None) for name, symbol in SYMBOLS.items()}
    return [f"{symbol} {_by_layer(of_layers)}" for symbol, of_layers in values.items() if of_layers]


def activations(mlp: Any) -> str:
    """The different activations in their order."""
    return listed(list(dict.fromkeys(map(_short_activation, mlp.activation))))


def architecture(mlp: Any) -> str:
    """Widths and activations in a line; skips and norms of a network of blocks."""
    widths = runs(mlp.widths, "{}×{}")
    if len(widths) > 2 * _MANY:
        first, *hidden, last = mlp.widths
        widths = [str(first), f"{min(hidden)}…{max(hidden)}×{len(hidden)}", str(last)]
    parts = ["-".join(widths), *([activations(mlp)] if mlp.activation else [])]
    return ", ".join([*parts, *_skips_and_norms(mlp)])


def _skips_and_norms(network: Any) -> list[str]:
    """The skip and the norms of each block, from the first one on: ["4 × (γ 0.866)", "1 × (rms)"]; none of an MLP."""
    blocks = [_skip_and_norms(layer) for layer in network.layers if hasattr(layer, "stages")]
    groups = [f"{len(list(run))} × ({words})" for words, run in itertools.groupby(blocks)]
    return [listed(groups)] if groups else []


def _skip_and_norms(block: Any) -> str:
    skip = [f"γ {block.gamma:.3g}"] if block.gamma else []
    stages = [stage.norm for stage in block.stages]
    norms = [" / ".join(stages)] if set(stages) != {"none"} else []
    return ", ".join(skip + norms) or "no skip"


def _by_layer(values: Sequence[float]) -> str:
    """A hyperparameter of every layer: the one that all have, a few in their order, or the range of many."""
    numbers = [f"{value:.4g}" for value in values]
    parts = runs(numbers, "{}×{}")
    return ", ".join(parts) if len(set(numbers)) > 1 and len(parts) <= _VALUES else span(values)


def span(values: Sequence[float], between: str = "…") -> str:
    """The least and the largest, or what they all are."""
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low}{between}{high}"


def evenly(count: int, most: int) -> list[int]:
    """At most so many of the indices 0 … count - 1, evenly spread, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _activation(activation) -> str:
    if not activation.registered:
        return f"<{activation.name}>"
    return repr(activation.to_spec())


def _short_activation(activation) -> str:
    """An activation's name and parameters; a callable's name alone."""
    spec = activation.to_spec() if activation.registered else _activation(activation)
    if isinstance(spec, str):
        return spec
    parameters = (f"{name}={value}" for name, value in spec.items() if name != "name")
    return f"{spec['name']}({', '.join(parameters)})"


def runs(values: Sequence[int] | Sequence[str], form: str) -> list[str]:
    """Numbers or words with runs of three or more equal ones abbreviated."""
    parts = []
    for value, run in itertools.groupby(values):
        length = len(list(run))
        parts += [form.format(value, length)] if length > 2 else [str(value)] * length
    return parts


def listed(parts: Sequence[str], separator: str = ", ", most: int = _MANY) -> str:
    if len(parts) <= most:
        return separator.join(parts)
    return separator.join([*parts[: most - 1], "…", parts[-1]])


def components(selection: str | list) -> str:
    """The components that were asked for."""
    if isinstance(selection, str):
        return f'components "{selection}"'
    sets = [str(tuple(samples)) for samples in selection]
    return f"components on {len(sets)} sets of samples, {listed(sets)}"


def samples(X: np.ndarray, X2: np.ndarray | None = None) -> str:
    count = counted(len(X), "sample") if X2 is None else f"{len(X)} and {len(X2)} samples"
    return f"{count} of {counted(X.shape[1], 'number')}"


def counted(count: int, what: str) -> str:
    """So many of something: 1 neuron, 2 neurons."""
    return f"{count} {what}{'s' * (count != 1)}"


def flow(result: Any) -> str:
    """A Flow in a few lines."""
    names = [name for name in result.layers[0].values] if result.layers else []
    return (
        f"Flow of {result.mlp!r}\n{samples(result.X, result.X2)}; {components(result.components)}\n"
        f"layers 1 … {len(result)} hold {', '.join(names)}, each with its error"
    )


def ensemble(result: Any) -> str:
    """An Ensemble in a few lines."""
    names = [name for name in result.layers[0].values] if result.layers else []
    return (
        f"Ensemble of {result.draws} networks, seed {result.seed}, {result.estimators} estimators, of {result.mlp!r}\n"
        f"{samples(result.X)}; {components(result.components)}\n"
        f"layers 1 … {len(result)} hold {', '.join(names)}, each with its standard error"
    )


def layer(statistics: Any) -> str:
    """A layer and a line for each of its arrays."""
    lines = [
        f"{type(statistics).__name__} of layer {statistics.layer} of {statistics.mlp.depth}, {statistics.width} neurons with {statistics.fan_in} inputs each",
        f"{statistics.mlp!r}",
    ]
    for name in statistics.values:
        lines.append(f"{name:<20} {_array(statistics, name)}".rstrip())
    return "\n".join(lines)


def _array(statistics: Any, name: str) -> str:
    if name in ("bias_contributions", "weight_contributions"):
        return str(statistics.values[name].shape)
    N, M = statistics.values["G"].shape
    sets = None if statistics.sets is None else statistics.sets.shape
    size = N * M if sets is None else max(N * M, sets[0] * sets[1] ** 4)
    if size > _SMALL:
        return ""
    value, error = (
        np.nanmax(np.abs(table[name]), initial=0.0) for table in (statistics.values, statistics.errors)
    )
    shape, largest = str(statistics.values[name].shape), f"up to {value:.4g}"
    return f"{shape:<20} {largest:<20} errors up to {error:.1g}"
