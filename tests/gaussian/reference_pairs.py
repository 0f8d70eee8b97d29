"""Writes reference_pairs.json: ⟨σ^(a)(z1) σ^(b)(z2)⟩ by mpmath's Gauss-Legendre rule at 20 digits, where float64 is hard put.

    python tests/gaussian/reference_pairs.py

Each range is cut where σ has its kink or its poles' real part, and around these on the scale of their distance.
"""

import json
from pathlib import Path
from typing import Any

import mpmath as mp

mp.mp.dps = 20


def gelu(z):
    return z * mp.ncdf(z)


def gelu_slope(z):
    return mp.ncdf(z) + z * mp.npdf(z)


ACTIVATIONS = {
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "gelu": (gelu, gelu_slope),
    "elu": (lambda z: z if z > 0 else mp.expm1(z), lambda z: mp.mpf(1) if z > 0 else mp.exp(z)),
}
CASES = [
    ("1000", "1000", "0.9"), ("1000", "1000", "-0.999"), ("1000", "0.001", "0.99"), ("10", "10", "0.99999999"),
    ("0.000001", "0.000001", "0.5"),
]  # fmt: skip


def cuts(centre, width):
    points = [centre + sign * width * 6**k for k in range(7) for sign in (-1, 1)] + [centre]
    return sorted({*(p for p in points if -14 < p < 14), *map(mp.mpf, (-14, -8, -4, -1, 1, 4, 8, 14))})


def expectation(f, g, v1, v2, rho) -> Any:
    s1, s2, delta = mp.sqrt(v1), mp.sqrt(v2), mp.sqrt((1 - rho) * (1 + rho))

    def inner(u):
        return mp.quad(
            lambda v: mp.npdf(v) * g(s2 * (rho * u + delta * v)),
            cuts(-rho * u / delta, 1 / (s2 * delta)),
            method="gauss-legendre",
            maxdegree=4,
        )

    return mp.quad(
        lambda u: mp.npdf(u) * f(s1 * u) * inner(u),
        cuts(mp.mpf(0), min(1 / s1, delta)),
        method="gauss-legendre",
        maxdegree=4,
    )


if __name__ == "__main__":
    rows = []
    for name, derivatives in ACTIVATIONS.items():
        for case in CASES:
            v1, v2, rho = map(mp.mpf, case)
            for a, b in ((0, 0), (1, 1)):
                value = expectation(derivatives[a], derivatives[b], v1, v2, rho)
                rows.append([name, *map(float, case), a, b, float(value)])
                print(rows[-1], flush=True)
    Path(__file__).with_suffix(".json").write_text(json.dumps(rows, indent=0))
