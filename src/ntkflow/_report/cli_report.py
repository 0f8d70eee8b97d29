"""The command line's report to send: `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import DataError
from .cli_arguments import check_file, load_inputs, network
from .cli_output import one_sentence_errors, say

_RESULTS = (".nc", ".zarr")


def report_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="A saved flow; a saved flow and an ensemble; a recipe; or with --data a network, as SPEC.toml or module:function.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REPORT.html", help="Where to write the report.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="X",
            help="Of a network: the inputs, one sample per row: .npy, .npz, .csv or .parquet.",
        ),
    ] = None,
    inputs: Annotated[
        bool, typer.Option("--inputs/--no-inputs", help="Whether the report carries the inputs.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a report that exists.")] = False,
) -> None:
    """Write one HTML file, which needs no network, with verdict, tables and pictures to zoom.

    Of a network and a saved flow it is the diagnosis and the NTK by layer and pair; of a flow and an ensemble their comparison.
    """
    from .html.document import SUFFIXES

    with one_sentence_errors():
        check_file(output, SUFFIXES, force)
        if data is None:
            if len(files) == 1 and files[0].suffix == ".toml":
                _check_recipe(files[0])
            from .html.networks import of_files

            of_files(files, output, inputs)
        else:
            if len(files) > 1 or files[0].suffix in _RESULTS:
                raise DataError("--data goes with one network; a saved result has its inputs")
            from .html.networks import of_network
            from .progress import progress_bar

            mlp = network(files[0], blocks=True)
            with progress_bar() as progress:
                of_network(mlp, load_inputs(data), output, inputs, progress)
        say(f"Written to {output}.")


def _check_recipe(file: Path) -> None:
    """Say that inputs are missing where a TOML file is a network and no recipe."""
    import tomllib

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # which reading it says in words
    if "recipe" not in table:
        raise DataError(f"{file} is a network: its report needs inputs, --data X.npy")
