"""Functions of a matrix that is known by its products with vectors alone: Lanczos' method, each vector reorthogonalised against all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_LOOK = 4
"""Steps by which two results differ that tell how far it has converged; a look at it every eighth of the steps so far, or every so many."""
_SLOWEST = 0.99
"""The factor by which differences fall, beyond which they are not extrapolated."""
_EXHAUSTED = 1e-13
"""What is left of a new direction, relative to the largest, where there is none any more."""


class Krylov:
    """f(H) b for columns b of B (N, C), H a symmetric matrix of which `product` gives H V for V (N, C).

    After k steps f(H) b is taken from the k-dimensional space of b, H b, …: as many steps are done as f needs, and kept for the next f.
    Memory: at most 2 C (k + 8) N numbers. A step takes one product and 4 C k N multiplications.
    """

    def __init__(self, product: Callable[[np.ndarray], np.ndarray], B: np.ndarray):
        self._product = product
        self.norms = np.linalg.norm(B, axis=0)
        first = np.divide(B, self.norms, out=np.zeros_like(B), where=self.norms > 0)
        self._basis = first.T[:, None].copy()  # (C, steps + 1 or more, N)
        self._diagonal: list[np.ndarray] = []
        self._beside: list[np.ndarray] = []

    @property
    def steps(self) -> int:
        return len(self._diagonal)

    @property
    def largest(self) -> float:
        """The largest eigenvalue that has been seen, at most that of H."""
        return max((float(self._eigen(column)[0][-1]) for column in range(len(self._basis))), default=0.0)

    def apply(
        self, f: Callable[[np.ndarray], np.ndarray], rtol: float, most: int, report: Callable[[int], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(f(H) B, (N, C), and the estimated relative error of each column, (C,)).

        Args:
            f: of eigenvalues (k,), to an array of their shape.
            rtol: of a column's norm; as many steps are done as it takes, `most` at most.
            report: called with the number of steps.
        """
        errors = self._errors(f)
        while not np.all(errors <= rtol) and self.steps < most and not self._exhausted:
            for _ in range(max(_LOOK, self.steps // 8)):
                self._step()
            report(self.steps)
            errors = self._errors(f)
        result = np.zeros((self._basis.shape[2], len(self.norms)))
        for column, (norm, basis) in enumerate(zip(self.norms, self._basis, strict=True)):
            if self.steps:
                coefficients = self._coefficients(f, column, self.steps)
                result[:, column] = norm * (coefficients @ basis[: self.steps])
        return result, np.zeros_like(errors) if self._exhausted else errors

    @property
    def _exhausted(self) -> bool:
        """Whether there is no further direction, so that all is exact."""
        return bool(self._beside) and not self._beside[-1].any()

    def _step(self) -> None:
        k = self.steps
        if self._basis.shape[1] == k + 1:
            room = np.zeros((len(self._basis), max(8, k + 1), self._basis.shape[2]))
            self._basis = np.concatenate([self._basis, room], axis=1)
        W = self._product(np.ascontiguousarray(self._basis[:, k].T))
        diagonal, beside = np.empty(len(self._basis)), np.empty(len(self._basis))
        for column, basis in enumerate(self._basis):
            w = W[:, column]
            size, space = np.linalg.norm(w), basis[: k + 1]
            diagonal[column] = space[-1] @ w
            for _ in range(2):
                w = w - space.T @ (space @ w)
            norm = np.linalg.norm(w)
            alive = norm > _EXHAUSTED * max(size, self._scale(column))
            beside[column] = norm if alive else 0.0
            if alive:
                basis[k + 1] = w / norm
        self._diagonal.append(diagonal)
        self._beside.append(beside)

    def _scale(self, column: int) -> float:
        return max((float(abs(values[column])) for values in self._diagonal), default=0.0)

    def _eigen(self, column: int, steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        from scipy.linalg import eigh_tridiagonal

        diagonal = np.array([values[column] for values in self._diagonal[:steps]])
        beside = np.array([values[column] for values in self._beside[:steps]])[: len(diagonal) - 1]
        rates, vectors = eigh_tridiagonal(diagonal, beside, eigvals_only=False)
        return rates, vectors

    def _coefficients(self, f: Callable[[np.ndarray], np.ndarray], column: int, steps: int) -> np.ndarray:
        """f(T) e_1, (steps,): of the basis vectors."""
        rates, vectors = self._eigen(column, steps)
        return vectors @ (f(rates) * vectors[0])

    def _errors(self, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What is left of each column, relative to its norm, if differences go on to fall as they did; infinite after too few steps."""
        if self.steps <= 2 * _LOOK:
            return np.where(self.norms > 0, np.inf, 0.0)
        errors = np.zeros(len(self._basis))
        for column in np.flatnonzero(self.norms).tolist():
            results = np.zeros((3, self.steps))
            for row, back in zip(results, (2 * _LOOK, _LOOK, 0), strict=True):
                row[: self.steps - back] = self._coefficients(f, column, self.steps - back)
            before, last = np.linalg.norm(np.diff(results, axis=0), axis=1)
            fall = min(last / before, _SLOWEST) if before > 0 else 0.0
            size = max(float(np.linalg.norm(results[-1])), 1e-300)
            errors[column] = last * max(1.0, fall / (1 - fall)) / size
        return errors
