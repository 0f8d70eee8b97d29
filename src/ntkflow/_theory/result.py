"""Flow: the theory's statistics of every layer of a network, in memory and on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .._disk.storage import write
from .._recursions import TENSORS
from .._report import describe
from .._report.describe import InNotebooks
from ..errors import FileError
from ..network.mlp import MLP
from ..version import __version__
from .dimensions import ERROR, check_numbers, dimensions, flow_names, flow_shapes, specification
from .layers import Layers
from .scales import KERNELS, SPLIT
from .statistics import LayerStatistics
from .stored_arrays import StoredArrays

if TYPE_CHECKING:
    from os import PathLike

    import xarray as xr
    from rich.table import Table

    from .._report.picture import Picture

Statistics = TypeVar("Statistics", bound=LayerStatistics)


class Layered(Layers[Statistics], InNotebooks):
    """A network, its inputs and the statistics of each layer: `x[1]` … `x[L]`, `x[-1]` the last."""

    mlp: MLP
    X: np.ndarray
    components: str | list

    @property
    def training(self) -> bool:
        """Whether layers have the tensors of training."""
        return any(TENSORS[name].training for s in self.layers for name in s.values if name in TENSORS)

    @property
    def attributes(self) -> dict[str, Any]:
        """The whole specification, as it stands in files."""
        return {
            "mlp": json.dumps(self.mlp.to_spec()),
            "components": json.dumps(self.components, default=int),
            "training": int(self.training),
            "callable_activations": json.dumps([a.name for a in self.mlp.activation if not a.registered]),
            "ntkflow_version": __version__,
        }

    def to_xarray(self) -> xr.Dataset:
        """Every array with named dimensions, stacked over `layer`, and its errors as `…_error`; the specification in the attributes."""
        import xarray as xr

        L, has_sets = len(self), self.components != "all"
        data: dict[str, tuple] = {"X": (("sample", "input"), self.X)}
        coords = {"layer": np.arange(1, L + 1)}
        for name in self.layers[0].values:
            for suffix, tables in (("", [s.values for s in self]), (ERROR, [s.errors for s in self])):
                arrays = [table[name] for table in tables]
                if name in SPLIT:
                    full = np.zeros((L, L, *arrays[0].shape[1:]))
                    for ell, array in enumerate(arrays):
                        full[ell, : ell + 1] = array
                    coords["source_layer"] = coords["layer"]
                else:
                    full = np.stack(arrays)
                data[name + suffix] = (dimensions(name, has_sets), full)
        sets = self.layers[0].sets
        if sets is not None:
            data["sets"] = (("set", "slot"), sets)
        return xr.Dataset(data, coords, self.attributes)


@dataclass(frozen=True, eq=False)
class Flow(Layered[LayerStatistics]):
    """The theory's statistics of each layer: `flow[1]` … `flow[L]`, `flow[-1]` the last.

    With inputs `X2` too, G and H are the block between X (rows) and X2 (columns).
    """

    mlp: MLP
    X: np.ndarray
    components: str | list
    layers: list[LayerStatistics]
    X2: np.ndarray | None = None

    def __repr__(self) -> str:
        return describe.flow(self)

    def table(self, accuracy: bool = False) -> Table:
        """The table that `ntkflow show` prints; with `accuracy` the integration's digits too. ComponentError for kernels between X and X2."""
        from .._report.table import flow_table

        return flow_table(self, accuracy)

    def plot(self, path: str | PathLike | None = None) -> Picture:
        """The picture of `ntkflow flow --plot`, which notebooks show; written to `path` if there is one, replacing what is there.

        Raises:
            ComponentError: for kernels between X and X2.
            FileError: the picture can't be written.
        """
        from .._report.plot import plot_flow

        return plot_flow(self, path)

    def report(self, path: str | PathLike, *, inputs: bool = True) -> None:
        """Write one HTML file that needs no network: the network drawn, tables, pictures by layer and pair, and how to do it again.

        Of many samples it shows some, and says how many it leaves out.

        Args:
            path: ending in .html; what is there is replaced.
            inputs: whether the file carries the inputs X; it says whether it does. Above 1.8 MB they are left out.

        Raises:
            FileError: the file can't be written.
            MissingExtraError: jinja2 is not installed.

        Example:
            >>> flow.report("flow.html", inputs=False)
        """
        from .._report.html import flows

        flows.report(self, path, inputs)

    def equals(self, other: Flow) -> bool:
        """Whether network, inputs, components and every number are the same."""
        return (
            self.mlp.to_spec() == other.mlp.to_spec()
            and np.array_equal(self.X, other.X)
            and _equal(self.X2, other.X2)
            and self.components == other.components
            and all(
                a.keys() == b.keys() and all(np.array_equal(a[n], b[n], equal_nan=True) for n in a)
                for s, t in zip(self, other, strict=True)
                for a, b in ((s.values, t.values), (s.errors, t.errors))
            )
        )

    def to_xarray(self) -> xr.Dataset:
        """Every array with named dimensions, stacked over `layer`, and its errors as `…_error`; the specification in the attributes."""
        dataset = super().to_xarray()
        return dataset if self.X2 is None else dataset.assign(X2=(("sample2", "input"), self.X2))

    @classmethod
    def from_xarray(cls, dataset: xr.Dataset, activation=None) -> Flow:
        """The Flow that `to_xarray` wrote; a callable activation that is not passed again can't be evaluated, all else is there."""
        of = specification(dataset.attrs, activation)
        mlp, components = of.mlp, of.components
        found = {str(name): array.shape for name, array in dataset.variables.items()}
        shapes = flow_shapes(dataset.attrs, found, means_have_sets="batch" in dataset.attrs)
        for name, (dims, _) in shapes.items():
            if dataset[name].dims != dims or dataset[name].dtype.kind not in "fiu":
                raise FileError(
                    f"this is not a flow, or it is damaged: {name} does not fit the network and inputs"
                )
        for name in ("X", "sets", *KERNELS):
            if name in shapes:
                check_numbers(name, dataset[name].values, dataset.sizes["sample"])
        X, names, arrays = dataset["X"].values, flow_names(of), StoredArrays(dataset, components)
        layers: list[LayerStatistics] = []
        for ell in range(1, mlp.depth + 1):
            values, errors = (arrays.of_layer(ell, names, suffix) for suffix in ("", ERROR))
            below = layers[-1] if layers else None
            layers.append(LayerStatistics(mlp, X, ell, arrays.sets, values, errors, below))
        X2 = dataset["X2"].values if "X2" in dataset else None
        return cls(mlp, X, components, layers, X2)

    def save(self, path, overwrite: bool = False) -> None:
        """Write NetCDF (`.nc`) or Zarr (`.zarr`); FileError if it can't, or exists and `overwrite` is not set."""
        from .saved import SavedFlow

        write(self.to_xarray(), path, SavedFlow, overwrite)

    @classmethod
    def load(cls, path, activation=None) -> Flow:
        """Read what `save` wrote, or a finished store, whose tensors are read when they are looked at.

        A callable activation is passed again as `activation`; without it, it can't be evaluated, and all else is there.
        FileError if it is missing, unreadable, unfinished or not a flow.
        """
        from .saved import read_flow

        return cls.from_xarray(read_flow(path), activation)


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)
