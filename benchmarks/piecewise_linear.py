"""Expectations of relu: the first call, with compilation, and the median of later ones; kept in `results`.

python benchmarks/piecewise_linear.py
"""

import itertools
import statistics
import time

import numpy as np
import records

from ntkflow._gaussian import FINE
from ntkflow._gaussian.piecewise_linear import PiecewiseLinear
from ntkflow._gaussian.requests import placements
from ntkflow._recursions import flowing, moments_of
from ntkflow.activations import activation


def integrals(N: int) -> PiecewiseLinear:
    X = np.random.default_rng(0).normal(size=(N, 20))
    ratio = np.where(np.eye(N) > 0, 1.0, np.nan)
    return PiecewiseLinear(activation("relu"), X @ X.T / 20, ratio, FINE)


def report(name: str, call) -> None:
    times = []
    for _ in range(6):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    first, later = times[0], statistics.median(times[1:])
    print(f"{name:40s} first {first:6.2f} s, then {later:7.3f} s")
    records.save("piecewise_linear", {name: {"first": first, "later": later}})


def main() -> None:
    asked = placements(moments_of(flowing(training=False, kinked=True)))
    thousand, some = integrals(1000), integrals(40)
    report("N=1000: tables", thousand.tables)
    report("N=1000: one product of pairs", lambda: thousand.pair((0, 0), (1, 1)))
    four = np.array(list(itertools.islice(itertools.combinations(range(40), 4), 50_000)))
    three = four.copy()
    three[:, 1] = three[:, 0]
    report("50,000 quadruples of four samples", lambda: some.moments(four, asked))
    report("50,000 quadruples of three samples", lambda: some.moments(three, asked))


if __name__ == "__main__":
    main()
