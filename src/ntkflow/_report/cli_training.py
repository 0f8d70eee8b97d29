"""The command line's questions about trained networks: `trained`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import ntkflow

from ..errors import DataError
from .cli_arguments import load_inputs, network
from .cli_output import one_sentence_errors, say


def trained_command(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC.toml",
            help="The network; or module:function that makes it; or a store of kernels, as `ntkflow flow … --components mean --tile 1000` makes it.",
        ),
    ],
    targets: Annotated[
        Path,
        typer.Option(
            "--targets",
            metavar="Y",
            help="Outputs (N, m) to train towards; of class numbers take one-hot rows.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="X",
            help="The inputs to train on, one sample per row. A store of kernels has its own.",
        ),
    ] = None,
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
    """Predict mean and sd over seeds of the outputs of trained networks, at infinite width or to order 1/n.

    From a store of kernels, of whose samples the first are those of the targets, it is the mean alone.
    """
    from .._theory.mean_kernels.files import KernelStore

    with one_sentence_errors():
        y = load_inputs(targets, "targets")
        if KernelStore.is_at(spec):
            if data is not None or data2 is not None or order:
                raise DataError(
                    f"{spec} holds kernels of its own inputs, at infinite width: it takes no --data, --data2 or --order"
                )
            predict = ntkflow.trained_from_store(spec, y)
        else:
            if data is None:
                raise DataError("--data is missing: the inputs to train on")
            X_test = None if data2 is None else load_inputs(data2, "data2")
            predict = ntkflow.trained(network(spec), load_inputs(data), y, X_test, order=order)
        if time is None and steps is None:
            time = np.inf
        say(predict(time, steps=steps, eta=eta).table())
