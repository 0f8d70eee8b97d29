"""How many cores this process may use."""

import os


def cores() -> int:
    """Those that the system lets this process run on, as far as it says; otherwise all of the machine's."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
