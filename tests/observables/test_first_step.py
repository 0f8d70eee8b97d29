"""The first step of gradient descent over seeds, predicted and really done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_networks import assert_to_order
from printed import text
from sklearn.datasets import load_diabetes, load_digits

import ntkflow
from ntkflow import finite, predict_first_step
from ntkflow.observables.first_step import FirstStep

ETA = 1e-4  # so small that the next order in η is far below the noise


def trained(mlp, X, y, loss, train, draws, seed=1):
    """Changes of loss (draws,) and outputs (draws, N, n_L) in one real step, over η."""

    rows = np.array(train)

    def step(key):
        params = finite.init(mlp, key)
        after = finite.gradient_step(mlp, params, X[rows], y, loss, ETA)
        z, w = (finite.forward(mlp, p, X)[-1] for p in (params, after))
        return (loss(w[rows], y) - loss(z[rows], y)) / ETA, (w - z) / ETA

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), draws)
        return tuple(map(np.asarray, jax.jit(lambda k: jax.lax.map(step, k, batch_size=50))(keys)))


def gaps(values, mean, std, mean_err: np.ndarray | float = 0.0, std_err: np.ndarray | float = 0.0):
    """Of mean and standard deviation: difference from the prediction, and standard error."""
    n, sd = len(values), values.std(axis=0, ddof=1)
    fourth = np.mean((values - values.mean(axis=0)) ** 4, axis=0)
    sd_error = np.sqrt((fourth - sd**4) / n) / (2 * sd)
    return (
        (values.mean(axis=0) - mean, np.hypot(sd / np.sqrt(n), mean_err)),
        (sd - std, np.hypot(sd_error, std_err)),
    )


def check(make, X, y, loss, train, draws, widths):
    """Predictions over η at two widths: what is left after c/n², c from the two, is noise."""
    found = []
    for n in widths:
        mlp = make(n)
        p = predict_first_step(ntkflow.flow(mlp, X), loss, y, 1.0, train=train, draws=20_000)
        change, outputs = trained(mlp, X, y, loss, train, draws)
        found.append(
            gaps(change, p.loss_mean, p.loss_std, p.loss_mean_err, p.loss_std_err)
            + gaps(outputs, p.output_mean, p.output_std, p.output_mean_err, p.output_std_err)
        )
    for narrow, wide in zip(*found, strict=True):
        assert_to_order([narrow, wide], power=2)


def digits(N):
    X, y = load_digits(return_X_y=True)
    return (X[:N] - X.mean()) / X.std(), y[:N]


def diabetes(N):
    X, y = map(np.asarray, load_diabetes(return_X_y=True))
    return (X / X.std(axis=0))[:N], ((y - y.mean()) / y.std())[:N, None]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cross_entropy", "mse"])
def test_a_few_samples(kind):
    X = np.random.default_rng(0).normal(size=(4, 3))
    y = np.array([0, 1, 1]) if kind == "cross_entropy" else np.array([[1.0, -0.5], [0.3, 0.8], [-1.2, 0.1]])
    loss = getattr(finite, kind)
    check(
        lambda n: ntkflow.MLP((3, n, n, 2), "tanh", 0.1, 1.3, 0.7, 1.2), X, y, loss, [0, 1, 3], 2000, (16, 32)
    )


def test_analytic_and_sampled_agree():
    """The squared loss both ways: Wick's theorem and the sampler."""
    X = np.random.default_rng(0).normal(size=(4, 3))
    y = np.random.default_rng(1).normal(size=(4, 2))
    flow = ntkflow.flow(ntkflow.MLP((3, 300, 300, 2), "relu", 0.1, 1.3, 0.7, 1.2), X)
    one = predict_first_step(flow, finite.mse, y, 0.1)
    two = predict_first_step(flow, lambda z, y: finite.mse(z, y), y, 0.1, draws=40_000)
    assert one.draws == 0 == one.loss_mean_err and two.draws == 40_000
    assert abs(one.loss_mean - two.loss_mean) < 4 * two.loss_mean_err
    assert abs(one.loss_std - two.loss_std) < 4 * two.loss_std_err + 1e-3 * one.loss_std
    assert np.all(np.abs(one.output_mean - two.output_mean) < 4.5 * two.output_mean_err)
    assert np.all(np.abs(one.output_std - two.output_std) < 4.5 * two.output_std_err + 1e-3 * one.output_std)


def test_at_infinite_width():
    """ΔL = -η ε H ε with z a Gaussian of covariance G: the loss's mean by hand."""
    X = np.random.default_rng(0).normal(size=(3, 5))
    y = np.random.default_rng(1).normal(size=(3, 2))
    flow = ntkflow.flow(ntkflow.MLP((5, 10**8, 10**8, 2), "tanh", 0.1, 1.3), X)
    G, H = flow[-1].G, flow[-1].H
    found = predict_first_step(flow, finite.mse, y, 0.5)
    assert found.loss_mean == pytest.approx(-0.5 / 9 * np.sum(H * (2 * G + y @ y.T)), rel=1e-6)
    assert np.allclose(found.output_mean, 0.5 / 3 * H @ y, rtol=1e-6)
    assert np.allclose(found.output_std**2, (0.5 / 3) ** 2 * np.diag(H @ G @ H)[:, None], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_digits_by_cross_entropy(activation):
    """2000 trained networks of width 128 (and of width 64), eight digits and two that are not trained on."""
    X, y = digits(10)

    def make(n):
        return ntkflow.MLP((64, n, n, 10), activation, 0.0, 2.0 if activation == "relu" else 1.0)

    check(make, X, y[:8], finite.cross_entropy, list(range(8)), 2000, (64, 128))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_diabetes_by_squared_loss(activation):
    """2000 trained networks of width 128 (and of width 64), ten patients and two that are not trained on."""
    X, y = diabetes(12)

    def make(n):
        return ntkflow.MLP((10, n, n, n, 1), activation, 0.1, 1.5)

    check(make, X, y[:10], finite.mse, list(range(10)), 2000, (64, 128))


def test_loss_of_ones_own_and_untrained_samples():
    """A loss linear in z: ε is constant, so Δz = -η Ĥ ε has the mean and sd of the NTK itself."""
    X = np.random.default_rng(0).normal(size=(3, 5))
    flow = ntkflow.flow(ntkflow.MLP((5, 200, 200, 2), "tanh", 0.1, 1.3), X)
    found = predict_first_step(flow, lambda z, y: jnp.sum(z[:, 0]), np.zeros(1), 1.0, train=[1], draws=40_000)
    last = flow[-1]
    assert np.all(np.abs(found.output_mean[:, 0] + last.ntk_mean()[:, 1]) < 4 * found.output_mean_err[:, 0])
    assert np.allclose(found.output_std[:, 0], last.ntk_std()[:, 1], rtol=0.02)
    assert np.allclose(found.output_std[:, 1], last.ntk_std("different")[1, :], rtol=0.02)


@pytest.mark.parametrize(
    ("samples", "outputs", "rows"),
    [(2, 3, 6), (1, 1, 1), (8, 10, 10), (30, 2, 2), (3, 40, 3), (26, 30, 1)],
)
def test_what_is_printed_fits_on_a_page(rng, samples, outputs, rows):
    """Every output on every sample where they are few; else root mean squares over what there are many of."""
    flow = ntkflow.flow(ntkflow.MLP((4, 8, outputs)), rng.normal(size=(samples, 4)), "mean")
    mean, std, mean_err, std_err = rng.uniform(1, 2, size=(4, samples, outputs))
    mean_err, std_err = 1e-4 * mean_err, 1e-4 * std_err
    for draws in (0, 100):
        step = FirstStep(
            -1.0, 0.5, mean, std, 0.01, 0.02, mean_err, std_err, draws, flow[-1], np.arange(samples), "mse", 0.1
        )  # fmt: skip
        table = step.table()
        said = " ".join(text(table).split())
        assert "…" not in said and ("in brackets" in said) == (draws > 0)
        labels, means, spreads = ([str(cell) for cell in column.cells] for column in table.columns[:3])
        assert labels[0] == "loss" and len(labels) == 1 + rows <= 25
        assert ("root mean square" in said.lower()) == (rows != samples * outputs)
        # Whatever is averaged, the sum of squares is the same.
        for cells, values in ((means, mean), (spreads, std)):
            each = values.size / rows
            shown = [float(cell.split("(")[0]) for cell in cells[1:]]
            assert sum(x**2 * each for x in shown) == pytest.approx(np.sum(values**2), rel=1e-3)
    if rows == samples * outputs:
        last = labels.index(f"output {outputs - 1} on sample {samples - 1}")
        assert float(means[last].split("(")[0]) == pytest.approx(mean[-1, -1], rel=1e-4)
