"""The joint distribution of a layer's preactivations and NTK over seeds, to order 1/n, PDLT (8.19), (8.24), (8.40)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from .._gaussian.functions import TOLERANCE, Integration
from .._machine.memory import check_memory
from .._report import describe
from .._report.describe import InNotebooks
from .._report.progress import shows_bar
from .._theory.result import Flow
from .._theory.statistics import LayerStatistics
from ..errors import ComponentError, DataError, warn
from ..finite.parameters import key_of, layer_number, whole_number
from ..network.network import refuse_blocks
from . import cumulants, expansion, intralayer
from .action import QuarticAction, quartic_action
from .entries import NTK, ZZ, At, Z, checked_entry, ntk_at, preactivations_at
from .expansion import Expanded
from .functions import checked_function
from .sampler import Sampler, draw, sampler

if TYPE_CHECKING:
    from rich.table import Table

_WIDE = 0.7
_MISSING = 1e-2


def joint(flow: Flow, layer: int = -1) -> JointDistribution:
    """p(z, Ĥ | D) of a layer, counted from 1, or from the last as -1.

    Raises:
        SpecError: the network has blocks: behind a skip a layer's distribution has more tensors.
        ComponentError: there is no such layer; methods raise it for samples on which the flow does not hold a tensor.
    """
    if not isinstance(flow, Flow):
        raise ComponentError(f"flow must be a Flow, not {type(flow).__name__}")
    refuse_blocks(flow.mlp)
    number = layer_number(flow.mlp, layer)
    return JointDistribution(flow[number], expansion.kinks_of(flow, number))


@dataclass(frozen=True)
class Validity:
    """How far the expansion in 1/n is from being a probability distribution.

    Attributes:
        negative_mass: ∫ of the negative part of the truncated p(z), ± `negative_mass_err`. The positive part exceeds 1 by as much.
        spread: the largest relative standard deviation over seeds of the metric Ĝ, in any direction of the samples' space.
        missing: the largest negative part of a covariance of the NTK given z, relative to all of it; `sample` leaves it out.
    """

    negative_mass: float
    negative_mass_err: float
    spread: float
    missing: float

    def __repr__(self) -> str:
        return f"Validity: {self.words}"

    @property
    def words(self) -> str:
        """One sentence."""
        measures = (
            f"negative mass {self.negative_mass:.2g}, spread of the metric {self.spread:.2g}, negative part of a"
            f" covariance {self.missing:.2g}"
        )
        if self.spread > _WIDE or self.missing > _MISSING or self.negative_mass > _MISSING:
            return f"1/n is too large: the truncated expansion is no probability distribution ({measures})."
        return f"The truncated expansion may be used as a probability distribution ({measures})."


@dataclass(frozen=True, eq=False)
class JointDistribution(InNotebooks):
    """p(z, Ĥ | D) of one layer to order 1/n; in layer 1 a Gaussian and a constant, PDLT (8.21), (8.23).

    Functions are JAX functions of the preactivations that `at` lists, z[k] = z_{i_k;α_k}: pairs (neuron, sample), or samples alone
    for neuron 0. They are never differentiated by z. Kinks and jumps cost no accuracy where z_{i;α} is one of `kinks`: 0, and where the
    layer's activation has its own.
    """

    layer: LayerStatistics
    kinks: tuple[float, ...]

    def __repr__(self) -> str:
        layer, sets = self.layer, self.layer.sets
        contents = "means alone, no cumulants"
        if sets is not None:
            contents = (
                "all cumulants" if sets.size == len(layer.X) else f"cumulants on {len(sets)} sets of samples"
            )
        return (
            f"JointDistribution of preactivations and NTK in layer {layer.layer} of {layer.mlp.depth}, to order 1/n, n = {layer.fan_in}\n"
            f"{layer.mlp!r}\n{describe.samples(layer.X)}, {describe.counted(layer.width, 'neuron')}; {contents}\n"
            f"functions may have kinks at {', '.join(f'{kink:g}' for kink in self.kinks)}"
        )

    def table(self) -> Table:
        """Of one neuron, for some of the samples: mean square and kurtosis of z, mean, sd and correlation with z² of the NTK.

        Raises:
            ComponentError: the flow holds means alone.
        """
        from .report import joint_table

        return joint_table(self)

    def cumulant(self, *entries: Z | NTK) -> float:
        """The connected expectation of some z_{i;α} and Ĥ_{i1i2;α1α2}, in any order.

        Known are E[zz], E[Ĥ], E[zzzz]_c, E[zzΔĤ], E[ΔĤΔĤ], and all with an odd number of z's, which vanish.

        Raises:
            ComponentError: an entry is out of range, or the cumulant of order 1/n² or higher.
        """
        checked = [checked_entry(self.layer, entry) for entry in entries]
        z = [entry for entry in checked if isinstance(entry, Z)]
        H = [entry for entry in checked if isinstance(entry, NTK)]
        n = self.layer.fan_in
        if len(z) + len(H) < len(checked) or not checked:
            raise ComponentError("a cumulant is one of Z's and NTK's")
        if len(z) % 2:
            return 0.0
        match len(z), len(H):
            case 2, 0:
                G, G1 = (cumulants.two(self.layer, name, z[0], z[1]) for name in ("G", "G1"))
                return float(G + G1 / n)
            case 0, 1:
                H0, H1 = (cumulants.mean_ntk(self.layer, name, H[0]) for name in ("H", "H1"))
                return float(H0 + H1 / n)
            case 4, 0:
                return float(cumulants.zzzz(self.layer, z[0], z[1], z[2], z[3])) / n
            case 2, 1:
                return float(cumulants.zzH(self.layer, z[0], z[1], H[0])) / n
            case 0, 2:
                return float(cumulants.HH(self.layer, H[0], H[1])) / n
        raise ComponentError(
            f"the cumulant of {len(z)} z's and {len(H)} NTK elements is of higher order than 1/n"
        )

    def covariance(self, first: ZZ | NTK, second: ZZ | NTK) -> float:
        """Cov over seeds of two entries of (z z, Ĥ), to order 1/n."""
        return cumulants.covariance(self.layer, self._product(first), self._product(second))

    def correlation(self, first: ZZ | NTK, second: ZZ | NTK) -> float:
        """Corr over seeds of two entries of (z z, Ĥ), to leading order. ComponentError where a variance is not positive."""
        return cumulants.correlation(self.layer, self._product(first), self._product(second))

    def _product(self, entry: ZZ | NTK):
        if isinstance(entry, Z):
            raise ComponentError("a covariance is one of ZZ's and NTK's; that of two z's is cumulant(z1, z2)")
        return checked_entry(self.layer, entry)

    @shows_bar("compiling and integrating")
    def expect(self, f: Callable, at: At, ntk: Sequence = (), tolerance: float = TOLERANCE) -> Expanded:
        """E[f(z)], or E[f(z, Ĥ)], to order 1/n.

        Args:
            f: f(z), z (d,); with `ntk` f(z, h), which must be smooth in h.
            at: the preactivations, pairs (i, α) or samples of neuron 0.
            ntk: the elements h[k] = Ĥ_{i1i2;α1α2}, quadruples (i1, i2, α1, α2).
            tolerance: of the integration, relative to √⟨f²⟩; the error reached is reported.

        Raises:
            ObservableError: f is not scalar, finite and traceable. ComponentError: indices, or tensors that are not held.
        """
        z = preactivations_at(self.layer, at)
        elements = ntk_at(self.layer, ntk)
        d, K = len(z.neuron), len(elements.neuron1)
        how = Integration(tolerance, self.kinks)
        if K == 0:
            return expansion.expect_z(self.layer, checked_function(f, d), z, how)
        return expansion.expect_joint(self.layer, checked_function(f, d, K), z, elements, how)

    @shows_bar("compiling and integrating")
    def expect_with_ntk(
        self, f: Callable, at: At, ntk: tuple[int, int, int, int], tolerance: float = TOLERANCE
    ) -> Expanded:
        """E[f(z) ΔĤ_{i3i4;34}], PDLT (8.71), to order 1/n; arguments as of `expect`, with one element of the NTK."""
        z, element = preactivations_at(self.layer, at), ntk_at(self.layer, [ntk])
        estimate = expansion.expect_with_ntk(
            self.layer, checked_function(f, len(z.neuron)), z, element, Integration(tolerance, self.kinks)
        )
        n = self.layer.fan_in
        return Expanded(0.0, float(estimate[0, 0]), n, float(estimate[1, 0]) / n)

    @shows_bar("compiling and integrating")
    def covariance_of(
        self, f: Callable, f_at: At, g: Callable, g_at: At, tolerance: float = TOLERANCE
    ) -> Expanded:
        """Cov[f, g] over seeds to order 1/n: PDLT (8.41) where f and g have no neuron in common, of order 1 otherwise."""
        z_f, z_g = preactivations_at(self.layer, f_at), preactivations_at(self.layer, g_at)
        f = checked_function(f, len(z_f.neuron), name="f")
        g = checked_function(g, len(z_g.neuron), name="g")
        return intralayer.covariance(self.layer, f, z_f, g, z_g, Integration(tolerance, self.kinks))

    def action(self, neurons: int = 1, samples: Sequence[int] | None = None) -> QuarticAction:
        """The log-density of z of some neurons on some samples, by default all: a quartic action, PDLT (4.80)-(4.82)."""
        return quartic_action(self.layer, self._neurons(neurons), self.samples(samples))

    @shows_bar("compiling and drawing")
    def sample(
        self, key, neurons: int, draws: int, samples: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws of z (draws, m, k) and Ĥ (draws, m, m, k, k) of m neurons on k samples, by default all.

        Means, variances and cross-correlations are the theory's to order 1/n. A warning says where the expansion is too poor
        for that, with the measures of `validity`.

        Args:
            key: a JAX key or an integer seed. The same key gives the same draws.

        Raises:
            ComponentError, ParameterError, DataError: arguments out of range, or tensors that are not held.
            MemoryRequestError: the draws would not fit in memory.
        """
        m, indices = self._neurons(neurons), self.samples(samples)
        draws = whole_number(draws, "draws", 1, 2**53, DataError)
        check_memory(
            32 * draws * (m * len(indices)) ** 2, f"{draws} draws of the NTK", "fewer draws at a time"
        )
        factors = self.sampler(samples)
        warn_of_width(self.layer, factors.spread, factors.missing)
        with jax.enable_x64(True):
            return tuple(map(np.asarray, draw(factors.arrays(), key_of(key), m, draws)))  # type: ignore[return-value]

    def sampler(self, samples: Sequence[int] | None = None) -> Sampler:
        """The factors of covariances that `sample` draws with, made once for each choice of samples."""
        return _sampler(self, tuple(self.samples(samples).tolist()))

    def validity(
        self, neurons: int = 1, samples: Sequence[int] | None = None, draws: int = 20_000
    ) -> Validity:
        """Whether the truncated expansion may be used as a probability distribution of that many neurons; see `Validity`."""
        m, indices = self._neurons(neurons), self.samples(samples)
        factors, action = self.sampler(samples), self.action(neurons, samples)
        rng = np.random.default_rng(0)
        z = rng.normal(size=(draws, m, factors.root.shape[1])) @ factors.root.T
        assert z.shape[2] == len(indices)
        negative = np.maximum(-action.relative_density(z), 0.0)
        error = float(negative.std(ddof=1) / np.sqrt(draws))
        return Validity(float(negative.mean()), error, factors.spread, factors.missing)

    def _neurons(self, neurons: int) -> int:
        return whole_number(neurons, "neurons", 1, self.layer.width, ComponentError)

    def samples(self, samples: Sequence[int] | None) -> np.ndarray:
        """Indices of samples, by default of all; ComponentError if they are out of range, repeated or none."""
        if samples is None:
            return np.arange(len(self.layer.G))
        indices = preactivations_at(self.layer, [(0, a) for a in samples]).sample
        if len(indices) == 0 or len(set(indices.tolist())) < len(indices):
            raise ComponentError(f"samples must be some different samples, not {samples!r}")
        return indices


@functools.lru_cache(maxsize=8)
def _sampler(distribution: JointDistribution, samples: tuple[int, ...]) -> Sampler:
    return sampler(distribution.layer, np.array(samples))


def warn_of_width(layer: LayerStatistics, spread: float, missing: float = 0.0) -> None:
    """Warn where 1/n is too large for the truncated expansion."""
    if spread > _WIDE or missing > _MISSING:
        signs = [f"the metric's relative spread over seeds is {spread:.2g}"] if spread > _WIDE else []
        signs += (
            [f"a covariance has a negative part of {missing:.2g}, which is left out"]
            if missing > _MISSING
            else []
        )
        warn(
            f"layer {layer.layer}: 1/n is too large for the truncated expansion ({', '.join(signs)}): take the numbers for a rough guide,"
            " or a wider network"
        )
