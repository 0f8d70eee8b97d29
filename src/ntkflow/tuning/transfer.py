"""`learning_rate_transfer`: loss against η for several networks and schemes, by the user's own training loop or by ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks.inputs import checked_inputs
from .._report.describe import InNotebooks, architecture, counted
from .._report.progress import Report, shows_progress
from ..errors import DataError, SpecError
from ..finite.parameters import whole_number
from ..network import as_mlp
from ..network.mlp import MLP
from .recipe import Recipe
from .schemes import Scheme, he_or_xavier, recipe_for, torch_default
from .stability import edge
from .training_run import TrainingRun
from .tune import LOSSES, OF_EDGE

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table

    from .._report.picture import Picture

Train = Callable[[MLP, float, int], "float | Mapping[str, Any]"]
_DOUBLINGS = (-11, 3)
"""The default η: 0.4 of the edge of the mean kernel, times 2 to these powers."""
_DESCRIPTIONS = {
    "loss": "training loss after the last step",
    "mean_loss": "training loss, its mean over the course of training",
    "size": "root mean square of a layer's preactivations at initialisation",
    "change": "root mean square of their change in the first 10 steps",
    "told": "the scheme's own learning rate",
}


@shows_progress
def learning_rate_transfer(
    networks: Mapping[str, Any] | Sequence[Any], X, y=None, *, train: Train | None = None,
    schemes: Mapping[str, Scheme] | None = None, etas: Sequence[float] | None = None, seeds: int = 3,
    held_out: Mapping[str, tuple[Any, Any]] | None = None, loss: str = "cross_entropy", steps: int = 200, batch_size: int = 32,
    progress: Report | None = None,
) -> Transfer:  # fmt: skip
    """Train networks of several widths and depths at many learning rates, as several schemes start them and share the learning rate out.

    Whether a learning rate transfers is whether the curves of loss against η have their valleys at one place. How each layer's preactivations
    move in the first steps, the coordinate check, is measured along the way.

    Args:
        networks: MLPs or models as of `flow`, in a list, or by names of your own. Their widths and activations count.
        X: (N, n_0) inputs. y: their targets, class numbers (N,) for the cross-entropy, (N, n_L) for the mean squared error; our loop needs them.
        train: your own loop, train(mlp, eta, seed), in the place of ours. `mlp` holds the C's and λ's: `interop.torch.draw_(model, mlp)` draws
            a torch model by them, `interop.torch.layer_groups(model, mlp, eta)` are its parameter groups; `finite.init` and `finite.train` take
            it as it is. It returns the loss, or a mapping with "loss" and whatever else is to be kept: numbers, or one number for each layer.
        schemes: by name, functions scheme(mlp, X) of which each returns an MLP or a Recipe; by default "torch default", "He/Xavier" and
            "recipe", that of `tune`. See `ntkflow.tuning.schemes`.
        etas: the learning rates to try; by default 15 a factor of 2 apart, and the recipe's own among them. What a scheme says is added.
        seeds: how many networks of each kind.
        held_out: by name, pairs of inputs and targets, on which the trained networks are tested: {"test": (X_test, y_test)}.
        loss, steps, batch_size: of our loop: "cross_entropy" or "mse", steps of plain gradient descent, samples in each.
        progress: called as progress(done, total, message); by default a bar is shown, as of `flow`.

    Returns:
        A Transfer: `table()`, `plot()`, `plot_coordinates()`, `to_xarray()`. A run that diverged has an infinite loss, and its test errors are 1.

    Raises:
        DataError, SpecError, InteropError, ActivationError: see their descriptions. What your loop raises is passed on.

    Cost:
        networks × schemes × η × seeds runs; 200 steps take 0.02 s at depth 4 and width 64, 1.5 s at depth 16 and width 256.

    Example:
        >>> nets = [ntkflow.MLP((64, *[n] * 3, 10), "tanh") for n in (32, 64, 128)]
        >>> transfer = ntkflow.learning_rate_transfer(nets, X, y, held_out={"test": (X_test, y_test)})
        >>> transfer.plot("transfer.png")
    """
    mlps = _mlps(networks)
    inputs = {name: checked_inputs(mlp, X) for name, mlp in mlps.items()}
    if loss not in LOSSES:
        raise SpecError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}")
    seeds = whole_number(seeds, "seeds", 1, 10**6, DataError)
    if train is None:
        if y is None:
            raise DataError("y is missing: the targets to train on, or `train`, a training loop of your own")
        train = TrainingRun(X, y, held_out or {}, loss, steps, batch_size)
        for mlp in mlps.values():
            train.check(mlp)
    elif y is not None or held_out:
        raise DataError("y and held_out are of our own training loop: `train` brings its own")
    if schemes is None:
        schemes = {"torch default": torch_default, "He/Xavier": he_or_xavier, "recipe": recipe_for(loss)}
    started = {}
    for name, mlp in mlps.items():
        for scheme, start in schemes.items():
            if progress is not None:
                progress(0, 1, f"{name}: {scheme}")
            started[name, scheme] = _started(start(mlp, inputs[name]), mlp, scheme)
    told = {key: eta for key, (_, eta) in started.items() if eta is not None}
    grid = _grid(etas, loss, max(mlp.widths[-1] for mlp in mlps.values()), told.values())
    runs = [(*key, eta, seed) for key in started for eta in grid for seed in range(seeds)]
    records = {}
    for done, (name, scheme, eta, seed) in enumerate(runs):
        record = _record(train(started[name, scheme][0], eta, seed))
        records[name, scheme, eta, seed] = record
        if progress is not None:
            progress(done + 1, len(runs), f"{name}, {scheme}, η = {eta:.3g}: loss {record['loss']:.3g}")
    return Transfer(
        mlps, {key: mlp for key, (mlp, _) in started.items()}, _dataset(mlps, list(schemes), grid, seeds, records, told)
    )  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Transfer(InNotebooks):
    """Loss against learning rate, of networks and schemes; the result of `learning_rate_transfer`.

    Attributes:
        mlps: the networks by name.
        started: by (network, scheme) the MLP whose C's and λ's were used.
        data: `loss` (network, scheme, eta, seed), `told` (network, scheme), a scheme's own η, and what else was measured.
    """

    mlps: Mapping[str, MLP]
    started: Mapping[tuple[str, str], MLP]
    data: xr.Dataset

    def to_xarray(self) -> xr.Dataset:
        """The dataset `data`."""
        return self.data

    def best(self, measure: str = "loss") -> xr.DataArray:
        """The η at which a measure, its mean over seeds, is least: (network, scheme); NaN where none is finite.

        Raises:
            DataError: there is no such measure.
        """
        mean = self._mean(measure)
        lowest = mean.fillna(np.inf)
        some_finite = lowest.min("eta") < np.inf
        return self.data.eta[lowest.argmin("eta")].where(some_finite).drop_vars("eta")

    def excess(self, eta: float | None = None, measure: str = "loss") -> xr.DataArray:
        """The measure at one η for all, relative to each network's and scheme's best: (network, scheme), from 1 on.

        Args:
            eta: on the grid; by default each scheme's own, NaN where it has none.

        Raises:
            DataError: η is not on the grid, or there is no such measure.
        """
        import xarray as xr

        mean = self._mean(measure)
        at = xr.full_like(self.data.told, eta) if eta is not None else self.data.told
        if not np.isin(at.values[np.isfinite(at.values)], self.data.eta.values).all():
            raise DataError(f"eta = {eta!r} was not tried; {listed_etas(self.data.eta.values)} were")
        chosen = mean.sel(eta=at.fillna(float(self.data.eta[0]))).drop_vars("eta")
        return (chosen / mean.min("eta")).where(np.isfinite(at))

    def _mean(self, measure: str) -> xr.DataArray:
        if measure not in self.data or set(self.data[measure].dims) != {"network", "scheme", "eta", "seed"}:
            names = [name for name, values in self.data.items() if len(values.dims) == 4]
            raise DataError(f"no measure {measure!r}; there are {', '.join(map(str, names))}")
        return self.data[measure].mean("seed", skipna=False)

    def table(self) -> Table:
        """For each network and scheme the best η, the loss there, and the loss at the scheme's own η."""
        from .transfer_report import transfer_table

        return transfer_table(self)

    def plot(self, path=None, measure: str = "loss") -> Picture:
        """Draw a measure against η, a panel for each scheme and a line for each network; written to `path` if there is one."""
        from .transfer_report import plot_transfer

        return plot_transfer(self, path, measure)

    def plot_coordinates(self, path=None, eta: float | None = None) -> Picture:
        """Draw how far each layer's preactivations move in the first 10 steps: the coordinate check.

        Args:
            eta: by default each scheme's own, or its best one: the geometric mean over networks, on the grid.

        Raises:
            DataError: η was not tried, or your own loop did not return "change".
        """
        from .transfer_report import plot_coordinates

        return plot_coordinates(self, path, eta)

    def __repr__(self) -> str:
        sizes = self.data.sizes
        return (
            f"Transfer of {counted(sizes['network'], 'network')}, {counted(sizes['scheme'], 'scheme')}, {counted(sizes['eta'], 'learning rate')} "
            f"and {counted(sizes['seed'], 'seed')}\nnetworks: {'; '.join(self.mlps)}\n"
            f"schemes: {', '.join(map(str, self.data.scheme.values))}\nlearning rates: {listed_etas(self.data.eta.values)}\n"
            f"measured: {', '.join(map(str, self.data))}"
        )


def listed_etas(etas: np.ndarray) -> str:
    """Learning rates in words: all, or the first, the last and how many."""
    if len(etas) <= 4:
        return ", ".join(f"{eta:.4g}" for eta in etas)
    return f"{etas[0]:.4g} … {etas[-1]:.4g}, {len(etas)} of them"


def _mlps(networks: Mapping[str, Any] | Sequence[Any]) -> dict[str, MLP]:
    if isinstance(networks, Mapping):
        return {str(name): as_mlp(network) for name, network in networks.items()}
    if not isinstance(networks, list | tuple) or not networks:
        raise SpecError("networks must be a list of networks, or a mapping from names to networks")
    mlps = [as_mlp(network) for network in networks]
    names = [architecture(mlp) for mlp in mlps]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise SpecError(f"two networks are {min(repeated)}: give names, as {{name: network, …}}")
    return dict(zip(names, mlps, strict=True))


def _started(start: MLP | Recipe, mlp: MLP, scheme: str) -> tuple[MLP, float | None]:
    """The MLP that a scheme returned, and its own η."""
    chosen, eta = (start.mlp, start.eta) if isinstance(start, Recipe) else (start, None)
    if not isinstance(chosen, MLP) or (chosen.widths, chosen.activation) != (mlp.widths, mlp.activation):
        raise SpecError(
            f"the scheme {scheme!r} must return an MLP or a Recipe of the network it is given, not {start!r}"
        )
    return chosen, eta


def _grid(etas, loss: str, outputs: int, told) -> list[float]:
    """All learning rates to try, ascending."""
    if etas is None:
        etas = OF_EDGE * edge(loss, outputs) * 2.0 ** np.arange(_DOUBLINGS[0], _DOUBLINGS[1] + 1)
    values = np.asarray(etas, float).ravel()
    if not len(values) or not np.all((values > 0) & (values < np.inf)):
        raise DataError(f"etas must be learning rates above 0, not {etas!r}")
    return sorted({*values.tolist(), *told})


def _record(result: Any) -> dict[str, Any]:
    """What a training loop returned, as a mapping with the loss; NaN becomes infinite: it diverged."""
    values = dict(result) if isinstance(result, Mapping) else {"loss": result}
    try:
        record: dict[str, Any] = {name: np.asarray(value, float) for name, value in values.items()}
        loss = float(record["loss"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'train must return the loss, or a mapping with "loss", not {result!r}') from error
    if any(np.ndim(value) > 1 for value in record.values()):
        raise DataError("train must return numbers, or one number for each layer")
    return record | {"loss": np.inf if np.isnan(loss) else loss}


def _dataset(mlps: dict[str, MLP], schemes: list[str], grid: list[float], seeds: int, records: dict, told: dict) -> xr.Dataset:  # fmt: skip
    import xarray as xr

    first = next(iter(records.values()))
    depth = max(mlp.depth for mlp in mlps.values())
    dims = ("network", "scheme", "eta", "seed")
    coordinates = (list(mlps), schemes, grid, list(range(seeds)))
    variables: dict[str, tuple] = {}
    for name, example in first.items():
        by_layer = np.ndim(example) == 1
        values = np.full((*map(len, coordinates), *([depth] if by_layer else [])), np.nan)
        for index in np.ndindex(values.shape[:4]):
            value = records[tuple(c[i] for c, i in zip(coordinates, index, strict=True))].get(name, np.nan)
            values[(*index, slice(np.size(value)))[: values.ndim]] = value
        attributes = {"long_name": _DESCRIPTIONS.get(name, name)}
        variables[name] = ((*dims, "layer")[: values.ndim], values, attributes)
    own = [[told.get((network, scheme), np.nan) for scheme in schemes] for network in mlps]
    variables["told"] = (dims[:2], own, {"long_name": _DESCRIPTIONS["told"]})
    widths = [max(mlp.widths[1:-1], default=mlp.widths[-1]) for mlp in mlps.values()]
    coords = dict(zip(dims, coordinates, strict=True)) | {
        "layer": np.arange(1, depth + 1),
        "depth": ("network", [mlp.depth for mlp in mlps.values()]),
        "width": ("network", widths),
    }
    return xr.Dataset(variables, coords)
