"""What the randomness of one stage's own weights adds: covariances of its functions over independent neurons, τ = n / (their number)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._recursions.contract import outer, swap
from .correlations import Correlation


class Own(NamedTuple):
    """(k, k, k, k, S) each: of V, D and A, and of F and B in the order 1324."""

    V: np.ndarray
    D: np.ndarray
    A: np.ndarray
    F: np.ndarray
    B: np.ndarray


def own_terms(own: Correlation, tau: float) -> Own:
    """Of the stage that reads a layer, from the layer's correlation with itself."""
    f, H = own.upper.functions, own.upper.H
    assert f is not None
    stage, with_psi, with_omega = f.stage, own.with_function(f.psi), own.with_function(f.omega)
    products = outer(f.H_hat, f.H_hat) * own.raw("dd", "dd")
    f_f = own.f_f() * H[:, None]
    if stage.lambda_beta:
        f_f += stage.C_W**2 * stage.lambda_beta * own.with_sd("sd")
    if stage.lambda_g:
        dd_xx = f.H_hat[:, :, None, None] * own.raw("dd", "xx")
        products += stage.lambda_g * (dd_xx + swap(dd_xx)) + stage.lambda_g**2 * own.raw("xx", "xx")
        f_f += stage.C_W**2 * stage.lambda_g * own.sx_sx()
    return Own(
        V=tau * f.psi.of(with_psi),
        D=tau * f.psi.of(with_omega),
        A=tau * f.omega.of(with_omega),
        F=tau * f_f,
        B=tau * stage.C_W**2 * products.swapaxes(1, 2),
    )
