"""Every expectation of one step for a piecewise-linear σ(z) = z (p + q sgn z)."""

from __future__ import annotations

import numpy as np

from ..activations import Activation
from .kinks import DeltaTerms
from .rules import Rule, evaluate
from .sign_moments import slot_moment


class PiecewiseLinear:
    """σ(z) = z (p + q sgn z): closed forms, but for one smooth integral on four samples."""

    def __init__(self, activation: Activation, G: np.ndarray, ratio: np.ndarray, rule: Rule):
        assert activation.slopes is not None
        self.slopes = activation.slopes
        self.p = (self.slopes[1] + self.slopes[0]) / 2
        self.q = (self.slopes[1] - self.slopes[0]) / 2
        self.jumps = np.array([0.0, 2 * self.q, 0.0, 0.0, 0.0, 0.0])
        self.G, self.ratio, self.nodes = G, ratio, rule.sign_nodes
        # A sample whose preactivation vanishes identically takes JAX's value of σ'(0).
        self.at_zero = float(evaluate(activation, np.zeros(1), 1)[1, 0])
        # Each sample stands for the first of those parallel to it.
        self.representative = np.argmax(~np.isnan(ratio), axis=0)
        self.scale = ratio[self.representative, np.arange(len(G))]

    def pairs(self, requests):
        return {request: self._pair(*request) for request in requests}

    def _pair(self, f, g):
        N = len(self.G)
        every = np.stack(np.meshgrid(np.arange(N), np.arange(N), indexing="ij"), -1).reshape(-1, 2)
        return self._moments(every[:, [0] * len(f) + [1] * len(g)], f + g).reshape(N, N)

    def wide_all(self, samples):
        out = np.empty((len(samples), 2, 2, 2, 2))
        for p in np.ndindex(2, 2, 2, 2):
            out[(slice(None), *p)] = self._moments(samples, p) if len(samples) else 0.0
        return out

    def _moments(self, quadruples: np.ndarray, primed: tuple[int, ...]) -> np.ndarray:
        out = np.empty(len(quadruples))
        slots = quadruples.shape[1]
        reps = self.representative[quadruples]
        pattern = np.argmax(reps[:, :, None] == reps[:, None, :], axis=2)
        code = pattern @ (slots ** np.arange(slots))
        for value in np.unique(code):
            rows = np.flatnonzero(code == value)
            heads = sorted(set(pattern[rows[0]].tolist()))
            index = reps[rows][:, heads]
            out[rows] = slot_moment(
                self.G[index[:, :, None], index[:, None, :]], self.slopes,
                [heads.index(h) for h in pattern[rows[0]].tolist()], self.scale[quadruples[rows]], primed,
                self.at_zero, self.nodes,
            )  # fmt: skip
        return out

    def tables(self) -> dict[str, np.ndarray]:
        N = len(self.G)
        every_pair = np.stack(np.meshgrid(np.arange(N), np.arange(N), indexing="ij"), -1).reshape(-1, 2)
        Phi = self._moments(every_pair, (0, 0)).reshape(N, N)
        dPhi = self._moments(every_pair, (1, 1)).reshape(N, N)
        parallel = ~np.isnan(self.ratio)
        deltas = DeltaTerms(self.G, self.jumps, self._ordinary_means)

        def table(order: int, primes: int, along: np.ndarray) -> np.ndarray:
            """Derivatives of total order `order` of σσ, σσ' or σ'σ'; on parallel pairs the total derivative, first."""
            base_a, base_b = int(primes == 2), int(primes > 0)
            rows = []
            for m in range(order + 1):
                a, b = base_a + order - m, base_b + m
                value = dPhi if (a, b) == (1, 1) else deltas.terms(a, b)
                rows.append(np.where(parallel, along if m == 0 else 0.0, value))
            return np.stack(rows)

        alive = np.diag(self.G) > 0
        c = np.where(parallel & alive[:, None] & alive, self.ratio, 0.0)
        total = np.where(c != 0, self.p**2 + np.sign(c) * self.q**2, 0.0)
        zero = np.zeros((N, N))
        return {
            "Phi": Phi,
            "dPhi": dPhi,
            "J_ss": table(2, 0, 2 * c * total),
            "J_dd": table(2, 2, zero),
            "K_sd": table(1, 1, np.where(c != 0, total, dPhi)),
            "Q_ss": table(4, 0, zero),
            "Q_dd": table(4, 2, zero),
        }

    def _ordinary_means(self, variance: np.ndarray) -> np.ndarray:
        """⟨{σ^(n)}(w)⟩ over w ~ N(0, variance): (6, N, N)."""
        means = np.zeros((6, *variance.shape))
        means[0] = self.q * np.sqrt(2 / np.pi * variance)
        means[1] = self.p
        return means
