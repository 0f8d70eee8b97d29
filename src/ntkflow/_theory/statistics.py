"""LayerStatistics: the tensors of a layer by name, and the quantities most often derived from them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._checks.spelling import did_you_mean
from .._recursions import TENSORS
from .._report import describe
from ..errors import ComponentError
from ..network.mlp import MLP
from ..network.network import fan_in, has_blocks
from .deferred import Tables
from .named_arrays import NamedArrays
from .scales import KERNELS, SPLIT, natural_scales
from .truncation import Expansion, estimate, estimated, expanded, fluctuations

_PAIRWISE = ("ntk_mean", "mean_correction", "ntk_variance", "ntk_std", "ntk_preactivation_correlation")
_ROUNDOFF = 1e-11


@dataclass(frozen=True, eq=False)
class LayerStatistics(NamedArrays[np.ndarray]):
    """The statistics of layer `layer` (1 … L) of a network.

    Tensors of four samples are (N, N, N, N) for components="all", otherwise (sets, k, k, k, k) over `sets` (sets, k); axes follow the
    subscripts: `F[a1, a3, a2, a4]`, `B[a1, a3, a2, a4]`. `layer["V"]` is `layer.V`; `error` and `truncation` tell its errors.
    """

    mlp: MLP
    X: np.ndarray
    layer: int
    sets: np.ndarray | None
    values: Tables
    errors: Tables
    below: LayerStatistics | None = None
    """The layer below; None for layer 1, and where there are no tensors."""

    ELSEWHERE: ClassVar = 'is not held by this flow; ask for components="pairs" or "all"'

    def __getitem__(self, name: str) -> np.ndarray:
        """The array of a name: G, H, bias_contributions, weight_contributions or a tensor; ComponentError if it is not held."""
        return self._get(self.values, name)

    @property
    def bias_contributions(self) -> np.ndarray:
        """The parts of H that come from the biases of each layer 1 … ℓ: (ℓ, N, N)."""
        return self["bias_contributions"]

    @property
    def weight_contributions(self) -> np.ndarray:
        """The parts of H that come from the weights of each layer 1 … ℓ: (ℓ, N, N)."""
        return self["weight_contributions"]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of arrays that such a layer may have."""
        return (*KERNELS, *TENSORS, *SPLIT)

    def __repr__(self) -> str:
        return describe.layer(self)

    @property
    def width(self) -> int:
        """n_ℓ."""
        return self.mlp.widths[self.layer]

    @property
    def fan_in(self) -> int:
        """The n of whose inverse G1, H1 and the tensors are coefficients: n_{ℓ-1}, or the width of the stream in a network of blocks."""
        return fan_in(self.mlp, self.layer)

    def _get(self, table: Tables, name: str) -> np.ndarray:
        self._check_name(name)
        return table[name]

    def _largest(self, table: Tables, name: str) -> float:
        self._check_name(name)
        return table.largest(name)

    def _check_name(self, name: str) -> None:
        if name not in self.names:
            raise ComponentError(
                f"there is no tensor {name!r}{did_you_mean(name, self.names)}; tensors are {', '.join(self.names)}"
            )
        if name not in self.values:
            raise ComponentError(f"{name} {self._elsewhere(name)}")

    def _elsewhere(self, name: str) -> str:
        """Why an array is not held."""
        if has_blocks(self.mlp) and name in ("G1", "H1") and "V" in self.values:
            return (
                "is not computed for this network: behind norms, and where skips pass several nonlinear layers, it is for smooth activations, "
                "or for one activation that is two straight lines through 0"
            )
        if name in TENSORS and TENSORS[name].streams and not has_blocks(self.mlp):
            return "is of networks of blocks: behind dense layers it vanishes"
        if name not in TENSORS or not TENSORS[name].training:
            return self.ELSEWHERE
        if has_blocks(self.mlp):
            return "is of dense layers"
        if TENSORS[name].smooth and any(a.kinked for a in self.mlp.activation):
            return (
                "is not offered for activations with a kink: a neuron that crosses it jumps in its own velocity, so that training "
                "changes the mean NTK at order 1/√n and not 1/n"
            )
        return "is a tensor of training; ask for it with training=True"

    def _has_sets(self, name: str) -> bool:
        """Whether a tensor has an axis of sets."""
        return self.values.rank(name) > TENSORS[name].rank

    def error(self, name: str) -> np.ndarray:
        """Absolute error estimates of a tensor, with its shape."""
        return self._get(self.errors, name)

    def relative_error(self, name: str) -> float:
        """The largest error estimate of a tensor relative to its largest component; 0 if it is zero up to round-off."""
        if self.vanishes(name):
            return 0.0
        return self._largest(self.errors, name) / self._largest(self.values, name)

    def vanishes(self, name: str) -> bool:
        """Whether a tensor is zero up to round-off."""
        top, error = (self._largest(table, name) for table in (self.values, self.errors))
        return top <= error <= _ROUNDOFF * natural_scales(self.values)[name]

    def component(self, name: str, *samples: int) -> float:
        """One component, samples in the order of the tensor's axes; ComponentError if the flow does not hold it."""
        ranks = dict.fromkeys(KERNELS, 2) | {declared.name: declared.rank for declared in TENSORS.values()}
        rank = ranks.get(name)
        if rank is None or len(samples) != rank:
            two, three, four = (
                ", ".join(other for other in ranks if ranks[other] == size) for size in (2, 3, 4)
            )
            raise ComponentError(
                f"no component {name}{samples}: {two} take two samples, {three} three, {four} four"
            )
        limits = self.G.shape if rank == 2 else (len(self.G),) * rank
        if not all(0 <= a < limit for a, limit in zip(samples, limits, strict=True)):
            raise ComponentError(f"{name}{samples}: samples are 0 … {max(limits) - 1}")
        missing = f"{name}{samples} is not held; add the set {tuple(sorted(set(samples)))} to components"
        if rank == 2:
            self._check_name(name)
            value = float(self.values.entries(name, samples))
            if np.isnan(value):
                raise ComponentError(missing)
            return value
        self._check_name(name)
        if not self._has_sets(name):
            return float(self.values.entries(name, samples))
        assert self.sets is not None
        holds = np.all((self.sets[:, :, None] == np.array(samples)).any(axis=1), axis=1)
        if not holds.any():
            raise ComponentError(missing)
        row = int(np.argmax(holds))
        slots = (int(np.argmax(self.sets[row] == a)) for a in samples)
        return float(self.values.entries(name, (row, *slots)))

    def on_pairs(self, name: str, pattern: str, diagonal: bool = False) -> np.ndarray:
        """X_pattern for every pair (α, β), e.g. "abab": (N, N), NaN where not held; or for β = α alone: (N,)."""
        self._check_name(name)
        sets = self.sets
        assert sets is not None
        k = sets.shape[1]
        slot = (
            dict.fromkeys("ab", np.arange(k))
            if diagonal
            else {"a": np.arange(k)[:, None], "b": np.arange(k)[None]}
        )
        index = tuple(slot[c] for c in pattern)
        if not self._has_sets(name):
            return self.values.entries(name, index)
        if diagonal:
            out = np.full(len(self.G), np.nan)
            samples, row, slot_of = self._first_places
            out[samples] = self.values.entries(name, (row, *[slot_of] * len(pattern)))
            return out
        out = np.full(self.G.shape, np.nan)
        out[sets[:, :, None], sets[:, None, :]] = self.values.of_all_sets(name, index)
        return out

    @functools.cached_property
    def _first_places(self) -> tuple[np.ndarray, ...]:
        """Of each sample that is in a set: which it is, the first such set, and the sample's slot there."""
        assert self.sets is not None
        samples, first = np.unique(self.sets, return_index=True)
        return samples, *np.unravel_index(first, self.sets.shape)

    def ntk_mean(self) -> np.ndarray:
        """H + H1 / n_{ℓ-1}, (N, N)."""
        return self.H + self.H1 / self.fan_in

    def mean_correction(self) -> np.ndarray:
        """H1 / (n_{ℓ-1} H), the relative 1/n correction of the mean NTK, (N, N)."""
        return np.divide(self.H1, self.fan_in * self.H, out=np.zeros_like(self.H), where=self.H != 0)

    def ntk_variance(self, neurons: str = "same", order: int | None = None) -> np.ndarray:
        """Var Ĥ_{ii;αβ} (neurons="same") or Var Ĥ_{ij;αβ} ("different") over seeds, (N, N).

        Args:
            neurons: "same" or "different".
            order: 1 for the leading order in 1/n, PDLT (8.82). None for the best that is known: for the same neuron the resummed
                variance, see `truncation`; for different ones the leading order.
        """
        variance = self.on_pairs("B", "aabb")
        if _same(neurons):
            variance = variance + self.on_pairs("A", "abab") + self.on_pairs("B", "abba")
            if self._resums(order):
                variance = variance * self.expansion.variance_ratio
        return variance / self.fan_in

    def ntk_std(self, neurons: str = "same", order: int | None = None) -> np.ndarray:
        """Standard deviation over seeds of Ĥ_{ii;αβ} or Ĥ_{ij;αβ}, (N, N); arguments as of `ntk_variance`."""
        return np.sqrt(np.maximum(self.ntk_variance(neurons, order), 0.0))

    def ntk_preactivation_correlation(self, neurons: str = "same") -> np.ndarray:
        """Corr(z_{i;α} z_{i;β}, Ĥ_{ii;αβ}), or with Ĥ_{jj;αβ}, over seeds, PDLT (8.67), (N, N).

        To leading order: where 1/n is not small it may exceed 1.
        """
        covariance = self.on_pairs("D", "abab")
        if _same(neurons):
            covariance = covariance + self.on_pairs("F", "aabb") + self.on_pairs("F", "abba")
        g = np.diag(self.G)
        variance = np.maximum(self.ntk_variance(order=1), 0.0)
        spread = np.sqrt((np.multiply.outer(g, g) + self.G**2) * variance)
        out = np.divide(covariance / self.fan_in, spread, out=np.zeros_like(spread), where=spread != 0)
        return np.where(np.isnan(covariance), np.nan, out)

    def _complete(self, table: np.ndarray) -> np.ndarray:
        if np.any(np.isnan(table)):
            raise ComponentError('this needs every pair of samples: ask for components="pairs" or "all"')
        return table

    def trace_mean(self) -> float:
        """Mean of Σ_i Σ_α Ĥ_{ii;αα}, its 1/n correction included."""
        return float(self.width * self._complete(np.diag(self.ntk_mean())).sum())

    def trace_std(self, order: int | None = None) -> float:
        """Standard deviation over seeds of Σ_i Σ_α Ĥ_{ii;αα}; `order` as of `ntk_variance`."""
        n = self.width
        total = n * n * self.on_pairs("A", "aabb") + 2 * n * self.on_pairs("B", "abab")
        variance = max(float(self._complete(total).sum()) / self.fan_in, 0.0)
        return math.sqrt(variance * (self._mean_ratio() if self._resums(order) else 1.0))

    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of the mean NTK of one neuron, ascending, (N,)."""
        return np.linalg.eigvalsh(self._complete(self.ntk_mean()))

    def eigenvalue_std(self, order: int | None = None) -> np.ndarray:
        """Standard deviation over seeds of those eigenvalues of Ĥ_{ii}, to first order in ΔĤ, (N,).

        From A and B where all their components are held; otherwise sampled, with a standard error of 1 %, N³ time. It is right where it
        is small against the distance to the next eigenvalue.

        Args:
            order: as of `ntk_variance`.
        """
        v = np.linalg.eigh(self._complete(self.ntk_mean()))[1]
        ratio = self.diagonal_expansion.variance_ratio @ v**2 if self._resums(order) else 1.0
        return np.sqrt(np.maximum(self.variance_along(v) * ratio, 0.0))

    def variance_along(self, v: np.ndarray) -> np.ndarray:
        """The variance over seeds of vᵀĤ_{ii}v for every column of v (N, m), to leading order: (m,).

        As in `eigenvalue_std`, sampled where not all components of A and B are held.
        """
        if self.sets is not None and np.array_equal(self.sets, np.arange(len(v))[None]):
            # B_1324 and B_1423 contract with v v v v to the same number.
            components = (self.A + 2 * self.B).reshape((len(v),) * 4)
            return np.einsum("abcd,ak,bk,ck,dk->k", components, v, v, v, v, optimize=True) / self.fan_in
        return self._sampled_variances(v)

    def _sampled_variances(self, v: np.ndarray) -> np.ndarray:
        from .quadratic_forms import variances

        return variances(self.mlp, self.X, self.layer, v).total

    @functools.cached_property
    def expansion(self) -> Expansion:
        """The orders beyond the first in 1/n, for every pair of samples."""
        return self._expanded("expansion", diagonal=False)

    @functools.cached_property
    def diagonal_expansion(self) -> Expansion:
        """The orders beyond the first in 1/n, on the diagonal."""
        return self._expanded("diagonal_expansion", diagonal=True)

    def _expanded(self, attribute: str, diagonal: bool) -> Expansion:
        """The expansions of all layers below come first, from the lowest up: recursion would go too deep. Each layer keeps its own."""
        not_expanded: list[LayerStatistics] = [self]
        while not_expanded[-1].below is not None and attribute not in vars(not_expanded[-1].below):
            not_expanded.append(not_expanded[-1].below)
        for layer in not_expanded[:0:-1]:
            getattr(layer, attribute)
        below = None if self.below is None else getattr(self.below, attribute)
        return expanded(below, fluctuations(self, diagonal))

    def _mean_ratio(self) -> float:
        """The ratio of the resummed variance to the leading one: the mean over samples, weighted by the leading one."""
        expansion = self.diagonal_expansion
        total = float(expansion.leading.variance.sum())
        return float((expansion.variance_ratio * expansion.leading.variance).sum()) / total if total else 1.0

    def truncation(self, name: str, order: int | None = None) -> np.ndarray:
        """Absolute errors of cutting the expansion at 1/n (or of the resummation), with the shape of what is named.

        They are estimates, right within a factor 3 nearly everywhere; layers 1 and 2 are exact. Beside them, `error` tells the errors
        of the integration.

        Args:
            name: "ntk_mean", "ntk_std", "ntk_variance", "trace_mean", "trace_std", "eigenvalues", "eigenvalue_std", or one of the
                tensors G1, H1, V, D, F, A, B.
            order: 1 for the errors of `ntk_std(order=1)` and the like.

        Raises:
            ComponentError: there is no such quantity, or this flow lacks what it takes.

        Example:
            >>> flow[-1].ntk_std()[0, 0], flow[-1].truncation("ntk_std")[0, 0]
        """
        if name not in (known := estimated()):
            raise ComponentError(f"there is no truncation error of {name!r}; there is of {', '.join(known)}")
        if has_blocks(self.mlp):
            raise ComponentError(
                "the errors of cutting the expansion at 1/n have not been measured for networks of blocks: only the leading order is known"
            )
        return estimate(self, name, leading=not self._resums(order))

    def _resums(self, order: int | None) -> bool:
        if order not in (1, None):
            raise ComponentError(f"order must be 1, for the leading order in 1/n, or None, not {order!r}")
        return order is None and not has_blocks(self.mlp)

    def block(self, name: str, rows, cols) -> np.ndarray:
        """The train/test block of a tensor or a derived (N, N) quantity: 1, 3 (first of each pair) in rows, 2, 4 in cols."""
        names = (*KERNELS, *TENSORS, *_PAIRWISE)
        if name not in names:
            raise ComponentError(f"there is no block of {name!r}; there is of {', '.join(names)}")
        value = getattr(self, name)() if name in _PAIRWISE else self[name]
        if value.ndim == 2:
            return value[np.ix_(rows, cols)]
        if value.ndim != TENSORS[name].rank:
            raise ComponentError(f'a block of {name} needs components="all"')
        axes = [rows if sample in "13" else cols for sample in TENSORS[name].subscripts]
        return value[np.ix_(*axes)]


def _same(neurons: str) -> bool:
    if neurons not in ("same", "different"):
        raise ComponentError(f'neurons must be "same" or "different", not {neurons!r}')
    return neurons == "same"
