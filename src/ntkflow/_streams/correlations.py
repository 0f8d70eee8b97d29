"""How neuron functions of one layer of a stream vary together with those of the same layer, or of one below: on S sets of k samples.

Axes are the two samples of the upper layer, and then the two of the lower one.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from .._gaussian.layer_products import ProductIndex, ProductMoments
from .._recursions.contract import outer, swap
from ..activations import Activation
from .functions import Moments, PairFunction, StageFunctions
from .tables import Product, StageTables


class ReadLayer(NamedTuple):
    """A layer and the stage that reads it, on S sets of k samples.

    Attributes:
        G, H: (k, k, S). nu: (k, S), of y = ν z.
        tables, functions: of the stage, None where no stage reads the layer.
    """

    G: np.ndarray
    H: np.ndarray
    nu: np.ndarray
    tables: StageTables | None
    functions: StageFunctions | None

    @property
    def of_slopes(self) -> bool:
        """Whether φ is two straight lines through 0."""
        return self.functions is not None and self.functions.stage.activation.slopes is not None

    @property
    def straight(self) -> bool:
        """Whether φ(y) = y."""
        return self.functions is not None and is_straight(self.functions.stage.activation)

    @property
    def words(self) -> tuple[str, ...]:
        """The products that the stage's functions are made of, and those of their corrections where they are wanted."""
        if self.functions is None:
            return ()
        products = tuple(self.functions.omega.products)
        if self.tables is None or self.tables.logarithms is None:
            return products
        return (*products, *correcting_words(products, self.functions.stage.norm != "none"))

    def product(self, word: str) -> Product:
        if word == "yy":
            zero, one = np.zeros_like(self.G), np.ones_like(self.G)
            metric = self.G * self.nu[:, None] * self.nu
            return Product((metric[None], np.stack([zero, zero]), np.stack([zero, one, zero])))
        assert self.tables is not None
        if len(word) == 4:
            return getattr(self.tables, word[:2]).derived(int(word[2]), int(word[3]))
        logarithms = self.tables.logarithms or {}
        if word in logarithms or word[::-1] in logarithms:
            return logarithms[word] if word in logarithms else logarithms[word[::-1]].turned
        if word in ("ed", "de"):
            return self.tables.dd.derived(*((1, 0) if word == "ed" else (0, 1)))
        if word == "xd":
            return self.times_y(self.tables.dd)
        return self.times_y(self.tables.dd).turned if word == "dx" else getattr(self.tables, word)

    def times_y(self, product: Product) -> Product:
        """y_1 times a product."""
        i = np.arange(len(self.nu))
        metric = self.product("yy").mean
        return product.times_first(metric[i, i][:, None], metric)


def correcting_words(products: tuple[str, ...], normed: bool) -> tuple[str, ...]:
    """Second derivatives of these products, and behind a norm their derivatives by the logarithms."""
    words = [w + order for w in products for order in ("20", "11", "02")]
    logarithms = {"ss": ("xs", "sx"), "dd": ("wd", "dw"), "xx": ("tx", "xt")}
    return (*words, *(word for w in products for word in logarithms[w] if normed))


def is_straight(φ: Activation) -> bool:
    """Whether φ(y) = y: its products are polynomials, whose expectations follow from those of the other layer."""
    return φ.slopes == (1.0, 1.0)


class Correlation:
    """Of an upper and a lower layer: z_upper = Γ z_lower + what is independent; or of a layer with itself, Γ = 1.

    Args:
        words: of the upper layer, those whose covariances are wanted.
        moments: None where one of the layers has polynomials alone.
    """

    def __init__(
        self, upper: ReadLayer, lower: ReadLayer, gamma: float, words: tuple[str, ...], moments: ProductMoments | None,
        index: ProductIndex,
    ):  # fmt: skip
        self.upper, self.lower, self._words = upper, lower, words
        self._products, self._index = moments, index
        self.between = gamma * upper.nu[:, None] * lower.nu[None] * lower.G
        """Cov(y_upper, y_lower), (k, k, S)."""

    @functools.cached_property
    def covariances(self) -> dict[str, Moments]:
        """By the upper layer's word: the covariances of w_12 with the lower layer's products, the lower layer's samples first."""
        assert self.lower.functions is not None
        words = (*self.lower.functions.omega.products, "yy", "y")
        return {
            upper: {lower: swap(self.covariance(upper, lower)) for lower in words}
            for upper in (*self._words, "yy", "y")
        }

    def with_function(self, f: PairFunction) -> Moments:
        """The covariances of the upper layer's products with a function of the lower one, the upper layer's samples first."""
        return {word: swap(f.of(moments)) for word, moments in self.covariances.items()}

    def covariance(self, upper: str, lower: str) -> np.ndarray:
        """Cov[w_12, v_34], (k, k, k, k, S); for "y" an axis of length 1."""
        if upper == "y" and lower == "y":
            return self.between[:, None, :, None]
        if upper == "y":
            return self._with_y(self.between, self.lower.product(lower))[:, None]
        if lower == "y":
            return swap(self._with_y(self.between.swapaxes(0, 1), self.upper.product(upper))[:, None])
        if lower == "dd" and self.lower.straight or upper in self._constant:
            return self._zeros
        if lower == "yy" or self.lower.straight:
            return self._with_yy(self.between, self.upper.product(upper))
        if upper == "yy" or self.upper.straight:
            between = self.between.swapaxes(0, 1)
            return swap(self._with_yy(between, self.lower.product(lower)))
        if upper in ("xs", "sx", "tx", "xt") and self.upper.of_slopes:
            return self.covariance("ss", lower)
        return self._moment(upper, lower) - outer(
            self.upper.product(upper).mean, self.lower.product(lower).mean
        )

    @property
    def _constant(self) -> tuple[str, ...]:
        """Words of the upper layer whose products don't vary."""
        if self.upper.straight:
            return ("dd", *correcting_words(("ss", "dd", "xx"), False), "wd", "dw")
        return ("wd", "dw") if self.upper.of_slopes else ()

    def _moment(self, upper: str, lower: str) -> np.ndarray:
        assert self._products is not None
        return self._products.on_sets((upper, lower), self._index)

    @property
    def _zeros(self) -> np.ndarray:
        k, S = self.between.shape[1:]
        return np.zeros((k, k, k, k, S))

    @staticmethod
    def _with_y(between: np.ndarray, w: Product) -> np.ndarray:
        """⟨y_1 w_34⟩, (k, k, k, S), by Stein's identity; `between`: (y, y of w)."""
        return between[:, :, None] * w.first[0] + between[:, None] * w.first[1]

    @staticmethod
    def _with_yy(between: np.ndarray, w: Product) -> np.ndarray:
        """Cov[w_12, y_3 y_4], (k, k, k, k, S); `between`: (y of w, y)."""
        first, both, second = w.second[:, :, :, None, None]
        of1, of2 = between[:, None], between[None]
        y3, y4 = (lambda x: x[:, :, :, None]), (lambda x: x[:, :, None])
        return (
            y3(of1) * y4(of1) * first
            + (y3(of1) * y4(of2) + y3(of2) * y4(of1)) * both
            + y3(of2) * y4(of2) * second
        )

    def with_f(self, word: str) -> np.ndarray:
        """⟨w_12 f_34⟩ of a product of the upper layer, or of "y1", "y2" or "1", and the lower stage's f; axes may have length 1."""
        assert self.lower.functions is not None
        a, b, e = self.lower.functions.f
        if self.upper.straight and word not in ("1", "y1", "y2"):
            # y φ'(y) is y itself, and further derivatives vanish.
            same = {"sd": "y1", "xd": "y1", "dx": "y2", "dd": "1"}
            return self.with_f(same[word]) if word in same else self._zeros
        mean = {"1": 1.0, "y1": 0.0, "y2": 0.0}.get(word)
        if mean is None:
            mean = self.upper.product(word).mean[:, :, None, None]
        return a * self.with_sd(word) + b * self._with_last_y(word) + e * mean

    def f_f(self) -> np.ndarray:
        """⟨f_12 f_34⟩ of the stages' f."""
        assert self.upper.functions is not None
        a, b, e = (x[:, :, None, None] for x in self.upper.functions.f)
        return a * self.with_f("sd") + b * self.with_f("y2") + e * self.with_f("1")

    def with_sd(self, word: str) -> np.ndarray:
        """⟨w_12 φ3φ'4⟩ of "sd" or w as of `with_f`."""
        sd = self.lower.product("sd")
        if word == "1":
            return sd.mean[None, None]
        if self.upper.straight or word in ("y1", "y2"):
            with_y = self._with_y(self.between, sd)
            return with_y[None] if word == "y2" else with_y[:, None]
        if self.lower.straight:
            return swap(self._with_y(self.between.swapaxes(0, 1), self.upper.product(word))[:, None])
        return self._moment(word, "sd")

    def _with_last_y(self, word: str) -> np.ndarray:
        """⟨w_12 y_4⟩."""
        if word == "1":
            return np.zeros_like(self.between[None, None, :1])
        if word in ("y1", "y2"):
            return self.between[:, None, None] if word == "y1" else self.between[None, :, None]
        return swap(self._with_y(self.between.swapaxes(0, 1), self.upper.product(word))[None])

    def sx_sx(self) -> np.ndarray:
        """⟨φ1 y2φ'2 φ3 y4φ'4⟩ in one layer."""
        if self.upper.straight:
            return self.raw("yy", "yy")
        return self._moment("sx", "sx")

    def raw(self, upper: str, lower: str) -> np.ndarray:
        """⟨w_12 v_34⟩."""
        return self.covariance(upper, lower) + outer(
            self.upper.product(upper).mean, self.lower.product(lower).mean
        )
