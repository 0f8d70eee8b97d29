"""`python -m ntkflow` is the command line."""

from .cli import main

main()
