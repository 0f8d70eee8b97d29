"""What a stream remembers of the layers that its skips passed: each layer's own fluctuations, and how they have gone on since.

ξ_f^(s) is the fluctuation of the neuron average of f in layer s, as of independent neurons. It stays correlated with any function of z^(ℓ),
so that it is kept by its layer, and covariances with it are Gaussian expectations over two layers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._recursions.contract import swap
from .correlations import Correlation, ReadLayer
from .functions import Moments
from .maps import PairMap, SlopeMap, on_second_pair


class Chain(NamedTuple):
    """From the first stage of a block to its end: what the stages behind it make of its functions.

    Attributes:
        psi: ψ at the end from ψ.
        omega_psi, chi: Ω at the end is omega_psi[ψ] + chi Ω; and κ at the end is chi κ.
        slopes: f at the end from f_13 and f_33.
    """

    psi: PairMap
    omega_psi: PairMap
    chi: np.ndarray
    slopes: SlopeMap

    @staticmethod
    def of_one_stage(k: int, S: int) -> Chain:
        identity = PairMap.identity(k, S)
        return Chain(identity, identity.scaled(0.0), np.ones((k, k, S)), SlopeMap.identity(k, S))


class Past(NamedTuple):
    """A layer that was passed by a skip.

    Attributes:
        layer: the layer and the stage that read it.
        gamma: Γ, the product of the skips since.
        skip: γ of the block behind the layer.
        chain: of that block.
        a: of the source of B, (k, k, k, k, S) in the order 1324.
        alpha: of the source of F.
    """

    layer: ReadLayer
    gamma: float
    skip: float
    chain: Chain
    a: np.ndarray
    alpha: SlopeMap

    def with_psi(self, correlation: Correlation) -> Moments:
        """n Cov(ξ_f, ξ_ψ) for each product f of the layer above, ψ taken to the end of the block."""
        functions = self.layer.functions
        assert functions is not None
        return _on_second_pair(self.chain.psi, correlation.with_function(functions.psi))

    def with_omega(self, correlation: Correlation) -> Moments:
        """The same of Ω."""
        functions = self.layer.functions
        assert functions is not None
        psi = _on_second_pair(self.chain.omega_psi, correlation.with_function(functions.psi))
        omega = correlation.with_function(functions.omega)
        return {word: psi[word] + self.chain.chi * omega[word] for word in omega}

    def kappa_at_end(self) -> np.ndarray:
        """What makes κ at the end of the block of φ'φ', (k, k, S)."""
        assert self.layer.functions is not None
        return self.chain.chi * self.layer.functions.kappa

    def metric_response(self) -> PairMap:
        """½ Σ J of ψ at the end."""
        assert self.layer.functions is not None
        return self.chain.psi.after(self.layer.functions.of_metric)

    def ntk_response(self) -> tuple[PairMap, np.ndarray]:
        """½ Σ J and χ of Ω at the end."""
        functions = self.layer.functions
        assert functions is not None
        of_metric = self.chain.omega_psi.after(functions.of_metric)
        of_metric = of_metric.plus(functions.omega_of_metric.scaled(self.chain.chi))
        return of_metric, self.chain.chi * functions.chi


class WithFluctuations(NamedTuple):
    """n Cov(ξ_f, δG_cd) and n Cov(ξ_f, δh_cd) for each product f of a layer, f's samples first."""

    G: Moments
    h: Moments


def with_fluctuations(upper: ReadLayer, past: list[tuple[Past, Correlation]]) -> WithFluctuations:
    """X of a layer's products with the fluctuations of its metric and mean NTK, from the lowest source on."""
    k, S = upper.nu.shape
    words = (*upper.words, "yy", "y")
    X_G = {word: np.zeros((k, 1 if word == "y" else k, k, k, S)) for word in words}
    X_h = dict(X_G)
    for source, correlation in past:
        to_metric = source.metric_response()
        to_ntk, chi = source.ntk_response()
        with_psi, with_omega = source.with_psi(correlation), source.with_omega(correlation)
        for word in words:
            G, h = X_G[word], X_h[word]
            X_h[word] = source.skip**2 * h + on_second_pair(to_ntk, G) + chi * h + with_omega[word]
            X_G[word] = source.skip**2 * G + on_second_pair(to_metric, G) + with_psi[word]
    return WithFluctuations(X_G, X_h)


def f_with_memory(past: list[tuple[Past, Correlation]], shape: tuple[int, ...]) -> np.ndarray:
    """⟨f_24 m_134⟩ in the order 1324, (k, k, k, k, S), f of the upper layer's stage."""
    total = np.zeros(shape)
    for source, correlation in past:
        # ⟨f_24 f_13⟩ in the order 1324.
        f_f = swap(correlation.f_f())
        total += source.alpha.after(source.chain.slopes)(f_f) * source.layer.H[:, None]
    return total


def memory_of_f(
    past: list[tuple[Past, Correlation]], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """M_134 = ⟨m_134⟩, (k, k, k, S), and ⟨y_2 m_134⟩ in the order 1324."""
    mean, with_y = np.zeros((*shape[:3], shape[-1])), np.zeros(shape)
    for source, correlation in past:
        functions = source.layer.functions
        assert functions is not None
        slopes = source.alpha.after(source.chain.slopes)
        a, _, e = functions.f
        mean += slopes(a * source.layer.product("sd").mean + e)[:, :, None] * source.layer.H[None]
        with_y += slopes(swap(correlation.with_f("y1"))) * source.layer.H[:, None]
    return mean, with_y


def kappa_with_memory(
    upper: ReadLayer, past: list[tuple[Past, Correlation]], shape: tuple[int, ...]
) -> np.ndarray:
    """⟨κ_13 p_1324⟩ in the order 1324, κ of the upper layer's stage."""
    total = np.zeros(shape)
    for source, correlation in past:
        assert upper.functions is not None
        kappa_24 = source.kappa_at_end()
        total += source.a * upper.functions.kappa[:, :, None, None] * kappa_24 * correlation.raw("dd", "dd")
    return total


def with_memory(word: str, past: list[tuple[Past, Correlation]], shape: tuple[int, ...]) -> np.ndarray:
    """⟨w_12 m_34·⟩ with H_12 of each source: (k, k, k, k, S), w as of `Correlation.with_f`."""
    total = np.zeros(shape)
    for source, correlation in past:
        slopes = source.alpha.after(source.chain.slopes)
        total += on_second_pair(slopes, correlation.with_f(word)) * source.layer.H[:, :, None, None]
    return total


def memory_of_kappa(past: list[Past], shape: tuple[int, ...]) -> np.ndarray:
    """⟨p_1324⟩."""
    total = np.zeros(shape)
    for source in past:
        total += source.a * source.kappa_at_end() * source.layer.product("dd").mean
    return total


def _on_second_pair(of_pair: PairMap, moments: Moments) -> Moments:
    return {word: on_second_pair(of_pair, X) for word, X in moments.items()}
