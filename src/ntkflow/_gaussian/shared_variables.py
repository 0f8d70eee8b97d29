"""Four-sample moments of a smooth σ whose canonical correlations are too close to 1 for a Hermite series.

Canonical coordinates x of one pair and y of the other with correlation κ share a variable: x = √κ w + √(1-κ) v and
y = √κ w + √(1-κ) v', all independent. So the moment is ∫ dN(w) F(w) K(w), with F and K the products of each pair
averaged over their own v: hardly any v where κ → 1, and none for linearly dependent samples. Along the second
coordinate the series stays, unless κ2 is as close to 1.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import Activation
from .four_samples import pair_products
from .requests import Placements, halves
from .rules import Rule, trapezoid_basis

SHARED = 0.97
_HERMITE_NODES = (1, 4, 8, 16, 32, 64)
_POLE = 1.2  # how far from the real line a typical σ is analytic, to be careful
_DIGITS = 30.0  # natural logarithm of the accuracy


def shared_moments(
    activation: Activation, first: np.ndarray, kappa: np.ndarray, second: np.ndarray, asked: Placements, rule: Rule
) -> np.ndarray:  # fmt: skip
    """⟨Π_i σ^(p_i)(z_i)⟩ for each placement p.

    Args:
        first, second: (B, 2, 2), z = first @ x of one pair and second @ y of the other.
        kappa: (B, 2), correlations of x1 with y1 and of x2 with y2, descending.

    Returns:
        (B, placements). With P nodes and n of each v, time B P² n² and one P² K if κ2 is smaller.
    """
    out = np.empty((len(kappa), len(asked)))
    nodes, terms = rule.shared
    u, psi = trapezoid_basis(rule.reach, nodes, terms)
    for moments, root1, correlations, root2 in zip(out, first, kappa, second, strict=True):
        series = bool(correlations[1] < SHARED)
        amplitudes = np.sqrt(np.maximum(1 - correlations, 0.0))
        if series:
            amplitudes[1] = 0.0
        steepness = np.maximum(np.abs(root1).max(axis=0), np.abs(root2).max(axis=0)) * amplitudes
        (v1, w1), (v2, w2) = (_hermite_rule(x) for x in steepness)
        with jax.enable_x64(True):
            moments[:] = np.asarray(
                _compiled(activation, series, asked)(
                    root1, root2, correlations, amplitudes, u, psi, v1, w1, v2, w2
                )
            )
    return out


def _hermite_rule(steepness: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite: an error of exp(-2 D √n) with a pole at a distance D."""
    wanted = (_DIGITS * steepness / (2 * _POLE)) ** 2 + 3 * (steepness > 1e-16)
    nodes, weights = np.polynomial.hermite_e.hermegauss(
        next((n for n in _HERMITE_NODES if n >= wanted), _HERMITE_NODES[-1])
    )
    return nodes, weights / math.sqrt(2 * math.pi)


@functools.lru_cache(maxsize=64)
def _compiled(activation: Activation, series: bool, asked: Placements):
    products, left, right = halves(asked)

    @jax.jit
    def moments(first, second, kappa, amplitudes, u, psi, v1, w1, v2, w2):
        root_kappa = jnp.sqrt(jnp.array([kappa[0], 1.0 if series else kappa[1]]))

        def smoothed(root):
            def add(total, at):
                v, w = at
                x1, x2 = root_kappa[:, None] * u + (amplitudes * v)[:, None]
                z = root[:, 0, None, None] * x1[:, None] + root[:, 1, None, None] * x2
                return total + w * pair_products(activation, products, *z), None

            v = jnp.stack(jnp.meshgrid(v1, v2, indexing="ij"), axis=-1).reshape(-1, 2)
            start = jnp.zeros((len(products), u.size, u.size))
            return jax.lax.scan(add, start, (v, jnp.outer(w1, w2).ravel()))[0]

        weights = psi[:, 0]
        F, K = smoothed(first), smoothed(second)
        if series:
            F, K = F @ psi, K @ psi
            F = F * kappa[1] ** jnp.arange(psi.shape[1])
        else:
            F = F * weights
        F, K = (x.reshape(len(products), -1) for x in (F * weights[:, None], K))
        return (F @ K.T)[left, right]

    return moments
