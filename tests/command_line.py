"""The command line within this process, which has compiled already what commands need; and as a process of its own."""

import contextlib
import subprocess
import sys

from typer.testing import CliRunner

from ntkflow._report.cli import app


def within(folder, *arguments):
    """Exit status, stdout and stderr of a command run here, in `folder`; what is no clean exit is raised."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, list(map(str, arguments)), prog_name="ntkflow")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def process(folder, *arguments):
    """The same of `python -m ntkflow`."""
    done = subprocess.run(
        [sys.executable, "-m", "ntkflow", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
