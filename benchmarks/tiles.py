"""Flows of all components by tiles: time per component against N, and peak memory against `memory`.

    python benchmarks/tiles.py                 # relu, depth 4
    python benchmarks/tiles.py tanh 8 16 32    # another activation, other N

Each case runs in a process of its own, after a first flow of four samples that compiles the step. Components are the 5 N⁴ of V, D, F,
A and B of each layer, by the recursion alone N⁴/24 closed sets of samples; blocks are of 4 samples throughout, so that N changes the
number of tiles and nothing else. Memory is what the process takes beyond what it took before the flow. Results are kept in `results`.
"""

import json
import subprocess
import sys

import records

DEPTH = 4


def measure(activation: str, N: int, memory: int | None) -> dict:
    import resource
    import tempfile
    import time

    from flow_times import digits

    from ntkflow import MLP, flow
    from ntkflow._recursions import flowing
    from ntkflow._theory.tiles import plan

    mlp = MLP((64, *[128] * (DEPTH - 1), 10), activation, C_W=2.0 if activation == "relu" else 1.0)
    with tempfile.TemporaryDirectory() as folder:
        flow(mlp, digits(N)[:8], store=f"{folder}/warm.zarr")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cpu, start = time.process_time(), time.perf_counter()
        given = (
            plan.working_set(DEPTH, N, flowing(training=False, kinked=True), 4) if memory is None else memory
        )
        found = flow(mlp, digits(N), store=f"{folder}/flow.zarr", memory=given)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        error = max(s.relative_error(name) for s in found for name in ("V", "D", "F", "A", "B"))
    return {"wall": wall, "cpu": cpu, "peak": peak * 1024, "memory": given, "error": error}


def run(activation: str, N: int, memory: int | None) -> dict:
    code = f"import json, tiles; print(json.dumps(tiles.measure({activation!r}, {N}, {memory})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=sys.path[0], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    times = json.loads(done.stdout)
    records.save(
        "tiles", {f"{activation} N={N} {'blocks of 4' if memory is None else f'memory {memory}'}": times}
    )
    return times


def main() -> None:
    activation = sys.argv[1] if len(sys.argv) > 1 else "relu"
    sizes = [int(N) for N in sys.argv[2:]] or [8, 12, 16, 24]
    print(
        f"{'blocks of 4':16}{'wall, s':>10}{'µs CPU a component':>22}{'µs wall':>10}{'largest rel. error':>20}"
    )
    for N in sizes:
        t = run(activation, N, None)
        number = 5 * N**4 * DEPTH
        print(
            f"{activation} N={N:<8}{t['wall']:12.1f}{1e6 * t['cpu'] / number:22.2f}{1e6 * t['wall'] / number:10.2f}{t['error']:20.1e}"
        )
    print(f"\n{'memory, MiB':>16}{'peak, MiB':>12}{'wall, s':>10}")
    for memory in (2**28, 2**29, 2**30):
        t = run(activation, max(sizes), memory)
        print(f"{memory >> 20:16}{t['peak'] / 2**20:12.0f}{t['wall']:10.1f}")


if __name__ == "__main__":
    main()
