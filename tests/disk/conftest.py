"""One result of each kind, for all tests of files: they damage copies."""

import pytest
from results_on_disk import write_all


@pytest.fixture(scope="package")
def results(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("results"))
