"""Every expectation of one step for a σ that is smooth, or smooth on each side of a kink at 0."""

from __future__ import annotations

import functools
import math

import numpy as np

from ..activations import NEXT_TO_ZERO, Activation
from .kinks import DeltaTerms, sine_squared
from .rules import Rule, evaluate, line_basis, line_coefficients, plane_rule
from .series import four_sample_moments, pair_tables

_ORDER = 5  # the highest derivative that the recursions ask for
_PAIR_CONVERGED = 1e-14
_PAIR_BATCH = 16

Factors = tuple[int, ...]
"""A product of derivatives of σ on one sample: (0, 0, 1) is σ σ σ'."""

DERIVATIVES = {"J_ss": (0, 0, 2), "J_dd": (1, 1, 2), "K_sd": (0, 1, 1), "Q_ss": (0, 0, 4), "Q_dd": (1, 1, 4)}
"""Of σ^(a)(z1) σ^(b)(z2), all those of an order: (a, b, order)."""
_ALWAYS: list[tuple[Factors, Factors]] = [
    ((0,), (0,)), *(((a + order - m,), (b + m,)) for a, b, order in DERIVATIVES.values() for m in range(order + 1))
]  # fmt: skip


class SeriesIntegrals:
    """Hermite series where they converge; the wedge cubature on other pairs; a line rule where z2 = c z1."""

    def __init__(self, activation: Activation, G: np.ndarray, ratio: np.ndarray, rule: Rule):
        self.activation, self.G, self.rule = activation, G, rule
        self.s = s = np.sqrt(np.diag(G))
        scale = np.multiply.outer(s, s)
        self.parallel = ~np.isnan(ratio) | (scale == 0)
        rho = np.divide(G, scale, out=np.zeros_like(G), where=scale > 0)
        self.rho = np.where(self.parallel, np.sign(np.nan_to_num(ratio)), np.clip(rho, -1.0, 1.0))
        u, self.psi = line_basis(rule.reach, rule.line_nodes, rule.line_terms)
        self.values = evaluate(activation, s[:, None] * u, _ORDER)
        if activation.kinked:
            below, above = evaluate(activation, np.array([-NEXT_TO_ZERO, NEXT_TO_ZERO]), _ORDER).T
            self.deltas = DeltaTerms(G, above - below, self._ordinary_means)
        self._tables: dict[tuple[Factors, Factors], np.ndarray] = {}

    def tables(self) -> dict[str, np.ndarray]:
        self._prepare([])
        return {"Phi": self._pair((0,), (0,)), "dPhi": self._pair((1,), (1,))} | {
            name: self._derivatives(*row) for name, row in DERIVATIVES.items()
        }

    def _derivatives(self, a: int, b: int, order: int) -> np.ndarray:
        row = [(a + order - m, b + m) for m in range(order + 1)]
        stack = np.stack([self._pair((i,), (j,)) for i, j in row])
        if not self.activation.kinked:
            return stack
        for m, (i, j) in enumerate(row):
            stack[m] += self.deltas.terms(i, j)
        # The separate derivatives diverge where z2 = c z1: there the total derivative stands first.
        stack[:, self.parallel] = 0.0
        for i, j in np.argwhere(self.parallel & np.multiply.outer(self.s > 0, self.s > 0)):
            # Stein: ⟨P^(n)(z)⟩ = ⟨P(z) He_n(z/s)⟩ / sⁿ.
            moment = (self.values[a, i] * self._reflected(self.values[b], i, j)) @ self.psi[:, order]
            stack[0, i, j] = moment * math.sqrt(math.factorial(order)) / self.s[i] ** order
        return stack

    def _reflected(self, values: np.ndarray, i: int, j: int) -> np.ndarray:
        """A function of z_j = ±(s_j/s_i) z_i on the nodes of sample i."""
        return values[..., j, ::-1] if self.rho[i, j] < 0 else values[..., j, :]

    def _ordinary_means(self, variance: np.ndarray) -> np.ndarray:
        """⟨{σ^(n)}(w)⟩, w ~ N(0, variance): (6, N, N)."""
        u, psi = line_basis(self.rule.reach, self.rule.kinked_wedge[1], 1)
        rows = [evaluate(self.activation, np.sqrt(v)[:, None] * u, _ORDER) @ psi[:, 0] for v in variance]
        return np.stack(rows, axis=1)

    def pairs(self, requests: list[tuple[Factors, Factors]]) -> dict[tuple[Factors, Factors], np.ndarray]:
        """⟨f(z_a) g(z_b)⟩ for each (f, g), (N, N)."""
        self._prepare(requests)
        return {request: self._pair(*request) for request in requests}

    def wide_all(self, samples: np.ndarray) -> np.ndarray:
        """⟨Π_i σ^(p_i)(z_i)⟩ on each of M quadruples (M, 4) for every p: (M, 2, 2, 2, 2)."""
        return four_sample_moments(
            self.activation, self.G[samples[:, :, None], samples[:, None, :]], self.rule
        )

    def _pair(self, f: Factors, g: Factors) -> np.ndarray:
        """⟨f(z_a) g(z_b)⟩, ordinary parts alone: (N, N)."""
        return self._tables[f, g] if (f, g) in self._tables else self._tables[g, f].T

    def _prepare(self, requests: list[tuple[Factors, Factors]]) -> None:
        """Compute those tables that are still missing, and what `tables` needs: the more at once the faster."""
        new = sorted({(max(r), min(r)) for r in [*_ALWAYS, *requests]} - self._tables.keys())
        if not new:
            return
        held = sorted({h for request in new for h in request})
        values = np.stack([_product(self.values, h) for h in held])
        coefficients = line_coefficients(values, self.psi)
        first, second = ([held.index(request[side]) for request in new] for side in (0, 1))
        if self.activation.kinked:
            tables = np.zeros((len(new), *self.G.shape))
            slow = np.ones(tables.shape, bool)
        else:
            apart = np.where(self.parallel, 0.0, self.rho)
            tables, tail = pair_tables(coefficients, first, second, apart)
            slow = tail > _PAIR_CONVERGED
        for i, j in np.argwhere(self.parallel):
            tables[:, i, j] = (values[first, i] * self._reflected(values[second], i, j)) @ self.psi[:, 0]
        self._tables.update({request: tables[t] for t, request in enumerate(new)})
        hard = {
            request: one & ~self.parallel
            for request, one in zip(new, slow, strict=True)
            if np.any(one & ~self.parallel)
        }
        if hard:
            self._fill_by_wedges(hard)

    def _fill_by_wedges(self, hard: dict[tuple[Factors, Factors], np.ndarray]) -> None:
        anywhere = np.any([slow | slow.T for slow in hard.values()], axis=0)
        pairs = np.argwhere(np.triu(anywhere, 1))
        for start in range(0, len(pairs), _PAIR_BATCH):
            batch = pairs[start : start + _PAIR_BATCH]
            # Filled up to one size, so that σ is compiled once.
            i, j = np.concatenate([batch, np.repeat(batch[:1], _PAIR_BATCH - len(batch), axis=0)]).T
            root = np.zeros((_PAIR_BATCH, 2, 2))
            root[:, 0, 0] = self.s[i]
            root[:, 1, 0] = self.s[j] * self.rho[i, j]
            root[:, 1, 1] = self.s[j] * np.sqrt(sine_squared(self.G[i, i], self.G[j, j], self.G[i, j]))
            u, weights = plane_rule(self.activation, root, self.rule)
            values = evaluate(self.activation, root @ u, _ORDER)
            for (f, g), slow in hard.items():
                for a, b, one, two in ((i, j, 0, 1), (j, i, 1, 0)):
                    integral = np.sum(
                        weights * _product(values[:, :, one], f) * _product(values[:, :, two], g), axis=1
                    )
                    table = self._tables[f, g]
                    table[a, b] = np.where(slow[a, b], integral, table[a, b])


def _product(values: np.ndarray, factors: Factors) -> np.ndarray:
    return functools.reduce(np.multiply, [values[order] for order in factors] or [np.ones_like(values[0])])
