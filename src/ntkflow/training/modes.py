"""The modes of the training samples' mean NTK, in which training at infinite width is a set of independent decays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .clock import Clock

ROUNDING = 4 * np.finfo(float).eps


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
        rates, vectors = np.linalg.eigh(H_AA)
        # Of a matrix of independent errors e the eigenvalues are about 2 √(Σ e² / N).
        floor = ROUNDING * np.sqrt(len(rates)) * rates[-1] + 2 * np.linalg.norm(error) / np.sqrt(len(rates))
        return cls(np.where(rates > floor, rates, 0.0), vectors, H_BA @ vectors, float(floor))

    def mean(self, clock: Clock, y: np.ndarray) -> np.ndarray:
        """The mean over seeds of the outputs, (N_A + N_B, m), for targets y (N_A, m)."""
        targets = self.vectors.T @ y
        progress = clock.progress(self.rates)[:, None] * targets
        return np.concatenate([self.vectors @ (self.rates[:, None] * progress), self.across @ progress])

    def answers(self, clock: Clock) -> np.ndarray:
        """How the outputs answer to the modes of z_A(0), (N_A + N_B, N_A): z(t) = answers vᵀ z_A(0) + (0, z_B(0)) + ….

        [v φ; -H_BA v D], with φ what remains of each mode and D = (1 - φ) / κ.
        """
        return np.concatenate(
            [self.vectors * clock.remaining(self.rates), -self.across * clock.progress(self.rates)]
        )


@dataclass(frozen=True, eq=False)
class InitialCovariance:
    """The outputs' covariance at initialisation, of N_A training and N_B other samples, with the training samples' modes.

    Attributes:
        of_modes: vᵀ G_AA v, (N_A, N_A).
        of_modes_and_tests: vᵀ G_AB, (N_A, N_B).
        of_tests: G_BB, (N_B, N_B).
    """

    of_modes: np.ndarray
    of_modes_and_tests: np.ndarray
    of_tests: np.ndarray

    @classmethod
    def of(cls, G: np.ndarray, modes: Modes) -> InitialCovariance:
        n, v = len(modes.rates), modes.vectors
        return cls(v.T @ G[:n, :n] @ v, v.T @ G[:n, n:], G[n:, n:])

    def after(self, answers: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """The covariance of chosen samples, (M, M), where `answers` (N_A + N_B, N_A) is as of `Modes.answers`."""
        n = len(self.of_modes)
        answers = answers[samples]
        tests = samples >= n
        cov = answers @ self.of_modes @ answers.T
        across = answers @ self.of_modes_and_tests[:, samples[tests] - n]
        cov[:, tests] += across
        cov[tests] += across.T
        cov[np.ix_(tests, tests)] += self.of_tests[np.ix_(samples[tests] - n, samples[tests] - n)]
        return cov
