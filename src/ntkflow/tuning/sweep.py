"""`sweep`: how much the NTK varies over seeds, and between which eigenvalues it lies, at many widths and depths."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks.inputs import checked_inputs
from .._disk.kinds import kind_of, of_another_kind
from .._disk.storage import write
from .._disk.store import Store
from .._report.describe import InNotebooks, activations, hyperparameters, listed
from .._report.page import inputs, wrapped
from .._report.progress import shows_bar
from .._theory.flow import flow
from .._theory.statistics import LayerStatistics
from ..errors import DataError, FileError, NonFiniteError, warn
from ..finite.parameters import as_int
from ..network import as_mlp
from ..network.mlp import MLP
from ..version import __version__
from .depth_powers import depth_powers
from .spread import (
    RTOL,
    TRAINED,
    at_width,
    check_hidden,
    evenly_wide,
    few_of,
    relative_mean,
    relative_sd,
    with_depth,
)

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr
    from rich.table import Table

    from .._report.picture import Picture

_MOST_NUMBERS = 2**20  # of a variable
_ROUNDING = 1e-12  # of the largest eigenvalue
_EXTREMES = {
    "lambda_min": "smallest eigenvalue of the mean NTK of one output, over N",
    "lambda_max": "largest eigenvalue of the mean NTK of one output, over N",
}
_MEANINGS = {
    "ntk_std": "sd over seeds of one output's NTK of one input, relative, mean over inputs",
    "ntk_std_truncation": "its error of cutting the expansion at 1/n",
    **_EXTREMES,
    **{f"{name}_std": f"sd over seeds of the {meaning}" for name, meaning in _EXTREMES.items()},
    **{
        f"{name}_truncation": f"error of cutting at 1/n of the {meaning}"
        for name, meaning in _EXTREMES.items()
    },
}
_AT_INFINITE_WIDTH = {
    f"{name}_infinite": f"{meaning}, at infinite width" for name, meaning in _EXTREMES.items()
}


class SavedSweep(Store):
    """What `Sweep.save` wrote to a folder."""

    KEY = "ntkflow_sweep"


class Sweep(InNotebooks):
    """The result of `sweep`; `to_xarray()` has its numbers."""

    def __init__(self, dataset: xr.Dataset):
        self._dataset = dataset

    def to_xarray(self) -> xr.Dataset:
        """Every number, by `width` and `depth`.

        `ntk_std`: sd of Ĥ_{ii;αα} of the output over seeds, resummed, relative to H_αα, a mean over inputs. `lambda_min` and `lambda_max`:
        extreme eigenvalues of one output's mean NTK H + H1/n, over N; those below 1e-12 of λ_max are rounding, and 0. `…_truncation`: the
        error of cutting the expansion at 1/n. `lambda_min_std`, `lambda_max_std`: their sd over seeds, to first order. `lambda_min_infinite`,
        `lambda_max_infinite`: by `depth` alone, at infinite width. With powers, what `DepthPowers.to_xarray` has. NaN where layers
        don't fit in float64.
        """
        return self._dataset.copy()

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know, in sentences."""
        return tuple(self._dataset.attrs["notes"].splitlines())

    @property
    def words(self) -> str:
        """Up to which depth the sd is small, at each width, and the notes."""
        return " ".join([*self._limits(), *self.notes])

    def __repr__(self) -> str:
        dataset = self._dataset
        grid = "; ".join(
            f"{dim}s {listed(list(map(str, dataset[dim].values)))}" for dim in ("width", "depth")
        )
        attributes = dataset.attrs
        of = inputs(int(attributes["inputs"]), int(attributes["samples"]))
        paragraphs = [f"Sweep of {attributes['title']}", f"{grid}; {of}", *self._limits(), *self.notes]
        return "\n".join(line for paragraph in paragraphs for line in wrapped(paragraph))

    def _limits(self) -> list[str]:
        """Up to which of the depths the sd is small, at each width: a sentence, if it is known anywhere."""
        if np.all(np.isnan(self._dataset["ntk_std"])):
            return []
        start = f"The NTK's sd over seeds is at most {100 * TRAINED:.0f} %"
        if np.all(self._dataset["ntk_std"] <= TRAINED):
            return [f"{start} at all of these widths and depths."]
        up_to, at_none = [], []
        for width, row in zip(self._dataset["width"].values, self._dataset["ntk_std"].values, strict=True):
            count = int(np.argmin([*(row <= TRAINED), False]))  # of depths before the first with more
            if count:
                up_to.append(f"{self._dataset['depth'].values[count - 1]} at width {width}")
            else:
                at_none.append(str(width))
        words = [f"up to depth {listed(up_to)}"] if up_to else []
        words += [f"at none of these depths at width {listed(at_none)}"] if at_none else []
        return [f"{start} {'; '.join(words)}."]

    def table(self) -> Table:
        """The sd at each depth and some of the widths, and the eigenvalues at infinite width."""
        from .._report.table import sweep_table

        return sweep_table(self._dataset)

    def plot(self, path: str | PathLike | None = None) -> Picture:
        """The sd and the eigenvalues against depth, or if there is one depth against width; with powers, these too.

        Written to `path` if there is one, replacing what is there.

        Raises:
            FileError: the picture can't be written.
        """
        from .sweep_picture import plot_sweep

        return plot_sweep(self._dataset, path)

    def save(self, path: str | PathLike, overwrite: bool = False) -> None:
        """Write NetCDF (`.nc`) or Zarr (`.zarr`); FileError if it can't, or exists and `overwrite` is not set."""
        write(self._dataset, path, SavedSweep, overwrite)

    @classmethod
    def load(cls, path: str | PathLike) -> Sweep:
        """Read what `save` wrote; FileError if it is missing, unreadable or no sweep."""
        path = Path(path)
        if kind_of(path) != SavedSweep.KEY:
            raise of_another_kind(path, "a sweep")

        def known(attributes: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict:
            names = {*_MEANINGS, *_AT_INFINITE_WIDTH, "width", "depth"}
            whole = names <= shapes.keys() and {"title", "notes", "inputs", "samples"} <= attributes.keys()
            if not whole or any(math.prod(shape) > _MOST_NUMBERS for shape in shapes.values()):
                raise FileError(f"{path} is not a sweep, or it is damaged")
            return {name: (None, shape) for name, shape in shapes.items()}

        if path.is_dir():
            store = SavedSweep(path)
            return cls(store.dataset(known(store.header, {name: store.shape(name) for name in store.names})))
        from .._disk.netcdf import read_netcdf

        dataset, verified = read_netcdf(path, known)
        if not verified:
            warn(f"{path} has no checksum: damage to it may not show")
        return cls(dataset)


@shows_bar("sweeping widths and depths")
def sweep(
    network: Any,
    X,
    widths: Sequence[int] | np.ndarray = (64, 128, 256, 512),
    depths: Sequence[int] | np.ndarray = (2, 4, 8, 16, 32),
    *,
    powers: bool = False,
) -> Sweep:
    """How wide is enough, how deep is too deep: the NTK's spread over seeds and its eigenvalues at many widths and depths.

    The networks are those of `width_for` and `depth_for`: hidden layers are like the network's own, of equal widths, more of them like the last
    one; the output layer stays what it is. Of depth 1 there is the output layer alone. C_b, C_W, λ_b and λ_W stay what they are at every
    width; λ_W / n_{ℓ-1} is the learning rate.

    Tensors are coefficients of 1/n, the same at each width. If the output layer has the C's and λ's of the hidden ones, one flow through the
    greatest depth has every depth, otherwise there is a flow for each. Together with the sd of eigenvalues, which is sampled to 1 %, the
    default takes some ten seconds on two cores, and time grows as the sum of the depths.

    Args:
        network: as of `flow`, with a hidden layer.
        X: (N, n_0) inputs. Above 12 a random 12 of them are taken, and are the N of the eigenvalues.
        widths: of all hidden layers, whole numbers of at least 1.
        depths: numbers L of layers of weights, from 1.
        powers: whether to measure the powers of depth at criticality of the last hidden layer's activation, too, as `tuning.depth_powers` does.

    Returns:
        A Sweep, widths and depths ascending: `table()`, `plot()`, `to_xarray()`, `save(path)`.

    Raises:
        DataError: widths or depths are not such lists, or X is no such array.
        SpecError, InteropError: as of `flow`; or there is no hidden layer.
        ActivationError: powers are wanted, and the activation has no critical point.

    Example:
        >>> swept = ntkflow.sweep(ntkflow.MLP((64, 128, 128, 10), "relu", C_W=2.0), X, depths=(4, 8, 16))
        >>> round(float(swept.to_xarray()["ntk_std"].sel(width=128, depth=8)), 2)
        0.35
    """
    mlp = as_mlp(network)
    check_hidden(mlp, "sweep")
    X = checked_inputs(mlp, X)
    samples = few_of(X)
    widths, depths = _ascending("widths", widths, 64), _ascending("depths", depths, 4)
    of_powers = depth_powers(mlp.activation[-1]) if powers else None

    shape = len(widths), len(depths)
    tables = {name: np.full(shape, np.nan) for name in _MEANINGS}
    infinite = {name: np.full(len(depths), np.nan) for name in _AT_INFINITE_WIDTH}
    finite = []
    for layers, of_flow in _flows(evenly_wide(mlp, widths[0]), samples, depths):
        at_widths = [at_width(layers, n) for n in widths]
        for depth in of_flow:
            column = depths.index(depth)
            finite.append(depth)
            with np.errstate(all="ignore"):  # a width of 1 may be hopeless
                statistics = _at_depth([layers[depth - 1] for layers in at_widths])
            for name, value in statistics.items():
                if name in infinite:
                    infinite[name][column] = value
                else:
                    tables[name][:, column] = value
    dataset = _dataset(mlp, widths, depths, tables, infinite)
    dataset.attrs |= {
        "inputs": len(X),
        "samples": len(samples),
        "notes": "\n".join(_notes(tables["lambda_min"], sorted(set(depths) - set(finite)))),
    }
    if of_powers is not None:
        dataset = dataset.merge(of_powers.to_xarray(), combine_attrs="no_conflicts")
    return Sweep(dataset)


def _flows(mlp: MLP, X: np.ndarray, depths: list[int]) -> Iterator[tuple[list[LayerStatistics], list[int]]]:
    """Layers, and the depths at which the last of so many is the output of the network of that depth; none of depths that overflow.

    The flow of the deepest network that float64 holds serves as many depths as it can.
    """
    waiting = sorted(depths)
    while waiting:
        deepest = with_depth(mlp, waiting.pop())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of narrow networks: truncation tells
                layers = flow(deepest, X, "pairs", rtol=RTOL).layers
        except NonFiniteError:
            continue
        served = [depth for depth in waiting if _begins_with(deepest, with_depth(mlp, depth))]
        waiting = [depth for depth in waiting if depth not in served]
        yield layers, [deepest.depth, *served]


def _begins_with(deep: MLP, shallow: MLP) -> bool:
    """Whether the deep network's first layers have the hyperparameters of the shallow one's."""
    names = ("C_b", "C_W", "lambda_b", "lambda_W")
    return all(getattr(deep, name)[: shallow.depth] == getattr(shallow, name) for name in names)


def _at_depth(layer_at_widths: list[LayerStatistics]) -> dict[str, Any]:
    """One layer's statistics by name: at each width, and at infinite width."""
    first = layer_at_widths[0]
    N = len(first.H)
    eigenvalues, vectors = np.linalg.eigh(first.H)
    v = vectors[:, [0, -1]]
    variance = first.variance_along(v) * first.fan_in
    values: dict[str, Any] = {name: [] for name in _MEANINGS}
    for layer in layer_at_widths:
        values["ntk_std"].append(relative_sd(layer))
        values["ntk_std_truncation"].append(relative_mean(layer, layer.truncation("ntk_std")))
        resummed = variance / layer.fan_in * (layer.diagonal_expansion.variance_ratio @ v**2)
        for name, extremes in (
            ("", _without_rounding(layer.eigenvalues())),
            ("_std", np.sqrt(np.maximum(resummed, 0.0))),
            ("_truncation", layer.truncation("eigenvalues")[[0, -1]]),
        ):
            for kind, value in zip(_EXTREMES, extremes, strict=True):
                values[kind + name].append(value / N)
    values |= zip(_AT_INFINITE_WIDTH, _without_rounding(eigenvalues) / N, strict=True)
    return values


def _without_rounding(eigenvalues: np.ndarray) -> np.ndarray:
    """The least and the largest of ascending eigenvalues; 0 for what is nothing but rounding."""
    extremes = eigenvalues[[0, -1]]
    return np.where(np.abs(extremes) > _ROUNDING * np.abs(extremes[1]), extremes, 0.0)


def _dataset(mlp: MLP, widths: list[int], depths: list[int], tables: dict, infinite: dict) -> xr.Dataset:
    import xarray as xr

    def described(name: str) -> dict[str, str]:
        return {"long_name": (_MEANINGS | _AT_INFINITE_WIDTH)[name], "units": "1"}

    data = {name: (("width", "depth"), table, described(name)) for name, table in tables.items()}
    data |= {name: (("depth",), column, described(name)) for name, column in infinite.items()}
    coords = {
        "width": ("width", widths, {"long_name": "width of each hidden layer", "units": "neurons"}),
        "depth": ("depth", depths, {"long_name": "depth L", "units": "layers of weights"}),
    }
    n_0, *_, n_L = mlp.widths
    title = ", ".join([f"{n_0}-n×(L-1)-{n_L}", activations(mlp), *hyperparameters(mlp)])
    attributes = {
        "title": title,
        "mlp": json.dumps(mlp.to_spec()),
        "ntkflow_version": __version__,
    }
    return xr.Dataset(data, coords, attributes)


def _notes(lambda_min: np.ndarray, overflowing: list[int]) -> list[str]:
    notes = []
    if overflowing:
        notes.append(
            f"Note: networks of depth {listed(list(map(str, overflowing)))} overflow float64, and their numbers are NaN: scale X or C_W."
        )
    if np.any(lambda_min < 0):
        notes.append(
            "Note: where lambda_min is below 0, its 1/n correction is larger than it, and the expansion of no use."
        )
    return notes


def _ascending(name: str, values: Any, example: int) -> list[int]:
    """Different whole numbers of at least 1, ascending."""
    many = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) and np.ndim(values) == 1
    numbers = [as_int(value) for value in values] if many else []
    if not numbers or not all(number is not None and 1 <= number < 2**31 for number in numbers):
        raise DataError(
            f"{name} must list whole numbers of at least 1, such as ({example}, {2 * example}, {4 * example}), not {values!r}"
        )
    return sorted({number for number in numbers if number is not None})
