"""The trained ensemble at infinite width: against golden numbers, steps done one by one, and networks that are trained."""

import functools
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import tomli_w
from command_line import within
from golden_trained import PREDICTED, at, predictions, samples
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkflow
from ntkflow import finite
from ntkflow.errors import DataError, SpecError

MLP = ntkflow.MLP((4, 8, 8, 2), "tanh", C_b=0.1, C_W=1.3, lambda_b=0.4)


@functools.cache
def predict(loss="sum"):
    X, y, X_test = samples(6, 3)
    return ntkflow.trained(MLP, X, y, X_test, loss=loss)


@pytest.mark.parametrize("name", PREDICTED)
def test_golden(name):
    predict, cases = predictions(name, 0)
    for golden in cases:
        prediction = at(predict, golden)
        assert np.allclose(prediction.mean.T, golden["infinite"]["mean"], rtol=0, atol=1e-10)
        cov = prediction.cov.transpose(1, 0, 3, 2)
        assert np.allclose(cov, golden["infinite"]["cov"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_steps_done_one_by_one(steps):
    """Gradient descent on all outputs at once, the map of z(0) as a matrix; no eigenvectors."""
    predict_, (_, y, _) = predict(), samples(6, 3)
    eta, n, N = 0.7 * predict_.largest_eta, 6, 9
    J, mean = np.eye(N), np.zeros((N, 2))
    for _ in range(steps):
        J = J - eta * predict_.H[:, :n] @ J[:n]
        mean = mean - eta * predict_.H[:, :n] @ (mean[:n] - y)
    prediction = predict_(steps=steps, eta=eta)
    assert np.allclose(prediction.mean, mean, rtol=0, atol=1e-12)
    assert np.allclose(prediction.sample_cov, J @ predict_.G @ J.T, rtol=0, atol=1e-12)


def test_flow_is_the_matrix_exponential():
    predict_, (_, y, _) = predict(), samples(6, 3)
    generator = np.zeros((9, 9))
    generator[:, :6] = -predict_.H[:, :6]
    J = scipy.linalg.expm(2.5 * generator)
    prediction = predict_(2.5)
    assert np.allclose(prediction.sample_cov, J @ predict_.G @ J.T, rtol=0, atol=1e-12)
    offset = np.concatenate([y, predict_.H[6:, :6] @ np.linalg.solve(predict_.H[:6, :6], y)])
    assert np.allclose(prediction.mean, offset - J @ offset, rtol=0, atol=1e-11)
    assert np.allclose(predict_(np.inf).train.mean, y, atol=1e-12)
    assert np.allclose(predict_(np.inf).train.sample_cov, 0, atol=1e-12)


def test_a_mean_over_samples_takes_as_many_times_longer():
    of_sum, of_mean = predict(), predict("mse")
    assert np.allclose(of_mean(6.0).mean, of_sum(1.0).mean, rtol=1e-13)
    assert np.allclose(of_mean(steps=3, eta=0.6).cov, of_sum(steps=3, eta=0.1).cov, rtol=1e-13)
    assert of_mean.largest_eta == pytest.approx(6 * of_sum.largest_eta)


def test_posterior_is_the_solution_of_its_equation():
    predict_, (_, y, _) = predict(), samples(6, 3)
    G = predict_.G
    for noise in (0.0, 0.3):
        posterior = predict_.posterior(noise)
        inverse = np.linalg.inv(G[:6, :6] + noise * np.eye(6))
        assert np.allclose(posterior.mean, G[:, :6] @ inverse @ y, atol=1e-11)
        assert np.allclose(posterior.sample_cov, G - G[:, :6] @ inverse @ G[:6], atol=1e-11)


def test_losses_are_those_of_the_predictions():
    predict_, (_, y, _) = predict(), samples(6, 3)
    y_test = np.ones((3, 2))
    losses = predict_.losses([0.0, 1.0, np.inf], y_test=y_test)
    assert float(losses.train[0]) == pytest.approx(
        0.5 * np.mean(np.sum(y**2, axis=1)) + np.trace(predict_.G[:6, :6]) / 6
    )
    assert losses.test.values[1] == pytest.approx(predict_(1.0).test.loss(y_test))
    assert losses.train.values[2] == pytest.approx(0, abs=1e-20) and losses.sizes == {"time": 3}
    assert np.all(np.diff(losses.train.values) < 0)
    steps = predict_.losses(steps=[1, 5], eta=0.1)
    assert steps.train.values[1] == pytest.approx(predict_(steps=5, eta=0.1).train.loss(y))


def test_the_same_input_with_two_targets_ends_at_their_mean():
    X, y, X_test = samples(6, 3)
    twice = ntkflow.trained(MLP, np.concatenate([X, X[:1]]), np.concatenate([y, y[:1] + 1.0]), X_test)
    end = twice(np.inf)
    assert np.allclose(end.mean[[0, 6]], y[0] + 0.5, atol=1e-10) and np.allclose(
        end.mean[1:6], y[1:], atol=1e-9
    )
    once = ntkflow.trained(MLP, X, np.concatenate([y[:1] + 0.5, y[1:]]), X_test)(np.inf)
    assert np.allclose(end.test.mean, once.test.mean, atol=1e-8)
    assert np.allclose(end.test.sample_cov, once.test.sample_cov, atol=1e-8)
    assert "1 mode that never trains" in repr(twice) and twice.condition == np.inf


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9])
def test_errors_of_near_duplicates_hold(distance):
    """Two inputs a little apart with different targets: the smooth limit of large κ_max / κ_min, against 50 digits."""
    mpmath = pytest.importorskip("mpmath")
    X = np.array([[1.0, 0.2, -0.3, 0.5], [1.0, 0.2, -0.3, 0.5 + distance], [0.1, -1.0, 0.4, 0.2]])
    predict_ = ntkflow.trained(MLP, X[:2], np.array([[0.3], [0.4]]), X[2:])
    t = 3.0
    prediction, error = predict_(t), predict_.error(t)
    with mpmath.workdps(50):
        H = mpmath.matrix(predict_.H[:2, :2].tolist())
        y = mpmath.matrix([0.3, 0.4])
        exact = y - mpmath.expm(-t * H) * y
    assert np.all(
        np.abs(prediction.mean[:2, 0] - np.array(exact.tolist(), float).ravel()) <= error.mean[:2, 0]
    )
    assert np.all(error.mean < 1e-9)


def test_errors_of_a_coarse_integration_hold():
    X, y, X_test = samples(6, 3)
    erf = ntkflow.MLP((4, 8, 8, 2), "gelu", C_b=0.1, C_W=1.9)
    fine, coarse = (ntkflow.trained(erf, X, y, X_test, rtol=rtol) for rtol in (1e-12, 1e-3))
    clocks: list[dict[str, Any]] = [{"t": 1.0}, {"t": np.inf}, {"steps": 20, "eta": 0.1}]
    for clock in clocks:
        error = coarse.error(**clock)
        assert np.all(np.abs(coarse(**clock).mean - fine(**clock).mean) <= error.mean)
        assert np.all(np.abs(coarse(**clock).sample_cov - fine(**clock).sample_cov) <= error.sample_cov)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(6)), kept=st.integers(1, 3), t=st.floats(0, 100))
def test_order_and_test_samples_do_not_matter(order, kept, t):
    X, y, X_test = samples(6, 3)
    permuted = ntkflow.trained(MLP, X[order], y[order], X_test[:kept])(t)
    whole = predict()(t)
    rows = [*order, *range(6, 6 + kept)]
    assert np.allclose(permuted.mean, whole.mean[rows], atol=1e-11)
    assert np.allclose(permuted.sample_cov, whole.sample_cov[np.ix_(rows, rows)], atol=1e-11)


def test_zero_inputs_and_one_sample_and_one_layer():
    linear = ntkflow.MLP((3, 1), C_W=2.0, lambda_b=0.0)
    alone = ntkflow.trained(linear, [[1.0, 1.0, 1.0]], [2.0], [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])(np.inf)
    assert np.allclose(alone.mean[:, 0], [2.0, 0.0, 4.0]) and np.allclose(alone.std, 0, atol=1e-7)
    dead = ntkflow.trained(linear, np.zeros((2, 3)), [1.0, 2.0])
    assert dead(5.0).mean.tolist() == [[0.0], [0.0]] and dead(np.inf).mean.tolist() == [[0.0], [0.0]]
    assert dead.largest_eta == np.inf and "2 modes that never train" in repr(dead)


def test_any_model_and_its_parts():
    predict_ = predict()
    prediction = predict_(1.0)
    assert prediction.test.mean.shape == (3, 2) and prediction.train.cov.shape == (6, 2, 6, 2)
    assert np.array_equal(prediction.test.std, prediction.std[6:])
    assert np.array_equal(prediction.test.sample_cov, prediction.sample_cov[6:, 6:])
    assert "6 training samples, 3 test samples, 2 outputs" in repr(prediction) and "t = 1" in repr(prediction)
    assert "at infinite width" in repr(predict_) and "condition" in repr(predict_)
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    with pytest.warns(UserWarning):
        lifted = ntkflow.trained(model, *samples(6, 3))
    assert np.isfinite(lifted(1e-3).mean).all()


def test_refusals():
    X, y, X_test = samples(6, 3)
    predict_ = predict()
    eta = 1.01 * predict_.largest_eta
    with pytest.raises(
        DataError, match=r"above the edge of stability .*: 1 of 6 modes diverge, the fastest with kappa"
    ):
        predict_(steps=2, eta=eta)
    assert np.isfinite(predict_(steps=2, eta=0.99 * predict_.largest_eta).mean).all()
    clocks: list[dict[str, Any]] = [
        {},
        {"t": 1.0, "steps": 2, "eta": 0.1},
        {"steps": 2},
        {"t": -1.0},
        {"t": np.nan},
        {"steps": 1.5, "eta": 0.1},
        {"steps": 1, "eta": 0.0},
    ]
    for clock in clocks:
        with pytest.raises(DataError, match=r"t must|give a time|steps must|eta must"):
            predict_(**clock)
    for targets, match in (
        (y[:5], "shape"),
        (y * np.nan, "finite"),
        (y.astype(str), "numbers"),
        (np.arange(6), r"np.eye\(2\)\[y\]"),
    ):
        with pytest.raises(DataError, match=match):
            ntkflow.trained(MLP, X, targets, X_test)
    with pytest.raises(DataError, match="X_test"):
        ntkflow.trained(MLP, X, y, X_test[:, :2])
    with pytest.raises(SpecError, match="loss"):
        ntkflow.trained(MLP, X, y, loss="cross_entropy")
    with pytest.raises(DataError, match="noise"):
        predict_.posterior(-1.0)


def test_command_line(tmp_path):
    X, y, X_test = samples(6, 3)
    for name, array in {"X": X, "y": y, "T": X_test}.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "net.toml").write_text(tomli_w.dumps(MLP.to_spec()))
    arguments = ["trained", "net.toml", "--data", "X.npy", "--targets", "y.npy"]
    code, printed, error = within(tmp_path, *arguments, "--data2", "T.npy", "--time", "2")
    assert code == 0 and "test sample" in printed and f"{predict()(2.0).test.mean[0, 0]:.4g}" in printed
    code, printed, _ = within(tmp_path, *arguments)
    assert code == 0 and "training sample" in printed
    code, printed, error = within(tmp_path, *arguments, "--steps", "3", "--eta", "1e9")
    assert code == 2 and "edge of stability" in error
    code, printed, error = within(tmp_path, "trained", "net.toml", "--targets", "y.npy")
    assert code == 2 and "--data is missing" in error


def test_command_line_on_stored_kernels(tmp_path):
    """The means of the network itself; what kernels don't take is refused."""
    X, y, X_test = samples(6, 3)
    np.save(tmp_path / "X.npy", np.concatenate([X, X_test]))
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "net.toml").write_text(tomli_w.dumps(MLP.to_spec()))
    code, _, error = within(tmp_path, "flow", "net.toml", "--data", "X.npy", "--components", "mean", "--tile", "4", "--last", "-o", "kernels.zarr")  # fmt: skip
    assert code == 0, error
    arguments = ["trained", "kernels.zarr", "--targets", "y.npy", "--time", "2"]
    code, printed, error = within(tmp_path, *arguments)
    assert code == 0 and "test sample" in printed, error
    assert f"{predict()(2.0).test.mean[0, 0]:.4g}" in printed
    for further in (["--data", "X.npy"], ["--order", "1"]):
        code, _, error = within(tmp_path, *arguments, *further)
        assert code == 2 and "holds kernels of its own inputs" in " ".join(error.split())


def test_dataset_and_table():
    prediction = predict()(1.0)
    data = prediction.to_xarray()
    assert (
        prediction.std.shape == (9, 2)
        and np.array_equal(data["std"].values, prediction.std)
        and int(data.training.sum()) == 6
    )
    assert prediction.table().row_count == 3 and prediction.train.table().row_count == 6


@pytest.mark.slow
def test_wide_networks_that_are_trained():
    """300 networks of width 400: means within 5 standard errors and 1/n of the prediction, variances within 5 of theirs."""
    X, y, X_test = samples(6, 3)
    mlp = MLP.replace(widths=(4, 400, 400, 2))
    steps, eta, networks = 15, 0.5 * predict().largest_eta, 300
    everything = np.concatenate([X, X_test])
    outputs = []
    for seed in range(networks):
        params, _ = finite.train(
            mlp, finite.init(mlp, seed), X, y, finite.mse, eta * len(X), steps, record_every=steps
        )
        outputs.append(finite.forward(mlp, params, everything)[-1])
    measured, prediction = np.array(outputs), predict()(steps=steps, eta=eta)
    spread = prediction.std
    assert np.all(np.abs(measured.mean(axis=0) - prediction.mean) < 5 * spread / np.sqrt(networks) + 4 / 400)
    assert np.all(np.abs(measured.std(axis=0) - spread) < 5 * spread / np.sqrt(2 * networks) + 4 / 400)
