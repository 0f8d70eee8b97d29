"""Many four-sample moments of a smooth σ from the Hermite coefficients of their pairs, each pair's computed once.

In whitened coordinates x and y of two pairs, with cov(x, y) = M, E[F(x) K(y)] needs the coefficients in the coordinates in which M is
diagonal (`four_samples`). These are rotations R(φ), R(θ) of x and y, for M = R(φ) diag(κ1, κ2) R(θ), κ2 of either sign. A rotation
mixes coefficients of one degree n alone, as e^{φ J}, with

    J φ_kl = √(l (k+1)) φ_{k+1,l-1} - √(k (l+1)) φ_{k-1,l+1},   φ_kl = he_k(x1) he_l(x2) / √(k! l!),

so in the eigenvectors of i J, of eigenvalues μ = -n, -n+2 … n, it is a phase e^{-iφμ}. Coefficients are kept in these.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._machine.batches import batches, on_all_cores
from .._machine.memory import aligned_empty
from ..activations import Activation
from .four_samples import PAIRINGS, Grid, in_sample_order, on_first, pair_coefficients, root_of_pair
from .requests import Placements, halves
from .rotations import rotations_between

_PAIRS_AT_ONCE, _FEWEST = 4, 64
_root_of_pair = jax.jit(root_of_pair)
_AT_ONCE = 16  # quadruples whose coefficients are in the cache together
_FEW = 512  # quadruples, with which compiling takes longer than computing
_BLOCKS = 4  # of degrees, of which each is filled up to its highest: faster than all in one, which is compiled sooner


class Rotatable(NamedTuple):
    """Coefficients of pairs in eigenvectors of i J with μ ≥ 0, real and imaginary part: (degrees, P, products, degrees // 2 + 1) each."""

    real: Any
    imag: Any


class PairSeries:
    """⟨Π_i σ^(p_i)(z_i)⟩ for each placement p on M quadruples of samples, the coefficients of their pairs at hand.

    Args:
        G: (N, N). samples: (M, 4), ascending.
        grid: its terms are degrees here, k + l < terms.

    With P pairs, m products, n nodes and K degrees time P m n² K for the coefficients and m K³ for each quadruple; memory up to
    16 P m K².
    """

    def __init__(
        self, activation: Activation, G: np.ndarray, samples: np.ndarray, asked: Placements, grid: Grid
    ):
        pairs, rows = _pairs_of(samples)
        root, inverse = (np.asarray(x) for x in _root_of_pair(G[pairs[:, :, None], pairs[:, None, :]]))
        cross = G[pairs[rows[..., 0]][..., :, None], pairs[rows[..., 1]][..., None, :]]  # (pairings, M, 2, 2)
        cross = inverse[rows[..., 0]] @ cross @ np.swapaxes(inverse[rows[..., 1]], -1, -2)
        phi, kappa, theta = rotations_between(cross)
        pairing = np.argmin(kappa[..., 0], axis=0)
        rows, phi, kappa, theta = (x[pairing, np.arange(len(samples))] for x in (rows, phi, kappa, theta))
        used, rows = np.unique(rows, return_inverse=True)
        self._geometry = rows.reshape(-1, 2), phi, np.clip(kappa, -1.0, 1.0), theta, pairing
        self._blocks = 1 if len(samples) <= _FEW else _BLOCKS
        self._bases = _bases(grid.terms)
        self._asked = asked
        products = halves(asked).products
        self._coefficients, self._halved = _coefficients(activation, products, root[used], self._bases, grid)

    def moments(self, quadruples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """On these of the M, B of them, of which the first `count` are wanted: (B, placements), and how far they are from converged.

        Namely what the last quarter of the degrees adds, relative to the largest moment, (B,); and how much mean squares of the
        pairs' products change, relatively, with half the nodes, (B,).
        """
        geometry = tuple(x[quadruples] for x in self._geometry)
        moments, last = _contracted(
            self._coefficients, geometry, count, self._bases, self._blocks, self._asked
        )
        return np.asarray(moments), np.asarray(last), self._halved[geometry[0]].max(axis=1)


def _pairs_of(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of the three pairings, (P, 2), and which two each quadruple has in each, (3, M, 2)."""
    both = np.moveaxis(samples[:, PAIRINGS.reshape(3, 2, 2)], 0, 1)  # (3, M, 2, 2)
    size = samples.max() + 1
    key, rows = np.unique(both[..., 0] * size + both[..., 1], return_inverse=True)
    return np.stack([key // size, key % size], axis=1), rows.reshape(both.shape[:3])


class Bases(NamedTuple):
    """Of the eigenvectors V of i J with μ ≥ 0, for each degree, filled up with zeros: from C to c and back, C = Re (back c).

    Real and imaginary part, (2, degrees, μ, k) each.
    """

    to: Any
    back: Any


@functools.lru_cache(maxsize=8)
def _bases(terms: int) -> Bases:
    half = terms // 2 + 1
    to = np.zeros((terms, half, terms), complex)
    weights = np.zeros((terms, half))
    for n in range(terms):
        k = np.arange(1, n + 1)
        J = np.diag(np.sqrt(k * (n - k + 1.0)), -1)
        mu, V = np.linalg.eigh(1j * (J - J.T))
        kept = np.flatnonzero(mu > -0.5)
        to[n, : len(kept), : n + 1] = V[:, kept].conj().T
        weights[n, : len(kept)] = np.where(mu[kept] > 0.5, 2.0, 1.0)
    back = to.conj() * weights[..., None]
    return Bases(np.stack([np.real(to), np.imag(to)]), np.stack([np.real(back), np.imag(back)]))


def _coefficients(
    activation: Activation, products: Placements, root: np.ndarray, bases: Bases, grid: Grid
) -> tuple[Rotatable, np.ndarray]:
    """Of P pairs, and how much their mean squares change with half the nodes, (P,). Filled up to a power of two, so that programs are compiled for few sizes."""
    P = max(_FEWEST, 1 << (len(root) - 1).bit_length())
    shape = (grid.terms, P, len(products), grid.terms // 2 + 1)
    real, imag, halved = aligned_empty(shape), aligned_empty(shape), np.empty(P)

    def put(batch: tuple[slice, np.ndarray]) -> None:
        _, index = batch
        pairs = slice(index[0], index[0] + len(index))
        part, halved[pairs] = _of_pairs(activation, products, root[index], bases, grid)
        real[:, pairs], imag[:, pairs] = part

    # What is beyond the last pair stays as it is: nobody reads it.
    on_all_cores(put, batches(len(root), _PAIRS_AT_ONCE))
    return Rotatable(jax.device_put(real), jax.device_put(imag)), halved


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _of_pairs(activation: Activation, products: Placements, root, bases: Bases, grid: Grid):
    C, all_, half = jax.vmap(lambda root: pair_coefficients(activation, products, root, grid))(root)
    n, k = np.mgrid[: grid.terms, : grid.terms]
    by_degree = jnp.where(k <= n, C[:, :, k, np.maximum(n - k, 0)], 0.0)  # (P, products, n, k)
    real, imag = (jnp.einsum("nmk,pfnk->npfm", x, by_degree) for x in bases.to)
    change = jnp.max(jnp.abs(half - all_) / jnp.where(all_ > 0, all_, 1.0), axis=1)
    return Rotatable(real, imag), change


@functools.partial(jax.jit, static_argnums=(4, 5))
def _contracted(c: Rotatable, geometry, count, bases: Bases, blocks: int, asked: Placements):
    terms, _, products = c.real.shape[:3]
    _, left, right = halves(asked)
    edges = np.linspace(0, terms, blocks + 1).astype(int).tolist()

    def turned(rows, waves, low: int, high: int):
        """Coefficients of degrees low … high in turned coordinates, (degrees, quadruples, products, k)."""
        half = high // 2 + 1
        mu = (np.arange(low, high) % 2)[:, None] + 2 * np.arange(half)
        cos, sin = (jnp.swapaxes(wave[:, mu], 0, 1)[:, :, None] for wave in waves)
        real, imag = (x[low:high, rows, :, :half] for x in c)
        turned = jnp.concatenate([cos * real + sin * imag, sin * real - cos * imag], axis=-1)
        back = jnp.concatenate([x[low:high, :half, :high] for x in bases.back], axis=1)
        return (turned.reshape(high - low, -1, 2 * half) @ back).reshape(high - low, -1, products, high)

    def contracted(geometry):
        rows, phi, kappa, theta, pairing = geometry
        first, second = (
            [f(np.arange(terms + 2) * angle[:, None]) for f in (jnp.cos, jnp.sin)] for angle in (phi, -theta)
        )
        powers1, powers2 = (kappa[:, i, None] ** np.arange(terms) for i in range(2))

        def of_degrees(low: int, high: int):
            n, k = np.mgrid[low:high, :high]
            powers = jnp.where(k <= n, powers1[:, k] * powers2[:, np.maximum(n - k, 0)], 0.0)
            powers = jnp.swapaxes(powers, 0, 1)[:, :, None]
            sides = turned(rows[:, 0], first, low, high) * powers, turned(rows[:, 1], second, low, high)
            return jnp.einsum("nbfk,nbgk->nbfg", *sides)

        by_degree = jnp.concatenate([of_degrees(*edge) for edge in itertools.pairwise(edges)])
        whole, last = (
            terms.sum(axis=0)[:, left, right] for terms in (by_degree, by_degree[3 * terms // 4 :])
        )
        size = jnp.abs(whole).max(axis=1)
        last = jnp.abs(last).max(axis=1) / jnp.where(size > 0, size, 1.0)
        return in_sample_order(whole, pairing, asked), last

    return on_first(contracted, geometry, count, _AT_ONCE)
