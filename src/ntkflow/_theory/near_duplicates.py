"""Two samples that nearly coincide, through a kinked σ: G1, H1, D and A by interpolation towards coincidence.

There single J's diverge as powers of 1/t, t the samples' separation, and what cancels between them leaves errors of eps/t to
eps/t³ of the products of G and H. But every statistic of the two samples is analytic in t ≥ 0 and known exactly at t = 0: the
flow of pairs at larger separations, and of the coinciding one, gives it at the true t.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.polynomial.chebyshev import chebvander

from .._gaussian.kinks import ROUNDOFF, sine_squared
from .._recursions import TENSORS, TensorSets, declarations
from .._recursions.cancellation import LOSS, Nearness
from ..network.mlp import MLP
from .two_byte import TwoByteArray

_CLOSE = 0.05  # sin of the angle between preactivations, below which the direct computation is mended
_APART = 0.3  # above it, no more is lost than round-off
_REACH, _INTERVALS = 1.2, 20
_PER_GAP = 0.15
_DEGREES = 3  # by which a polynomial's degree is raised, to see what it leaves out
_FARTHEST = 0.3
_AT_ONCE = 8
_LEAST = 1e-37  # of the largest error, so that none is 0
_EPS = np.finfo(float).eps

Layers = Iterator[tuple[dict[str, np.ndarray], dict[str, TwoByteArray]]]
"""Values and error estimates, packed, of one layer after the other."""


def sines(G: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """|sin| of the angle between two preactivations, as far as G tells it; 1 where they are parallel or vanish, which is exact: (N, N)."""
    variance = np.diag(G)[:, None] * np.ones_like(G)
    sine = np.sqrt(np.maximum(sine_squared(variance, variance.T, G), ROUNDOFF))
    return np.where(np.isnan(ratio) & (variance * variance.T > 0), sine, 1.0)


def any_nearly_parallel(least_sine: np.ndarray) -> bool:
    """Whether tensors may have lost anything by cancellation; `least_sine` as of `cancelled`."""
    return bool(least_sine[0].min() <= _APART)


def cancelled(name: str, least_sine: np.ndarray, sets: np.ndarray | None) -> np.ndarray | float:
    """The round-off that cancellation between nearly parallel samples leaves, in units of eps and of products of G and H.

    Args:
        least_sine: (2, N, N), the least `sines` in the layers below, and in those of them where tensors do not vanish.
        sets: (k, S).

    Returns:
        (N, N) for H, (orbits, S) for packed tensors, 0 where nothing is near.
    """
    if name == "H":
        return np.where(least_sine[0] < 1, LOSS / least_sine[0], 0.0)
    if name == "G" or sets is None:
        return 0.0
    declared = TENSORS[name]
    members = declared.orbits(len(sets))[1]
    out = np.zeros((members.shape[1], sets.shape[1]))
    near = np.flatnonzero((least_sine[0, sets[:, None], sets[None]] <= _APART).any(axis=(0, 1)))
    slots = sets[:, near][members]  # (axes, orbits, near)
    pairs = {
        pair: 1 / least_sine[:, slots[pair[0]], slots[pair[1]]]
        for pair in itertools.combinations(range(len(members)), 2)
    }
    largest, contracted = np.max(list(pairs.values()), axis=0)
    several = np.array([len(set(slots)) > 2 for slots in members.T.tolist()])[:, None]
    last = len(members) - 1
    between = Nearness(largest, contracted, several, pairs[0, 1][1], pairs[last - 1, last][1])
    out[:, near] = LOSS * declared.cancellation(between)
    return out


class NearDuplicates:
    """The near-coincident pairs of one flow. Each pair gets a flow of its own, computed once, when it is first wanted.

    Args:
        X: (N, n_0), distinct.
        names: of the tensors that flow.
        computed: the values and errors of all layers of a network, for inputs and sample sets.
        closest: the least `sines` of any two inputs in any layer of a network.
    """

    def __init__(
        self,
        mlp: MLP,
        X: np.ndarray,
        names: tuple[str, ...],
        computed: Callable[[MLP, np.ndarray, TensorSets], Layers],
        closest: Callable[[MLP, np.ndarray], float],
    ):
        self._mlp, self._X, self._names, self._computed, self._closest = mlp, X, names, computed, closest
        self._flows: dict[tuple[int, int], tuple[_Batch, int] | None] = {}

    def mend(
        self, layer: int, least_sine: np.ndarray, sets: np.ndarray, values: dict, errors: dict
    ) -> tuple[dict, dict]:
        """The layer's values and errors, with those of near-coincident pairs in the place of less accurate direct ones.

        Args:
            least_sine: (N, N), the least `sines` in the layers below.
            sets: (k, S), ascending.
            values, errors: packed tensors, (orbits, S); left as they are.
        """
        if not isinstance(self._mlp, MLP):
            return values, errors
        near = least_sine < _CLOSE
        places = {
            (p, q): columns
            for p, q in itertools.combinations(range(len(sets)), 2)
            if len(columns := np.flatnonzero(near[sets[p], sets[q]]))
        }
        wanted = {
            pair for places_of, columns in places.items()
            for pair in map(tuple, sets[list(places_of)][:, columns].T.tolist())
        }  # fmt: skip
        self._add(sorted(wanted - self._flows.keys()))
        known = {pair: flow for pair in sorted(wanted) if (flow := self._flows[pair])}
        if not known:
            return values, errors
        number = np.full(least_sine.shape, -1)
        number[tuple(np.array(list(known)).T)] = np.arange(len(known))
        values, errors = dict(values), dict(errors)
        for name in _mended(self._names):
            interpolated = np.stack(
                [batch.at(layer)[name][:, :, position] for batch, position in known.values()], axis=-1
            )  # (2, orbits, pairs)
            values[name], errors[name] = values[name].copy(), errors[name].copy()
            for (p, q), columns in places.items():
                pair = number[sets[p, columns], sets[q, columns]]
                rows = _orbits_on(name, len(sets), p, q)
                value, error = interpolated[:, :, pair]
                better = (pair >= 0) & (error.max(axis=0) < errors[name][rows[:, None], columns].max(axis=0))
                values[name][rows[:, None], columns[better]] = value[:, better]
                errors[name][rows[:, None], columns[better]] = error[:, better]
        return values, errors

    def _add(self, pairs: list[tuple[int, int]]) -> None:
        """Set up the flows of new pairs: None for a pair without a family."""
        families = {pair: _family(self._mlp, *self._X[list(pair)]) for pair in pairs}
        self._flows |= dict.fromkeys(pairs)
        members = [(pair, family) for pair, family in families.items() if family and self._coincides(family)]
        size = _AT_ONCE if all(a.slopes for a in self._mlp.activation) else 1
        for start in range(0, len(members), size):
            group = members[start : start + size]
            batch = _Batch(self._mlp, [family for _, family in group], self._names, self._computed)
            self._flows |= {pair: (batch, position) for position, (pair, _) in enumerate(group)}

    def _coincides(self, family: _Family) -> bool:
        """Whether at separation 0 samples are one variable, or well apart, in every layer.

        Where biases or norms keep them a little apart in some layer, statistics vary on that scale, which no polynomial follows.
        """
        return self._closest(self._mlp, np.stack([family.first, family.others[0]])) >= _CLOSE


def _mended(names: tuple[str, ...]) -> list[str]:
    """Those of the tensors in which nearly parallel samples cancel."""
    return [declared.name for declared in declarations(names) if declared.cancels_from]


def _orbits_on(name: str, k: int, p: int, q: int) -> np.ndarray:
    """Where the components of a two-sample set are kept in a set of k whose slots p and q hold the two."""
    number, members = TENSORS[name].orbits(k)[0], TENSORS[name].orbits(2)[1]
    return number[tuple(np.array([p, q])[members])]


class _Family(NamedTuple):
    """Pairs of inputs in a plane: `first` (2,) with each of `others` (nodes, 2), which coincides with it, or is parallel to it, at separation 0.

    `nodes` are those separations. At t, known up to `off`, the statistics are those of the pair in question, of which `first`
    is the second if `swapped`. `vanishing`: which of `Tensor.powers` of t tensors vanish with towards
    coincidence, as G1 and H1 do for a σ of two straight pieces, as on one sample; None if they do not.
    """

    first: np.ndarray
    others: np.ndarray
    nodes: np.ndarray
    t: float
    off: float
    swapped: bool
    vanishing: int | None

    def power_of(self, name: str) -> int:
        """The power of the separation by which a tensor vanishes towards coincidence; 0 where none is known."""
        return 0 if self.vanishing is None else TENSORS[name].powers[self.vanishing]


def _nodes(reach: float) -> np.ndarray:
    """Chebyshev's points of the second kind on [0, reach], ascending."""
    return reach * np.sin(np.pi / 2 * np.arange(_INTERVALS + 1) / _INTERVALS) ** 2


def _family(mlp: MLP, a: np.ndarray, b: np.ndarray) -> _Family | None:
    """The family in which b moves towards a. None if b is too far from a, or coincides with a or -a.

    If nothing but the angle tells the samples apart, or the norms are far apart, b turns to a or to -a. Otherwise b moves in a
    straight line, so that angle and difference of norms vanish together: with biases the next layer mixes the two. The shorter
    one stays, for the line to lead away from 0, where a kinked σ is not analytic.
    """
    C_b, C_W = np.array(mlp.C_b), mlp.C_W[0]
    swapped = bool(a @ a > b @ b)
    a, b = (b, a) if swapped else (a, b)
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    sign = -1.0 if C_b[0] == 0 and a @ b < 0 else 1.0
    # The norm of a with the bias as one more input.
    size = math.sqrt(norms[0] ** 2 + C_b[0] * mlp.widths[0] / C_W) if C_W > 0 else 0.0
    if not size:
        return None
    s = size * math.sqrt(C_W / mlp.widths[0])
    difference = sign * b - a
    distance = float(np.linalg.norm(difference))
    if not distance:
        return None
    axis = a / norms[0] if norms[0] else difference / distance
    along = difference @ axis
    # Twice, for what rounding leaves along the axis.
    across = difference - along * axis
    across = np.linalg.norm(across - (across @ axis) * axis)
    first = np.array([norms[0], 0.0])
    off = 4 * _EPS * distance / size
    linear = all(x.degree == 1 for x in mlp.activation)
    scales = not C_b.any() and all(x.degree is not None for x in mlp.activation)
    if not scales and distance <= _FARTHEST * size:
        t, nodes = distance / size, _nodes(_reach(mlp, sign, s))
        others = sign * (first + size * nodes[:, None] * np.array([along, across]) / distance)
        vanishing = 0 if linear and (sign > 0 or mlp.activation[0].parity == 1) else None
    else:
        t = math.atan2(across, norms[0] + along)
        if C_b[0] > 0 or t > _FARTHEST:
            return None
        nodes = _nodes(_reach(mlp, sign * norms[1] / norms[0], s))
        others = sign * norms[1] * np.stack([np.cos(nodes), np.sin(nodes)], axis=1)
        coincide = sign > 0 or all(x.parity == 1 for x in mlp.activation)
        vanishing = 1 if linear and scales and coincide else None
    return _Family(first, others, nodes, t, off, swapped, vanishing) if t <= nodes[-1] else None


def _reach(mlp: MLP, ratio: float, s: float) -> float:
    """How far the statistics of a pair are as good as analytic, in which z_b = ratio z_a at separation 0 and z_a ~ N(0, s²).

    The densities of z_a = κ and z_b = κ', kinks that do not coincide at separation 0, vanish towards it as exp(-c/t²).
    """
    # A homogeneous σ has its only kink at 0, even if others were declared.
    kinks = [np.array(x.kinks if x.degree is None else (0.0,)) for x in mlp.activation]
    gaps = np.concatenate([np.abs(np.subtract.outer(ratio * k, k)).ravel() for k in kinks])
    smallest = gaps[gaps > 0].min(initial=math.inf)
    return min(_REACH, _PER_GAP * smallest / (max(1.0, abs(ratio)) * s))


class _Batch:
    """The flows of several families, computed together, each family in a plane of its own. Layers are computed when asked for."""

    def __init__(self, mlp: MLP, families: list[_Family], names: tuple[str, ...], computed):
        self._families, self._names = families, names
        each, P = _INTERVALS + 2, len(families)
        X = np.zeros((P, each, P, 2))
        for i, family in enumerate(families):
            X[i, :, i] = [family.first, *family.others]
        start = each * np.arange(P)[:, None]
        others = start + np.arange(1, each)
        sets = TensorSets(
            np.stack([np.broadcast_to(start, others.shape).ravel(), others.ravel()]),
            each * P,
            names,
        )
        self._layers = computed(mlp, X.reshape(P * each, 2 * P), sets)
        self._done: list[dict[str, np.ndarray]] = []

    def at(self, layer: int) -> dict[str, np.ndarray]:
        """Values and errors of each tensor on each pair, (2, orbits, pairs)."""
        while len(self._done) < layer:
            values, errors = next(self._layers)
            self._done.append(
                {name: self._interpolated(name, values[name], errors[name]) for name in _mended(self._names)}
            )
        return self._done[layer - 1]

    def _interpolated(self, name: str, value: np.ndarray, error: TwoByteArray) -> np.ndarray:
        shape = len(value), len(self._families), _INTERVALS + 1
        values, errors = value.reshape(shape), error.floats().reshape(shape)
        fitted = [
            _at_separation(values[:, i], errors[:, i], family, family.power_of(name))
            for i, family in enumerate(self._families)
        ]
        exchanged = _orbits_on(name, 2, 1, 0)
        return np.stack(
            [
                f[:, exchanged] if family.swapped else f
                for family, f in zip(self._families, fitted, strict=True)
            ],
            axis=-1,
        )


def _at_separation(value: np.ndarray, error: np.ndarray, family: _Family, power: int) -> np.ndarray:
    """A tensor and its error (2, orbits) at separation t, from values and errors (orbits, nodes) of one that vanishes as t^power."""
    nodes, t = family.nodes, family.t
    if not power:
        return np.stack(_fit(nodes, value, error, t))
    # Relative to t^power the nearest nodes have lost the most digits.
    nodes, scale = nodes[1:], (t / nodes[1:]) ** power
    fitted, uncertainty = _fit(nodes, value[:, 1:] * scale, error[:, 1:] * scale, t)
    return np.stack([fitted, uncertainty + power * np.abs(fitted) * family.off / t])


def _fit(nodes: np.ndarray, value: np.ndarray, error: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Values at t and their uncertainties, (orbits,) each: of the polynomial fitted to `value` (orbits, nodes), weighted by `error`.

    Its degree is the one with the least uncertainty.
    """
    unit = error.max() or 1.0
    value, error = value / unit, error / unit + _LEAST
    size = error.max(axis=0)
    # Rows of very different sizes are orthogonalised to full accuracy if the largest come first.
    order = np.argsort(size)
    size, value, error = size[order], value[:, order], error[:, order]
    degree, half = len(nodes) - 1, nodes[-1] / 2
    at_nodes = chebvander(nodes[order] / half - 1, degree) / size[:, None]
    at_t = chebvander([t / half - 1], degree)[0]
    fits = []
    for terms in range(_INTERVALS // 3, degree + 2):
        q, r = np.linalg.qr(at_nodes[:, :terms])
        fits.append(q @ np.linalg.solve(r.T, at_t[:terms]) / size)
    fitted = value @ np.array(fits).T  # (orbits, degrees)
    change = sliding_window_view(np.abs(np.diff(fitted)), _DEGREES, axis=1).max(axis=2)
    # The nodes' errors may be related: rounding of what all pairs share is in all of them.
    uncertainty = error @ np.abs(fits[_DEGREES:]).T + change
    best = np.argmin(uncertainty.max(axis=0))
    return unit * fitted[:, _DEGREES + best], unit * uncertainty[:, best]
