"""Trained networks to order 1/n: golden predictions by source, planted errors, other programs' limits, and networks that are trained."""

import ast
import contextlib
import functools
import inspect
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mpmath
import numpy as np
import planted
import pytest
import tomli_w
import trained_ensembles
from command_line import within
from golden_trained import PREDICTED, at, predictions, samples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import ntkflow
from ntkflow.errors import DataError, MemoryRequestError, SpecError
from ntkflow.training import one_over_n
from ntkflow.training.one_over_n import Expansion
from ntkflow.training.time_tables import decays, powers

SOURCES = ("infinite", "frozen", "dNTK", "ddNTK")


def worst(name):
    predict, cases = predictions(name, 1)
    # What was computed once is computed anew.
    expansion = Expansion(predict.layer, predict.modes, predict.y)
    object.__setattr__(predict, "expansion", expansion)
    off = 0.0
    for case in cases:
        for source, part in at(predict, case).sources.items():
            off = max(off, float(np.abs(part.mean.T - case[source]["mean"]).max()))
            off = max(off, float(np.abs(part.cov.transpose(1, 0, 3, 2) - case[source]["cov"]).max()))
    return off


@pytest.mark.parametrize("name", PREDICTED)
def test_golden_predictions_by_source(name):
    assert worst(name) < 1e-9
    predict, cases = predictions(name, 1)
    assert set(at(predict, cases[0]).sources) == set(SOURCES)


METHODS = (
    "_infinite", "_frozen", "_dNTK", "_ddNTK", "_with_spread", "_after_dNTK", "_after_ddNTK", "Pi_s", "Z", "Z_s", "Y", "_second",
)  # fmt: skip


@contextlib.contextmanager
def _replaced(name, original, function):
    setattr(Expansion, name, function)
    try:
        yield
    finally:
        setattr(Expansion, name, original)


def wrong_expansions():
    """(what is doubled, a context in which it is), for every term of the sums over sources."""
    for name in METHODS:
        original: Any = vars(Expansion)[name]
        function = getattr(original, "func", None) or getattr(original, "fget", None) or original
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef)
        definition.decorator_list.clear()
        for text, changed in planted.doublings(tree):
            namespace = dict(vars(one_over_n))
            exec(compile(changed, f"<{name} with a factor 2>", "exec"), namespace)  # noqa: S102
            wrong = namespace[name]
            yield (
                f"{name}: {text}",
                _replaced(name, original, property(wrong) if function is not original else wrong),
            )


def test_planted_errors_in_every_term_are_seen():
    assert worst("tanh_three_inputs") < 1e-9
    seen = []
    for label, wrong in wrong_expansions():
        if label.split(": ")[1].replace(" ", "") in ("1-eta*node", "u+k", "u+k+l"):
            continue
        with wrong:
            seen.append(label)
            assert worst("tanh_three_inputs") > 1e-6, label
    assert len(seen) >= 40


MLP = ntkflow.MLP((4, 24, 16, 2), "gelu", C_b=0.1, C_W=1.5, lambda_b=0.4)


@functools.cache
def predict(activation="gelu", loss="sum"):
    X, y, X_test = samples(3, 2)
    return ntkflow.trained(MLP.replace(activation=activation), X, y, X_test, order=1, loss=loss)


def close(prediction, other, rows: Any = slice(None), other_rows: Any = slice(None)):
    for source in prediction.sources:
        a, b = prediction.sources[source], other.sources[source]
        scale = np.abs(a.cov).max()
        assert np.allclose(a.mean[rows], b.mean[other_rows], rtol=0, atol=1e-10), source
        assert np.allclose(
            a.cov[rows][:, :, rows], b.cov[other_rows][:, :, other_rows], rtol=0, atol=1e-10 * max(scale, 1)
        ), source


@pytest.mark.parametrize("clock", [{"t": 1.5}, {"steps": 5, "eta": 0.05}, {"t": np.inf}])
def test_samples_and_outputs_may_be_permuted_and_test_samples_left_out(clock):
    X, y, X_test = samples(3, 2)
    fewer = ntkflow.trained(MLP, X[::-1], y[::-1, ::-1], X_test[1:], order=1)(**clock)
    turned = {name: one_over(part) for name, part in fewer.sources.items()}
    close(predict()(**clock), type(fewer)("", 3, turned, 0.0, (0.0, 0.0)), [0, 1, 2, 4], [2, 1, 0, 3])


def one_over(part):
    """The outputs in the other order."""
    return type(part)(part.mean[:, ::-1], part.cov[:, ::-1][:, :, :, ::-1])


def test_small_steps_are_a_flow():
    flow, whole = predict()(t=1.2), {}
    for steps in (200, 400):
        whole[steps] = predict()(steps=steps, eta=1.2 / steps)
    for source in SOURCES:
        first, second = (
            np.abs(whole[steps].sources[source].mean - flow.sources[source].mean).max() for steps in whole
        )
        assert second < 0.55 * first < 0.05, source


def test_one_step_frozen_is_the_first_step():
    """(i) and (ii) after one step are what `predict_first_step` has: at width 100,000 its higher orders vanish."""
    X, y, _ = samples(3, 2)
    mlp = ntkflow.MLP((4, 100_000, 100_000, 1), "tanh", C_b=0.1, C_W=1.5, lambda_b=0.4)
    eta = 0.1
    prediction = ntkflow.trained(mlp, X, y[:, :1], order=1)(steps=1, eta=eta)
    change = ntkflow.predict_first_step(ntkflow.flow(mlp, X), ntkflow.mse, y[:, :1], 3 * eta)
    mean = prediction.sources["infinite"].mean + prediction.sources["frozen"].mean
    assert np.allclose(mean, change.output_mean, rtol=0, atol=1e-10)
    assert np.abs(prediction.sources["frozen"].mean).max() > 1e-8


def test_a_mean_over_samples_takes_as_many_times_longer():
    close(predict(loss="mse")(t=6.0), predict()(t=2.0))


def test_a_kink_leaves_the_linearised_network():
    linearised = predict("relu")
    prediction = linearised(t=1.0)
    assert linearised.linearised and tuple(prediction.sources) == SOURCES[:2]
    assert "the linearised network" in repr(prediction)
    with pytest.raises(DataError, match="kink"):
        linearised.ntk_change(1.0)


def test_nothing_is_trained_at_time_0():
    prediction, layer = predict()(t=0.0), predict().layer
    assert np.allclose(prediction.mean, 0, atol=1e-14)
    expected = np.einsum("ab,ij->aibj", layer.G + layer.G1 / layer.fan_in, np.eye(2))
    assert np.allclose(prediction.cov, expected, rtol=1e-12, atol=1e-14)
    assert np.abs(predict().ntk_change(0.0)).max() < 1e-14


def test_training_ends_at_the_targets():
    prediction, (_, y, _) = predict()(t=np.inf), samples(3, 2)
    assert np.allclose(prediction.train.mean, y, atol=1e-9) and np.allclose(
        prediction.train.cov, 0, atol=1e-9
    )
    later = predict()(t=1e5)
    close(prediction, later)


def test_the_ntk_starts_to_change_as_its_derivative_says():
    """dE[Ĥ]/dt at 0 is -E[(dĤ_12a + dĤ_21a) z_a]."""
    layer, t, n = predict().layer, 1e-5, 3
    P, Q = layer.P, layer.Q
    # Neurons of legs 1 and 2 the same, of a and z summed over: P needs 1 with z and 2 with a; Q_0123 sums both neurons.
    one_way = (
        np.sum([2 * Q[:, :, a, a] + Q[:, a, :, a] + P[:, :, a, a] for a in range(n)], axis=0) / layer.fan_in
    )
    expected = -t * (one_way + one_way.T)
    assert np.allclose(predict().ntk_change(t)[:, 0, :, 0], expected, rtol=1e-3, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.floats(-3, 3),
    st.lists(st.one_of(st.just(0.0), st.floats(-4, 2).map(lambda e: 10.0**e)), min_size=1, max_size=4),
    st.floats(0, 1e-3),
)
def test_divided_differences_against_fifty_digits(exponent, rates, apart):
    t = 10.0**exponent
    rates = [rate * (1 + i * apart) for i, rate in enumerate(rates)]
    with mpmath.workdps(60):
        M = mpmath.matrix(len(rates))
        for i, rate in enumerate(rates):
            M[i, i] = -t * mpmath.mpf(rate)
            if i + 1 < len(rates):
                M[i, i + 1] = t
        expected = float(mpmath.expm(M, method="taylor")[0, len(rates) - 1]) if t * max(rates) < 200 else None
    value = float(decays(t, *map(np.asarray, rates)))
    if expected is None:
        assert value >= 0
    else:
        assert value == pytest.approx(expected, rel=1e-12)


def test_powers_are_those_of_matrices(rng):
    mu = rng.uniform(-0.9, 1, 4)
    M = np.diag(mu) + np.diag(np.ones(3), 1)
    for T in (0, 1, 2, 7, 100):
        value = powers(T, *map(np.asarray, mu))
        assert np.isclose(value, np.linalg.matrix_power(M, T)[0, 3], rtol=1e-12, atol=1e-15)


def test_refusals(tmp_path):
    X, y, _ = samples(3, 2)
    with pytest.raises(SpecError, match="order"):
        ntkflow.trained(MLP, X, y, order=2)
    with pytest.raises(SpecError, match="store"):
        ntkflow.trained(MLP, X, y, store=tmp_path / "x.zarr")
    with ThreadPoolExecutor(1) as executor, pytest.raises(SpecError, match="of a store"):
        ntkflow.trained(MLP, X, y, order=1, executor=executor)
    with pytest.raises(MemoryRequestError, match="2000 training and 0 test"):
        ntkflow.trained(MLP, np.zeros((2000, 4)), np.zeros((2000, 2)), order=1)
    with pytest.raises(DataError, match="edge of stability"):
        predict()(steps=3, eta=100.0)


def test_duplicates_zeros_and_one_sample(rng):
    X = np.array([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0.0, 0, 0, 0]])
    y = np.array([[1.0], [0.0], [0.5]])
    mlp = ntkflow.MLP((4, 16, 16, 1), "tanh", 0.1, 1.5)
    prediction = ntkflow.trained(mlp, X, y, rng.normal(size=(1, 4)), order=1)(t=np.inf)
    assert np.all(np.isfinite(prediction.cov)) and np.allclose(prediction.mean[:2], 0.5, atol=0.1)
    one = ntkflow.trained(mlp, X[:1], y[:1], order=1)
    assert np.isclose(one(t=np.inf).mean[0, 0], 1.0, atol=1e-9) and one.fails_from() > 0
    shallow = ntkflow.trained(ntkflow.MLP((4, 1), "tanh"), X[:1], y[:1], order=1)(t=1.0)
    assert not shallow.sources["dNTK"].mean.any() and not shallow.sources["frozen"].cov.any()


def test_a_store_holds_the_tensors(tmp_path):
    X, y, X_test = samples(3, 2)
    with ThreadPoolExecutor(2) as executor:
        stored = ntkflow.trained(
            MLP, X, y, X_test, order=1, store=tmp_path / "tensors.zarr", executor=executor
        )
    close(stored(t=1.0), predict()(t=1.0))


def test_table_dataset_and_command_line(tmp_path):
    prediction, (X, y, X_test) = predict()(2.0), samples(3, 2)
    data = prediction.to_xarray()
    assert np.allclose(data["mean"], sum(data[f"mean_{source}"] for source in SOURCES), atol=1e-15)
    assert (
        prediction.table().row_count == 2 * 2 and prediction.train.table().row_count == 3 * 2
    )  # of two outputs
    assert "order 1/n" in repr(predict()) and "% of the outputs" in repr(prediction)
    losses = predict().losses([2.0], y_test=y[:2])
    assert np.isclose(losses.train[0], prediction.train.loss(y)) and np.isclose(
        losses.test[0], prediction.test.loss(y[:2])
    )
    for name, array in {"X": X, "y": y, "T": X_test}.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "net.toml").write_text(tomli_w.dumps(MLP.to_spec()))
    code, printed, _ = within(
        tmp_path, "trained", "net.toml", "--data", "X.npy", "--targets", "y.npy", "--data2", "T.npy", "--time", "2", "--order", "1"
    )  # fmt: skip
    assert code == 0 and "n = ∞" in printed and f"{prediction.test.mean[0, 0]:.4g}" in printed


def test_trained_networks():
    """4,096 trained networks of width 16: mean, covariance and change of the NTK, within 5 noises and what truncation tells."""
    rows = trained_ensembles.part(0, 4096)["rows"]
    assert {row["of"] for row in rows} == {"mean", "cov", "ntk"}
    for row in rows:
        assert row["left"] < 5 * row["noise"] + row["told"], row
    of_mean = [row for row in rows if row["of"] != "cov" and row["stop"] > 2]
    assert all(row["left"] < 0.5 * row["deviation"] for row in of_mean), of_mean


def test_a_spread_that_fails_is_told():
    """Four neurons a layer, digits 0 and 1: the variance on a test sample is changed by three quarters, the mean by a ninth."""
    X, y = load_digits(n_class=2, return_X_y=True)
    X, y = (np.asarray(X) - np.mean(X)) / np.std(X), np.asarray(y, float)
    narrow = ntkflow.MLP((64, 4, 4, 1), "tanh", C_W=2.0)
    late = ntkflow.trained(narrow, X[:4], y[:4], X[260:261], order=1)
    prediction = late(t=30.0)
    variance, change = (s.cov[-1, 0, -1, 0] for s in (prediction.sources["infinite"], prediction.correction))
    assert np.isclose(prediction.relative_size, abs(change) / variance, rtol=1e-3)
    assert prediction.relative_size > 0.7 and "too much" in repr(prediction) and late.fails_from() < 30.0
