"""Every expectation that one step of the recursions reads, on one layer's metric."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ..activations import Activation
from . import hermite, piecewise_linear

_KINDS = {"ssss": (0, 0, 0, 0), "ssdd": (0, 0, 1, 1), "dddd": (1, 1, 1, 1)}
_BATCH = 64


@dataclass(frozen=True)
class Rule:
    """How finely to integrate: one-dimensional nodes and Hermite terms for pairs and for four samples."""

    pair_nodes: int
    pair_terms: int
    quad_nodes: int
    quad_terms: int


FINE = Rule(160, 192, 64, 64)
COARSE = Rule(140, 160, 56, 52)


class SampleSets:
    """Sample sets (S, k), and for each of their k⁴ slots the distinct integral that serves it."""

    def __init__(self, sets: np.ndarray, samples: int):
        self.sets = np.asarray(sets)
        self.samples = samples
        k = self.sets.shape[1]
        slots = self.sets[:, np.array(list(itertools.product(range(k), repeat=4)))]
        halves = np.concatenate([np.sort(slots[..., :2]), np.sort(slots[..., 2:])], axis=-1)
        same, same_inverse = self._unique(np.sort(slots))
        mixed, mixed_inverse = self._unique(halves)
        self.requests = {"ssss": (same, same_inverse), "ssdd": (mixed, mixed_inverse), "dddd": (same, same_inverse)}

    def _unique(self, quadruples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = quadruples @ (self.samples ** np.arange(4, dtype=np.int64))
        _, first, inverse = np.unique(key.ravel(), return_index=True, return_inverse=True)
        k = self.sets.shape[1]
        return quadruples.reshape(-1, 4)[first], inverse.reshape(len(self.sets), k, k, k, k)

    def pairs(self, table: np.ndarray) -> np.ndarray:
        """An (…, N, N) table restricted to each set: (S, …, k, k)."""
        return np.moveaxis(table[..., self.sets[:, :, None], self.sets[:, None, :]], -3, 0)


@dataclass(frozen=True)
class Expectations:
    """⟨·⟩ over N(0, G). Tables are (N, N) over samples α1, α2; their leading axis counts derivatives taken at α2.

    Attributes:
        Phi, dPhi: ⟨σ1σ2⟩ and ⟨σ'1σ'2⟩, (N, N).
        J_ss, J_dd: J[σ1σ2] and J[σ'1σ'2], (3, N, N): ⟨∂²/∂z1²⟩, ⟨∂²/∂z1∂z2⟩, ⟨∂²/∂z2²⟩.
        Q_ss, Q_dd: fourth derivatives of σ1σ2 and σ'1σ'2, (5, N, N).
        K_sd: first derivatives of σ1σ'2, (2, N, N).
        ssss, ssdd, dddd: ⟨σσσσ⟩, ⟨σ1σ2σ'3σ'4⟩, ⟨σ'σ'σ'σ'⟩ on each set, (S, k, k, k, k); None for the mean alone.

    Where two samples are one variable (z2 = c z1) and σ has a kink, the separate derivatives diverge: there the total
    derivative stands in the entry of z1 and zeros in the others, which gives the same sums.
    """

    Phi: np.ndarray
    dPhi: np.ndarray
    J_ss: np.ndarray
    J_dd: np.ndarray
    K_sd: np.ndarray
    Q_ss: np.ndarray
    Q_dd: np.ndarray
    ssss: np.ndarray | None = None
    ssdd: np.ndarray | None = None
    dddd: np.ndarray | None = None


def expectations(
    activation: Activation, G: np.ndarray, ratio: np.ndarray, sets: SampleSets | None, rule: Rule
) -> Expectations:
    """All expectations of one step.

    Args:
        G: (N, N), positive semi-definite.
        ratio: (N, N), c where z_b = c z_a exactly (1 on the diagonal), NaN elsewhere.
        sets: where the four-sample moments are wanted; None for none.
    """
    integrals = (_PiecewiseLinear if activation.slopes else _Smooth)(activation, G, ratio, rule)
    tables = integrals.tables()
    if sets is None:
        return Expectations(**tables)
    moments = {}
    for kind, primed in _KINDS.items():
        quadruples, inverse = sets.requests[kind]
        moments[kind] = integrals.moments(quadruples, primed)[inverse]
    return Expectations(**tables, **moments)


class _Smooth:
    """Smooth σ: Mehler series; the diagonal by the one-dimensional rule itself."""

    def __init__(self, activation: Activation, G: np.ndarray, ratio: np.ndarray, rule: Rule):
        self.activation, self.G, self.rule = activation, G, rule
        s = np.sqrt(np.diag(G))
        scale = np.multiply.outer(s, s)
        self.rho = np.clip(np.divide(G, scale, out=np.zeros_like(G), where=scale > 0), -1.0, 1.0)
        parallel = ~np.isnan(ratio)
        self.rho[parallel] = np.where(scale > 0, np.sign(ratio), 0.0)[parallel]
        u, self.psi = hermite.pair_basis(rule.pair_nodes, rule.pair_terms)
        self.values = hermite.evaluate(activation, s[:, None] * u, 5)
        self._quads: dict[tuple, np.ndarray] = {}

    def _table(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        table = hermite.series_table(f @ self.psi, g @ self.psi, self.rho)
        np.fill_diagonal(table, (f * g) @ self.psi[:, 0])
        return table

    def tables(self) -> dict[str, np.ndarray]:
        upper: dict[tuple[int, int], np.ndarray] = {}

        def T(a: int, b: int) -> np.ndarray:
            if a < b:
                return T(b, a).T
            if (a, b) not in upper:
                upper[a, b] = self._table(self.values[a], self.values[b])
            return upper[a, b]

        return {
            "Phi": T(0, 0),
            "dPhi": T(1, 1),
            "J_ss": np.stack([T(2 - m, m) for m in range(3)]),
            "J_dd": np.stack([T(3 - m, 1 + m) for m in range(3)]),
            "K_sd": np.stack([T(1 - m, 1 + m) for m in range(2)]),
            "Q_ss": np.stack([T(4 - m, m) for m in range(5)]),
            "Q_dd": np.stack([T(5 - m, 1 + m) for m in range(5)]),
        }

    def moments(self, quadruples: np.ndarray, primed: tuple[int, ...]) -> np.ndarray:
        out = np.empty(len(quadruples))
        first = quadruples[:, :1]
        other = np.take_along_axis(quadruples, np.argmax(quadruples != first, axis=1)[:, None], axis=1)
        wide = np.any((quadruples != first) & (quadruples != other), axis=1)
        self._two_sample_moments(quadruples, primed, first, other, ~wide, out)
        out[wide] = self._four_sample_moments(quadruples[wide], primed)
        return out

    def _two_sample_moments(self, quadruples, primed, first, other, where, out) -> None:
        on_first = quadruples == first
        pattern = on_first @ (2 ** np.arange(4))
        for code in np.unique(pattern[where]):
            rows = where & (pattern == code)
            factors: list = [1.0, 1.0]
            for slot in range(4):
                factors[1 - (code >> slot & 1)] *= self.values[primed[slot]]
            if code == 15:
                out[rows] = (factors[0] @ self.psi[:, 0])[first[rows, 0]]
            else:
                out[rows] = self._table(*factors)[first[rows, 0], other[rows, 0]]

    def _four_sample_moments(self, quadruples: np.ndarray, primed: tuple[int, ...]) -> np.ndarray:
        """Moments on sorted quadruples serve every kind and placement of primes: computed once, then looked up."""
        order = np.argsort(quadruples, axis=1, kind="stable")
        chosen = np.take_along_axis(quadruples, order, axis=1)
        missing = sorted({tuple(row) for row in chosen.tolist()} - self._quads.keys())
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            index = np.array(batch + batch[:1] * (_BATCH - len(batch)))
            metric = self.G[index[:, :, None], index[:, None, :]]
            result = hermite.four_sample_moments(self.activation, metric, self.rule.quad_nodes, self.rule.quad_terms)
            self._quads.update(zip(batch, result, strict=False))
        p = np.array(primed)[order]
        return np.array([self._quads[tuple(row)][tuple(bits)] for row, bits in zip(chosen.tolist(), p, strict=True)])


class _PiecewiseLinear:
    """σ(z) = z (p + q sgn z): closed forms, but for one smooth integral on four samples."""

    def __init__(self, activation: Activation, G: np.ndarray, ratio: np.ndarray, rule: Rule):
        assert activation.slopes is not None
        self.slopes = activation.slopes
        self.p = (self.slopes[1] + self.slopes[0]) / 2
        self.q = (self.slopes[1] - self.slopes[0]) / 2
        self.G, self.ratio, self.nodes = G, ratio, rule.quad_nodes
        # A sample whose preactivation vanishes identically takes JAX's value of σ'(0).
        self.at_zero = float(hermite.evaluate(activation, np.zeros(1), 1)[1, 0])
        # Each sample stands for the first of those parallel to it.
        self.representative = np.argmax(~np.isnan(ratio), axis=0)
        self.scale = ratio[self.representative, np.arange(len(G))]

    def moments(self, quadruples: np.ndarray, primed: tuple[int, ...]) -> np.ndarray:
        out = np.empty(len(quadruples))
        slots = quadruples.shape[1]
        reps = self.representative[quadruples]
        pattern = np.argmax(reps[:, :, None] == reps[:, None, :], axis=2)
        code = pattern @ (slots ** np.arange(slots))
        for value in np.unique(code):
            rows = np.flatnonzero(code == value)
            heads = sorted(set(pattern[rows[0]].tolist()))
            index = reps[rows][:, heads]
            out[rows] = piecewise_linear.slot_moment(
                self.G[index[:, :, None], index[:, None, :]], self.slopes,
                [heads.index(h) for h in pattern[rows[0]].tolist()], self.scale[quadruples[rows]], primed,
                self.at_zero, self.nodes,
            )  # fmt: skip
        return out

    def tables(self) -> dict[str, np.ndarray]:
        N = len(self.G)
        every_pair = np.stack(np.meshgrid(np.arange(N), np.arange(N), indexing="ij"), -1).reshape(-1, 2)
        Phi = self.moments(every_pair, (0, 0)).reshape(N, N)
        dPhi = self.moments(every_pair, (1, 1)).reshape(N, N)
        parallel = ~np.isnan(self.ratio)

        def table(order: int, primes: int, along: np.ndarray) -> np.ndarray:
            """Derivatives of total order `order` of σσ, σσ' or σ'σ'; on parallel pairs the total derivative, first."""
            base_a, base_b = int(primes == 2), int(primes > 0)
            rows = []
            for m in range(order + 1):
                a, b = base_a + order - m, base_b + m
                value = dPhi if (a, b) == (1, 1) else self._derivative(a, b) if a > 1 else self._derivative(b, a).T
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

    def _derivative(self, a: int, b: int) -> np.ndarray:
        """⟨σ^(a)(z1) σ^(b)(z2)⟩ for a ≥ 2 and z1, z2 not parallel: σ^(a) = 2q δ^(a-2), so z2 is taken given z1 = 0."""
        variance = np.diag(self.G)[:, None] * np.ones_like(self.G)
        slope = np.divide(self.G, variance, out=np.zeros_like(self.G), where=variance > 0)
        given = variance.T - slope * self.G
        order = a - 2
        total = sum(
            math.comb(order, j) * _density(variance, order - j) * slope**j * self._smeared(b + j, given)
            for j in range(order + 1)
        )
        return (-1) ** order * 2 * self.q * total

    def _smeared(self, n: int, variance: np.ndarray) -> np.ndarray:
        """⟨σ^(n)(v)⟩ over v ~ N(0, variance)."""
        if n == 0:
            return self.q * np.sqrt(2 / np.pi * np.maximum(variance, 0.0))
        if n == 1:
            return np.full_like(variance, self.p)
        return 2 * self.q * (-1) ** (n - 2) * _density(variance, n - 2)


def _density(variance: np.ndarray, order: int) -> np.ndarray:
    """The derivative of that order of the density of N(0, variance), at 0; 0 where the variance vanishes."""
    if order % 2:
        return np.zeros_like(variance)
    s = np.sqrt(np.maximum(variance, 0.0))
    top = (-1) ** (order // 2) * math.prod(range(1, order, 2)) / math.sqrt(2 * math.pi)
    return np.divide(top, s ** (order + 1), out=np.zeros_like(s), where=s > 0)
