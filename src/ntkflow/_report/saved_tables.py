"""Tables of any file or store of ntkflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._disk.load import load
from .._disk.saved_networks import network_of
from .._theory.result import Flow
from ..errors import FileError
from ..sampling import Ensemble
from ..tuning.sweep import Sweep
from .describe import network, samples
from .table import ensemble_table, flow_table, powers_table, titled_table

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table


def saved_tables(path: str | Path, accuracy: bool = False) -> list[Table | str]:
    """The tables to print of a flow, an ensemble, a sweep, kernels by tiles or the NTK of one network; with `accuracy` a flow's digits too.

    Raises:
        FileError: there is nothing at the path, or nothing that ntkflow has written.
    """
    result = load(path)
    if isinstance(result, Ensemble):
        return [ensemble_table(result)]
    if isinstance(result, Flow):
        return [flow_table(result, accuracy)] if result.X2 is None else [block_table(result)]
    if isinstance(result, Sweep):
        powers = [powers_table(result.to_xarray())] if "power" in result.to_xarray() else []
        return [result.table(), result.words, *powers]
    return [_ntk_table(result) if "ntk" in result else _kernel_table(result)]


def _kernel_table(stored: xr.Dataset) -> Table:
    """A row per layer, without reading the kernels: they may be larger than memory."""
    rows, columns = stored.sizes["alpha1"], stored.sizes["alpha2"]
    table = titled_table(
        _title(stored),
        f"Infinite-width kernels G and H of {rows} × {columns} samples, in tiles on disk: ntkflow.open_kernels reads what is indexed. Mean "
        "of G_αα over the rows' samples; bounds of the errors relative to √(G_αα G_ββ) and √(H_αα H_ββ).",
        ("layer", "mean G", "error of G", "error of H"),
    )
    for layer, variance, *errors in zip(
        *(stored[name].values for name in ("layer", "G_variance", "G_relative_error", "H_relative_error")),
        strict=True,
    ):
        table.add_row(str(layer), f"{variance.mean():#.5g}", *(f"{error:.0e}" for error in errors))
    return table


def block_table(flow: Flow) -> Table:
    """The table of kernels between two sets of inputs, which have no diagonal."""
    assert flow.X2 is not None
    table = titled_table(
        network(flow.mlp, len(flow.X), len(flow.X2)),
        f"Infinite-width kernels between {samples(flow.X, flow.X2)}: the mean of all entries, and the largest error relative to the "
        "largest entry.",
        ("layer", "width", "mean G", "mean H", "error of G", "error of H"),
    )
    for s in flow:
        means = (f"{kernel.mean():#.5g}" for kernel in (s.G, s.H))
        table.add_row(str(s.layer), str(s.width), *means, *(f"{s.relative_error(name):.0e}" for name in "GH"))
    return table


def _ntk_table(dataset: xr.Dataset) -> Table:
    """The NTK of one network: (i1, i2, alpha1, alpha2)."""
    ntk = dataset["ntk"].values
    layer, seed = dataset.attrs["layer"], dataset.attrs["seed"]
    neurons, N = ntk.shape[0], ntk.shape[2]
    table = titled_table(
        _title(dataset),
        f"The NTK of layer {layer} of one network, seed {seed}: {neurons} × {neurons} neurons, {N} × {N} samples. Mean of Ĥ_iiαα and its "
        "standard deviation over neurons and samples; root mean square of Ĥ_ijαα for different neurons i and j.",
        ("layer", "neurons", "samples", "mean", "sd", "different"),
    )
    on_diagonal = np.einsum("iiaa->ia", ntk)
    others = np.einsum("ijaa->ija", ntk)[~np.eye(neurons, dtype=bool)]
    different = f"{np.sqrt(np.mean(others**2)):.4g}" if others.size else "-"
    table.add_row(
        str(layer), str(neurons), str(N), f"{on_diagonal.mean():#.5g}", f"{on_diagonal.std():.4g}", different
    )
    return table


def _title(dataset: xr.Dataset) -> str:
    try:
        mlp = network_of(json.loads(dataset.attrs["mlp"]), [])
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"this is not of ntkflow, or it is damaged: its attributes don't fit ({error})"
        ) from error
    return network(mlp, dataset.sizes["sample"], dataset.sizes.get("sample2"))
