"""`python -m ntkflow` is the command line."""

from ._report.cli import main

main()
