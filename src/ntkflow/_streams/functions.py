"""The neuron functions of a stage, ψ, Ω, κ and f; alone knows norms.

With y = ν z, ν = (G_αα + ε)^(-1/2) behind a norm and 1 without one, and φ_1 = φ(y_1):

    ψ_12 = C_W φ1φ2     κ_12 = C_W ν1ν2 φ'1φ'2     f_13 = C_W ν3 φ1φ'3
    Ω_12 = λ_W φ1φ2 + C_W φ'1φ'2 (ν1ν2 H_12 + λ_β + λ_g y1y2)

A norm couples neurons through averages over neurons of y² (and of y). To linear order this changes the functions on the same samples:

    ψ → ψ - ½ Σ_α (∂⟨ψ⟩/∂log ν_α) y_α²  [- Σ_α ⟨∂_αψ⟩ y_α behind a LayerNorm]
    f_13 → f_13 - ⟨f_13 y_3⟩ y_3  [- ⟨f_13⟩ behind a LayerNorm]

The functions ψ, Ω and f here are the changed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from ..network.blocks import Stage
from .maps import PairMap, SlopeMap, aligned, total
from .tables import StageTables

Moments = Mapping[str, np.ndarray]
"""By word, with the pair of samples on the first two axes: "ss", "dd", "xx", "yy" for y_1 y_2, and "y" for y_1, whose second axis has length 1."""


class PairFunction(NamedTuple):
    """Σ_w c_w w_12 + Σ_α (square_α y_α² + linear_α y_α), α ∈ {1, 2}."""

    products: dict[str, np.ndarray]
    """c_w, (k, k, S), by word."""
    square: np.ndarray | None
    """(2, k, k, S)."""
    linear: np.ndarray | None

    def of(self, moments: Moments) -> np.ndarray:
        """What is linear in the function, for instance a covariance with it, from the same of its products: (k, k, …, S)."""
        terms = [aligned(c, moments[word]) * moments[word] for word, c in self.products.items()]
        for coefficients, on_sample in ((self.square, _squares), (self.linear, _linears)):
            if coefficients is not None:
                x = on_sample(moments)
                terms += [
                    aligned(coefficients[0], x[:, None]) * x[:, None],
                    aligned(coefficients[1], x[None]) * x[None],
                ]
        return total(terms)


class StageFunctions(NamedTuple):
    """ψ, Ω, f and κ of one stage, on S sets of k samples.

    Attributes:
        psi, omega: the functions.
        of_metric: ½ Σ J[ψ] on the fluctuations of the metric of z.
        omega_of_metric: ½ Σ J[Ω].
        chi: ⟨κ⟩, (k, k, S).
        kappa: C_W ν1ν2, which makes κ of φ'φ'.
        slopes: ⟨∂_γ f_13⟩, by z.
        f: the coefficients of φ1φ'3, of y_3 and of 1, (k, k, S) each.
        H_hat: ν1ν2 H_12 + λ_β, (k, k, S).
    """

    psi: PairFunction
    omega: PairFunction
    of_metric: PairMap
    omega_of_metric: PairMap
    chi: np.ndarray
    kappa: np.ndarray
    slopes: SlopeMap
    f: tuple[np.ndarray, np.ndarray, np.ndarray]
    H_hat: np.ndarray
    stage: Stage


def norm_factor(stage: Stage, variance: np.ndarray) -> np.ndarray:
    """ν of each sample; DataError where a norm without ε divides by 0."""
    if stage.norm == "none":
        return np.ones_like(variance)
    silent = np.flatnonzero(variance + stage.eps == 0)
    if len(silent):
        raise DataError(
            f"input {silent[0]} has G = 0 where a norm divides by its size: give the norm eps > 0, or leave that input out"
        )
    return 1 / np.sqrt(variance + stage.eps)


def stage_functions(stage: Stage, t: StageTables, H: np.ndarray, nu: np.ndarray) -> StageFunctions:
    """The functions of a stage.

    Args:
        t: its tables on sets.
        H: (k, k, S) of the layer that it reads.
        nu: (k, S).
    """
    C_W, λ_W, λ_g, λ_β = stage.C_W, stage.lambda_W, stage.lambda_g, stage.lambda_beta
    νν = nu[:, None] * nu[None]
    H_hat = νν * H + λ_β
    chi = C_W * νν * t.dd.mean
    psi = {"ss": C_W * np.ones_like(H)}
    omega = {"ss": λ_W * np.ones_like(H), "dd": C_W * H_hat}
    # The derivatives by log ν of the second sample; χH is that of the explicit ν.
    psi_by_nu = C_W * t.sx
    omega_by_nu = λ_W * t.sx + C_W * H_hat * t.dx + chi * H
    if λ_g:
        assert t.xx is not None and t.xt is not None
        omega["xx"] = C_W * λ_g * np.ones_like(H)
        omega_by_nu = omega_by_nu + C_W * λ_g * t.xt
    f, f_y, f_1 = C_W * np.broadcast_to(nu, H.shape), np.zeros_like(H), np.zeros_like(H)
    if stage.norm != "none":
        f_y = -f * t.sx
    if stage.norm == "layer":
        f_1 = -f * t.sd.mean
    ψ, Ω = (
        PairFunction(products, *_norm_terms(stage, products, by_nu, t))
        for products, by_nu in ((psi, psi_by_nu), (omega, omega_by_nu))
    )
    slopes = SlopeMap(f * t.sd.first[0] * nu[:, None], (f * t.sd.first[1] + f_y) * nu[None])
    return StageFunctions(
        ψ, Ω, _response(ψ, t, nu), _response(Ω, t, nu), chi, C_W * νν, slopes, (f, f_y, f_1), H_hat, stage
    )


def _norm_terms(stage: Stage, products: dict[str, np.ndarray], by_nu: np.ndarray, t: StageTables):
    """The coefficients of y² and of y, (2, k, k, S) each; None where there are none."""
    square = linear = None
    if stage.norm != "none":
        square = -0.5 * np.stack([by_nu.swapaxes(0, 1), by_nu])
    if stage.norm == "layer":
        linear = -total(c * getattr(t, word).first for word, c in products.items())
    return square, linear


def _response(function: PairFunction, t: StageTables, nu: np.ndarray) -> PairMap:
    """½ Σ J on the metric of z."""
    first, both, second = total(c * getattr(t, word).second for word, c in function.products.items())
    if function.square is not None:
        first, second = first + 2 * function.square[0], second + 2 * function.square[1]
    ν1, ν2 = nu[:, None], nu[None]
    return PairMap(0.5 * ν1**2 * first, ν1 * ν2 * both, 0.5 * ν2**2 * second)


def _linears(moments: Moments) -> np.ndarray:
    """Of y_α, (k, …, S)."""
    return moments["y"][:, 0]


def _squares(moments: Moments) -> np.ndarray:
    """Of y_α², (k, …, S)."""
    i = np.arange(len(moments["yy"]))
    return moments["yy"][i, i]
