"""The command line: `diagnose` judges a network, `tune` gives a recipe for it, `sweep` looks at other widths and depths, `flow` predicts, `ensemble` measures, `compare` and `verify` hold one against the other, `show` prints, `report` makes a page to send.

`observe` and `first-step` ask more of a saved flow. What takes long to import is imported by the commands that need it.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

import ntkflow

from .._machine.program_cache import keep_programs
from ..errors import DataError
from .cli_arguments import (
    Dask,
    Data,
    Losses,
    Part,
    Picture,
    ReplacePicture,
    Spec,
    Training,
    Workers,
    check_output,
    check_picture,
    fraction,
    load_inputs,
    network,
    number_of_bytes,
    part_of,
    whole_numbers,
)  # fmt: skip
from .cli_examples import epilog
from .cli_output import one_sentence_errors, part_said, say
from .cli_report import report_command
from .cli_training import trained_command
from .cli_tuning import critical_command, diagnose_command, sweep_command, tune_command

app = typer.Typer(
    no_args_is_help=True,
    help="What initialisation, width, depth and seed do to a network: finite-width statistics of its preactivations and"
    " neural tangent kernel, for multilayer perceptrons and networks of residual blocks and norms.",
    epilog="Each command's --help has examples: ntkflow flow --help",
)


class Components(str, Enum):
    all = "all"
    pairs = "pairs"
    mean = "mean"


class Estimators(str, Enum):
    low_noise = "low-noise"
    direct = "direct"


class Neurons(str, Enum):
    same = "same"
    different = "different"


class Precision(str, Enum):
    float64 = "float64"
    float32 = "float32"


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ntkflow {ntkflow.__version__}")
        raise typer.Exit


@app.callback()
def before_any_command(
    cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache", envvar="NTKFLOW_CACHE", help="Keep compiled programs for later calls."
        ),
    ] = True,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version.")
    ] = False,
) -> None:
    del version
    if cache:
        keep_programs()


@app.command("flow", epilog=epilog("flow"))
def flow_command(
    spec: Spec,
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FLOW.nc", help="Where to save (.nc or .zarr).")
    ],
    components: Annotated[
        Components,
        typer.Option(help="Of tensors: all components, those of pairs of samples, or none (mean)."),
    ] = Components.all,
    rtol: Annotated[float, typer.Option(help="The relative accuracy wanted of the tensors.")] = 1e-6,
    memory: Annotated[
        str | None,
        typer.Option(metavar="1GiB", help="Write to a .zarr part by part, working in so much memory."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a .zarr by parts that was stopped.")
    ] = False,
    data2: Annotated[
        Path | None,
        typer.Option("--data2", metavar="X2", help="With mean: kernels between --data and these."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="1024",
            help="With mean: write G and H to a .zarr by tiles, for any number of samples.",
        ),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="With --tile: the last layer only.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FLOW.png", help="Where to save a picture.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")] = False,
    workers: Workers = None,
    dask: Dask = None,
    part: Part = None,
    training: Training = False,
) -> None:
    """Compute the statistics of every layer, save them and print a table."""
    from .._jobs.workers import chosen
    from .progress import progress_bar
    from .saved_tables import saved_tables

    tasks = resume or workers is not None or dask is not None or part is not None
    by_parts = (tasks and tile is None) or memory is not None
    with one_sentence_errors():
        share = part_of(part)
        if not by_parts:
            check_output(output, force or resume or share is not None)
        elif force:
            raise DataError(
                "--force replaces no .zarr by parts: delete it, or give --resume to go on with it"
            )
        if plot is not None:
            check_picture(plot, force)
        if tile is None and last:
            raise DataError("--last needs --tile")
        if tile is not None and (components != Components.mean or plot is not None):
            raise DataError("--tile needs --components mean, and no --plot")
        mlp = network(spec, blocks=True)
        X = load_inputs(data)
        X2 = None if data2 is None else load_inputs(data2)
        if tile is not None:
            with progress_bar() as report, chosen(workers, dask) as executor, part_said(share):
                layers = "last" if last else "all"
                ntkflow.store_kernels(
                    mlp, X, output, X2, tile, layers, overwrite=force, progress=report, resume=resume, executor=executor, part=share
                )  # fmt: skip
            say(*saved_tables(output), f"Saved to {output}.")
            return
        tiles = (
            {"store": output, "memory": number_of_bytes(memory or "1GiB"), "resume": resume, "part": share}
            if by_parts
            else {}
        )
        with progress_bar() as report, chosen(workers, dask) as executor, part_said(share):
            result = ntkflow.flow(
                mlp, X, components=components.value, training=training, progress=report, X2=X2, rtol=rtol, executor=executor,
                **tiles,
            )  # fmt: skip
        if not by_parts:
            result.save(output, overwrite=force)
        if plot is not None:
            from .plot import plot_flow

            plot_flow(result, plot)
        pictured = "" if plot is None else f", drawn in {plot}"
        say(*saved_tables(output), f"Saved to {output}{pictured}.")


@app.command("ntk", epilog=epilog("ntk"))
def ntk_command(
    spec: Spec,
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NTK.nc", help="Where to save (.nc or .zarr).")
    ],
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the network's parameters.")] = 0,
    layer: Annotated[int, typer.Option(help="Counted from 1, or from the last as -1.")] = -1,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")] = False,
) -> None:
    """Draw one network and save the NTK of a layer, with all its neurons."""
    from .._checks.inputs import checked_inputs
    from .._disk.storage import write
    from ..finite.labelled import SavedNTK, ntk_dataset
    from .saved_tables import saved_tables

    with one_sentence_errors():
        check_output(output, force)
        mlp = network(spec, blocks=True)
        dataset = ntk_dataset(mlp, checked_inputs(mlp, load_inputs(data)), seed, layer)
        write(dataset, output, SavedNTK, overwrite=force)
        say(*saved_tables(output), f"Saved to {output}.")


@app.command("ensemble", epilog=epilog("ensemble"))
def ensemble_command(
    spec: Spec,
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN.zarr", help="Where to keep the sums (.zarr).")
    ],
    draws: Annotated[int, typer.Option(help="Networks to draw; with --until, at most.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the networks.")] = 0,
    components: Annotated[
        Components,
        typer.Option(help="Of tensors: all components, those of pairs of samples, or none (mean)."),
    ] = Components.all,
    estimators: Annotated[
        Estimators, typer.Option(help="With the last weights integrated out, or from the definitions.")
    ] = Estimators.low_noise,
    until: Annotated[
        str | None, typer.Option(metavar="1%", help="Stop at this relative standard error.")
    ] = None,
    tensors: Annotated[str, typer.Option(metavar="V,A,…", help="The tensors that --until looks at.")] = "",
    dtype: Annotated[Precision, typer.Option(help="Of the networks; sums are float64.")] = Precision.float64,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Networks at a time on each device; by default what suits memory."),
    ] = None,
    block: Annotated[
        int | None, typer.Option(min=1, help="Draws between two saves; by default about 1/128 of all.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    workers: Workers = None,
    dask: Dask = None,
    part: Part = None,
    training: Training = False,
) -> None:
    """Measure the statistics of every layer on sampled networks."""
    from .._jobs.workers import chosen
    from .progress import progress_bar
    from .table import ensemble_table

    with one_sentence_errors():
        share = part_of(part)
        mlp = network(spec, blocks=True)
        X = load_inputs(data)
        with progress_bar() as report, chosen(workers, dask) as executor, part_said(share):
            result = ntkflow.ensemble(
                mlp, X, draws, seed, components=components.value, estimators=estimators.value,
                until=None if until is None else fraction(until), tensors=[t for t in tensors.split(",") if t],
                dtype=dtype.value, store=output, resume=resume, batch=batch, block=block, progress=report,
                executor=executor, part=share, training=training,
            )  # fmt: skip
        say(ensemble_table(result))


@app.command("compare", epilog=epilog("compare"))
def compare_command(
    flow: Annotated[Path, typer.Argument(metavar="FLOW.nc", help="A saved flow.")],
    run: Annotated[
        Path, typer.Argument(metavar="RUN.zarr", help="An ensemble of the same network and inputs.")
    ],
    plot: Picture = None,
    force: ReplacePicture = False,
) -> None:
    """Compare a prediction with a measurement, tensor by tensor and layer by layer."""
    from .._disk.kinds import kind_of
    from .._disk.store import FLOWS
    from .table import comparison_table

    with one_sentence_errors():
        if plot is not None:
            check_picture(plot, force)
        if kind_of(flow) == "ntkflow_ensemble" and kind_of(run) in FLOWS:
            raise DataError(f"the flow comes first, the ensemble second: ntkflow compare {run} {flow}")
        comparison = ntkflow.compare(ntkflow.Flow.load(flow), ntkflow.Ensemble.load(run))
        say(comparison_table(comparison), comparison.words)
        if plot is not None:
            from .plot import plot_comparison

            plot_comparison(comparison, plot)


@app.command("verify", epilog=epilog("verify"))
def verify_command(
    spec: Spec,
    data: Data,
    widths: Annotated[
        str, typer.Option(help="Of the first hidden layer; the others keep their ratio to it.")
    ] = "32,64,128",
    draws: Annotated[int, typer.Option(help="Networks at each width, at least 3.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Of the networks.")] = 0,
    plot: Picture = None,
    force: ReplacePicture = False,
    training: Training = False,
) -> None:
    """Test the theory on sampled networks of several widths; exit status 1 if they disagree."""
    from .progress import progress_bar
    from .table import verification_table

    with one_sentence_errors():
        if plot is not None:
            check_picture(plot, force)
        mlp = network(spec, blocks=True)
        X = load_inputs(data)
        with progress_bar() as report:
            verification = ntkflow.verify(
                mlp, X, whole_numbers(widths, "--widths"), draws, seed, progress=report, training=training
            )
        say(verification_table(verification), verification.words)
        if plot is not None:
            from .plot import plot_verification

            plot_verification(verification, plot)
    if not verification.agrees:
        raise typer.Exit(1)


@app.command("observe", epilog=epilog("observe"))
def observe_command(
    flow: Annotated[Path, typer.Argument(metavar="FLOW.nc", help="A saved flow.")],
    f: Annotated[
        str, typer.Option("--f", metavar="EXPR", help=r'Such as "tanh(z[0])**2", z\[a] being sample a.')
    ],
    g: Annotated[str | None, typer.Option("--g", metavar="EXPR", help="Another one.")] = None,
    layer: Annotated[int, typer.Option(help="Counted from 1, or from the last as -1.")] = -1,
    neurons: Annotated[Neurons, typer.Option(help="Whether f and g look at the same neuron.")] = Neurons.same,
) -> None:
    """Print mean, variance and covariance over seeds of functions of a neuron's preactivations."""
    from ..observables.report import observe

    with one_sentence_errors():
        say(observe(ntkflow.Flow.load(flow), layer, f, g, neurons.value))


@app.command("first-step", epilog=epilog("first-step"))
def first_step_command(
    flow: Annotated[Path, typer.Argument(metavar="FLOW.nc", help="A saved flow of the training samples.")],
    targets: Annotated[
        Path,
        typer.Option("--targets", metavar="Y", help="Class numbers (N,), or outputs (N, n_L) for mse."),
    ],
    eta: Annotated[float, typer.Option(help="The global learning rate.")],
    loss: Annotated[Losses, typer.Option(help="Averaged over samples.")] = Losses.mse,
    draws: Annotated[int, typer.Option(help="For losses other than mse.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the draws.")] = 0,
) -> None:
    """Predict the first step of gradient descent: mean and sd over seeds of the loss's and the outputs' change."""

    with one_sentence_errors():
        y = load_inputs(targets, "targets")
        if loss is Losses.cross_entropy:
            y = _column(y)
        step = ntkflow.predict_first_step(
            ntkflow.Flow.load(flow), getattr(ntkflow, loss.value), y, eta, draws=draws, key=seed
        )
        say(step.table())


for name, command in (
    ("diagnose", diagnose_command), ("tune", tune_command), ("sweep", sweep_command), ("critical", critical_command),
    ("trained", trained_command), ("report", report_command),
):  # fmt: skip
    app.command(name, epilog=epilog(name))(command)


@app.command("show", epilog=epilog("show"))
def show_command(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="What flow, ensemble, sweep or ntk has written.")
    ],
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="Digits of the integration in each tensor, too.")
    ] = False,
) -> None:
    """Print what a file or store of ntkflow holds: a flow, an ensemble, a sweep, kernels, the NTK of one network."""
    from .._disk.kinds import known_kind

    with one_sentence_errors():
        known_kind(path)  # before what takes seconds to import
        from .saved_tables import saved_tables

        say(*saved_tables(path, accuracy))


@app.command("check", epilog=epilog("check"))
def check_command(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="What flow, ensemble, sweep or ntk has written.")
    ],
) -> None:
    """Verify every byte of a file or store of ntkflow; exit status 2 if one is damaged."""
    from .._disk.load import check

    with one_sentence_errors():
        typer.echo(check(path))


def main() -> None:
    app(prog_name="ntkflow")


def _column(table):
    """The only column of a table of class numbers, such as a CSV file."""
    import numpy as np

    if table.ndim != 2 or table.shape[1] != 1:
        return table
    return table[:, 0] if isinstance(table, np.ndarray) else table.iloc[:, 0]
