"""The command line: `ntkflow flow` computes and saves, `ntkflow show` prints."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

import ntkflow
from ntkflow.errors import FileError, NtkflowError
from ntkflow.finite.labelled import ntk_dataset
from ntkflow.plot import picture_suffixes, plot_flow
from ntkflow.progress import progress_bar
from ntkflow.propagate import checked_inputs
from ntkflow.storage import check_writable, write
from ntkflow.table import flow_table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Finite-width statistics of the neural tangent kernel of a multilayer perceptron.",
)


class Components(str, Enum):
    all = "all"
    pairs = "pairs"
    mean = "mean"


@app.command("flow")
def flow_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="The network.")],
    data: Annotated[Path, typer.Option("--data", metavar="X.npy", help="The inputs, one sample per row.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FLOW.nc", help="Where to save (.nc or .zarr).")
    ],
    components: Annotated[
        Components, typer.Option(help="Tensor components: all, those of pairs of samples, or none.")
    ] = Components.all,
    plot: Annotated[Path | None, typer.Option(metavar="FLOW.png", help="Where to save a picture.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")] = False,
) -> None:
    """Compute the statistics of every layer and save them."""
    with _one_sentence_errors():
        _check_output(output, force)
        if plot is not None:
            _check_picture(plot, force)
        mlp = ntkflow.MLP.from_toml(spec)
        X = _load_inputs(data)
        with progress_bar() as report:
            result = ntkflow.flow(mlp, X, components=components.value, progress=report)
        result.save(output, overwrite=force)
        if plot is not None:
            plot_flow(result, plot)


@app.command("ntk")
def ntk_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="The network.")],
    data: Annotated[Path, typer.Option("--data", metavar="X.npy", help="The inputs, one sample per row.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NTK.nc", help="Where to save (.nc or .zarr).")
    ],
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the network's parameters.")] = 0,
    layer: Annotated[int, typer.Option(help="Counted from 1, or from the last as -1.")] = -1,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")] = False,
) -> None:
    """Draw one network and save the NTK of a layer, with all its neurons."""
    with _one_sentence_errors():
        _check_output(output, force)
        mlp = ntkflow.MLP.from_toml(spec)
        write(ntk_dataset(mlp, checked_inputs(mlp, _load_inputs(data)), seed, layer), output, overwrite=force)


@app.command("show")
def show_command(path: Annotated[Path, typer.Argument(metavar="FLOW.nc", help="A saved flow.")]) -> None:
    """Print a saved flow as a table, layer by layer."""
    with _one_sentence_errors():
        Console().print(flow_table(ntkflow.Flow.load(path)))


def main() -> None:
    app(prog_name="ntkflow")


@contextmanager
def _one_sentence_errors() -> Iterator[None]:
    """Turn an error of ours into one line on stderr and exit code 2; a warning into one line."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line_warning
            yield
    except NtkflowError as error:
        typer.echo("ntkflow: " + " ".join(str(error).split()), err=True)
        raise typer.Exit(2) from error


def _one_line_warning(message, *_) -> None:
    typer.echo(f"ntkflow: warning: {message}", err=True)


def _check_output(path: Path, force: bool) -> None:
    try:
        check_writable(path, overwrite=True)
        if path.exists() and not force:
            raise FileError(f"{path} exists; give --force to replace it")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def _check_picture(path: Path, force: bool) -> None:
    if path.suffix not in picture_suffixes():
        raise FileError(f"cannot write {path}: its name must end in one of {', '.join(picture_suffixes())}")
    try:
        if not path.parent.is_dir():
            raise FileError(f"cannot write {path}: there is no directory {path.parent}")
        if path.is_dir():
            raise FileError(f"cannot write {path}: it is a directory")
        if path.exists() and not force:
            raise FileError(f"{path} exists; give --force to replace it")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def _load_inputs(path: Path) -> np.ndarray:
    try:
        X = np.load(path, allow_pickle=False)
    except OSError as error:
        raise FileError(f"cannot read the inputs {path}: {error.strerror or error}") from error
    except Exception as error:  # what a damaged file raises is up to NumPy's parser
        raise FileError(f"cannot read the inputs {path}: it isn't a .npy file of numbers") from error
    if not isinstance(X, np.ndarray):
        raise FileError(f"cannot read the inputs {path}: it isn't a .npy file of one array")
    return X
