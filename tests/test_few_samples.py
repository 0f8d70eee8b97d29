"""The program for pairs of few samples: the same numbers as layer by layer, and not used where it would not do."""

import jax.numpy as jnp
import numpy as np
import pytest

from ntkflow import MLP, flow
from ntkflow._theory import few_samples
from ntkflow._theory.scales import natural_scales

NAMES = ("G", "H", "G1", "H1", "V", "D", "F", "A", "B")


def both(monkeypatch, mlp, X, components="pairs"):
    """The flow as it is, and layer by layer; and whether the program's numbers were used."""
    used = []
    layers_above = few_samples.layers_above

    def watched(*args):
        found = layers_above(*args)
        used.append(found is not None)
        return found

    monkeypatch.setattr(few_samples, "layers_above", watched)
    one = flow(mlp, X, components)
    monkeypatch.setattr(few_samples, "serves", lambda mlp, sets: False)
    return one, flow(mlp, X, components), used == [True]


def check_same(one, other):
    for a, b in zip(one, other, strict=True):
        scales = natural_scales(b.values)
        for name in NAMES:
            difference = np.abs(getattr(a, name) - getattr(b, name))
            limit = a.error(name) + b.error(name)
            assert np.all((difference <= limit) | np.isnan(difference)), (a.layer, name)
            assert np.nanmax(limit) <= 1e-12 * scales[name], (a.layer, name)
        np.testing.assert_allclose(a.weight_contributions, b.weight_contributions, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "activation",
    ["tanh", "gelu", *(pytest.param(a, marks=pytest.mark.slow) for a in ("swish", "softplus"))],
)
def test_same_as_layer_by_layer(monkeypatch, activation):
    X = 0.5 * np.random.default_rng(3).normal(size=(5, 4))
    if activation != "tanh":  # whose series need more terms then
        X[3] = X[2] * (1 + 1e-9)
        X[4] = -X[1]
    one, other, used = both(monkeypatch, MLP((4, 30, 20, 25, 2), activation, 0.1, 1.3, 0.2, 0.9), X)
    assert used
    check_same(one, other)


@pytest.mark.parametrize(
    ("N", "depth"),
    [(1, 2), (1, 4), (2, 2), (2, 3)],
)
def test_all_components_of_one_or_two_samples(monkeypatch, N, depth):
    X = np.random.default_rng(4).normal(size=(N, 3))
    one, other, used = both(monkeypatch, MLP((3, *[1] * depth), "tanh", 0.0, 1.0), X, "all")
    assert used
    check_same(one, other)


def test_few_sets_of_many_samples(monkeypatch):
    """What is added to fill the program up takes no more than twice what was asked for."""
    X = np.random.default_rng(6).normal(size=(300, 4))
    mlp = MLP((4, 20, 20, 2), "tanh", 0.1, 1.3)
    sizes = []
    layer = few_samples._layer

    def watched(*args):
        sizes.append(args[-2].shape[1])
        return layer(*args)

    monkeypatch.setattr(few_samples, "_layer", watched)
    whole, alone = flow(mlp, X, [(3, 7), (0, 1), (7, 200)])[-1], flow(mlp, X[[3, 7]])[-1]
    assert sizes == [4, 4, 6, 6]
    assert whole.sets is not None
    row = whole.sets.tolist().index([3, 7])
    for name in ("V", "D", "F", "A", "B"):
        assert np.allclose(getattr(whole, name)[row], getattr(alone, name), rtol=1e-12), name


def kink(z):
    return jnp.where(z > 0.3, z - 0.3, 0.0)


@pytest.mark.parametrize(
    ("activation", "scale", "warns"),
    [
        pytest.param("tanh", 40.0, False, marks=pytest.mark.slow),
        pytest.param(lambda z: jnp.tanh(30 * z), 1.0, False, marks=pytest.mark.slow),
        (kink, 1.0, True),
    ],
)
@pytest.mark.filterwarnings("ignore:by their error estimates")
def test_left_where_series_do_not_converge(monkeypatch, activation, scale, warns):
    X = scale * np.random.default_rng(5).normal(size=(3, 4))
    mlp = MLP((4, 20, 20, 2), activation, 0.1, 1.3)
    one, other, used = both(monkeypatch, mlp, X)
    assert not used
    for a, b in zip(one, other, strict=True):
        for name in NAMES:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    if warns:
        assert one[-1].relative_error("A") > 1e-6


def test_left_where_one_sample_varies_faster_than_the_nodes(monkeypatch):
    """Next to a sample so small that no series of the two is long."""
    one, other, used = both(monkeypatch, MLP((2, 20, 2), "gelu"), [[8.0, 2.0], [1e-3, 1e-3]])
    assert not used
    np.testing.assert_array_equal(one[-1].A, other[-1].A)


def test_zero_input_is_left(monkeypatch):
    one, other, used = both(monkeypatch, MLP((2, 20, 2), "tanh", 0.0, 1.0), [[0.0, 0.0], [1.0, 2.0]])
    assert not used
    np.testing.assert_array_equal(one[-1].A, other[-1].A)
