"""One function that reads any result, and one that verifies any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .kinds import known_kind
from .store import FLOWS, KINDS, Store

if TYPE_CHECKING:
    import xarray as xr

    from .._theory.result import Flow
    from ..sampling import Ensemble
    from ..tuning.sweep import Sweep


def load(path, activation=None) -> Flow | Ensemble | Sweep | xr.Dataset:
    """Read whatever ntkflow has written: a flow, an ensemble, a sweep, infinite-width kernels, the NTK of one network.

    Damage is refused: what is read has the checksums that were written with it. Tensors of a flow by tiles, and kernels, are read and
    verified when they are looked at.

    Args:
        path: of a `.zarr` folder or a `.nc` file.
        activation: as of `Flow.load`.

    Returns:
        A Flow, an Ensemble, a Sweep, or an xarray Dataset: of kernels what `open_kernels` returns, of one network's NTK `ntk` (i1, i2, alpha1,
        alpha2) and `X`.

    Raises:
        FileError: there is nothing, it is damaged or unfinished, or of a kind or a version that this version doesn't read.

    Example:
        >>> ntkflow.load("flow.zarr")[-1].ntk_std()
    """
    path = Path(path)
    kind = known_kind(path)
    if kind in FLOWS:
        from .._theory.result import Flow

        return Flow.load(path, activation)
    if kind == "ntkflow_ensemble":
        from ..sampling import Ensemble

        return Ensemble.load(path, activation)
    if kind == "ntkflow_kernels":
        from .._theory.mean_kernels import open_kernels

        return open_kernels(path)
    if kind == "ntkflow_sweep":
        from ..tuning.sweep import Sweep

        return Sweep.load(path)
    from ..finite.labelled import read_ntk

    return read_ntk(path)


def check(path) -> str:
    """Verify every byte that a result is read from: a sentence that says what it is and how much of it is there.

    Raises:
        FileError: it is damaged, and the message says where; or as of `load`.
    """
    path = Path(path)
    kind = known_kind(path)
    if not path.is_dir():
        load(path)
        return f"{path} is {KINDS[kind]}: undamaged, {_bytes(path.stat().st_size)}."
    store = _store(kind)(path)
    size = store.check()
    said = f"{path} is {KINDS[kind]} of format {store.FORMAT}: "
    unfinished = store.unfinished
    if unfinished:
        return said + f"unfinished, {unfinished}; what is there is undamaged, {_bytes(size)}."
    load(path)
    return said + f"whole and undamaged, {_bytes(size)}."


def _store(kind: str) -> type[Store]:
    from .._theory.mean_kernels.files import KernelStore
    from .._theory.saved import SavedFlow
    from .._theory.tiles.store import BatchStore, TileStore
    from ..finite.labelled import SavedNTK
    from ..sampling.store import Store as EnsembleStore
    from ..tuning.sweep import SavedSweep

    kinds: tuple[Any, ...] = (
        SavedFlow,
        TileStore,
        BatchStore,
        KernelStore,
        EnsembleStore,
        SavedNTK,
        SavedSweep,
    )
    return next(store for store in kinds if kind == store.KEY)


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
