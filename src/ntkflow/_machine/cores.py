"""How many cores this process may use."""

import os

THREADS = "NPROC"
"""The environment variable that says how many, to JAX as well: what starts several processes on one machine sets it."""


def cores() -> int:
    """The number of cores that this process may run on, or NPROC if it is set; that of the machine's cores where the system does not say."""
    number = os.environ.get(THREADS, "")
    if number.isdecimal() and int(number) > 0:
        return int(number)
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
