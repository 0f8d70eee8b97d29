"""The errors of cutting the expansion at 1/n, and a standard deviation of the NTK that is resummed.

A layer adds a fluctuation of its own to the one that it inherits. The added one is quadratic in Ĥ below and grows with
E[Ĥ²] = H² (1 + y), where the leading order has H². With ' for the layer above, e for the leading relative variance of Ĥ_{ii;αβ} and τ
for the inherited part of e', the resummed relative variance y obeys

    y' = (τ / e) y + (e' - τ) (1 + min(y, ȳ)),   ȳ = √(y_αα y_ββ),   τ = f'² e + 2 f' o' D̂ + o'² V̂,

with the shares of H' that are inherited, f', and that the last weights add, o', and with the relative covariances D̂ of Ĥ with the
squared preactivations below, and V̂ of these with each other. The standard deviation is |H + H1/n| √y. Layers 1 and 2 are exact. A
second resummation, with τ = f'² e, shows how far to trust the first. `tests/campaigns/truncation.py` holds both against sampled networks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._recursions import TENSORS
from .._recursions.tensors import Correction
from ..network.network import has_blocks

if TYPE_CHECKING:
    from .statistics import LayerStatistics

_LEAST_CORRELATION = 1e-2  # of the NTK between two samples: below, corrections are not relative to H_αβ
_ROUNDED = 1e-6  # of this size: an H_αβ of which rounding leaves too little to divide by
# Measured on sampled networks.
_OF_SPREAD = 0.75  # of the metric's spread that later layers lose again: what it leaves in the sd at least
_OF_SHIFT = 1 / 3  # of a mean's 1/n correction: the next order
_OF_RESUMMED = 1 / 2  # of the leading sd's error: what the resummed one keeps
_LEAST_COMPONENT = 0.3  # of a tensor's diagonal components: below, the error of one is not relative to it

_NARROWEST = 1e-4  # of the widths: the least factor on them that is looked at
TOO_LARGE = 0.3  # a relative error of the leading sd: beyond, the expansion is of little use
GOOD = 0.1
TOO_WIDE = 0.5  # a relative sd of the NTK in a network of blocks, likewise
_DERIVED = ("ntk_mean", "ntk_std", "ntk_variance", "trace_mean", "trace_std", "eigenvalues", "eigenvalue_std")


def estimated() -> tuple[str, ...]:
    """The names of quantities that have an estimate of their truncation error."""
    return (
        *_DERIVED,
        *(
            name
            for name, declared in TENSORS.items()
            if declared.truncation or isinstance(declared.measured, Correction)
        ),
    )


@dataclass(frozen=True)
class Fluctuations:
    """One layer's fluctuations to leading order: for every pair of samples (N, N), or on the diagonal (N,). NaN where the flow has no tensors."""

    H: np.ndarray
    size: np.ndarray
    """|H|, or a hundredth of √(H_αα H_ββ) if that is more."""
    added: np.ndarray
    """o H: the part of H that the last weights add."""
    inherited: np.ndarray
    """f H: the part of H that comes from the layer below."""
    variance: np.ndarray
    """e H²."""
    with_metric: np.ndarray
    """D̂ H."""
    of_metric: np.ndarray
    """V̂."""
    spread: np.ndarray
    """Half the sum of the relative variances of the two samples' metric; 2 V̂ on the diagonal."""
    ntk_shift: np.ndarray
    """H1 / (n H)."""
    metric_size: np.ndarray
    """√(G_αα G_ββ)."""
    metric_shift: np.ndarray
    """|G1| / n over the metric's size."""


@dataclass(frozen=True)
class Expansion:
    """Estimates of one layer's orders beyond the first in 1/n; arrays are shaped as those of its fluctuations."""

    leading: Fluctuations
    variance: np.ndarray
    """y H²."""
    other_variance: np.ndarray
    """y H² of the second resummation, with τ = f'² e."""
    largest_spread: np.ndarray
    """The largest spread of this layer and those below; the next two likewise."""
    largest_ntk_shift: np.ndarray
    largest_metric_shift: np.ndarray

    @functools.cached_property
    def variance_ratio(self) -> np.ndarray:
        """The resummed variance of Ĥ_{ii;αβ} relative to the leading one; 1 where that vanishes."""
        return self._relative(self.variance)

    @functools.cached_property
    def of_leading_std(self) -> np.ndarray:
        """The truncation error of the leading standard deviation, relative to it."""
        from_metric = _OF_SPREAD * (self.largest_spread - self.leading.spread)
        return np.maximum(np.abs(np.sqrt(self._relative(self.other_variance)) - 1), from_metric)

    @property
    def of_std(self) -> np.ndarray:
        """The truncation error of the resummed standard deviation, relative to the leading one."""
        return _OF_RESUMMED * self.of_leading_std

    def of_mean(self, kernel: str) -> np.ndarray:
        """The truncation error of the kernel's mean, G + G1/n or H + H1/n."""
        shift, size = {
            "G": (self.largest_metric_shift, self.leading.metric_size),
            "H": (self.largest_ntk_shift, self.leading.size),
        }[kernel]
        return _OF_SHIFT * shift * size

    @property
    def relative_variance(self) -> np.ndarray:
        """The leading variance of Ĥ_{ii;αβ} relative to H²."""
        return self.relative(self.leading.variance)

    def relative(self, to_H_squared: np.ndarray) -> np.ndarray:
        """A quantity divided by H², and 0 where H is 0."""
        return _over(to_H_squared, self.leading.H**2)

    @property
    def growth(self) -> np.ndarray:
        """By what share the second resummation's variance exceeds the leading one."""
        leading = self.leading.variance
        return np.where(leading > 0, _over(self.other_variance, leading) - 1, 0.0)

    def _relative(self, variance: np.ndarray) -> np.ndarray:
        leading = self.leading
        ratio = np.where(leading.variance > 0, _over(np.maximum(variance, 0.0), leading.variance), 1.0)
        return ratio * (1 + leading.ntk_shift) ** 2


def fluctuations(s: LayerStatistics, diagonal: bool = False, wider: float = 1.0) -> Fluctuations:
    """The layer's fluctuations at `wider` times its network's widths; ComponentError if the flow has no tensors."""

    def tensor(name: str, pattern: str) -> np.ndarray:
        return s.on_pairs(name, pattern, diagonal) / (s.fan_in * wider)

    def kernel(name: str) -> np.ndarray:
        return np.diag(s[name]) if diagonal else s[name]

    G, H = kernel("G"), kernel("H")
    G_a, H_a = np.diag(s.G), np.diag(s.H)
    G_a, G_b, H_a, H_b = (G_a, G_a, H_a, H_a) if diagonal else (G_a[:, None], G_a, H_a[:, None], H_a)
    size = np.maximum(np.abs(H), _LEAST_CORRELATION * np.sqrt(H_a * H_b))
    metric_size = np.sqrt(G_a * G_b)
    a, b = _over(1.0, G_a), _over(1.0, G_b)
    aa, ab, bb = a * a * tensor("V", "aaaa"), a * b * tensor("V", "aabb"), b * b * tensor("V", "bbbb")
    bias, added = s.mlp.layers[s.layer - 1].added(G, H)
    per_width = 1 / (s.fan_in * wider)
    return Fluctuations(
        H=H,
        size=size,
        added=added,
        inherited=H - added - bias,
        variance=tensor("A", "abab") + tensor("B", "aabb") + tensor("B", "abba"),
        with_metric=(a * tensor("D", "aaab") + b * tensor("D", "bbab")) / 2,
        of_metric=(aa + bb + 2 * ab) / 4,
        spread=(aa + bb) / 2,
        ntk_shift=_over(np.sign(H) * kernel("H1") * per_width, size),
        metric_size=metric_size,
        metric_shift=_over(np.abs(kernel("G1")) * per_width, metric_size),
    )


def expanded(below: Expansion | None, leading: Fluctuations) -> Expansion:
    """A layer's expansion, from that of the layer below (None below the first) and its own fluctuations."""
    shifts = np.abs(leading.ntk_shift), leading.metric_shift
    if below is None:
        return Expansion(leading, leading.variance, leading.variance, leading.spread, *shifts)
    carried = _carried(below.leading, leading)
    inherited = carried**2 * below.leading.variance
    mixed = (
        2 * carried * leading.added * below.leading.with_metric + leading.added**2 * below.leading.of_metric
    )
    return Expansion(
        leading,
        _grown(below.variance, below.leading, leading.variance, inherited + mixed),
        _grown(below.other_variance, below.leading, leading.variance, inherited),
        np.maximum(below.largest_spread, leading.spread),
        np.maximum(below.largest_ntk_shift, shifts[0]),
        np.maximum(below.largest_metric_shift, shifts[1]),
    )


def _carried(below: Fluctuations, above: Fluctuations) -> np.ndarray:
    """C_W ⟨σ'σ'⟩, PDLT (8.63). Where H_αβ below vanishes, next to H_αα and H_ββ, it is taken from these."""
    carried = _over(above.inherited, below.H)
    if carried.ndim < 2:
        return carried
    diagonal = np.sqrt(np.maximum(np.diag(carried), 0.0))
    vanishes = np.abs(below.H) < _ROUNDED * below.size
    return np.where(vanishes, np.multiply.outer(diagonal, diagonal), carried)


def _grown(variance, below: Fluctuations, leading, inherited) -> np.ndarray:
    """y' H'², from y H² and from e' H'² and τ H'²."""
    relative = np.maximum(_over(variance, below.size**2), 0.0)
    if relative.ndim == 2:
        diagonal = np.sqrt(np.diag(relative))
        relative = np.minimum(relative, np.multiply.outer(diagonal, diagonal))
    resummed_by_leading = np.where(below.variance > 0, _over(variance, below.variance), 1.0)
    return resummed_by_leading * inherited + (leading - inherited) * (1 + relative)


def _over(a, b) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.zeros(b.shape), where=b != 0)


def estimate(s: LayerStatistics, name: str, leading: bool) -> np.ndarray:
    """The truncation error of one of `estimated`, with its shape; of standard deviations to leading order, or resummed."""
    if name in TENSORS:
        measured = TENSORS[name].measured
        if isinstance(measured, Correction):
            return s.fan_in * s.expansion.of_mean(measured.kernel)
        return _of_tensor(s, name)
    if name == "ntk_mean":
        return s.expansion.of_mean("H")
    if name == "ntk_std":
        return s.ntk_std(order=1) * (s.expansion.of_leading_std if leading else s.expansion.of_std)
    if name == "ntk_variance":
        of_std = estimate(s, "ntk_std", leading)
        return of_std * (2 * s.ntk_std(order=1 if leading else None) + of_std)
    if name == "trace_mean":
        return np.asarray(s.width * s.diagonal_expansion.of_mean("H").sum())
    if name == "trace_std":
        return np.asarray(_of_trace_std(s, leading))
    if name == "eigenvalues":
        v = np.linalg.eigh(s.ntk_mean())[1]
        return _OF_SHIFT * np.abs(np.einsum("ak,ab,bk->k", v, s.H1 / s.fan_in, v))
    assert name == "eigenvalue_std"
    v = np.linalg.eigh(s.ntk_mean())[1]
    expansion = s.diagonal_expansion
    return s.eigenvalue_std(order=1) * ((expansion.of_leading_std if leading else expansion.of_std) @ v**2)


def _of_trace_std(s: LayerStatistics, leading: bool) -> float:
    """From the errors of A and B: the share of A grows with the width of the layer, and the leading order misses most of A."""
    n, N = s.width, len(s.G)
    pairs = np.arange(N)[:, None], np.arange(N)
    of_A, of_B = (
        _of_components(s, name, s.on_pairs(name, pattern), (pairs[0], pairs[0], pairs[1], pairs[1])).sum()
        for name, pattern in (("A", "aabb"), ("B", "abab"))
    )
    first = s.trace_std(order=1)
    largest = math.sqrt(first**2 + (n * n * of_A + 2 * n * of_B) / s.fan_in)
    if leading:
        return largest - first
    resummed = s.trace_std()
    return max(abs(largest - resummed), _OF_RESUMMED * abs(resummed - first))


def _of_tensor(s: LayerStatistics, name: str) -> np.ndarray:
    assert s.sets is not None
    slots = np.ix_(*[np.arange(s.sets.shape[1])] * 4)
    values = s[name]
    samples = tuple(s.sets[:, slot] for slot in slots)
    return _of_components(s, name, values, samples if values.ndim > 4 else tuple(i[0] for i in samples))


def _of_components(s: LayerStatistics, name: str, values: np.ndarray, samples: tuple) -> np.ndarray:
    """The truncation errors of components of a tensor of four samples.

    On one sample they are a share, measured on sampled networks, of the component, or for A of A + 2B. On several the share is the mean of
    theirs.
    """
    if s.layer <= 2:
        return np.zeros_like(values)
    expansion = s.diagonal_expansion
    truncation = TENSORS[name].truncation
    assert truncation is not None
    on_one_sample = np.abs(s.on_pairs(name, "aaaa", diagonal=True))
    size = s.fan_in * expansion.leading.variance if truncation.of_variance else on_one_sample
    share = truncation.share(expansion, s.on_pairs("B", "aaaa", diagonal=True) / s.fan_in)
    mean_share = sum(share[i] for i in samples) / 4
    mean_size = math.prod(size[i] for i in samples) ** 0.25
    return mean_share * np.maximum(np.abs(values), _LEAST_COMPONENT * mean_size)


def widening(layers: Sequence[LayerStatistics], tolerance: float) -> float:
    """By how much all hidden widths must grow for the leading sd's error to be `tolerance` at most in every layer; 1 if it is.

    The largest error of one neuron's and sample's NTK counts. Tensors don't depend on the widths if their ratios are kept.
    """

    def largest_error(wider: float) -> float:
        return max(float(np.nanmax(e.of_leading_std, initial=0.0)) for e in _wider(layers, wider))

    return 1.0 if largest_error(1.0) <= tolerance else _factor_at(largest_error, tolerance)


def widths_at_spread(layers: Sequence[LayerStatistics], spread: float) -> float:
    """The factor on all hidden widths at which the resummed sd of the last layer's NTK, relative to H, is `spread` on average; NaN if none is."""

    def mean_spread(wider: float) -> float:
        *_, last = _wider(layers, wider)
        H = np.abs(last.leading.H)
        variance = last.variance_ratio * last.leading.variance
        return float(np.mean(np.sqrt(np.maximum(variance, 0.0))[H > 0] / H[H > 0])) if np.any(H > 0) else 0.0

    return _factor_at(mean_spread, spread) if mean_spread(_NARROWEST) > spread else math.nan


def _warning_of_blocks(layers: Sequence[LayerStatistics]) -> str | None:
    """The same of a network of blocks, for which nothing but the leading order is known."""
    spreads = [
        float(np.nanmax(_over(np.diag(layer.ntk_std()), np.diag(layer.H)), initial=0.0)) for layer in layers
    ]
    wide = [layer.layer for layer, spread in zip(layers, spreads, strict=True) if spread > TOO_WIDE]
    if not wide:
        return None
    return (
        f"the network is too narrow for an expansion in 1/n from layer {wide[0]} on: to leading order the sd of the NTK over seeds is "
        f"{max(spreads):.0%} of its mean"
    )


def _wider(layers: Sequence[LayerStatistics], wider: float) -> list[Expansion]:
    """The layers' expansions on the diagonal, at `wider` times the widths."""
    expansions: list[Expansion] = []
    for layer in layers:
        below = expansions[-1] if expansions else None
        expansions.append(expanded(below, fluctuations(layer, diagonal=True, wider=wider)))
    return expansions


def _factor_at(falling: Callable[[float], float], value: float) -> float:
    """The factor on the widths at which a function that falls with it takes a value."""
    import scipy.optimize

    low, high = math.log(_NARROWEST), 1.0
    while falling(math.exp(high)) > value:
        high *= 2
    solution = scipy.optimize.root_scalar(
        lambda x: falling(math.exp(x)) - value, bracket=(low, high), xtol=1e-3
    )
    return math.exp(solution.root)


def warning_of_width(layers: Sequence[LayerStatistics]) -> str | None:
    """A sentence if the expansion is of little use in some layer."""
    if has_blocks(layers[0].mlp):
        return _warning_of_blocks(layers)
    errors = [float(np.nanmax(layer.diagonal_expansion.of_leading_std, initial=0.0)) for layer in layers]
    narrow = [layer.layer for layer, error in zip(layers, errors, strict=True) if error > TOO_LARGE]
    if not narrow:
        return None
    factor = widening(layers, GOOD)
    return (
        f"the network is too narrow for an expansion in 1/n from layer {narrow[0]} on: cutting it changes the sd of the NTK over seeds by "
        f"some {max(errors):.0%}; with hidden widths {factor:.2g} times as large it would be {GOOD:.0%}"
    )
