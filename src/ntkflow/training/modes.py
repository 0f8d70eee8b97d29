"""The modes of the training samples' mean NTK, in which training at infinite width is a set of independent decays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .clock import Clock

_ROUNDING = 4 * np.finfo(float).eps


@dataclass(frozen=True, eq=False)
class Modes:
    """H_AA = v κ vᵀ of N_A training samples, and what N_B other samples have to do with them.

    Attributes:
        rates: κ, (N_A,) ascending; 0 where it is no more than rounding and integration leave of 0.
        vectors: v, (N_A, N_A).
        across: H_BA v, (N_B, N_A).
        floor: below which a rate counts as 0.
    """

    rates: np.ndarray
    vectors: np.ndarray
    across: np.ndarray
    floor: float

    @classmethod
    def of(cls, H_AA: np.ndarray, H_BA: np.ndarray, error: np.ndarray) -> Modes:
        """The modes of a symmetric matrix; `error` (N_A, N_A) are the absolute errors of its entries."""
        rates, vectors = scipy.linalg.eigh(H_AA, driver="evd")
        # Of a matrix of independent errors e the eigenvalues are about 2 √(Σ e² / N).
        floor = _ROUNDING * np.sqrt(len(rates)) * rates[-1] + 2 * np.linalg.norm(error) / np.sqrt(len(rates))
        return cls(np.where(rates > floor, rates, 0.0), vectors, H_BA @ vectors, float(floor))

    def mean(self, clock: Clock, y: np.ndarray) -> np.ndarray:
        """The mean over seeds of the outputs, (N_A + N_B, m), for targets y (N_A, m)."""
        targets = self.vectors.T @ y
        progress = clock.progress(self.rates)[:, None] * targets
        return np.concatenate([self.vectors @ (self.rates[:, None] * progress), self.across @ progress])

    def covariance(self, clock: Clock, G: np.ndarray) -> np.ndarray:
        """The covariance over seeds of one output, (N, N), where at first it is G (N, N), training samples first.

        z(t) = J z(0) + …, J = [v φ vᵀ 0; -H_BA v D vᵀ 1], with φ what remains of each mode and D = (1 - φ) / κ.
        """
        n = len(self.rates)
        v, remaining = self.vectors, clock.remaining(self.rates)
        moved = -self.across * clock.progress(self.rates)
        modes_of_G = v.T @ G[:n, :n] @ v
        to_test = v.T @ G[:n, n:]
        train = v * remaining
        cov = np.empty_like(G)
        cov[:n, :n] = train @ modes_of_G @ train.T
        cov[:n, n:] = train @ (modes_of_G @ moved.T + to_test)
        cov[n:, :n] = cov[:n, n:].T
        fed = moved @ to_test
        cov[n:, n:] = G[n:, n:] + fed + fed.T + moved @ modes_of_G @ moved.T
        return cov
