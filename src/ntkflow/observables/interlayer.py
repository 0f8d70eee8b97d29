"""Expectations across two layers with their weights, PDLT (8.42)-(8.56).

The generating function (8.53) gives, for any product of weights W_ij of layer ℓ+1, a sum over partial matchings: a pair of weights that are
matched gives δ_{ii'} δ_{jj'} C_W/n, a weight left alone (C_W/n) Σ_γ σ_{j;γ} ∂/∂z'_{i;γ},

    E[O(z') W…W Q(z, Ĥ)] = Σ_matchings (C_W/n)^{pairs + singles} δ… Σ_γ… E[⟪∂…∂O⟫_Ĝ' σ…σ Q].

Ĝ' is random and correlated with Q. To leading order ⟪∂…∂O⟫ is taken at the mean of Ĝ', and what its fluctuations add is

    ½ Σ_m Σ_γγ' ⟪∂…∂O,mγ mγ'⟫ Cov(Ĝ'_γγ', σ…σ Q),    Cov(Ĝ', R) = (C_W/n_ℓ) Σ_j Cov(σ_j σ_j, R).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from .._gaussian.functions import TOLERANCE, Estimate, Integration, Variables, expectation
from .._report.progress import shows_bar
from .._theory.result import Flow
from .._theory.statistics import LayerStatistics
from ..errors import ComponentError
from ..finite.parameters import as_int, layer_number
from ..network.mlp import MLP
from ..network.network import refuse_blocks
from . import cumulants
from .entries import NTK, At, Z, ntk_at, preactivations_at
from .expansion import curvature, edgeworth, given_z, kinks_of, variables
from .functions import checked_function


@dataclass(frozen=True)
class Interlayer:
    """E[O P Q] = leading + fluctuation + below, each of them to its own leading order, with the absolute error of the integration.

    `leading`: with Ĝ' at its infinite-width value, z Gaussian and Ĥ at its mean. The others are of relative order 1/n, and take over
    where that vanishes. `fluctuation`: what the correlation of Ĝ' with Q adds; without weights it is Cov(O, Q). `below`: what the 1/n
    part of the distribution of layer ℓ adds. That of ⟪O⟫ by itself is not kept.
    """

    leading: float
    fluctuation: float
    below: float
    error: float

    def __repr__(self) -> str:
        return (
            f"Interlayer {self.value:.10g}, error {self.error:.1g}: leading {self.leading:.10g}, fluctuation {self.fluctuation:.5g}, "
            f"below {self.below:.5g}"
        )

    @property
    def value(self) -> float:
        """All together."""
        return self.leading + self.fluctuation + self.below

    def __float__(self) -> float:
        return self.value


def matchings(weights: Sequence[tuple[int, int]]) -> Counter:
    """Over all matchings of equal weights in pairs: the weights that are left unmatched, and the number of matchings that leave them."""
    if not weights:
        return Counter({(): 1})
    first, others = weights[0], tuple(weights[1:])
    counts = Counter({(first, *unmatched): count for unmatched, count in matchings(others).items()})
    for k, weight in enumerate(others):
        if weight == first:
            counts += matchings(others[:k] + others[k + 1 :])
    return counts


@shows_bar("compiling and integrating")
def interlayer(
    flow: Flow, layer: int, O: Callable, at: At, weights: Sequence[tuple[int, int]] = (), Q: Callable | None = None,
    below: At = (), ntk: Sequence = (), tolerance: float = TOLERANCE,
) -> Interlayer:  # fmt: skip
    """E over seeds of O(z^(ℓ+1)) times weights W^(ℓ+1)_ij times Q(z^(ℓ), Ĥ^(ℓ)), to leading order, PDLT (8.54), (8.55).

    Args:
        layer: ℓ + 1, at least 2.
        O: a function O(z') of the preactivations of that layer that `at` lists; as of `JointDistribution.expect`.
        weights: pairs (i, j), any number, repeated ones too: W_ij^(ℓ+1).
        Q: a function Q(z), or with `ntk` Q(z, h), smooth in h, of the layer below; by default 1.
        below: its preactivations. ntk: its elements h[k] of the NTK of the layer below.
        tolerance: of each integration.

    Raises:
        SpecError: the network has blocks, behind whose skips (8.54) does not hold.
        ComponentError: an index out of range, or tensors on the samples of O and Q that the flow does not hold.
        ObservableError: a function is not scalar, finite and traceable.
    """
    refuse_blocks(flow.mlp)
    top = layer_number(flow.mlp, layer)
    if top < 2:
        raise ComponentError("interlayer formulas need a layer below: layer must be at least 2")
    above, under = flow[top], flow[top - 1]
    z_O, z_Q, elements = preactivations_at(above, at), preactivations_at(under, below), ntk_at(under, ntk)
    checked_weights = [_checked_weight(flow, top, weight) for weight in weights]
    K = len(elements.neuron1)
    O = checked_function(O, len(z_O.neuron), name="O")
    if Q is None:
        if len(z_Q.neuron) or K:
            raise ComponentError("below and ntk list what Q takes, but there is no Q")
        Q = lambda z: 1.0
    Q = checked_function(Q, *((len(z_Q.neuron), K) if K else (len(z_Q.neuron),)), name="Q")
    H = cumulants.mean_ntk(under, "H", elements)
    with_h = Q if K else lambda z, h: Q(z)
    if not isinstance(flow.mlp, MLP):
        raise ComponentError("interlayer takes the flow of an MLP, not of a Network of other layers")
    sigma = flow.mlp.activation[top - 2].function
    lower = _Lower(under, sigma, with_h, z_Q, elements, H, Integration(tolerance, kinks_of(flow, top - 1)))
    C_W, n = flow.mlp.C_W[top - 1], under.width
    v = variables(above, z_O)
    leading = fluctuation = correction = error = 0.0
    for unmatched, times in matchings(sorted(checked_weights)).items():
        pairs = (len(checked_weights) - len(unmatched)) // 2
        factor = times * (C_W / n) ** (pairs + len(unmatched))
        # A weight's derivative acts on the entries of O that are of its neuron.
        places = [np.flatnonzero(z_O.neuron == i).tolist() for i, _ in unmatched]
        slots = list(itertools.product(*places))
        if not slots:
            continue
        samples = [[int(z_O.sample[k]) for k in slot] for slot in slots]
        upper = _upper(v, O, z_O, slots, Integration(tolerance, kinks_of(flow, top)))
        lower_mean, shift, covariance = lower([j for _, j in unmatched], samples, z_O, C_W)
        a, b = (x.value for x in (upper, lower_mean))
        choices = len(slots)
        leading += factor * float(a[0] @ b)
        correction += factor * float(a[0] @ shift.value)
        fluctuation += factor * float(np.sum(a[1:].reshape(-1, choices) * covariance.value)) / 2
        error += factor * float(
            np.abs(upper.error[0]) @ np.abs(b) + np.abs(a[0]) @ (lower_mean.error + shift.error)
        )
        error += (
            factor
            / 2
            * float(np.sum(upper.error[1:] * np.abs(covariance.value) + np.abs(a[1:]) * covariance.error))
        )
    return Interlayer(leading, fluctuation, correction, error)


def _checked_weight(flow: Flow, top: int, weight) -> tuple[int, int]:
    pair = tuple(weight) if isinstance(weight, tuple | list) else (weight,)
    limits = flow.mlp.widths[top], flow.mlp.widths[top - 1]
    numbers = [as_int(x) for x in pair]
    if len(pair) != 2 or any(
        x is None or not 0 <= x < limit for x, limit in zip(numbers, limits, strict=True)
    ):
        raise ComponentError(
            f"weights: {weight!r} is not a pair (i, j) with i in 0 … {limits[0] - 1} and j in 0 … {limits[1] - 1}"
        )
    return numbers[0], numbers[1]  # type: ignore[return-value]


def same_neuron_pairs(z: Z) -> tuple[np.ndarray, np.ndarray]:
    """Entries (k, l) of one and the same neuron, in both orders."""
    k, l = np.nonzero(z.neuron[:, None] == z.neuron[None])
    return k, l


def _upper(v: Variables, O: Callable, z: Z, slots: list[tuple[int, ...]], how: Integration) -> Estimate:
    """⟪∂…∂O⟫ for each choice of the entries that derivatives act on, and with two more of one neuron: (1 + pairs, slots)."""
    rows = v.inverse.T  # ∂/∂z_k is rows[k] · ∂/∂u
    k, l = same_neuron_pairs(z)
    forms = [list(slot) for slot in slots]
    with_pair = [[*slot, p, q] for p, q in zip(k.tolist(), l.tolist(), strict=True) for slot in slots]

    def terms(x, u):
        return O(x) * jnp.concatenate([_wick(rows, forms, u), _wick(rows, with_pair, u)])

    estimate = expectation(terms, v, how)
    return Estimate(*(x.reshape(1 + len(k), len(slots)) for x in estimate))


def _wick(rows: np.ndarray, forms: list[list[int]], u) -> jax.Array:
    """He(u) contracted with rows[f] of each list of forms: Σ over matchings of Π(-rows·rows) Π rows·u."""
    linear, metric = rows @ u, -(rows @ rows.T)
    index = np.array(forms, int).reshape(len(forms), -1)
    total = jnp.zeros(len(forms))
    for number in range(index.shape[1] // 2 + 1):
        matched = [
            m for m in _pairings(tuple(range(index.shape[1]))) if sum(len(x) == 2 for x in m) == number
        ]
        singles = np.array([[x[0] for x in m if len(x) == 1] for m in matched], int).reshape(len(matched), -1)
        pairs = np.array([[x for x in m if len(x) == 2] for m in matched], int).reshape(
            len(matched), number, 2
        )
        weight = metric[index[:, pairs[..., 0]], index[:, pairs[..., 1]]].prod(axis=2)
        total += jnp.sum(weight * jnp.prod(linear[index[:, singles]], axis=2), axis=1)
    return total


def _pairings(items: tuple[int, ...]) -> list[list[tuple[int, ...]]]:
    """All partial matchings, as lists of singles (k,) and pairs (k, l)."""
    if not items:
        return [[]]
    first, others = items[0], items[1:]
    pairings = [[(first,), *pairing] for pairing in _pairings(others)]
    for k in others:
        pairings += [[(first, k), *pairing] for pairing in _pairings(tuple(x for x in others if x != k))]
    return pairings


@dataclass(frozen=True)
class _Lower:
    """R = σ_{j;γ}…Q of layer ℓ: its mean, the 1/n correction of that, and Cov(Ĝ', R)."""

    layer: LayerStatistics
    sigma: Callable
    Q: Callable
    z_Q: Z
    ntk: NTK
    H: np.ndarray
    how: Integration

    def __call__(
        self, neurons: list[int], samples: list[list[int]], z_O: Z, C_W: float
    ) -> tuple[Estimate, Estimate, Estimate]:
        """⟨R⟩ and its correction for each list of samples that go with the σ's `neurons`, (slots,); Cov(Ĝ'_kl, R) for pairs of entries of O, (pairs, slots)."""
        n = self.layer.width
        k, l = same_neuron_pairs(z_O)
        pairs = list(dict.fromkeys(zip(z_O.sample[k].tolist(), z_O.sample[l].tolist(), strict=True)))
        which = [pairs.index(p) for p in zip(z_O.sample[k].tolist(), z_O.sample[l].tolist(), strict=True)]
        entries = list(dict.fromkeys([*zip(*map(np.ndarray.tolist, self.z_Q), strict=True)]))
        entries = list(
            dict.fromkeys([*entries, *((j, a) for row in samples for j, a in zip(neurons, row, strict=True))])
        )
        R_neurons = list(dict.fromkeys(j for j, _ in entries))
        extended = [*entries, *((j, a) for j in R_neurons for pair in pairs for a in pair)]
        extended = list(dict.fromkeys(extended))
        mean, cov = self._same_neurons(extended, R_neurons, neurons, samples, pairs)
        shift, other_cov, other_error = self._other_neurons(entries, neurons, samples, pairs)
        value = C_W / n * (cov.value + other_cov)
        return mean, shift, Estimate(value[which], (C_W / n * (cov.error + other_error))[which])

    def _function(self, entries: list, neurons, samples) -> Callable:
        """R(z, h) for each choice of samples, (slots,), of z at `entries`."""
        Q_rows = np.array(
            [entries.index(e) for e in zip(*map(np.ndarray.tolist, self.z_Q), strict=True)], int
        )
        s_rows = np.array(
            [[entries.index((j, a)) for j, a in zip(neurons, row, strict=True)] for row in samples], int
        )
        return lambda z, h: self.Q(z[Q_rows], h) * jnp.prod(self.sigma(z)[s_rows], axis=1)

    def _same_neurons(self, entries, R_neurons, neurons, samples, pairs) -> tuple[Estimate, Estimate]:
        """⟨R⟩, and Σ_j Cov(σ_j σ_j, R) over the neurons j of R: a Gaussian's."""
        z = Z(*np.array(entries, int).reshape(-1, 2).T)
        v = variables(self.layer, z)
        S, P = len(samples), len(pairs)
        R = self._function(entries, neurons, samples)
        first_rows, second_rows = (
            np.array([[entries.index((j, pair[side])) for pair in pairs] for j in R_neurons], int).reshape(
                -1, P
            )
            for side in (0, 1)
        )

        def terms(x, u):
            r, s = R(x, self.H), self.sigma(x)
            ss = jnp.sum(s[first_rows] * s[second_rows], axis=0)
            return jnp.concatenate([r, ss, jnp.outer(ss, r).ravel()])

        value, error = expectation(terms, v, self.how)
        r, ss, product = value[:S], value[S : S + P], value[S + P :].reshape(P, S)
        dr, dss, dproduct = error[:S], error[S : S + P], error[S + P :].reshape(P, S)
        total = dproduct + np.outer(dss, np.abs(r)) + np.outer(np.abs(ss), dr)
        return Estimate(r, dr), Estimate(product - np.outer(ss, r), total)

    def _other_neurons(self, entries, neurons, samples, pairs) -> tuple[Estimate, np.ndarray, np.ndarray]:
        """E[R] - ⟨R⟩ to order 1/n; n_ℓ Cov(σ_j σ_j, R) of a neuron j that is not in R, by V and through Q's NTK by D, and its error."""
        layer = self.layer
        z = Z(*np.array(entries, int).reshape(-1, 2).T)
        v = variables(layer, z)
        R = self._function(entries, neurons, samples)
        r = len(v.inverse)
        a, b = np.triu_indices(r)
        S, K = len(samples), len(self.ntk.neuron1)

        w, mean_H = edgeworth(layer, z, v), given_z(layer, z, self.ntk, v)
        H1 = cumulants.mean_ntk(layer, "H1", self.ntk)
        HH = cumulants.HH(layer, *(NTK(*(x[k] for x in self.ntk)) for k in (np.s_[:, None], np.s_[None, :])))

        def terms(x, u):
            value, slope = R(x, self.H), jax.jacfwd(R, 1)(x, self.H)  # (S,), (S, K)
            bend = jax.jacfwd(jax.jacfwd(R, 1), 1)(x, self.H)
            first = value * w(u) + slope @ (H1 + mean_H(u)) + jnp.sum(bend * HH, axis=(1, 2)) / 2
            return jnp.concatenate([first, slope.ravel(), jnp.outer(value, u[a] * u[b] - (a == b)).ravel()])

        estimate = expectation(terms, v, self.how)
        first, dfirst = (x[:S] / layer.fan_in for x in estimate)
        slope, dslope = (x[S : S + S * K].reshape(S, K) for x in estimate)
        packed, dpacked = (x[S + S * K :].reshape(S, len(a)) for x in estimate)
        J, dJ = np.zeros((2, S, r, r))
        J[:, a, b], J[:, b, a], dJ[:, a, b], dJ[:, b, a] = packed, packed, dpacked, dpacked
        J = np.einsum("sab,ak,bl->skl", J, v.inverse, v.inverse)
        dJ = np.einsum("sab,ak,bl->skl", dJ, np.abs(v.inverse), np.abs(v.inverse))
        ratio = layer.width / layer.fan_in
        value, error = np.zeros((2, len(pairs), S))
        # A neuron that is not in R; any other gives the same.
        apart = 1 + max(
            [*(j for j, _ in entries), *self.ntk.neuron1.tolist(), *self.ntk.neuron2.tolist()], default=-1
        )
        for p, pair in enumerate(pairs):
            z_pair = Z(np.full(2, apart), np.array(pair))
            ss = curvature(layer, lambda z: self.sigma(z[0]) * self.sigma(z[1]), z_pair, self.how)
            legs = [Z(np.reshape(x.neuron, s), np.reshape(x.sample, s)) for x, s in (
                (z_pair, (2, 1, 1, 1)), (z_pair, (1, 2, 1, 1)), (z, (1, 1, -1, 1)), (z, (1, 1, 1, -1)))]  # fmt: skip
            kappa = cumulants.zzzz(layer, *legs) / 4 * ratio
            value[p] = np.einsum("ab,abkl,skl->s", ss.value, kappa, J)
            error[p] = np.einsum("ab,abkl,skl->s", ss.error, np.abs(kappa), np.abs(J))
            error[p] += np.einsum("ab,abkl,skl->s", np.abs(ss.value), np.abs(kappa), dJ)
            z1, z2 = (
                Z(x.neuron.reshape(s), x.sample.reshape(s))
                for x, s in ((z_pair, (2, 1, 1)), (z_pair, (1, 2, 1)))
            )
            C = cumulants.zzH(layer, z1, z2, NTK(*(np.reshape(x, (1, 1, -1)) for x in self.ntk))) / 2 * ratio
            value[p] += np.einsum("ab,abk,sk->s", ss.value, C, slope)
            error[p] += np.einsum("ab,abk,sk->s", ss.error, np.abs(C), np.abs(slope))
            error[p] += np.einsum("ab,abk,sk->s", np.abs(ss.value), np.abs(C), dslope)
        return Estimate(first, dfirst), value, error
