"""What `ntkflow report` makes: reports of a network on inputs, of saved flows, of a flow beside an ensemble, of a saved recipe."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..._comparison.comparison import compare
from ..._diagnosis import diagnose
from ..._disk.kinds import known_kind
from ..._disk.store import FLOWS, KINDS
from ..._theory.flow import flow
from ..._theory.result import Flow
from ..._theory.saved import read_flow
from ...errors import ActivationError, DataError, FileError
from ...network.network import has_blocks
from ...sampling import Ensemble
from ...tuning.recipe import Recipe
from ..progress import Report
from . import comparisons, diagnoses, flows, recipes
from .document import write
from .parts import Section

_VERSION = "ntkflow_version"


def of_network(network: Any, X: Any, path: Path, inputs: bool, progress: Report) -> None:
    """Diagnose an MLP or a Network on inputs X (N, n_0), compute its flow in pairs, and write a report of both.

    Of more inputs than a diagnosis looks at the flow is of those that it looks at; of a network of blocks, whose pairs take long, of those
    on which it finds what varies over seeds.
    """
    diagnosis = diagnose(network, X)
    assert diagnosis.X is not None
    m = diagnosis.measurements
    if m.overflow is not None:
        diagnosis.report(path, inputs=inputs)
        return
    chosen = m.fluctuating if has_blocks(network) else np.arange(len(m.samples))
    result = flow(network, diagnosis.X[chosen], "pairs", progress=progress)
    of_flow = flows.provenance(result, inputs)
    calls = [*of_flow.calls]
    if len(chosen) < len(m.samples):
        calls.insert(0, f"X = X[{chosen.tolist()}]")
    provenance = replace(of_flow, X=diagnosis.X, calls=["diagnosis = ntkflow.diagnose(network, X)", *calls])
    write(path, [diagnoses.section(diagnosis), *flows.sections(result)], provenance)


def of_files(files: Sequence[Path], path: Path, inputs: bool) -> None:
    """Write a report of a saved flow, with a diagnosis of its network on its inputs; of a flow and an ensemble; or of a recipe.

    Raises:
        FileError, DataError: there is no report of what the files are.
    """
    if len(files) == 1 and files[0].suffix == ".toml":
        recipes.report(Recipe.load(files[0]), path, files[0].name)
        return
    kinds = [known_kind(file) for file in files]
    if len(files) == 1 and kinds[0] in FLOWS:
        _of_flow(files[0], path, inputs)
    elif len(files) == 2 and kinds[0] in FLOWS and kinds[1] == "ntkflow_ensemble":
        prediction = Flow.load(files[0])
        comparison = compare(prediction, Ensemble.load(files[1]))
        names = [file.name for file in files]
        comparisons.report(comparison, path, names, prediction.X, inputs)
    else:
        found = " and ".join(KINDS[kind] for kind in kinds)
        raise FileError(
            f"there is a report of a flow, of a flow and an ensemble in this order, and of a recipe, not of {found}"
        )


def _of_flow(file: Path, path: Path, inputs: bool) -> None:
    dataset = read_flow(file)
    saved = Flow.from_xarray(dataset)
    provenance = flows.provenance(saved, inputs, file.name, dataset.attrs.get(_VERSION))
    write(path, [*_diagnosed(saved), *flows.sections(saved)], provenance)


def _diagnosed(saved: Flow) -> list[Section]:
    """The diagnosis of a flow's network; none where its activation, a callable, is not there to be evaluated."""
    with contextlib.suppress(ActivationError, DataError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say the diagnosis says
        return [diagnoses.section(diagnose(saved.mlp, saved.X))]
    return []
