"""The 1/n corrections G1 and H1 of the means behind a stage, for every pair of samples of the sets.

    corr[f] = ½ Σ J G1 + ⅛ Σ ⟨∂⁴f⟩ V + ½ Σ X^G_{∂_γ∂_γ'f; γγ'},    G1_u = corr[ψ]
    H1_u = corr[Ω] + χ H1 + ½ Σ J[κ] D_γγ'12 + X^h_{κ;12} + Σ J[κ] F_γ1γ'2 + Σ ⟨∂_γκ (m_γ12 + m_γ21)⟩

with ψ, Ω and κ as they stand, functions of z and of the variances v_α = G_αα that a norm divides by; what the fluctuations of these add is in
`_of_norm` and `_of_jacobian`. Q[f, g] is n E over neurons i ≠ j of f(z_i) Ĥ_ij;12 g(z_j).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .._recursions.contract import over_quartet, swap
from .correlations import Correlation, ReadLayer
from .maps import total
from .memory import Past, WithFluctuations, with_memory
from .state import State


class Corrected(NamedTuple):
    """G1 and H1, (k, k, S)."""

    G1: np.ndarray
    H1: np.ndarray


class Term(NamedTuple):
    """c w_12 in ψ or Ω, with a part of c that is proportional to ν1ν2."""

    c: np.ndarray
    by_nu: np.ndarray
    word: str


class Neurons(NamedTuple):
    """A function of the z_1 and z_2 of one neuron: ⟨∂_1⟩ and ⟨∂_2⟩ by z, (k, k, S), and ⟨f m_cd·⟩, (k, k, k, k, S)."""

    first: tuple[np.ndarray, np.ndarray]
    memory: np.ndarray


class Corrections:
    """Of the stage that reads a layer, or an u inside of a block, where nothing is remembered and K and L are 0.

    Args:
        t: the layer's state. of: its G1 and H1.
        X: with all the layer's products; None inside of a block.
        K, L: as reported; None likewise.
        tau: n / (neurons averaged over).
    """

    def __init__(
        self, layer: ReadLayer, t: State, of: Corrected, tau: float, past: list[tuple[Past, Correlation]],
        X: WithFluctuations | None, K: np.ndarray | None, L: np.ndarray | None,
    ):  # fmt: skip
        assert layer.functions is not None and layer.tables is not None
        self.layer, self.t, self.of, self.tau, self.past, self.X, self.K, self.L = (
            layer,
            t,
            of,
            tau,
            past,
            X,
            K,
            L,
        )
        self.f, self.stage, self.tables = layer.functions, layer.functions.stage, layer.tables
        k = len(layer.nu)
        self.slots = np.arange(k)[:, None], np.arange(k)[None]
        self.nu = layer.nu[:, None], layer.nu[None]
        self.centred = self.stage.norm == "layer"
        own = tau * layer.G if self.centred else 0.0
        self.metric_shift = of.G1 - own
        """G1, less what subtracting the mean over neurons takes from it."""

    def after_stage(self) -> Corrected:
        """G1 and H1 of u."""
        stage, f, ones = self.stage, self.f, np.ones_like(self.layer.G)
        C_W, zero = stage.C_W, np.zeros_like(self.layer.G)
        ψ = [Term(C_W * ones, zero, "ss")]
        Ω = [Term(stage.lambda_W * ones, zero, "ss"), Term(C_W * f.H_hat, f.kappa * self.layer.H, "dd")]
        if stage.lambda_g:
            Ω.append(Term(C_W * stage.lambda_g * ones, zero, "xx"))
        H1 = self._correction(Ω) + f.chi * self.of.H1 + self._of_jacobian()
        return Corrected(self._correction(ψ), H1)

    def _correction(self, function: list[Term]) -> np.ndarray:
        """corr[f]."""
        correction = total(term.c * self._of_product(term.word) for term in function)
        return correction + self._of_norm(function) if self.stage.norm != "none" else correction

    def _of_product(self, word: str) -> np.ndarray:
        w, (ν1, ν2) = self.layer.product(word), self.nu
        powers = np.stack([ν1 ** (4 - j) * ν2**j for j in range(5)])
        out = (
            self._contracted(self._by_z(w.second), self.metric_shift)
            + over_quartet(w.orders[4] * powers, self.t.V) / 8
        )
        if self.X is not None:
            a, b = self.slots
            X = [self.X.G[word + order] for order in ("20", "11", "02")]
            out = (
                out
                + (ν1**2 * X[0][a, b, a, a] + 2 * ν1 * ν2 * X[1][a, b, a, b] + ν2**2 * X[2][a, b, b, b]) / 2
            )
        if self.centred and self.K is not None:
            a, b = self.slots
            third, K = w.orders[3] * np.stack([ν1 ** (3 - j) * ν2**j for j in range(4)]), self.K
            out = out - 0.5 * (
                third[0] * K[a, a, a] + third[1] * (2 * K[a, a, b] + K[b, a, a])
                + third[2] * (K[a, b, b] + 2 * K[b, a, b]) + third[3] * K[b, b, b]
            )  # fmt: skip
        return out

    def _of_norm(self, function: list[Term]) -> np.ndarray:
        """What the fluctuations of the variances v_α add: Σ n Cov(∂f/∂v_α, z_α²) + ⟨∂f/∂v_α⟩ G1_αα + ½ Σ ⟨∂²f/∂v_α∂v_β⟩ n Cov(z_α², z_β²)."""
        assert self.tables.twice is not None
        G, V, ν = self.layer.G, self.t.V, self.nu
        reported = V + self._X("yy") + swap(self._X("yy"))
        out = np.zeros_like(G)
        a, b = self.slots
        for α, (s, ν_α) in enumerate(zip(self.slots, ν, strict=True)):
            # ∂f / ∂log ν_α, as coefficients and words.
            by_nu = [(term.c, self._logarithm(term.word, α)) for term in function]
            by_nu += [(term.by_nu, term.word) for term in function]
            mean, first, second = (
                total(c * getattr(self.layer.product(word), part) for c, word in by_nu)
                for part in ("mean", "first", "second")
            )
            J = self._by_z(second)
            with_square = 2 * self.tau * self._three(J, G[s, a] ** 2, G[s, a] * G[s, b], G[s, b] ** 2)
            with_square = with_square + self._three(J, V[a, a, s, s], V[a, b, s, s], V[b, b, s, s])
            if self.X is not None:
                X = self._X("yy")
                with_square = with_square + self._three(J, X[s, s, a, a], X[s, s, a, b], X[s, s, b, b])
                with_square = with_square + total(c * self.X.G[word][a, b, s, s] for c, word in by_nu)
            out = out - 0.5 * ν_α**2 * (with_square + mean * self.metric_shift[s, s])
            if self.centred and self.K is not None:
                out = out + 0.5 * ν_α**2 * (
                    ν[0] * first[0] * self.K[a, s, s] + ν[1] * first[1] * self.K[b, s, s]
                )
            for β, (s2, ν_β) in enumerate(zip(self.slots, ν, strict=True)):
                second = self._second_logarithm(function, α, β)
                by_variances = 0.25 * ν_α**2 * ν_β**2 * second + (0.5 * ν_α**4 * mean if α == β else 0.0)
                out = out + 0.5 * by_variances * (2 * self.tau * G[s, s2] ** 2 + reported[s, s, s2, s2])
        return out

    def _second_logarithm(self, function: list[Term], α: int, β: int) -> np.ndarray:
        """⟨∂²f / ∂log ν_α ∂log ν_β⟩."""
        assert self.tables.twice is not None
        out = 0.0
        for term in function:
            mean, one, other = (
                self.layer.product(w).mean
                for w in (term.word, self._logarithm(term.word, α), self._logarithm(term.word, β))
            )
            out = out + term.c * self.tables.twice[term.word][α + β] + term.by_nu * (one + other + mean)
        return np.asarray(out)

    @staticmethod
    def _logarithm(word: str, α: int) -> str:
        """The product's derivative by log y_1 or log y_2."""
        return {"ss": ("xs", "sx"), "dd": ("wd", "dw"), "xx": ("tx", "xt")}[word][α]

    def _of_jacobian(self) -> np.ndarray:
        """What stands in H1 besides corr[Ω] and χ H1: κ with the fluctuations of the NTK below, within a neuron and between two."""
        t, (a, b), (ν1, ν2), dd = self.t, self.slots, self.nu, self.tables.dd
        κ = self.f.kappa
        J, first = (
            κ * self._by_z(dd.second),
            κ * dd.first * np.stack([ν1 * np.ones_like(κ), ν2 * np.ones_like(κ)]),
        )
        D, F = t.D, t.F
        out = self._three(J, D[a, a, a, b], D[a, b, a, b], D[b, b, a, b])
        out = out + J[0] * F[a, a, a, b] + J[1] * (F[a, a, b, b] + F[b, a, a, b]) + J[2] * F[b, a, b, b]
        if self.X is not None:
            out = out + κ * self.X.h["dd"][a, b, a, b]
            with_1, with_2 = (with_memory(word, self.past, t.F.shape) for word in ("ed", "de"))
            out = out + κ * (
                ν1 * (with_1[a, b, a, a] + with_1[a, b, a, b])
                + ν2 * (with_2[a, b, b, a] + with_2[a, b, b, b])
            )
        if self.stage.norm == "none":
            return out
        D_reported = D + (0.0 if self.X is None else self._X("yy", of_h=True))
        for α, (s, ν_α) in enumerate(zip(self.slots, self.nu, strict=True)):
            by_nu = κ * (dd.mean + self.layer.product(self._logarithm("dd", α)).mean)
            out = out - 0.5 * ν_α**2 * by_nu * D_reported[s, s, a, b]
        if self.centred and self.L is not None:
            out = out - first[0] * self.L[a, a, b] - first[1] * self.L[b, a, b]
        return out + total(self._of_projections())

    def _of_projections(self) -> Iterator[np.ndarray]:
        """-Σ Q[e, κe] - Σ Q[κe', e'] + ΣΣ ⟨κee'⟩ Q[e, e'], e ∈ {y_1} and e' ∈ {y_2}, and 1 of both behind a LayerNorm."""
        dd, κ, metric = self.tables.dd, self.f.kappa, self.layer.product("yy").mean
        i = np.arange(len(metric))
        variance = metric[i, i]
        y1_dd, zero = self.layer.times_y(dd), np.zeros_like(κ)
        y2_dd = y1_dd.turned
        y1y1_dd, y1y2_dd = self.layer.times_y(y1_dd).mean, self._times_second(y1_dd, metric, variance)
        y2y2_dd = y1y1_dd.swapaxes(0, 1)
        ν1, ν2 = (ν * np.ones_like(κ) for ν in self.nu)
        functions = {
            "1": Neurons((zero, zero), self._memory("1")),
            "y1": Neurons((ν1, zero), self._memory("y1")),
            "y2": Neurons((zero, ν2), self._memory("y2")),
            "κ": self._of_kappa(dd, "dd"), "κy1": self._of_kappa(y1_dd, "xd"), "κy2": self._of_kappa(y2_dd, "dx"),
        }  # fmt: skip
        with_kappa = {"1": dd.mean, "y1": y1_dd.mean, "y2": y2_dd.mean}
        first, second = (("1", "y1"), ("1", "y2")) if self.centred else (("y1",), ("y2",))
        for e in first:
            square = {"1": dd.mean, "y1": y1y1_dd}[e]
            yield -self._Q(functions[e], functions["κ" if e == "1" else "κ" + e], κ * square)
        for e in second:
            square = {"1": dd.mean, "y2": y2y2_dd}[e]
            yield -self._Q(functions["κ" if e == "1" else "κ" + e], functions[e], κ * square)
        for e in first:
            for e2 in second:
                product = y1y2_dd if (e, e2) == ("y1", "y2") else with_kappa[e2 if e == "1" else e]
                mean = (
                    metric if (e, e2) == ("y1", "y2") else np.ones_like(κ) if (e, e2) == ("1", "1") else zero
                )
                yield κ * product * self._Q(functions[e], functions[e2], mean)

    @staticmethod
    def _times_second(y1_dd, metric: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """⟨y_2 h⟩ of h = y_1 φ'φ'."""
        return metric * y1_dd.at(1, 0) + variance[None] * y1_dd.at(0, 1)

    def _of_kappa(self, product, word: str) -> Neurons:
        ν1, ν2 = self.nu
        first = self.f.kappa * ν1 * product.at(1, 0), self.f.kappa * ν2 * product.at(0, 1)
        return Neurons(first, self.f.kappa[:, :, None, None] * self._memory(word))

    def _memory(self, word: str) -> np.ndarray:
        return with_memory(word, self.past, self.t.F.shape)

    def _Q(self, f: Neurons, g: Neurons, product: np.ndarray) -> np.ndarray:
        """Q[f, g] = τ ⟨fg⟩ H_12 + Σ ⟨∂_γf⟩⟨∂_γ'g⟩ F_γ1γ'2 + Σ ⟨∂_γf⟩⟨g m_γ12⟩ + Σ ⟨∂_γg⟩⟨f m_γ21⟩; `product` is ⟨fg⟩."""
        a, b = self.slots
        out = self.tau * product * self.layer.H
        for s, f_s in zip(self.slots, f.first, strict=True):
            out = out + f_s * g.memory[a, b, s, a]
            for s2, g_s in zip(self.slots, g.first, strict=True):
                out = out + f_s * g_s * self.t.F[s, a, s2, b]
        for s, g_s in zip(self.slots, g.first, strict=True):
            out = out + g_s * f.memory[a, b, s, b]
        return out

    def _X(self, word: str, of_h: bool = False) -> np.ndarray:
        """X of z_1 z_2 with the metric, or with the mean NTK; 0 inside of a block."""
        if self.X is None:
            return np.zeros_like(self.t.V)
        ν1, ν2 = self.nu
        return (self.X.h if of_h else self.X.G)[word] / (ν1 * ν2)[:, :, None, None]

    def _by_z(self, second: np.ndarray) -> np.ndarray:
        """Second derivatives by z from those by y."""
        ν1, ν2 = self.nu
        return second * np.stack([ν1**2 * np.ones_like(second[0]), ν1 * ν2 * np.ones_like(second[0]), ν2**2 * np.ones_like(second[0])])  # fmt: skip

    def _contracted(self, J: np.ndarray, table: np.ndarray) -> np.ndarray:
        """½ Σ J_γγ' T_γγ' of a table (k, k, S)."""
        a, b = self.slots
        return self._three(J, table[a, a], table, table[b, b])

    @staticmethod
    def _three(J: np.ndarray, of_11, of_12, of_22) -> np.ndarray:
        """½ Σ J_γγ' T_γγ' of the three T's."""
        return 0.5 * (J[0] * of_11 + 2 * J[1] * of_12 + J[2] * of_22)
