"""What one process makes of each small job, and executors that several tests use."""

import pytest
from small_jobs import JOBS

import ntkflow


@pytest.fixture(scope="package")
def whole(tmp_path_factory):
    """The stores that one process makes, by the names of jobs."""
    folder = tmp_path_factory.mktemp("whole")
    paths = {name: folder / f"{name}.zarr" for name in JOBS}
    for name, job in JOBS.items():
        job(paths[name])
    return paths


@pytest.fixture(scope="package")
def processes():
    with ntkflow.workers(2) as executor:
        yield executor
