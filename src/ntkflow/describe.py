"""What results say of themselves: the network, the inputs, what is held; in a line, in a few lines, and in a notebook."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

    from .mlp import MLP
    from .sampling import Ensemble
    from .statistics import LayerStatistics

_MANY = 6  # entries of a list
_SMALL = 2**20  # numbers, at which a look at all of them takes no time
_WIDTH = 100  # characters of a table in a notebook
_SYMBOLS = {"C_b": "C_b", "C_W": "C_W", "lambda_b": "λ_b", "lambda_W": "λ_W"}


class InNotebooks:
    """A result that notebooks show by its `repr`, and its `table` where there is one."""

    def table(self) -> Table:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        from html import escape

        from .errors import ComponentError

        said = f"<pre>{escape(repr(self))}</pre>"
        try:
            return said + _as_html(self.table())
        except ComponentError:  # such as kernels between two sets of inputs, which have no table
            return said


def _as_html(table: Table) -> str:
    import io

    from rich.console import Console

    console = Console(record=True, file=io.StringIO(), width=_WIDTH, legacy_windows=False)
    console.print(table)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def mlp_call(mlp: MLP) -> str:
    """The call that makes an MLP, without what is the default; a callable is named only."""
    activation = [_activation(a) for a in mlp.activation]
    arguments = [f"widths=({_runs(mlp.widths, '*[{}] * {}', ', ')})"]
    if activation:
        arguments.append(
            f"activation={activation[0] if len(set(activation)) == 1 else f'[{_shortened(activation)}]'}"
        )
    for name in _SYMBOLS:
        values = getattr(mlp, name)
        if len(set(values)) > 1:
            arguments.append(f"{name}=[{_shortened([f'{value:g}' for value in values])}]")
        elif values[0] != 1.0 or name in ("C_b", "C_W"):
            arguments.append(f"{name}={values[0]:g}")
    return f"MLP({', '.join(arguments)})"


def network(mlp: MLP, N: int | None = None, N2: int | None = None) -> str:
    """One line for titles: widths, activation, hyperparameters and the number of samples."""
    names = list(dict.fromkeys(_activation(a).strip("'\"") for a in mlp.activation))
    parts = [_runs(mlp.widths, "{}×{}", "-"), *([_shortened(names)] if names else [])]
    for name, symbol in _SYMBOLS.items():
        values = getattr(mlp, name)
        same = len(set(values)) == 1
        parts.append(
            f"{symbol} {f'{values[0]:g}' if same else _shortened([f'{value:g}' for value in values])}"
        )
    samples = [] if N is None else [f"N = {N}" if N2 is None else f"N = {N} and {N2}"]
    return ", ".join(parts + samples)


def _activation(activation) -> str:
    if not activation.registered:
        return f"<{activation.name}>"
    return repr(activation.to_spec())


def _runs(values: Sequence[int], form: str, separator: str) -> str:
    """Numbers with runs of three or more equal ones abbreviated."""
    parts = []
    for value, run in itertools.groupby(values):
        length = len(list(run))
        parts += [form.format(value, length)] if length > 2 else [str(value)] * length
    return _shortened(parts, separator, 4 * _MANY)


def _shortened(parts: Sequence[str], separator: str = ", ", most: int = _MANY) -> str:
    if len(parts) <= most:
        return separator.join(parts)
    return separator.join([*parts[: most - 1], "…", parts[-1]])


def components(asked: str | list) -> str:
    """The components that were asked for."""
    if isinstance(asked, str):
        return f'components "{asked}"'
    sets = [str(tuple(samples)) for samples in asked]
    return f"components on {len(sets)} sets of samples, {_shortened(sets)}"


def samples(X: np.ndarray, X2: np.ndarray | None = None) -> str:
    others = "" if X2 is None else f" and {len(X2)}"
    return (
        f"{len(X)}{others} samples of {X.shape[1]} numbers"
        if len(X) > 1 or others
        else f"1 sample of {X.shape[1]} numbers"
    )


def flow(of: Any) -> str:
    """A Flow in a few lines."""
    held = [name for name in of.layers[0].values] if of.layers else []
    return (
        f"Flow of {mlp_call(of.mlp)}\n{samples(of.X, of.X2)}; {components(of.components)}\n"
        f"layers 1 … {len(of)} hold {', '.join(held)}, each with its error"
    )


def ensemble(of: Ensemble) -> str:
    """An Ensemble in a few lines."""
    held = [name for name in of.layers[0].values] if of.layers else []
    return (
        f"Ensemble of {of.draws} networks, seed {of.seed}, {of.estimators} estimators, of {mlp_call(of.mlp)}\n"
        f"{samples(of.X)}; {components(of.components)}\n"
        f"layers 1 … {len(of)} hold {', '.join(held)}, each with its standard error"
    )


def layer(of: LayerStatistics) -> str:
    """A layer and a line for each of its arrays."""
    lines = [
        f"{type(of).__name__} of layer {of.layer} of {of.mlp.depth}, {of.width} neurons with {of.fan_in} inputs each",
        f"{mlp_call(of.mlp)}",
    ]
    for name in of.values:
        lines.append(f"{name:<20} {_array(of, name)}".rstrip())
    return "\n".join(lines)


def _array(of: LayerStatistics, name: str) -> str:
    if name in ("bias_contributions", "weight_contributions"):
        return str(of.values[name].shape)
    N, M = of.values["G"].shape
    sets = None if of.sets is None else of.sets.shape
    size = N * M if sets is None else max(N * M, sets[0] * sets[1] ** 4)
    if size > _SMALL:
        return ""
    value, error = (np.nanmax(np.abs(table[name]), initial=0.0) for table in (of.values, of.errors))
    shape, largest = str(of.values[name].shape), f"up to {value:.4g}"
    return f"{shape:<20} {largest:<20} errors up to {error:.1g}"
