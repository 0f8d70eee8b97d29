"""Every expectation of one step for a σ that is smooth, or smooth between its kinks."""

from __future__ import annotations

import functools
import math

import jax
import numpy as np
from numpy.polynomial.hermite_e import hermeval

from .._machine.memory import aligned_empty
from ..activations import Activation
from ..errors import ActivationError
from . import exponentials
from .conditioned_pairs import pair_moments
from .graded import graded_rule
from .kinks import DeltaTerms, kinks_and_jumps, missing_deltas, sine_squared
from .quadruples import moments_on_samples
from .requests import Factors, Placements, highest
from .rules import Rule, evaluate, line_basis, line_coefficients, product
from .series import pair_tables

ORDER = 5  # the highest derivative that the recursions ask for
PAIR_CONVERGED = 1e-13
_LINE_BATCH = 1024

DERIVATIVES = {"J_ss": (0, 0, 2), "J_dd": (1, 1, 2), "K_sd": (0, 1, 1), "Q_ss": (0, 0, 4), "Q_dd": (1, 1, 4)}
"""Of σ^(a)(z1) σ^(b)(z2), all those of an order: (a, b, order)."""
ALWAYS: list[tuple[Factors, Factors]] = [
    ((0,), (0,)), *(((a + order - m,), (b + m,)) for a, b, order in DERIVATIVES.values() for m in range(order + 1))
]  # fmt: skip


def _rows(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """values[:, index], without a copy where the index counts up, as it does on a diagonal."""
    return values[:, index[0] : index[-1] + 1] if np.all(np.diff(index) == 1) else values[:, index]


class SeriesIntegrals:
    """Hermite series where they converge; elsewhere one variable given the other; a line rule where z2 = c z1."""

    def __init__(
        self,
        activation: Activation,
        G: np.ndarray,
        ratio: np.ndarray,
        rule: Rule,
        wanted: np.ndarray | None = None,
    ):
        self.activation, self.G, self.rule = activation, G, rule
        self.wanted = np.ones(G.shape, bool) if wanted is None else wanted
        self.s = s = np.sqrt(np.diag(G))
        scale = np.multiply.outer(s, s)
        one_variable = ~np.isnan(ratio) | (scale == 0)
        rho = np.divide(G, scale, out=np.zeros_like(G), where=scale > 0)
        self.rho = np.where(one_variable, np.sign(np.nan_to_num(ratio)), np.clip(rho, -1.0, 1.0))
        # Closed forms, and series for what is below a variance of 1, serve exponentials there as elsewhere.
        self.parallel = one_variable & (not activation.exponentials)
        if activation.kinks:
            self.deltas = DeltaTerms(G, *kinks_and_jumps(activation, ORDER), self._ordinary_means)
        # The nodes of `line_basis` part at 0 only.
        self.has_series = activation.kinks in ((), (0.0,))
        if self.has_series:
            self.u, self.psi = line_basis(rule.reach, rule.line_nodes, rule.line_terms, rule.rounding)
            self.values = evaluate(activation, s[:, None] * self.u, ORDER)
        self._tables: dict[tuple[Factors, Factors], np.ndarray] = {}

    def tables(self) -> dict[str, np.ndarray]:
        self._prepare([])
        return {"Phi": self.pair((0,), (0,)), "dPhi": self.pair((1,), (1,))} | {
            name: self.derivatives(*row) for name, row in DERIVATIVES.items()
        }

    def derivatives(self, a: int, b: int, order: int) -> np.ndarray:
        """⟨∂^order σ^(a)(z1) σ^(b)(z2)⟩, (order + 1, N, N) counting those at z2; where z2 = c z1 as of `Expectations`."""
        self._prepare([((a + order - m,), (b + m,)) for m in range(order + 1)])
        row = [(a + order - m, b + m) for m in range(order + 1)]
        stack = aligned_empty((len(row), *self.G.shape))
        for derivative, (i, j) in zip(stack, row, strict=True):
            derivative[:] = self.pair((i,), (j,))
            if self.activation.kinks:
                derivative += self.deltas.terms(i, j)
        # Where z2 = c z1 the separate derivatives diverge at kinks, and cancel where variances are large. The total one stands
        # at z1, or at z2 where z1 = 0: what derivatives by that z1 are contracted with vanishes.
        i, j = self._parallel_pairs
        stack[:, i, j] = 0.0
        alive = self.s > 0
        first, second = alive[i], ~alive[i] & alive[j]
        stack[0, i[first], j[first]] = self._total_derivative(i[first], j[first], a, b, order)
        stack[order, i[second], j[second]] = self._total_derivative(j[second], i[second], b, a, order)
        return stack

    @functools.cached_property
    def _parallel_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        i, j = np.nonzero(self.parallel)
        return i, j

    def _total_derivative(self, i, j, a: int, b: int, order: int) -> np.ndarray:
        """⟨dⁿP/dz1ⁿ⟩ of P = σ^(a)(z1) σ^(b)(c z1) on pairs of samples with z2 = c z1, n = `order`: (M,).

        It is ⟨dᵏP/dz1ᵏ He_(n-k)(z1/s)⟩ / s^(n-k) for any k, by Stein's identity; taken is the k whose integrand has the least
        absolute value, so that the least cancels.
        """
        c = np.where(self.rho[i, j] < 0, -1.0, 1.0) * self.s[j] / self.s[i]
        derivatives = np.empty(len(i))
        for batch, first, second, u, weights in self._lines(i, j):
            least = np.full(len(first[0]), np.inf)
            # Past a kink derivatives hold δ's.
            for k in range(1 if self.activation.kinks else order + 1):
                P = sum(
                    math.comb(k, m) * c[batch, None] ** m * first[a + k - m] * second[b + m]
                    for m in range(k + 1)
                )
                with np.errstate(all="ignore"):
                    terms = (
                        P
                        * weights
                        * hermeval(u, [0] * (order - k) + [1])
                        / self.s[i[batch], None] ** (order - k)
                    )
                size = np.nan_to_num(np.sum(np.abs(terms), axis=1), nan=np.inf)
                better = size <= least
                derivatives[batch] = np.where(better, np.sum(terms, axis=1), derivatives[batch])
                least = np.where(better, size, least)
        if self.rule.suspicious:
            for m in range(order + 1):
                derivatives += (
                    math.comb(order, m) * np.abs(c) ** m * self._undeclared(a + order - m, b + m, i, j)
                )
        return derivatives

    def _ordinary_means(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """⟨{σ^(n)}(mean + w)⟩, w ~ N(0, variance): (6, *mean.shape)."""
        out = np.empty((ORDER + 1, mean.size))
        deviation, centre = np.sqrt(variance.ravel()), mean.ravel()
        kinks = np.array(self.activation.kinks)[:, None]
        for start in range(0, mean.size, _LINE_BATCH):
            batch = slice(start, start + _LINE_BATCH)
            width = 1 / np.maximum(deviation[batch], 1e-150)
            u, weights = self._cut_line(
                (kinks - centre[batch]) * width, np.broadcast_to(width, (len(kinks), len(width)))
            )
            values = evaluate(self.activation, centre[batch] + deviation[batch] * u, ORDER)
            out[:, batch] = np.sum(values * weights, axis=1)
        return out.reshape(-1, *mean.shape)

    def _cut_line(self, breaks: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nodes u and weights (P, M) graded towards `breaks`, with `width`: (m, M) both."""
        with jax.enable_x64(True):
            u, weights = graded_rule(breaks, width, self.rule.reach, self.rule.conditioned[0])
        return np.asarray(u), np.asarray(weights)

    def _lines(self, i, j):
        """Of parallel pairs, some at a time: where they are, σ's derivatives at z1 and z2 (6, M, P), z1 / s1 and weights (M, P) or (P,)."""
        kinks = np.array(self.activation.kinks)[:, None]
        scales = np.maximum(self.s, 1e-150)
        for start in range(0, len(i), _LINE_BATCH):
            batch = slice(start, start + _LINE_BATCH)
            a, b = i[batch], j[batch]
            sign = np.where(self.rho[a, b] < 0, -1.0, 1.0)
            if self.has_series:
                first, second = (_rows(self.values, x) for x in (a, b))
                if np.any(sign < 0):
                    second = np.where(sign[:, None] < 0, second[..., ::-1], second)
                yield batch, first, second, self.u, self.psi[:, 0]
            else:
                width = np.stack([1 / scales[a], 1 / scales[b]])
                breaks = kinks[None] * np.stack([np.ones(len(a)), sign])[:, None] * width[:, None]
                width = np.broadcast_to(width[:, None], breaks.shape)
                u, weights = (x.T for x in self._cut_line(*(x.reshape(-1, len(a)) for x in (breaks, width))))
                first, second = (
                    evaluate(self.activation, x[:, None] * u, ORDER) for x in (self.s[a], sign * self.s[b])
                )
                yield batch, first, second, u, weights

    def _along_lines(self, i, j, requests: list[tuple[Factors, Factors]], order: int = 0) -> np.ndarray:
        """⟨f(z1) g(z2) He_order(z1/s1)⟩ on parallel pairs, ordinary parts: (T, M)."""
        out = np.empty((len(requests), len(i)))
        for batch, first, second, u, weights in self._lines(i, j):
            weights = weights * hermeval(u, [0] * order + [1])
            for t, (f, g) in enumerate(requests):
                out[t, batch] = np.einsum("...p,...p->...", product(first, f) * product(second, g), weights)
        return out

    def pairs(self, requests: list[tuple[Factors, Factors]]) -> dict[tuple[Factors, Factors], np.ndarray]:
        """`pair` for each (f, g); ActivationError for derivatives that hold δ's."""
        self._check_smooth(max((order for request in requests for f in request for order in f), default=0))
        self._prepare(requests)
        return {request: self.pair(*request) for request in requests}

    def moments(self, quadruples: np.ndarray, asked: Placements) -> np.ndarray:
        """⟨Π_i σ^(p_i)(z_i)⟩ on quadruples (M, 4) of three or four distinct samples: (M, placements)."""
        self._check_smooth(highest(asked))
        terms = self.activation.exponentials
        if not terms:
            return moments_on_samples(self.activation, self.G, quadruples, asked, self.rule)
        G = self.G[quadruples[:, :, None], quadruples[:, None, :]]
        out = exponentials.four_moments(terms, G, asked)
        # Several terms cancel where samples are small.
        small = np.prod(np.diagonal(G, axis1=1, axis2=2), axis=1) < 1e-6
        if len(terms) > 1 and np.any(small):
            out[small] = moments_on_samples(self.activation, self.G, quadruples[small], asked, self.rule)
        return out

    def _check_smooth(self, order: int) -> None:
        if self.activation.kinks and order > 1:
            raise ActivationError(
                f"activation {self.activation.name} has a kink: moments of its second derivative are computed for piecewise-linear ones alone"
            )

    def pair(self, f: Factors, g: Factors) -> np.ndarray:
        """⟨f(z_a) g(z_b)⟩, ordinary parts alone: (N, N)."""
        return self._tables[f, g] if (f, g) in self._tables else self._tables[g, f].T

    def _prepare(self, requests: list[tuple[Factors, Factors]]) -> None:
        """Compute those tables that are still missing, and what `tables` needs: the more at once the faster."""
        new = sorted({(max(r), min(r)) for r in [*ALWAYS, *requests]} - self._tables.keys())
        if alone := [request for request in new if not request[1]]:
            self._tables |= zip(alone, self._on_one_sample(alone), strict=True)
        if not (new := [request for request in new if request[1]]):
            return
        if self.has_series:
            tables, slow = self._series(new)
        else:
            tables = [np.zeros(self.G.shape) for _ in new]
            slow = np.ones((len(new), *self.G.shape), bool)
        i, j = self._parallel_pairs
        for table, along in zip(tables, self._along_lines(i, j, new), strict=True):
            table[i, j] = along
        slow &= ~self.parallel & self.wanted
        if self.activation.exponentials:
            a, b = np.nonzero(self._closed())
            for table, request in zip(tables, new, strict=True):
                table[a, b] = self._closed_form(request, a, b)
        elif np.any(slow):
            self._fill_conditioned(tables, new, slow)
        if self.rule.suspicious and not self.activation.exponentials:
            every = np.arange(len(self.s))
            for table, (f, g) in zip(tables, new, strict=True):
                if len(f) == len(g) == 1:
                    table += self._undeclared(f[0], g[0], *np.ix_(every, every))
        self._tables |= zip(new, tables, strict=True)

    def _on_one_sample(self, requests: list[tuple[Factors, Factors]]) -> list[np.ndarray]:
        """The tables (N, N) of requests that ask for nothing on the second sample."""
        every = np.arange(len(self.s))
        means = self._along_lines(every, every, requests)
        if self.activation.exponentials:
            closed = np.flatnonzero(np.diag(self._closed()))
            for mean, request in zip(means, requests, strict=True):
                mean[closed] = self._closed_form(request, closed, closed)
        return [np.broadcast_to(mean[:, None], self.G.shape) for mean in means]

    def _series(self, new: list[tuple[Factors, Factors]]) -> tuple[list[np.ndarray], np.ndarray]:
        """The T tables (N, N) by their Hermite series, and where these have not converged."""
        functions = sorted({h for request in new for h in request})
        coefficients = line_coefficients(np.stack([product(self.values, h) for h in functions]), self.psi)
        if self.activation.exponentials:
            # Their waves soon are too short for the nodes.
            large = np.flatnonzero(self.s > 1)
            for series, h in zip(coefficients, functions, strict=True):
                series[large] = exponentials.coefficients(
                    self.activation.exponentials, h, self.s[large], series.shape[1]
                )
        first, second = ([functions.index(request[side]) for request in new] for side in (0, 1))
        rho = np.where(self.parallel, 0.0, self.rho)
        tables, converged = pair_tables(coefficients, first, second, rho, PAIR_CONVERGED)
        return tables, ~converged

    def _closed(self) -> np.ndarray:
        """Where the closed form of a sum of exponentials loses nothing by cancellation: (N, N)."""
        large = (self.s > 1) | (len(self.activation.exponentials) == 1)
        return np.multiply.outer(large, large)

    def _closed_form(self, request: tuple[Factors, Factors], a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Of a sum of exponentials, on pairs a, b of samples."""
        G = self.G
        return exponentials.pair_moment(self.activation.exponentials, *request, G[a, a], G[a, b], G[b, b])

    def _fill_conditioned(
        self, tables: list[np.ndarray], new: list[tuple[Factors, Factors]], slow: np.ndarray
    ) -> None:
        anywhere = np.any(slow | slow.swapaxes(1, 2), axis=0)
        i, j = np.nonzero(np.triu(anywhere, 1))
        functions = sorted({h for request in new for h in request})
        variances = np.stack([self.s[i], self.s[j]], axis=1) ** 2
        sine = np.sqrt(sine_squared(self.G[i, i], self.G[j, j], self.G[i, j]))
        moments = pair_moments(self.activation, functions, variances, self.rho[i, j], sine, self.rule)
        for table, mask, (f, g) in zip(tables, slow, new, strict=True):
            if not np.any(mask):
                continue
            f_row, g_row = functions.index(f), functions.index(g)
            for a, b, values in ((i, j, moments[:, f_row, g_row]), (j, i, moments[:, g_row, f_row])):
                table[a, b] = np.where(mask[a, b], values, table[a, b])

    @functools.cached_property
    def _missing(self) -> tuple[np.ndarray, np.ndarray]:
        """What Stein's identity finds missing in ⟨σ^(n)(z)⟩, and √⟨σ^(n)²⟩: (6, N) both."""
        index = np.arange(len(self.s))
        orders = range(ORDER + 1)
        means = self._along_lines(index, index, [((n,), ()) for n in orders])
        norms = np.sqrt(self._along_lines(index, index, [((n,), (n,)) for n in orders]))
        by_parts = np.stack([self._along_lines(index, index, [((0,), ())], n)[0] for n in orders])
        return missing_deltas(self.activation, means, by_parts, norms[0], self.s), norms

    def _undeclared(self, a: int, b: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """What a kink that is not declared adds to ⟨σ^(a)(z_i) σ^(b)(z_j)⟩ at most."""
        missing, norms = self._missing
        return missing[a, i] * norms[b, j] + norms[a, i] * missing[b, j]
