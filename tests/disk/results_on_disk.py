"""One small result of each kind, on disk, and all the numbers that reading it gives."""

from collections.abc import Container
from pathlib import Path

import numpy as np

import ntkflow
from ntkflow._disk.storage import write
from ntkflow._recursions import flowing
from ntkflow._theory.tiles.plan import working_set
from ntkflow.finite.labelled import SavedNTK, ntk_dataset

X = np.random.default_rng(3).normal(size=(4, 4))
MLP = ntkflow.MLP((4, 8, 2), "relu", 0.1, 1.5)
KINDS = (
    "flow.nc",
    "flow.zarr",
    "tiles.zarr",
    "batches.zarr",
    "kernels.zarr",
    "ensemble.zarr",
    "ntk.nc",
    "ntk.zarr",
    "sweep.nc",
    "sweep.zarr",
)


def write_all(folder: Path) -> dict[str, Path]:
    """Results of one network, by the names of their files."""
    paths = {name: folder / name for name in KINDS}
    flow = ntkflow.flow(MLP, X)
    for name in ("flow.nc", "flow.zarr"):
        flow.save(paths[name])
    ntkflow.flow(
        MLP,
        X,
        store=paths["tiles.zarr"],
        memory=working_set(MLP.depth, len(X), flowing(training=False, kinked=False), 2),
    )
    ntkflow.flow(MLP, X, "pairs", store=paths["batches.zarr"])
    ntkflow.store_kernels(MLP, X, paths["kernels.zarr"])
    ntkflow.ensemble(MLP, X, 30, block=10, store=paths["ensemble.zarr"])
    ntk = ntk_dataset(MLP, X[:2], seed=3)
    for name in ("ntk.nc", "ntk.zarr"):
        write(ntk, paths[name], SavedNTK)
    swept = ntkflow.sweep(MLP, X, [8], [2, 3]).to_xarray().assign_coords(tensor=["V", "A"])
    for name in ("sweep.nc", "sweep.zarr"):
        ntkflow.Sweep(swept).save(paths[name])
    return paths


def numbers(path: Path, looked_at: Container[str] | None = None) -> dict[str, np.ndarray]:
    """Every number that `ntkflow.load` gives, or of a flow or an ensemble those of some arrays, and what it says of the network."""
    result = ntkflow.load(path)
    if isinstance(result, ntkflow.Flow | ntkflow.Ensemble):
        arrays = {
            f"{name} {s.layer} {table is s.errors}": table[name]
            for s in result
            for table in (s.values, s.errors)
            for name in table
            if looked_at is None or name in looked_at
        }
        arrays["X"] = result.X
        if isinstance(result, ntkflow.Ensemble):
            arrays["draws"] = np.array([result.draws, result.seed])
        return arrays | {"spec": np.array(repr((result.mlp.to_spec(), result.components)))}
    if isinstance(result, ntkflow.Sweep):
        result = result.to_xarray()
    arrays = {str(name): array.values for name, array in result.variables.items()}
    return arrays | {"spec": np.array(result.attrs["mlp"]), "layer": np.array(result.attrs.get("layer", 0))}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a
    )
