"""A process that was forked after JAX was used says so at once, instead of waiting for ever."""

import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, jax.numpy as jnp, ntkflow
X, mlp = np.eye(3), ntkflow.MLP((3, 4, 2), "relu")
key = ntkflow.finite.init(mlp, 0)
calls = {
    "flow": lambda: ntkflow.flow(mlp, X, "mean"), "ensemble": lambda: ntkflow.ensemble(mlp, X, 4), "init": lambda: ntkflow.finite.init(mlp, 1),
    "ntk": lambda: ntkflow.finite.ntk(mlp, key, X), "callable": lambda: ntkflow.MLP((3, 4, 2), jnp.sin),
}
def work(name):
    try:
        calls[name]()
    except ntkflow.errors.ForkError as error:
        return "spawn" in str(error)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(all([pool.apply(work, (name,)) for name in calls]))
"""


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="processes are not forked there")
def test_a_forked_process_is_told_so():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "True\n", done.stderr
