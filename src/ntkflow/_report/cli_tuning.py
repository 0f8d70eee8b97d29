"""Commands about a network that is yet to be trained: `diagnose`, `tune`, `sweep` and `critical`; `cli` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ntkflow

from .cli_arguments import (
    ActivationName,
    Data,
    Losses,
    Picture,
    ReplacePicture,
    Spec,
    activation,
    check_file,
    check_output,
    check_picture,
    load_inputs,
    model,
    network,
    whole_numbers,
)
from .cli_output import one_sentence_errors, say


def diagnose_command(
    spec: Spec,
    data: Data,
    seed: Annotated[
        int, typer.Option(min=0, max=2**62, help="Of the inputs looked at, if they are many.")
    ] = 0,
    plot: Picture = None,
    force: ReplacePicture = False,
) -> None:
    """Say whether a network will train on these inputs, and if not, why and what to do."""
    with one_sentence_errors():
        if plot is not None:
            check_picture(plot, force)
        diagnosis = ntkflow.diagnose(network(spec, blocks=True), load_inputs(data), seed)
        typer.echo(diagnosis.report())
        if plot is not None:
            diagnosis.plot(plot)


def tune_command(
    spec: Spec,
    data: Data,
    loss: Annotated[Losses, typer.Option(help="A mean over the batch.")] = Losses.cross_entropy,
    classes: Annotated[
        int | None,
        typer.Option(help="Outputs that the softmax is over; all by default, fewer if others are masked."),
    ] = None,
    bias_share: Annotated[
        float, typer.Option(help="Of a layer's biases in the NTK, relative to a hidden layer's weights.")
    ] = 0.05,
    first_share: Annotated[float, typer.Option(help="Of the first layer's weights in those of all.")] = 0.8,
    output_variance: Annotated[float, typer.Option(help="Of an output over seeds.")] = 1.0,
    sd: Annotated[
        float, typer.Option(help="Relative sd of the NTK over seeds, for the depth and width it allows.")
    ] = 0.5,
    optimizer: Annotated[
        str, typer.Option(help="sgd, or another, for which there are no learning rates.")
    ] = "sgd",
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the choice of samples, and of what is sampled.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="RECIPE.toml", help="Where to save the recipe.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe that exists.")] = False,
) -> None:
    """Print a recipe: critical initialisation, learning rates, and what to expect over seeds."""
    with one_sentence_errors():
        if output is not None:
            check_file(output, (".toml",), force)
        recipe = ntkflow.tune(
            model(spec), load_inputs(data), loss=loss.value, classes=classes, bias_share=bias_share,
            first_share=first_share, output_variance=output_variance, sd=sd, optimizer=optimizer,
            seed=seed,
        )  # fmt: skip
        typer.echo(recipe.report())
        if output is not None:
            recipe.save(output)


def sweep_command(
    spec: Spec,
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="SWEEP.nc", help="Where to save (.nc or .zarr).")
    ],
    widths: Annotated[str, typer.Option(metavar="N,N,…", help="Of all hidden layers.")] = "64,128,256,512",
    depths: Annotated[
        str, typer.Option(metavar="L,L,…", help="Numbers of layers of weights.")
    ] = "2,4,8,16,32",
    powers: Annotated[
        bool, typer.Option("--powers", help="Measure the powers of depth at criticality, too.")
    ] = False,
    plot: Picture = None,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")] = False,
) -> None:
    """Say how wide is enough and how deep too deep: the NTK's sd over seeds and its eigenvalues at many widths and depths."""
    from .saved_tables import saved_tables

    with one_sentence_errors():
        check_output(output, force)
        if plot is not None:
            check_picture(plot, force)
        swept = ntkflow.sweep(
            network(spec), load_inputs(data), whole_numbers(widths, "--widths"), whole_numbers(depths, "--depths"),
            powers=powers,
        )  # fmt: skip
        swept.save(output, overwrite=force)
        if plot is not None:
            swept.plot(plot)
        pictured = "" if plot is None else f", drawn in {plot}"
        say(*saved_tables(output), f"Saved to {output}{pictured}.")


def critical_command(name: ActivationName) -> None:
    """Print the critical initialisation of an activation."""
    with one_sentence_errors():
        typer.echo(ntkflow.critical(activation(name)))
