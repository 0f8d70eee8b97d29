"""Expectations over two layers by series: against quadrature in independent variables, and against the general integrals."""

import itertools

import numpy as np
import pytest

from ntkflow._gaussian import FINE
from ntkflow._gaussian.layer_pairs import layer_moments
from ntkflow._gaussian.layer_products import product_index, product_moments, smooth_product_moments
from ntkflow._gaussian.layer_series import LayerSeries
from ntkflow._gaussian.rotations import waves
from ntkflow._machine.products import multiplied_in_blocks
from ntkflow.activations import activation

PRODUCTS = ("dd", "ds", "es", "sd", "se", "ss")
TANH = {
    "s": np.tanh,
    "d": lambda z: 1 - np.tanh(z) ** 2,
    "e": lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2),
}


def by_quadrature(metric, functions, nodes=26):
    """⟨Π f_i(z_i)⟩ by Gauss and Hermite's rule in as many independent variables."""
    u, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    root = np.linalg.cholesky(metric)
    x = np.stack(np.meshgrid(*[u] * len(metric), indexing="ij")).reshape(len(metric), -1)
    weights = np.prod(np.stack(np.meshgrid(*[w] * len(metric), indexing="ij")), axis=0).ravel()
    return weights @ np.prod([f(z) for f, z in zip(functions, root @ x, strict=True)], axis=0)


def two_layers(gamma, scale=0.03):
    rng = np.random.default_rng(0)
    below, added = (scale * (A @ A.T) for A in rng.normal(size=(2, 3, 5)))
    return below, gamma**2 * below + (1 - gamma**2) * added


def series(G, products=PRODUCTS):
    return LayerSeries(activation("tanh"), G, FINE, products)


@pytest.mark.parametrize("gamma", [0.3, 0.99])
@pytest.mark.parametrize("quadruple", [(0, 0, 1, 1), (0, 0, 0, 1), (0, 1, 2, 2), (0, 1, 0, 1), (0, 2, 0, 1)])
def test_moments_are_those_of_a_quadrature(gamma, quadruple):
    lower, upper = two_layers(gamma)
    c, d, a, b = quadruple
    variables = sorted({(0, c), (0, d), (1, a), (1, b)})
    joint = np.block([[lower, gamma * lower], [gamma * lower, upper]])
    index = [3 * layer + sample for layer, sample in variables]
    found = layer_moments(
        series(upper), [series(lower)], gamma * lower[None], np.array([quadruple]), PRODUCTS, PRODUCTS
    )
    for (i, v), (j, w) in itertools.product(enumerate(PRODUCTS), repeat=2):
        slots = [((0, c), v[0]), ((0, d), v[1]), ((1, a), w[0]), ((1, b), w[1])]
        functions = [
            lambda z, of=[letter for place, letter in slots if place == variable]: np.prod(
                [TANH[letter](z) for letter in of], axis=0
            )
            for variable in variables
        ]
        expected = by_quadrature(joint[np.ix_(index, index)], functions)
        assert found.values[0, 0, i, j] == pytest.approx(expected, rel=1e-9, abs=1e-11), (v, w)


def test_samples_that_are_parallel_or_vanish_are_no_second_direction():
    lower, upper = (np.array([[1.0, -2.0, 0.0], [-2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]) * x for x in (0.1, 0.2))
    quadruples = np.array([(0, 1, 0, 1), (0, 0, 0, 1), (0, 2, 0, 1)])
    found = layer_moments(series(upper), [series(lower)], 0.9 * lower[None], quadruples, PRODUCTS, PRODUCTS)
    joint = np.array([[0.1, 0.09], [0.09, 0.2]])
    s, d = TANH["s"], TANH["d"]

    def twice(z):
        return s(z) * d(-2 * z)

    sd = PRODUCTS.index("sd")
    for value, of_y in zip(found.values[0, :, sd, sd], (twice, lambda y: s(y) * d(y), s), strict=True):
        assert value == pytest.approx(by_quadrature(joint, [of_y, twice], 60), rel=1e-9)


def test_words_stand_where_the_general_integrals_have_them():
    lower, upper = two_layers(0.5)
    index = product_index(np.arange(3)[:, None], 3, same=False)
    joint = np.block([[lower, 0.5 * lower], [0.5 * lower, upper]])
    ratio = np.where(np.eye(6) > 0, 1.0, np.nan)
    tanh, words = activation("tanh"), [("ss20", "sd"), ("sd", "sd"), ("dd", "ss")]
    mine = smooth_product_moments(series(upper), [series(lower)], words, index, joint, ratio, FINE)[0]
    general = product_moments(tanh, tanh, words, index, joint, ratio, FINE)[0]
    for word in words:
        assert mine.on_sets(word, index) == pytest.approx(general.on_sets(word, index), rel=1e-10, abs=1e-13)


def test_steep_functions_go_to_the_general_integrals():
    G = np.array([[900.0]])
    joint, ratio = np.array([[900.0, 891.0], [891.0, 900.0]]), np.array([[1.0, np.nan], [np.nan, 1.0]])
    index = product_index(np.zeros((1, 1), int), 1, same=False)
    words, tanh = [("dd", "dd"), ("ss", "ss")], activation("tanh")
    mine = smooth_product_moments(series(G), [series(G)], words, index, joint, ratio, FINE)[0]
    general = product_moments(tanh, tanh, words, index, joint, ratio, FINE)[0]
    for word in words:
        assert mine.on_sets(word, index) == pytest.approx(general.on_sets(word, index), rel=1e-14)


def test_what_is_kept_after_a_layer_is_what_it_was():
    lower, upper = two_layers(0.9)
    fresh, kept = series(lower), series(lower)
    kept.prepare(0)
    kept.plane(0, 1, PRODUCTS)
    kept.keep(("ss", "dd"))
    quadruples = np.array([(0, 1, 0, 1), (0, 0, 0, 1)])
    values = [
        layer_moments(series(upper), [x], 0.9 * lower[None], quadruples, PRODUCTS, ("ss", "dd")).values
        for x in (fresh, kept)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-14)


def test_indices_of_fewer_samples_point_to_the_same_integrals():
    pairs = np.array([[0, 1], [2, 3]])
    for same in (False, True):
        whole = product_index(np.arange(4)[:, None], 4, same)
        mine = product_index(pairs, 4, same)
        assert np.array_equal(whole.quadruples[mine.within(whole).rows], mine.quadruples[mine.rows])


@pytest.mark.parametrize("n", [0, 1, 2, 7, 60, 335])
def test_waves_turn_about_the_generator(n):
    real, imag = waves(n)
    assert real.T @ real == pytest.approx(np.eye(n // 2 + 1), abs=1e-13)
    assert imag.T @ imag == pytest.approx(np.eye((n + 1) // 2), abs=1e-13)
    # Of φ_k, k even, J makes φ_(k+1) and φ_(k-1); its real parts it turns into imaginary ones times μ.
    k = np.arange(n)
    J = np.diag(np.sqrt((k + 1.0) * (n - k)), -1)
    J -= J.T
    μ = n % 2 + 2.0 * np.arange(n // 2 + 1)
    assert imag @ J[1::2, ::2] == pytest.approx(-μ[:, None] * real, abs=1e-11)


@pytest.mark.parametrize("shape", [(3, 4, 5), (301, 130, 120), (40, 600, 600)])
def test_products_in_blocks_are_products(shape, rng):
    rows, inner, columns = shape
    a, b = rng.normal(size=(rows, inner)), rng.normal(size=(inner, columns))
    assert multiplied_in_blocks(a, b) == pytest.approx(a @ b, rel=1e-12, abs=1e-12)
