"""The command line's questions about trained networks: `trained`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import ntkflow

from .cli_arguments import Data, Spec, load_inputs, network
from .cli_output import one_sentence_errors, say


def trained_command(
    spec: Spec,
    data: Data,
    targets: Annotated[
        Path,
        typer.Option(
            "--targets",
            metavar="Y",
            help="Outputs (N, m) to train towards; of class numbers take one-hot rows.",
        ),
    ],
    data2: Annotated[
        Path | None, typer.Option("--data2", metavar="X2", help="Inputs to predict, that are not trained on.")
    ] = None,
    time: Annotated[
        float | None,
        typer.Option("--time", min=0, help="Of gradient flow on half the sum of squares; inf for the end."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=0, help="Of gradient descent, with --eta.")
    ] = None,
    eta: Annotated[float | None, typer.Option("--eta", help="The learning rate of --steps.")] = None,
    order: Annotated[
        int,
        typer.Option(
            "--order", min=0, max=1, help="1: at the network's own width, to order 1/n; tens of inputs."
        ),
    ] = 0,
) -> None:
    """Predict mean and sd over seeds of the outputs of trained networks, at infinite width or to order 1/n."""
    with one_sentence_errors():
        mlp = network(spec)
        X_test = None if data2 is None else load_inputs(data2, "data2")
        predict = ntkflow.trained(
            mlp, load_inputs(data), load_inputs(targets, "targets"), X_test, order=order
        )
        if time is None and steps is None:
            time = np.inf
        say(predict(time, steps=steps, eta=eta).table())
