"""Kernels of all layers of a network of blocks, and every expectation that its tensors need, on all samples: what comes before the tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .._gaussian import Rule
from .._gaussian.layer_products import (
    ProductIndex,
    ProductMoments,
    both_ways,
    product_index,
    product_moments,
    smooth_product_moments,
)
from .._gaussian.layer_series import LayerSeries
from ..activations import Activation
from ..network.blocks import Block, Stage
from ..network.network import Network
from ..network.parallel import Parallel
from .correlations import correcting_words, is_straight
from .functions import norm_factor
from .tables import StageTables, stage_tables


class Indices(NamedTuple):
    """Of the sets on which tensors are wanted: of a layer with itself, and of two layers."""

    same: ProductIndex
    other: ProductIndex

    def of_sets(self, columns: slice) -> Indices:
        """Those of some of the sets alone."""
        return Indices(*(index.of_sets(columns) for index in self))

    def within(self, whole: Indices) -> Indices:
        """Those of the same sets among the integrals of larger ones."""
        return Indices(*(mine.within(theirs) for mine, theirs in zip(self, whole, strict=True)))


def indices_of(sets: np.ndarray, samples: int) -> Indices:
    """Of sets (k, S) out of so many samples."""
    return Indices(*(product_index(sets, samples, same) for same in (True, False)))


class StageIntegrals(NamedTuple):
    """A stage on a layer that it reads.

    Attributes:
        G, H: of that layer, (N, N). nu: (N,), of y = ν z.
        metric, ratio: of y, as of `gaussian.integrals`.
        own: moments of the layer with itself; None for a φ that is linear, or where no tensors are wanted.
    """

    stage: Stage
    G: np.ndarray
    H: np.ndarray
    nu: np.ndarray
    metric: np.ndarray
    ratio: np.ndarray
    tables: StageTables
    own: ProductMoments | None


class LayerIntegrals(NamedTuple):
    """A layer of the stream and the block that reads it; `block` is None, and what follows it empty, in the last one.

    Attributes:
        layer: 1 … L. G, H: (N, N). shares: H = biases + weights + carried · (H of the layer below), these three; None in layer 1. width: neurons. parallel: which samples are one variable.
        stages: of the block. inner_widths: of each stage's u.
        lower: for each layer that the stream remembers here, from the lowest, the moments with it; None where there are polynomials alone.
    """

    layer: int
    G: np.ndarray
    H: np.ndarray
    shares: tuple[Any, Any, Any] | None
    width: int
    parallel: Parallel
    block: Block | None
    stages: list[StageIntegrals]
    inner_widths: tuple[int, ...]
    lower: list[ProductMoments | None]


def network_integrals(
    network: Network, G, H, parallel: Parallel, indices: Indices | None, means: bool, rule: Rule, nudge
) -> Iterator[LayerIntegrals]:
    """Layer by layer, from G, H and `parallel` of the embedding.

    Args:
        indices: of the sets on which tensors are wanted; None for none. means: whether what corrects the means is wanted there, too.
        nudge: `nudge(G)` is G changed in its last digits.

    Raises:
        OverflowError: G or a variance overflows.
    """
    past: list[Source] = []
    shares = None
    for number, (block, width) in enumerate(zip(network.blocks, network.widths[1:], strict=False), start=1):
        inner_widths = block.inner_widths(network.widths[number + 1])
        words = _upper_words(block.stages[0], means)
        stages, series, G_u, shares_u, parallel_u = _through_stages(
            block, G, H, parallel, indices, sum(words, ()) if past else (), means, rule, nudge
        )
        source = Source(stages[0], 1.0, series)
        lower = [] if indices is None else _with_lower(source, past, indices.other, words, rule)
        yield LayerIntegrals(number, G, H, shares, width, parallel, block, stages, inner_widths, lower)
        γ = block.gamma
        bias, weight, carried = shares_u
        shares = bias, weight, γ**2 + carried
        G, H = γ**2 * G + G_u, bias + weight + shares[2] * H
        parallel = parallel.with_skip(parallel_u) if γ != 0 else parallel_u
        past = [x._replace(gamma=γ * x.gamma) for x in [*past, source]] if γ != 0 else []
    yield LayerIntegrals(
        network.depth, G, H, shares, network.widths[-1], parallel, None, [], (), [None] * len(past)
    )


def _through_stages(
    block: Block, G, H, parallel: Parallel, indices: Indices | None, upper_words: tuple[str, ...], means: bool,
    rule: Rule, nudge,
):  # fmt: skip
    """The integrals of a block's stages; the series of the first one, which are for `upper_words`, too; and of its last u G, the shares of H, and `parallel`."""
    first: LayerSeries | None = None
    stages: list[StageIntegrals] = []
    bias, weight, carried = np.zeros_like(G), np.zeros_like(G), np.ones_like(G)
    for stage in block.stages:
        changed = nudge(G)
        nu = norm_factor(stage, np.diag(changed))
        metric = changed * np.multiply.outer(nu, nu)
        parallel_y = parallel.scaled(nu, exactly_one=stage.norm != "none" and stage.eps == 0)
        tables = stage_tables(stage.activation, metric, parallel_y.ratio, stage.lambda_g > 0, means, rule)
        letters = "".join(words_of(stage)) + "sd"
        products = {f + g for f in letters for g in letters} | {*both_ways(() if stages else upper_words)}
        series = LayerSeries(stage.activation, metric, rule, tuple(sorted(products)))
        first = first or series
        own = None if indices is None else _own_moments(stage, series, parallel_y.ratio, indices.same, rule)
        H_u = bias + weight + carried * H
        stages.append(StageIntegrals(stage, changed, H_u, nu, metric, parallel_y.ratio, tables, own))
        G = stage.C_b + stage.C_W * tables.ss.mean
        χ = stage.C_W * np.multiply.outer(nu, nu) * tables.dd.mean
        bias = stage.lambda_b + χ * bias + stage.C_W * stage.lambda_beta * tables.dd.mean
        gains = 0.0 if tables.xx is None else stage.C_W * stage.lambda_g * tables.xx.mean
        weight = stage.lambda_W * tables.ss.mean + gains + χ * weight
        carried = χ * carried
        parallel = parallel_y.through(stage.activation, stage.C_b > 0)
    assert first is not None
    return stages, first, G, (bias, weight, carried), parallel


def words_of(stage: Stage) -> tuple[str, ...]:
    """The symmetric products that Ω is made of."""
    return ("ss", "dd", "xx") if stage.lambda_g > 0 else ("ss", "dd")


def _upper_words(stage: Stage, means: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The products whose moments with all those of a lower layer are wanted, and those with its f alone."""
    products, with_f = words_of(stage), ("sd",)
    if means:
        normed = stage.norm != "none"
        # Of two straight lines through 0 the derivatives by logarithms are the products themselves, or nothing.
        logarithms = normed and stage.activation.slopes is None
        products = (*products, *correcting_words(products, logarithms))
        with_f = (*with_f, "ed", "de", *(("xd", "dx", "dd") if normed else ()))
    return products, with_f


def _by_series(φ: Activation) -> bool:
    return not (φ.kinks or φ.slopes or φ.exponentials)


def _own_moments(stage: Stage, series: LayerSeries, ratio, index: ProductIndex, rule: Rule) -> ProductMoments | None:  # fmt: skip
    φ = stage.activation
    if is_straight(φ):
        return None
    words = {(w, v) for w in words_of(stage) for v in words_of(stage)} | {("sd", "sd")}
    words |= {("sx", "sx")} if stage.lambda_g > 0 else set()
    if _by_series(φ):
        return smooth_product_moments(series, [series], sorted(words), index, series.G, ratio, rule)[0]
    return product_moments(φ, φ, sorted(words), index, series.G, ratio, rule)[0]


class Source(NamedTuple):
    """A layer's first stage; what it has to do with the layer above, Γ; and the coefficients of its functions."""

    of: StageIntegrals
    gamma: float
    series: LayerSeries


def _with_lower(
    upper: Source, lower: list[Source], index: ProductIndex, words: tuple[tuple[str, ...], tuple[str, ...]], rule: Rule
) -> list[ProductMoments | None]:  # fmt: skip
    """The moments of a layer's products, `words` as of `_upper_words`, with those of each of the layers below."""
    out: list[ProductMoments | None] = [None] * len(lower)
    φ = upper.of.stage.activation
    groups: dict[Activation, list[int]] = {}
    for number, source in enumerate(lower):
        other = source.of.stage.activation
        if not is_straight(φ) and not is_straight(other):
            groups.setdefault(other, []).append(number)
    for other, numbers in groups.items():
        chosen = [lower[number] for number in numbers]
        asked = {(w, v) for w in words[0] for source in chosen for v in words_of(source.of.stage)}
        asked |= {(w, "sd") for w in words[1]}
        metric = _joint(upper.of, chosen)
        if _by_series(φ) and _by_series(other):
            series = [source.series for source in chosen]
            moments = smooth_product_moments(upper.series, series, sorted(asked), index, *metric, rule)
        else:
            moments = product_moments(φ, other, sorted(asked), index, *metric, rule)
        for number, of_layer in zip(numbers, moments, strict=True):
            out[number] = of_layer
    upper.series.keep(both_ways([*words_of(upper.of.stage), "sd"]))
    return out


def _joint(upper: StageIntegrals, lower: list[Source]) -> tuple[np.ndarray, np.ndarray]:
    """The metric of the y's of all these layers, the upper one last, and their ratios: (n N + N, n N + N).

    Nothing asks for two lower layers together: they are independent here.
    """
    n, N = len(lower), len(upper.metric)
    metric, ratio = np.zeros((n + 1, N, n + 1, N)), np.full((n + 1, N, n + 1, N), np.nan)
    metric[n, :, n], ratio[n, :, n] = upper.metric, upper.ratio
    for i, (of, gamma, _) in enumerate(lower):
        metric[i, :, i], ratio[i, :, i] = of.metric, of.ratio
        between = gamma * of.G * np.multiply.outer(of.nu, upper.nu)
        metric[i, :, n], metric[n, :, i] = between, between.T
    return metric.reshape((n + 1) * N, -1), ratio.reshape((n + 1) * N, -1)
