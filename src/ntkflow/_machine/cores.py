"""How many cores this process may use."""

import os


def cores() -> int:
    """The number of cores that this process may run on; that of the machine's cores where the system does not say."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
