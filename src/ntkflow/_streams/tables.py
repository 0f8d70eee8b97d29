"""Expectations of products of two neuron functions of a stage, and of their derivatives, on one layer's metric."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._gaussian import Rule, integrals
from .._gaussian.expectations import Integrals
from .._gaussian.letters import logarithmic
from .._gaussian.series_integrals import SeriesIntegrals
from ..activations import Activation


class Product(NamedTuple):
    """f(y_1) g(y_2) on pairs (N, N), or on sets (k, k, S).

    Where y_2 = c y_1 the total derivative may stand in the place of the one by y_1 alone, and zeros in that of the others.

    Attributes:
        orders: the derivatives of order 0, 1, …, each (order + 1, N, N), counting those by y_2.
    """

    orders: tuple[np.ndarray, ...]

    def at(self, i: int, j: int) -> np.ndarray:
        """⟨∂_1^i ∂_2^j⟩."""
        return self.orders[i + j][j]

    @property
    def mean(self) -> np.ndarray:
        return self.at(0, 0)

    @property
    def first(self) -> np.ndarray:
        """⟨∂_1⟩ and ⟨∂_2⟩, (2, N, N)."""
        return self.orders[1]

    @property
    def second(self) -> np.ndarray:
        """⟨∂_1∂_1⟩, ⟨∂_1∂_2⟩, ⟨∂_2∂_2⟩, (3, N, N)."""
        return self.orders[2]

    def derived(self, i: int, j: int) -> Product:
        """The product ∂_1^i ∂_2^j."""
        return Product(tuple(table[j : j + order + 1] for order, table in enumerate(self.orders[i + j :])))

    def times_first(self, variance: np.ndarray, covariance: np.ndarray) -> Product:
        """y_1 times the product, by Stein's identity; of y_1, and of y_1 with y_2."""

        def entry(i: int, j: int) -> np.ndarray:
            table = variance * self.at(i + 1, j) + covariance * self.at(i, j + 1)
            return table + i * self.at(i - 1, j) if i else table

        orders = range(len(self.orders) - 1)
        return Product(tuple(np.stack([entry(order - j, j) for j in range(order + 1)]) for order in orders))

    @property
    def turned(self) -> Product:
        """The product with its two functions exchanged."""
        return Product(tuple(table[::-1].swapaxes(1, 2) for table in self.orders))


class StageTables(NamedTuple):
    """Of a stage's φ on y: "s" is φ, "d" φ', "x" y φ'(y), and "w" and "t" the derivatives of "d" and "x" by log y.

    Attributes:
        ss, dd: up to the second derivatives; with `logarithms` to the fourth. xx: likewise; None without trained gains.
        sd: up to the first ones.
        sx, dx, xt: ⟨φ(y_1) y_2 φ'(y_2)⟩, the derivative of ⟨φφ⟩ by the logarithm of y_2; that of ⟨φ'φ'⟩; and that of xx.
        logarithms: "xs" for the derivative by log y_1 of ss, and likewise "wd" and "tx"; None where nothing asks for them.
        twice: of "ss", "dd" and "xx" the second derivatives by log y_1 and log y_2, (3, N, N) each.
    """

    ss: Product
    dd: Product
    sd: Product
    sx: np.ndarray
    dx: np.ndarray
    xx: Product | None
    xt: np.ndarray | None
    logarithms: dict[str, Product] | None
    twice: dict[str, np.ndarray] | None

    def on_sets(self, sets: np.ndarray, means: bool) -> StageTables:
        """On sets (k, S); without `means` not what these alone want."""
        of = self if means else self._replace(logarithms=None, twice=None)
        pairs = sets[:, None], sets[None]

        def gathered(x: Any) -> Any:
            if isinstance(x, Product):
                return Product(tuple(table[(..., *pairs)] for table in x.orders))
            if isinstance(x, dict):
                return {word: gathered(product) for word, product in x.items()}
            return None if x is None else x[(..., *pairs)]

        return StageTables(*map(gathered, of))


def stage_tables(
    φ: Activation, G: np.ndarray, ratio: np.ndarray, gains: bool, means: bool, rule: Rule
) -> StageTables:
    """The tables of a stage on the metric G of y.

    Args:
        ratio: as of `gaussian.integrals`.
        gains: whether gains are trained, λ_g > 0.
        means: whether `logarithms` and fourth derivatives are wanted, for the means' corrections.
    """
    of_φ = integrals(φ, G, ratio, rule)
    if not isinstance(of_φ, SeriesIntegrals):
        return _tables_of_slopes(φ, of_φ, G, ratio, gains, means)
    tables, ds = of_φ.tables(), _first_derivative(of_φ, 0)
    ss_orders = [tables["Phi"][None], np.stack([ds, ds.T]), tables["J_ss"]]
    dd_orders = [tables["dPhi"][None], of_φ.derivatives(1, 1, 1), tables["J_dd"]]
    if means:
        ss_orders += [of_φ.derivatives(0, 0, 3), tables["Q_ss"]]
        dd_orders += [of_φ.derivatives(1, 1, 3), tables["Q_dd"]]
    ss, dd, sd = Product(tuple(ss_orders)), Product(tuple(dd_orders)), Product((ds.T[None], tables["K_sd"]))
    sx, dx = (_by_second_logarithm(G, first) for first in (sd.first, of_φ.derivatives(1, 2, 1)))
    logarithms = {"xs": _by_first_logarithm(of_φ, 0), "wd": _by_first_logarithm(of_φ, 1)} if means else None
    twice = {"ss": _twice(logarithms["xs"], G), "dd": _twice(logarithms["wd"], G)} if logarithms else None
    if not gains:
        return StageTables(ss, dd, sd, sx, dx, None, None, logarithms, twice)
    of_x = stage_tables(logarithmic(φ), G, ratio, False, means, rule)
    if logarithms and twice and of_x.logarithms and of_x.twice:
        logarithms["tx"], twice["xx"] = of_x.logarithms["xs"], of_x.twice["ss"]
    return StageTables(ss, dd, sd, sx, dx, of_x.ss, of_x.sx, logarithms, twice)


def _tables_of_slopes(
    φ: Activation, of_φ: Integrals, G: np.ndarray, ratio: np.ndarray, gains: bool, means: bool
) -> StageTables:
    """The same of two straight lines through 0: y φ'(y) is φ(y), and y φ''(y) nothing."""
    tables, ds, ed = of_φ.tables(), _first_derivative(of_φ, 0), _first_derivative(of_φ, 1)
    ss_orders = [tables["Phi"][None], np.stack([ds, ds.T]), tables["J_ss"]]
    dd_orders = [tables["dPhi"][None], np.stack([ed, ed.T]), tables["J_dd"]]
    if means:
        sign = np.sign(np.nan_to_num(ratio))
        ss_orders += [_thirds_of_slopes(φ, G, sign, ss_orders[1], 1), tables["Q_ss"]]
        dd_orders += [_thirds_of_slopes(φ, G, sign, dd_orders[1], -1), tables["Q_dd"]]
    ss, dd, sd = Product(tuple(ss_orders)), Product(tuple(dd_orders)), Product((ds.T[None], tables["K_sd"]))
    sx, nothing = _by_second_logarithm(G, sd.first), np.zeros_like(G)
    logarithms = twice = None
    if means:
        logarithms = {"xs": ss, "wd": Product(tuple(np.zeros_like(table) for table in dd_orders)), "tx": ss}
        twice = {"ss": np.stack([ss.mean] * 3), "dd": np.stack([nothing] * 3), "xx": np.stack([ss.mean] * 3)}
    xx, xt = (ss, sx) if gains else (None, None)
    return StageTables(ss, dd, sd, sx, nothing, xx, xt, logarithms, twice)


def _first_derivative(of_φ: Integrals, order: int) -> np.ndarray:
    """⟨∂_1⟩ of φφ, or of φ'φ'."""
    request = ((order + 1,), (order,))
    return of_φ.pairs([request])[request]


def _by_first_logarithm(of_φ: SeriesIntegrals, order: int) -> Product:
    """y_1 ∂_1 of φφ, or of φ'φ', and its derivatives up to the second: separate ones where samples coincide, too."""

    def entry(i: int, j: int) -> np.ndarray:
        f, g = order + i, order + j
        # ∂_1^i of y_1 h, h = φ^(f+1)(y_1) φ^(g)(y_2), by Stein's identity.
        G, first = of_φ.G, of_φ.derivatives(f + 1, g, 1)
        table = np.diag(G)[:, None] * first[0] + G * first[1]
        if i:
            request = ((f,), (g,))
            table = table + i * of_φ.pairs([request])[request]
        return table

    return Product(tuple(np.stack([entry(m - j, j) for j in range(m + 1)]) for m in range(3)))


def _twice(by_first: Product, G: np.ndarray) -> np.ndarray:
    """The second derivatives by log y_1 and log y_2 of a symmetric product, from its first one by log y_1."""
    both_first, mixed = (
        np.diag(G)[:, None] * x.at(2, 0) + G * x.at(1, 1) for x in (by_first, by_first.turned)
    )
    return np.stack([both_first, mixed, both_first.T])


def _by_second_logarithm(G: np.ndarray, first: np.ndarray) -> np.ndarray:
    """⟨y_2 h⟩ from ⟨∂_1 h⟩ and ⟨∂_2 h⟩, by Stein's identity."""
    return G * first[0] + np.diag(G) * first[1]


def _thirds_of_slopes(
    φ: Activation, G: np.ndarray, sign: np.ndarray, first: np.ndarray, power: int
) -> np.ndarray:
    """Third derivatives of ⟨φφ⟩ (`power` 1) or ⟨φ'φ'⟩ (-1) for two straight lines of mean slope p and half their difference q.

    Where y_2 = c y_1 the total one is that by the variance of the total first derivative, which grows as the standard deviation or its inverse.

    Args:
        sign: of c, 0 elsewhere. first: (2, N, N).
    """
    assert φ.slopes is not None
    below, above = φ.slopes
    s = np.sqrt(np.diag(G))
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    scale = math.sqrt(2 / math.pi) * (above**2 - below**2) / 4
    a, b = inverse[:, None] * np.ones_like(G), inverse * np.ones_like(G)
    apart = (
        [-G * a**3, a, b, -G * b**3] if power == 1 else [-(a**3), np.zeros_like(G), np.zeros_like(G), -(b**3)]
    )
    ratio = sign * s * a
    total = power * (first[0] + ratio * first[1]) * a**2
    zero = np.zeros_like(G)
    return np.where(sign != 0, np.stack([total, zero, zero, zero]), scale * np.stack(apart))
