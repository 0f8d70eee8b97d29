"""Hermite coefficients of products f(y_a) g(y_b) of functions of one layer, each computed once for all layers above it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._machine.products import multiplied_in_blocks
from ..activations import Activation
from .letters import Functions
from .rotations import waves
from .rules import Rule, evaluate, folded, trapezoid_basis

_LAST = 8  # degrees at the end of a series, by which it is judged: even and odd ones differ
_WANTED = 1e-2  # of what may be left out: what the last degrees of two functions together should add at most
_HALVED = 1e-7  # relative change of mean squares with half the nodes, whose square the error is
_MEMORY, _KEPT = 2**28, 2**25  # bytes of planes: of the layer at work, and of each layer below
_DEGREES = 16  # of x2, at a time
_ROUNDED = 4e-16  # relatively, of a variance


def tail_of(shares: np.ndarray) -> np.ndarray:
    """The largest share, among products, of the last degrees: (…,) of shares (…, products, degrees)."""
    return np.linalg.norm(shares[..., -_LAST:], axis=-1).max(axis=-1)


class Plane(NamedTuple):
    """Of one pair of samples, y = root @ x, for each of the products.

    Attributes:
        inverse: pseudo-inverse of the root, (2, 2).
        coefficients: (degrees, products, 2, degrees // 2 + 1), as of `rotations`: the real parts, and the imaginary ones.
        shares: (products, degrees), the norm of each degree over that of all of them.
        halved: relative change of mean squares with half the nodes.
    """

    inverse: np.ndarray
    coefficients: np.ndarray
    shares: np.ndarray
    halved: float

    def of(self, rows: list[int]) -> Plane:
        """That of some of the products."""
        if rows == list(range(len(self.shares))):
            return self
        return self._replace(coefficients=self.coefficients[:, rows], shares=self.shares[rows])


class Lines(NamedTuple):
    """Of each sample, for each of the products on it alone: (N, products, degrees) both, and (N,), as of `Plane`."""

    coefficients: np.ndarray
    shares: np.ndarray
    halved: np.ndarray

    def of(self, rows: list[int]) -> Lines:
        """Those of some of the products."""
        return self._replace(coefficients=self.coefficients[:, rows], shares=self.shares[:, rows])


class LayerSeries:
    """The coefficients of products of one layer.

    Args:
        activation: of the layer, smooth. G: (N, N).
        products: by their two letters, those that may be asked for.
    """

    def __init__(self, activation: Activation, G: np.ndarray, rule: Rule, products: tuple[str, ...]):
        self.activation, self.G, self._rule, self._products = activation, G, rule, products
        self.s = np.sqrt(np.diag(G))
        self.level = -1
        self._lines: Lines | None = None
        self._planes: dict[tuple[int, int], Plane] = {}
        self._most = _MEMORY

    def prepare(self, level: int) -> int:
        """Make ready for at least this of the rule's levels. Returns the level: the first one where series on lines converge."""
        if level > self.level:
            self._planes = {}
            for number in range(level, len(self._rule.layer_series)):
                self.level = number
                self._lines = lines = self._all_lines()
                tail = tail_of(lines.shares).max()
                if tail**2 <= _WANTED * self._rule.converged and lines.halved.max() <= _HALVED:
                    break
        return self.level

    def keep(self, products: tuple[str, ...]) -> None:
        """Let go of the coefficients of other products, and of what is too much to be kept."""
        self._most = _KEPT
        if self._lines is None:
            return
        rows, planes = self._rows(products), self._planes
        self._lines, self._products, self._planes = self.lines(products), products, {}
        for pair, plane in planes.items():
            self._put(pair, plane.of(rows))

    def lines(self, products: tuple[str, ...]) -> Lines:
        assert self._lines is not None
        return self._lines.of(self._rows(products))

    def plane(self, a: int, b: int, products: tuple[str, ...]) -> Plane:
        """Of two samples."""
        plane = self._planes.get((a, b))
        if plane is None:
            plane = self._plane(a, b)
            self._put((a, b), plane)
        return plane.of(self._rows(products))

    def _put(self, pair: tuple[int, int], plane: Plane) -> None:
        if (len(self._planes) + 1) * plane.coefficients.nbytes <= self._most:
            self._planes[pair] = plane

    def _rows(self, products: tuple[str, ...]) -> list[int]:
        return [self._products.index(product) for product in products]

    def _values(self, z: np.ndarray) -> dict[str, np.ndarray]:
        letters = sorted({letter for product in self._products for letter in product})
        functions = Functions(tuple((self.activation, letter) for letter in letters))
        return dict(zip(letters, evaluate(functions, z, len(letters) - 1), strict=True))  # type: ignore[arg-type]

    def _basis(self) -> tuple[np.ndarray, np.ndarray]:
        return trapezoid_basis(self._rule.reach, *self._rule.layer_series[self.level])

    def _all_lines(self) -> Lines:
        u, psi = self._basis()
        values = self._values(self.s[:, None] * u)
        on_nodes = np.stack([values[f] * values[g] for f, g in self._products], axis=1)
        coefficients = multiplied_in_blocks(on_nodes.reshape(-1, len(u)), psi).reshape(
            *on_nodes.shape[:2], -1
        )
        squares = on_nodes**2
        halved = _change(squares @ psi[:, 0], 2 * squares[..., ::2] @ psi[::2, 0])
        return Lines(coefficients, _shares(np.abs(coefficients)), halved.max(axis=1))

    def _plane(self, a: int, b: int) -> Plane:
        s, covariance = self.s[a], self.G[a, b]
        along = covariance / s if s > 0 else 0.0
        conditional = self.G[b, b] - along**2
        # What rounding leaves of a parallel pair is not a second direction.
        across = np.sqrt(conditional) if conditional > _ROUNDED * self.G[b, b] else 0.0
        u, psi = self._basis()
        half = folded(u, psi)
        first = self._values(s * u)
        second = self._values(along * u[:, None] + across * u)
        weights = psi[:, 0]
        on_second = {letter: _project(values, half).T for letter, values in second.items()}
        squares = {
            letter: (values**2 @ weights, values[::2, ::2] ** 2 @ (2 * weights[::2]))
            for letter, values in second.items()
        }
        coefficients = _by_degree(
            _project_first([first[f] * on_second[g] for f, g in self._products], half, len(psi.T))
        )
        whole = np.array([(first[f] ** 2 * squares[g][0]) @ weights for f, g in self._products])
        halves = np.array(
            [(first[f][::2] ** 2 * squares[g][1]) @ (2 * weights[::2]) for f, g in self._products]
        )
        inverse1, inverse2 = (1 / x if x > 0 else 0.0 for x in (s, across))
        return Plane(
            np.array([[inverse1, 0.0], [-along * inverse1 * inverse2, inverse2]]),
            coefficients,
            _shares(np.sqrt(np.einsum("npim,npim->pn", coefficients, coefficients))),
            _change(whole, halves).max(),
        )


def _change(whole: np.ndarray, halves: np.ndarray) -> np.ndarray:
    return np.abs(halves - whole) / np.where(whole > 0, whole, 1.0)


def _shares(norms: np.ndarray) -> np.ndarray:
    whole = np.linalg.norm(norms, axis=-1, keepdims=True)
    return norms / np.where(whole > 0, whole, 1.0)


def _folded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f(u) + f(-u) and f(u) - f(-u), u ≥ 0 on the last axis."""
    middle = values.shape[-1] // 2
    above, below = values[..., middle:], values[..., middle::-1]
    return above + below, above - below


def _project(values: np.ndarray, half: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Hermite coefficients along the second axis, of values on symmetric nodes, with `half` as of `folded`."""
    out = np.empty((len(values), half[1].shape[1] * 2))
    for parity, folded_values in enumerate(_folded(values)):
        out[:, parity::2] = multiplied_in_blocks(folded_values, half[1 + parity])
    return out


def _project_first(
    values: list[np.ndarray], half: tuple[np.ndarray, np.ndarray, np.ndarray], degrees: int
) -> np.ndarray:
    """The same of several arrays (degrees of x2, nodes): (arrays, degrees, degrees), those whose degrees add up to less than `degrees`."""
    out = np.empty((len(values), degrees, degrees))
    for parity, folded_values in enumerate(zip(*map(_folded, values), strict=True)):
        by_degree = np.stack(folded_values, axis=1)  # (degrees, arrays, nodes)
        for start in range(0, degrees, _DEGREES):
            some = by_degree[start : start + _DEGREES]
            columns = half[1 + parity][:, : (degrees - start + 1) // 2]
            moments = multiplied_in_blocks(some.reshape(-1, some.shape[-1]), columns)
            out[:, start : start + _DEGREES, parity : 2 * columns.shape[1] : 2] = np.moveaxis(
                moments.reshape(*some.shape[:2], -1), 1, 0
            )
    return out


def _by_degree(C: np.ndarray) -> np.ndarray:
    """The coefficients of `Plane` from those of he_l(x2) he_k(x1): (products, l, k)."""
    P, degrees = C.shape[:2]
    out = np.zeros((degrees, P, 2, degrees // 2 + 1))
    for n in range(degrees):
        of_degree = C[:, np.arange(n, -1, -1), np.arange(n + 1)]
        to = waves(n)
        out[n, :, 0, : n // 2 + 1] = multiplied_in_blocks(of_degree[:, ::2], to.real.T)
        out[n, :, 1, : n // 2 + 1] = multiplied_in_blocks(of_degree[:, 1::2], to.imag.T)
    return out
