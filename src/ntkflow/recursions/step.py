"""One layer to the next: every tensor of a batch of sample sets, in the order in which they feed each other.

A step costs O(S k⁴) time and memory for S sets of k samples, besides the integrals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussian import Expectations, SampleSets
from . import cross, means, subleading, variance, vertex


@dataclass(frozen=True)
class Hyperparameters:
    """Of layer ℓ+1, with r = n_ℓ / n_{ℓ-1}."""

    C_b: float
    C_W: float
    lambda_b: float
    lambda_W: float
    r: float


@dataclass(frozen=True)
class Tensors:
    """One layer's tensors on each set: G1, H1 (S, k, k); V, D, F, A, B (S, k, k, k, k), axes as their subscripts."""

    G1: np.ndarray
    H1: np.ndarray
    V: np.ndarray
    D: np.ndarray
    F: np.ndarray
    A: np.ndarray
    B: np.ndarray

    @classmethod
    def first_layer(cls, S: int, k: int) -> Tensors:
        """Layer 1 is Gaussian with a deterministic NTK, PDLT (8.21), (8.23): all zero."""
        return cls(*(np.zeros((S, k, k)) for _ in range(2)), *(np.zeros((S, k, k, k, k)) for _ in range(5)))


@dataclass(frozen=True)
class OnSets:
    """The expectations and H of one layer, restricted to each sample set: what the recursions read."""

    H: np.ndarray
    Phi: np.ndarray
    dPhi: np.ndarray
    J_ss: np.ndarray
    J_dd: np.ndarray
    K_sd: np.ndarray
    Q_ss: np.ndarray
    Q_dd: np.ndarray
    ssss: np.ndarray
    ssdd: np.ndarray
    dddd: np.ndarray


def restrict(e: Expectations, H: np.ndarray, sets: SampleSets) -> OnSets:
    """Gather the (N, N) tables on each set."""
    names = ("Phi", "dPhi", "J_ss", "J_dd", "K_sd", "Q_ss", "Q_dd")
    assert e.ssss is not None and e.ssdd is not None and e.dddd is not None
    return OnSets(
        sets.pairs(H),
        **{name: sets.pairs(getattr(e, name)) for name in names},
        ssss=e.ssss,
        ssdd=e.ssdd,
        dddd=e.dddd,
    )


def step(
    h: Hyperparameters,
    e: Expectations,
    G: np.ndarray,
    H: np.ndarray,
    t: Tensors | None,
    sets: SampleSets | None,
):
    """(G, H, tensors) of layer ℓ+1 from those of layer ℓ; tensors None for the mean alone."""
    G_next, H_next = means.G(h, e), means.H(h, e, H)
    if t is None or sets is None:
        return G_next, H_next, None
    on = restrict(e, H, sets)
    omega = variance.Omega(h, on)
    return (
        G_next,
        H_next,
        Tensors(
            G1=subleading.G1(h, on, t),
            H1=subleading.H1(h, on, t),
            V=vertex.V(h, on, t),
            D=cross.D(h, on, omega, t),
            F=cross.F(h, on, t),
            A=variance.A(h, on, omega, t),
            B=variance.B(h, on, t),
        ),
    )
