"""What commands print: results on stdout, errors and warnings as one line on stderr."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import NtkflowError, UnfinishedError


def say(*parts) -> None:
    """Print tables and sentences."""
    from rich.console import Console

    console = Console()
    for part in parts:
        console.print(part, markup=False)


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Turn an NtkflowError into one line on stderr and exit code 2, and a warning into one line."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line_warning
            yield
    except NtkflowError as error:
        typer.echo("ntkflow: " + " ".join(str(error).split()), err=True)
        raise typer.Exit(2) from error


@contextmanager
def part_said(part: tuple[int, int] | None) -> Iterator[None]:
    """Say that a part is done where others are not, and end well."""
    try:
        yield
    except UnfinishedError as error:
        if part is None:
            raise
        typer.echo(f"Part {part[0]} of {part[1]} is done; {' '.join(str(error).split())}.")
        raise typer.Exit from error


def _one_line_warning(message, category: type[Warning], *_) -> None:
    # That a library calls another one by an old name is nothing that a user can mend.
    if issubclass(category, DeprecationWarning):
        return
    typer.echo(f"ntkflow: warning: {message}", err=True)
