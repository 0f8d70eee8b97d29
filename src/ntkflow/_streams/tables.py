"""Expectations of products of two neuron functions of a stage, and of their derivatives, on one layer's metric."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._gaussian import Rule, integrals
from .._gaussian.layer_products import logarithmic
from .._gaussian.series_integrals import SeriesIntegrals
from ..activations import Activation


class Product(NamedTuple):
    """f(y_1) g(y_2): tables (N, N), or on sets (k, k, S); derivatives by the slots, at coinciding samples maybe the total one by the first.

    Attributes:
        mean: ⟨f g⟩.
        first: ⟨∂_1⟩ and ⟨∂_2⟩, (2, N, N).
        second: ⟨∂_1∂_1⟩, ⟨∂_1∂_2⟩, ⟨∂_2∂_2⟩, (3, N, N); None where nothing asks for them.
    """

    mean: np.ndarray
    first: np.ndarray
    second: np.ndarray | None


class StageTables(NamedTuple):
    """Of a stage's φ on y: "s" is φ, "d" φ', "x" y φ'(y). `xx` is None without trained gains."""

    ss: Product
    dd: Product
    sd: Product
    sx: np.ndarray
    """⟨φ(y_1) y_2 φ'(y_2)⟩, the derivative of ⟨φφ⟩ by the logarithm of y_2."""
    dx: np.ndarray
    """⟨φ'(y_1) y_2 φ''(y_2)⟩, that of ⟨φ'φ'⟩."""
    xx: Product | None
    xz: np.ndarray | None
    """That of ⟨y_1φ'(y_1) y_2φ'(y_2)⟩."""

    def on_sets(self, sets: np.ndarray) -> StageTables:
        pairs = sets[:, None], sets[None]

        def gathered(x: Any) -> Any:
            if isinstance(x, Product):
                return Product(*map(gathered, x))
            return None if x is None else x[(..., *pairs)]

        return StageTables(*map(gathered, self))


def stage_tables(φ: Activation, G: np.ndarray, ratio: np.ndarray, gains: bool, rule: Rule) -> StageTables:
    """The tables of a stage on the metric G of y.

    Args:
        ratio: as of `gaussian.integrals`.
        gains: whether gains are trained, λ_g > 0.
    """
    of_φ = integrals(φ, G, ratio, rule)
    tables = of_φ.tables()
    ds = of_φ.pairs([((1,), (0,))])[(1,), (0,)]
    ss = Product(tables["Phi"], _of_slots(ds), tables["J_ss"])
    sd = Product(ds.T, tables["K_sd"], None)
    sx = _by_logarithm(G, sd.first)
    if φ.slopes:
        ed = of_φ.pairs([((2,), (1,))])[(2,), (1,)]
        dd = Product(tables["dPhi"], _of_slots(ed), tables["J_dd"])
        return StageTables(ss, dd, sd, sx, np.zeros_like(sx), ss if gains else None, sx if gains else None)
    assert isinstance(of_φ, SeriesIntegrals)
    dd = Product(tables["dPhi"], of_φ.derivatives(1, 1, 1), tables["J_dd"])
    dx = _by_logarithm(G, of_φ.derivatives(1, 2, 1))
    if not gains:
        return StageTables(ss, dd, sd, sx, dx, None, None)
    of_x = integrals(logarithmic(φ), G, ratio, rule)
    tables = of_x.tables()
    ds = of_x.pairs([((1,), (0,))])[(1,), (0,)]
    xx = Product(tables["Phi"], _of_slots(ds), tables["J_ss"])
    return StageTables(ss, dd, sd, sx, dx, xx, _by_logarithm(G, tables["K_sd"]))


def _of_slots(first: np.ndarray) -> np.ndarray:
    """⟨∂_1⟩ and ⟨∂_2⟩ of a symmetric product, from ⟨∂_1⟩."""
    return np.stack([first, first.T])


def _by_logarithm(G: np.ndarray, first: np.ndarray) -> np.ndarray:
    """⟨y_2 h⟩ from ⟨∂_1 h⟩ and ⟨∂_2 h⟩, by Stein's identity."""
    return G * first[0] + np.diag(G) * first[1]
