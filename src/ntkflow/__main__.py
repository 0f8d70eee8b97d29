"""`python -m ntkflow` is the command line."""

from ._report.cli import main

if __name__ == "__main__":  # workers import this module too
    main()
