"""The trained ensemble to order 1/n: what the NTK's variance, its first derivative and its second ones add to mean and covariance.

Outputs z_p in the modes of training: rows of Λ = [vᵀ 0; -H_BA H_AA⁻¹ 1], the first N_A of rate κ, and one of rate 0 for each test sample.
Legs u, w, k, l are modes of training samples alone. Everything has its factor 1/n_{L-1}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._theory.statistics import LayerStatistics
from .clock import Clock
from .modes import Modes
from .paired import Equal, Operand, Paired, Targets, contracted
from .time_tables import decays, powers

SOURCES = ("infinite", "frozen", "dNTK", "ddNTK")
"""What mean and covariance are made of: infinite width; the NTK's mean and variance, which stay; its first derivative; its second ones."""

Moments = tuple[np.ndarray, np.ndarray]
"""Mean (N, m) and covariance (N, m, N, m)."""


@dataclass(frozen=True)
class Tables:
    """φ_p, φ_pu and φ_puw at one time, (N,), (N, N_A), (N, N_A, N_A)."""

    p: np.ndarray
    pu: np.ndarray
    puw: np.ndarray


class Expansion:
    """The output layer's statistics in the modes of training.

    Args:
        layer: of the output, of all samples, training ones first; `G`, `H`, G1, H1, D, F, A, B, and the tensors of training.
        modes: of the training samples' NTK.
        y: (N_A, m) targets.
    """

    def __init__(self, layer: LayerStatistics, modes: Modes, y: np.ndarray):
        self.modes, self.layer = modes, layer
        self.training, self.N, self.outputs = len(y), len(layer.G), y.shape[1]
        v, n = modes.vectors, self.training
        inverse = np.divide(1.0, modes.rates, out=np.zeros_like(modes.rates), where=modes.rates > 0)
        self.to_modes = np.eye(self.N)
        self.to_modes[:n, :n] = v.T
        self.to_modes[n:, :n] = -(modes.across * inverse) @ v.T
        self.from_modes = np.eye(self.N)
        self.from_modes[:n, :n] = v
        self.from_modes[n:, :n] = modes.across * inverse
        self.rates = np.concatenate([modes.rates, np.zeros(self.N - n)])
        self.y = Targets(v.T @ y)
        self.g = self.to_modes @ layer.G @ self.to_modes.T

    @cached_property
    def g1(self) -> np.ndarray:
        return self.to_modes @ (layer := self.layer).G1 @ self.to_modes.T / layer.fan_in

    @cached_property
    def h1(self) -> np.ndarray:
        """Of an output and a contracted leg, (N, N_A)."""
        return self.to_modes @ self.layer.H1[:, : self.training] @ self.modes.vectors / self.layer.fan_in

    @cached_property
    def X(self) -> Paired:
        """E[ΔĤ_pu ΔĤ_qw]."""
        A, B = self.layer.A, self.layer.B
        return self._in_modes(Paired.by_pairs(A, B, B), "ococ")

    @cached_property
    def C(self) -> Paired:
        """E[z_p z_q ΔĤ_su]."""
        D, F = self.layer.D, self.layer.F
        return self._in_modes(Paired.by_pairs(D, F, F), "oooc")

    @cached_property
    def Pi(self) -> Paired:
        """E[dĤ_puk z_q]."""
        return self._in_modes(self._with_dNTK, "occo")

    @cached_property
    def Pi_s(self) -> Paired:
        """E[(dĤ_puk + dĤ_upk) z_q]."""
        return self._in_modes(self._first_both_ways, "occo")

    @cached_property
    def ddI(self) -> Paired:
        """E[ddĤ_I]."""
        return self._in_modes(self._ddI, "occc")

    @cached_property
    def Z(self) -> Paired:
        """E[ddĤ_I,pukl + ddĤ_II,pukl + ddĤ_II,pkul], what changes dĤ_puk along leg l."""
        return self._in_modes(self._second, "occc")

    @cached_property
    def Z_s(self) -> Paired:
        """Z_pukl + Z_upkl."""
        return self._in_modes(self._second_both_ways, "occc")

    @cached_property
    def Y(self) -> Paired:
        """E[½ ddĤ_I,pukl + ½ ddĤ_I,upkl + ddĤ_II,pukl], what a step changes Ĥ_pu by to second order."""
        return self._in_modes((self._ddI + self._ddI.swapped(0, 1)) * 0.5 + self._ddII, "occc")

    @property
    def _with_dNTK(self) -> Paired:
        P, Q = self.layer.P, self.layer.Q
        return Paired(Q, Q.transpose(0, 2, 1, 3), P)

    @property
    def _ddI(self) -> Paired:
        R = self.layer.R
        return Paired.by_pairs(R, R, R)

    @property
    def _ddII(self) -> Paired:
        S, T, U = self.layer.S, self.layer.T, self.layer.U
        return Paired.by_pairs(S, T, U)

    @property
    def _second(self) -> Paired:
        return self._ddI + self._ddII + self._ddII.swapped(1, 2)

    @property
    def _first_both_ways(self) -> Paired:
        return self._with_dNTK + self._with_dNTK.swapped(0, 1)

    @property
    def _second_both_ways(self) -> Paired:
        return self._second + self._second.swapped(0, 1)

    @cached_property
    def _of_ntk(self) -> tuple[Paired, Paired]:
        """Π^s and Z^s whose first two legs, the NTK's, are samples."""
        return self._in_modes(self._first_both_ways, "ssco"), self._in_modes(self._second_both_ways, "sscc")

    def _in_modes(self, paired: Paired, legs: str) -> Paired:
        """An array over samples, over modes. `legs` are outputs, o, all of them, contracted ones, c, of training samples, or stay samples, s."""
        bases = {"o": self.to_modes, "c": self.modes.vectors.T}

        def transformed(array: np.ndarray) -> np.ndarray:
            for axis, leg in enumerate(legs):
                if leg in bases:
                    basis = bases[leg]
                    part = np.take(array, np.arange(basis.shape[1]), axis)
                    array = np.moveaxis(np.tensordot(basis, part, (1, axis)), 0, axis)
            return array / self.layer.fan_in

        return paired.map(transformed)

    # Of one time -----------------------------------------------------------------------------------------------------------------

    def sources(self, clock: Clock, names: tuple[str, ...]) -> dict[str, Moments]:
        """Mean and covariance that each source contributes, on samples."""
        tables = self._tables(clock)
        makers: dict[str, Callable[[], Moments]] = {
            "infinite": lambda: self._infinite(tables),
            "frozen": lambda: self._frozen(tables),
            "dNTK": lambda: self._dNTK(tables, self._after_dNTK(clock)),
            "ddNTK": lambda: self._ddNTK(tables, self._after_ddNTK(clock)),
        }
        back, moments = self.from_modes, {}
        for name in names:
            mean, cov = makers[name]()
            cov = np.tensordot(back, np.tensordot(cov, back, (2, 1)), (1, 0))
            moments[name] = back @ mean, np.moveaxis(cov, -1, 2)
        return moments

    def _tables(self, clock: Clock) -> Tables:
        x, xu = self.rates, self.rates[: self.training]
        nodes = x[:, None, None], xu[None, :, None], xu[None, None, :]
        p, u, w = nodes
        if clock.t is not None:
            return Tables(decays(clock.t, x), decays(clock.t, p[..., 0], u[..., 0]), decays(clock.t, p, u, w))
        T, eta = clock.steps, clock.eta
        assert T is not None and eta is not None
        p, u, w = (1 - eta * node for node in nodes)
        return Tables(
            powers(T, p[:, 0, 0]), eta * powers(T, p[..., 0], u[..., 0]), eta**2 * powers(T, p, u, w)
        )

    def _after_dNTK(self, clock: Clock) -> Paired:
        """What Π has added up to: a Π^s of gradient flow, and of steps the term of second order of z(θ + Δθ) besides."""
        x = self.rates[:, None, None, None]
        u, k = self.rates[None, : self.training, None, None], self.rates[None, None, : self.training, None]
        if clock.t is not None:
            return self.Pi_s * decays(clock.t, x, u, u + k)
        T, eta = clock.steps, clock.eta
        assert T is not None and eta is not None
        p, u, k = (1 - eta * rate for rate in (x, u, k))
        return self.Pi_s * (eta**2 * u * powers(T, p, u, u * k)) + self.Pi * (
            eta**2 / 2 * powers(T, p, u * k)
        )

    def _after_ddNTK(self, clock: Clock) -> Paired:
        """What Z has added up to: b Z^s of gradient flow, and of steps the terms of third order of z, of second of Ĥ and of first of dĤ."""
        n = self.training
        x = self.rates[:, None, None, None]
        u, k, l = (self.rates[:n].reshape(shape) for shape in ((1, n, 1, 1), (1, 1, n, 1), (1, 1, 1, n)))
        if clock.t is not None:
            return self.Z_s * decays(clock.t, x, u, u + k, u + k + l)
        T, eta = clock.steps, clock.eta
        assert T is not None and eta is not None
        p, u, k, l = (1 - eta * rate for rate in (x, u, k, l))
        uk, ukl = u * k, u * k * l
        return (
            self.Z_s * (eta**3 * u**2 * k * powers(T, p, u, uk, ukl))
            + self.Y * (eta**3 * u * powers(T, p, u, ukl))
            + self.Z * (eta**3 / 2 * uk * powers(T, p, uk, ukl))
            + self.ddI * (eta**3 / 6 * powers(T, p, ukl))
        )

    def _sum(self, result: str, *operands: Operand) -> np.ndarray:
        return contracted(result, self.outputs, *operands)

    def _with_spread(self, result: str, legs: str, *operands: Operand) -> np.ndarray:
        """With w̄ = g + y y on two legs: E[ε ε] at the start."""
        n = self.training
        pair = Equal(self.g[:n, :n])
        return self._sum(result, *operands, (legs, pair)) + self._sum(
            result, *operands, (legs[0], self.y), (legs[1], self.y)
        )

    def _infinite(self, f: Tables) -> Moments:
        y = np.zeros((self.N, self.outputs))
        y[: self.training] = self.y.array
        cov = np.einsum("p,q,pq,ij->piqj", f.p, f.p, self.g, np.eye(self.outputs))
        return y - f.p[:, None] * y, cov

    def _frozen(self, f: Tables) -> Moments:
        """(ii): the NTK of each network is another, and stays."""
        n, y, X, C = self.training, self.y, self.X, self.C
        g = Equal(self.g[:, :n])
        mean = self._sum("p", ("pu", Equal(self.h1 * f.pu)), ("u", y)) - self._sum(
            "p", ("puuw", _part(X, 2, n)), ("puw", f.puw), ("w", y)
        )
        once = self._sum("pq", ("p", f.p), ("qu", Equal(f.pu * self.h1)), ("pu", g)) + self._sum(
            "pq", ("p", f.p), ("qu", f.pu), ("puqu", _part(C, 1, n))
        )
        twice = self._sum("pq", ("p", f.p), ("quw", f.puw), ("quuw", _part(X, 2, n)), ("pw", g))
        cov = (
            self._sum("pq", ("p", f.p), ("q", f.p), ("pq", Equal(self.g1)))
            - _both(once)
            + self._with_spread("pq", "uw", ("pu", f.pu), ("qw", f.pu), ("puqw", X))
            + _both(twice)
        )
        return mean, cov

    def _dNTK(self, f: Tables, change: Paired) -> Moments:
        """(iii), in one order: the NTK changes in proportion to what the outputs change."""
        n, y = self.training, self.y
        own, g = _part(change, 3, n), Equal(self.g[:, :n])
        mean = -self._sum("p", ("puku", own), ("k", y)) - self._sum("p", ("pukk", own), ("u", y))
        cov = (
            self._with_spread("pq", "uk", ("p", f.p), ("qukp", change))
            + self._sum("pq", ("p", f.p), ("quku", own), ("pk", g))
            + self._sum("pq", ("p", f.p), ("qukk", own), ("pu", g))
        )
        return mean, _both(cov)

    def _ddNTK(self, f: Tables, change: Paired) -> Moments:
        """(iii), in two orders."""
        n, y = self.training, self.y
        g_AA, g = Equal(self.g[:n, :n]), Equal(self.g[:, :n])
        legs = ("pukl", change)
        mean = (
            self._sum("p", legs, ("u", y), ("k", y), ("l", y))
            + self._sum("p", legs, ("u", y), ("kl", g_AA))
            + self._sum("p", legs, ("k", y), ("ul", g_AA))
            + self._sum("p", legs, ("l", y), ("uk", g_AA))
        )
        legs = ("p", f.p), ("qukl", change)
        cov = -(
            self._with_spread("pq", "kl", *legs, ("pu", g))
            + self._with_spread("pq", "ul", *legs, ("pk", g))
            + self._with_spread("pq", "uk", *legs, ("pl", g))
        )
        return mean, _both(cov)

    def ntk_change(self, clock: Clock) -> np.ndarray:
        """E[Ĥ(t)] - E[Ĥ(0)] of the outputs, (N, m, N, m), under gradient flow."""
        assert clock.t is not None
        n, x = self.training, self.rates[: self.training]
        zero = np.zeros(1)
        once, twice = decays(clock.t, zero, x), decays(clock.t, zero[:, None], x[:, None], x[:, None] + x)
        Pi, Z = self._of_ntk
        first = self._sum("pq", ("pqkk", _part(Pi, 3, n)), ("k", once))
        return self._with_spread("pq", "kl", ("pqkl", Z), ("kl", twice)) - first


def _part(paired: Paired, axis: int, n: int) -> Paired:
    """Of the first n modes along an axis."""
    return paired.map(lambda array: np.take(array, np.arange(n), axis))


def _both(cov: np.ndarray) -> np.ndarray:
    """A covariance (N, m, N, m) plus its transpose."""
    return cov + cov.transpose(2, 3, 0, 1)
