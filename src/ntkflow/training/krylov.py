"""Functions of a matrix that is known by its products with vectors alone: Lanczos' method, each vector reorthogonalised against all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_LOOK = 4
"""Iterations by which two results differ that tell how far it has converged; a look at it every eighth of those so far, or every so many."""
_SLOWEST = 0.99
"""The factor by which differences fall, beyond which they are not extrapolated."""
_EXHAUSTED = 1e-13
"""What is left of a new direction, relative to the largest, where there is none any more."""
_BLOCK = 32
"""Vectors for which memory is taken at a time."""


class Krylov:
    """f(H) b for columns b of B (N, C), H a symmetric matrix of which `product` gives H V for V (N, C).

    After k iterations f(H) b is taken from the k-dimensional space of b, H b, …: as many are done as f needs, and kept for the next f. An
    iteration takes one product and 4 C k N multiplications.
    """

    def __init__(self, product: Callable[[np.ndarray], np.ndarray], B: np.ndarray):
        self._product = product
        self.norms = np.linalg.norm(B, axis=0)
        first = np.divide(B, self.norms, out=np.zeros_like(B), where=self.norms > 0)
        self._blocks: list[np.ndarray] = []  # the vectors, (C, _BLOCK, N) each
        self._keep(0, first.T)
        self._diagonal: list[np.ndarray] = []
        self._beside: list[np.ndarray] = []

    @staticmethod
    def memory(N: int, iterations: int) -> int:
        """Bytes for one column."""
        return 8 * N * (iterations + _BLOCK)

    @property
    def iterations(self) -> int:
        return len(self._diagonal)

    def apply(
        self, f: Callable[[np.ndarray], np.ndarray], rtol: float, most: int, uncertainty: float,
        report: Callable[[int], None],
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """(f(H) B, (N, C), and the estimated relative error of each column, (C,)).

        Args:
            f: of eigenvalues (k,), to an array of their shape.
            rtol: of a column's norm; iterations end when what they change is less, or after `most` of them.
            uncertainty: of eigenvalues, relative to the largest: what rounding and errors of H do to them, which no iteration mends.
            report: called with the number of iterations.
        """
        errors = self._unconverged(f)
        while not np.all(errors <= rtol) and self.iterations < most and not self._exhausted:
            for _ in range(min(max(_LOOK, self.iterations // 8), most - self.iterations)):
                self._iterate()
            report(self.iterations)
            errors = self._unconverged(f)
        if self._exhausted:
            errors = np.zeros_like(errors)
        result = np.zeros((self._blocks[0].shape[2], len(self.norms)))
        for column in np.flatnonzero(self.norms).tolist():
            coefficients = self._coefficients(f, column, self.iterations)
            for number, vectors in enumerate(self._vectors(column, self.iterations)):
                result[:, column] += coefficients[_BLOCK * number :][: len(vectors)] @ vectors
            errors[column] += self._uncertain(f, column, uncertainty)
        return self.norms * result, errors

    @property
    def _exhausted(self) -> bool:
        """Whether there is no further direction."""
        return bool(self._beside) and not self._beside[-1].any()

    def _keep(self, number: int, vectors: np.ndarray) -> None:
        """Keep vector `number` of each column, (C, N)."""
        block, place = divmod(number, _BLOCK)
        if block == len(self._blocks):
            self._blocks.append(np.zeros((len(vectors), _BLOCK, vectors.shape[1])))
        self._blocks[block][:, place] = vectors

    def _vectors(self, column: int, count: int) -> list[np.ndarray]:
        """The first vectors of a column, a block at a time."""
        starts = range(0, count, _BLOCK)
        return [block[column, : count - start] for block, start in zip(self._blocks, starts, strict=False)]

    def _iterate(self) -> None:
        block, place = divmod(self.iterations, _BLOCK)
        V = np.ascontiguousarray(self._blocks[block][:, place].T)
        W = self._product(V)
        diagonal, beside = np.einsum("nc,nc->c", V, W), np.zeros(len(self.norms))
        new = np.zeros(V.T.shape)
        for column in range(len(self.norms)):
            w, vectors = W[:, column], self._vectors(column, self.iterations + 1)
            size = np.linalg.norm(w)
            for earlier in 2 * vectors:
                w = w - earlier.T @ (earlier @ w)
            norm = np.linalg.norm(w)
            if norm > _EXHAUSTED * max([size, *(abs(values[column]) for values in self._diagonal[:1])]):
                beside[column], new[column] = norm, w / norm
        self._diagonal.append(diagonal)
        self._beside.append(beside)
        self._keep(self.iterations, new)

    def _eigen(self, column: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors of H in the space of a column's first vectors."""
        from scipy.linalg import eigh_tridiagonal

        diagonal = np.array([values[column] for values in self._diagonal[:count]])
        beside = np.array([values[column] for values in self._beside[:count]])[: count - 1]
        rates, vectors = eigh_tridiagonal(diagonal, beside, eigvals_only=False)
        return rates, vectors

    def _coefficients(self, f: Callable[[np.ndarray], np.ndarray], column: int, count: int) -> np.ndarray:
        """f(H) b / |b| by a column's first vectors, (count,)."""
        rates, vectors = self._eigen(column, count)
        return vectors @ (f(rates) * vectors[0])

    def _unconverged(self, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What is left of each column, relative to its norm, if differences go on to fall as they did; infinite while nothing is known."""
        if self.iterations <= 2 * _LOOK:
            return np.where(self.norms > 0, np.inf, 0.0)
        errors = np.zeros(len(self.norms))
        for column in np.flatnonzero(self.norms).tolist():
            results = np.zeros((3, self.iterations))
            for row, back in zip(results, (2 * _LOOK, _LOOK, 0), strict=True):
                row[: self.iterations - back] = self._coefficients(f, column, self.iterations - back)
            before, last = np.linalg.norm(np.diff(results, axis=0), axis=1)
            fall = min(last / before, _SLOWEST) if before > 0 else 0.0
            size = float(np.linalg.norm(results[-1]))
            errors[column] = last * max(1.0, fall / (1 - fall)) / size if size > 0 else np.inf
        return errors

    def _uncertain(self, f: Callable[[np.ndarray], np.ndarray], column: int, uncertainty: float) -> float:
        """How much a column changes, relative to its norm, if eigenvalues change by their uncertainty."""
        rates, vectors = self._eigen(column, self.iterations)
        first, change = vectors[0], uncertainty * float(np.abs(rates).max())
        # Eigenvalues below it are 0 for all that is known.
        changes = np.where(rates > change, change, 0.0)
        size = np.linalg.norm(f(rates) * first)
        moved = max(np.linalg.norm((f(rates + sign * changes) - f(rates)) * first) for sign in (-1, 1))
        return float(moved / size) if size > 0 else 0.0
