"""Hermite (Mehler) series of Gaussian expectations on two samples: E[f(z1) g(z2)] = Σ_k ρ^k f_k g_k.

f_k are the normalised Hermite coefficients of f(s u), u ~ N(0, 1).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .._machine.ahead import ahead
from .._machine.memory import aligned_empty

_BLOCK, _UNROLLED = 128, 16
_BELOW_ROUNDOFF = 1e-17


def pair_tables(coefficients: np.ndarray, f: list[int], g: list[int], correlation: np.ndarray, small: float):
    """Σ_k ρ_ab^k f_ak g_bk for each f and g, and whether a bound on its last quarter is below `small` ‖f‖ ‖g‖: T tables (N, N), (T, N, N).

    Time O(T N² K), with K cut where what follows is below round-off; memory O(T N²).

    Args:
        coefficients: (F, N, K) of all functions. f, g: T of them each. correlation: (N, N).
    """
    share = _share_from(coefficients)
    most = share.max(axis=1)
    worst = (most[f] * most[g]).max(axis=0) * np.abs(correlation).max() ** np.arange(share.shape[-1])
    start = 3 * share.shape[-1] // 4
    power = np.abs(correlation) ** start
    left, right = share[f, :, start], share[g, :, start]
    # One table at a time: of all of them the bounds would be as large as the tables.
    converged = np.stack(
        [power * np.multiply.outer(*sides) <= small for sides in zip(left, right, strict=True)]
    )
    # Separate arrays: the caller can free each table when it is done with it.
    tables = [aligned_empty(correlation.shape) for _ in f]
    terms = int(np.count_nonzero(worst > _BELOW_ROUNDOFF))
    for rows, columns, block in ahead(_blocks(coefficients, f, g, correlation, terms)):
        for table, part in zip(tables, np.asarray(block), strict=True):
            view = table[rows, columns]
            view[:] = part[: view.shape[0], : view.shape[1]]
    return tables, converged


def _blocks(coefficients: np.ndarray, f: list[int], g: list[int], correlation: np.ndarray, terms: int):
    """Rows, columns and the T tables there, block by block, all of one size, so that they are compiled once."""
    N = len(correlation)
    size = min(_BLOCK, 8 * -(-N // 8))
    whole = size * -(-N // size)
    # An even f has even terms alone, and an odd one odd ones.
    odd = ~np.any(coefficients[..., ::2], axis=(1, 2))
    every = 2 if np.all(odd | ~np.any(coefficients[..., 1::2], axis=(1, 2))) else 1
    first = np.where(odd[f], every - 1, 0)
    # For few samples a multiple of 64 terms: fewer programs are compiled, and further terms cost little.
    unit = _UNROLLED if size == _BLOCK else 4 * _UNROLLED
    count = unit * max(1, -(-terms // (every * unit)))
    by_term = np.zeros((every * count, len(coefficients), whole))
    by_term[:terms, :, :N] = np.moveaxis(coefficients[..., :terms], -1, 0)
    # Terms first, highest first: each is then one contiguous block.
    k = first + every * np.arange(count)[::-1, None]
    rho = np.zeros((whole, whole))
    rho[:N, :N] = correlation
    blocks = [slice(i, i + size) for i in range(0, whole, size)]
    with jax.enable_x64(True):
        left, right = ([jnp.asarray(by_term[k, side, block]) for block in blocks] for side in (f, g))
    for i, rows in enumerate(blocks):
        for j, columns in enumerate(blocks):
            with jax.enable_x64(True):
                block = _from_lowest(left[i], right[j], jnp.asarray(rho[rows, columns]), first, every)
            yield rows, columns, block


@functools.partial(jax.jit, static_argnames="every")
def _from_lowest(left, right, rho, first, every: int):
    """Σ_m ρ^(first + every m) f_am g_bm."""
    block = series_block(left, right, rho**every)
    return jnp.where(first[:, None, None] > 0, block * rho, block)


@jax.jit
def series_block(left, right, rho):
    """Σ_k ρ_ab^k f_ak g_bk, terms (K, T, n) from the highest: (T, n, n). Many terms at a time stay in registers."""

    def add(total, term):
        return total * rho + term[0][:, :, None] * term[1][:, None, :], None

    zero = jnp.zeros((left.shape[1], *rho.shape))
    return jax.lax.scan(add, zero, (left, right), unroll=_UNROLLED)[0]


def _share_from(c: np.ndarray) -> np.ndarray:
    """Which part of the norm of coefficients (T, N, K) the k-th and later ones have: (T, N, K)."""
    norms = np.sqrt(np.cumsum(c[..., ::-1] ** 2, axis=-1)[..., ::-1])
    return np.divide(norms, norms[..., :1], out=np.zeros_like(norms), where=norms[..., :1] > 0)
