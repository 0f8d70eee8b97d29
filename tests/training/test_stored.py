"""Trained ensembles by iteration on kernels on disk: equal to those by decomposition, in bounded memory."""

import json

import numpy as np
import pytest
from command_line import within
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import ntkflow
from ntkflow.errors import DataError, FileError, MemoryRequestError
from ntkflow.training.krylov import Krylov

DIGITS, CLASSES = load_digits(return_X_y=True)
X = (DIGITS[:600] - DIGITS.mean()) / DIGITS.std()
Y = np.eye(10)[CLASSES[:500]] - 0.1
MLP = ntkflow.MLP((64, 128, 128, 10), "relu", 0.05, 1.9, 0.3)
CHOSEN = np.array([3, 599, 377, 500, 501])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "kernels.zarr"
    ntkflow.store_kernels(MLP, X, path, tile=64, layers="last")
    return path


@pytest.fixture(scope="module")
def decomposed():
    return ntkflow.trained(MLP, X[:500], Y, X[500:])


@pytest.mark.parametrize(
    "clock", [{"t": 0.0}, {"t": 0.3}, {"t": 30.0}, {"t": np.inf}, {"steps": 40, "eta": 5e-4}]
)
@pytest.mark.parametrize("memory", [2**30, 2**23])
def test_it_is_the_decomposition(path, decomposed, clock, memory):
    predict = ntkflow.trained_from_store(path, Y, rtol=1e-10, memory=memory)
    predicted, expected = predict(**clock), decomposed(**clock)
    assert np.abs(predicted.mean - expected.mean).max() < 1e-8
    assert predicted.mean.shape == (600, 10) and predicted.training == 500
    chosen = CHOSEN if memory == 2**30 else CHOSEN[:2]
    assert np.abs(predicted.covariance(chosen) - expected.covariance(chosen)).max() < 1e-8
    assert np.abs(predicted.test.covariance([99]) - expected.test.covariance([99])).max() < 1e-8


def test_scale_of_the_loss(path):
    summed, mean = (ntkflow.trained_from_store(path, Y[:, 0], loss=loss) for loss in ("sum", "mse"))
    assert np.allclose(summed(t=1.0).mean, mean(t=500.0).mean, atol=1e-7)
    assert mean(t=500.0).title.endswith("t = 500")


def test_what_memory_does_not_hold(path):
    predicted = ntkflow.trained_from_store(path, Y, memory=2**20)(t=1.0)
    with pytest.raises(MemoryRequestError, match="choose at most"):
        predicted.covariance(np.arange(20))
    for whole in ("sample_cov", "std", "cov"):
        with pytest.raises(MemoryRequestError, match="choose samples"):
            getattr(predicted, whole)
    assert predicted.table().row_count == predicted.test.table().row_count == 12
    assert "chosen" in repr(predicted) and set(predicted.to_xarray()) == {"mean"}


def test_accuracy_that_is_not_reached_is_told(path, monkeypatch):
    monkeypatch.setattr("ntkflow.training.stored._MOST", 12)
    with pytest.warns(UserWarning, match="after 12 iterations"):
        ntkflow.trained_from_store(path, Y)(t=np.inf)


def test_bad_arguments(path, tmp_path):
    edge = ntkflow.trained(MLP, X[:500], Y).largest_eta
    predict = ntkflow.trained_from_store(path, Y)
    with pytest.raises(DataError, match="edge of stability"):
        predict(steps=10, eta=1.01 * edge)
    assert np.isfinite(predict(steps=10, eta=0.99 * edge).mean).all()
    for y, word in (
        (np.zeros((601, 1)), "at most 600"),
        (np.zeros(0), "one row"),
        (np.full(3, np.nan), "finite"),
    ):
        with pytest.raises(DataError, match=word):
            ntkflow.trained_from_store(path, y)
    for y in (3.0, None, [[1.0], [2.0, 3.0]]):
        with pytest.raises(DataError):
            ntkflow.trained_from_store(path, y)
    with pytest.raises(DataError, match="one-hot"):
        ntkflow.trained_from_store(path, [0, 1, 1])
    with pytest.raises(DataError, match="rtol"):
        ntkflow.trained_from_store(path, Y, rtol=0.0)
    with pytest.raises(FileError):
        ntkflow.trained_from_store(tmp_path / "none.zarr", Y)
    ntkflow.store_kernels(MLP, X[:8], tmp_path / "two.zarr", X[8:12])
    with pytest.raises(DataError, match="two sets"):
        ntkflow.trained_from_store(tmp_path / "two.zarr", Y[:4])
    assert "on kernels on disk" in repr(predict)
    for samples in ([600], [-1], [0.5], [[1]]):
        with pytest.raises(DataError, match="from 0 to 599"):
            predict(t=0.0).covariance(samples)


def test_damage_is_seen(path, tmp_path):
    import shutil

    shutil.copytree(path, tmp_path / "damaged.zarr")
    chunks = sorted(file for file in (tmp_path / "damaged.zarr" / "H" / "c").rglob("*") if file.is_file())
    assert len(chunks) > 4
    chunk = chunks[1]
    content = bytearray(chunk.read_bytes())
    content[1000] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(FileError, match="damaged|checksum"):
        ntkflow.trained_from_store(tmp_path / "damaged.zarr", Y)(t=1.0)


def test_singular_and_smallest_kernels(tmp_path):
    """The same input twice with two targets, opposite inputs, one of zeros; and one sample."""
    rows = np.array([X[0], X[0], -X[0], np.zeros(64), X[1], X[2]])
    y = np.array([1.0, 2.0, -1.0, 0.5, 0.3])
    ntkflow.store_kernels(MLP, rows, tmp_path / "few.zarr")
    ntkflow.store_kernels(MLP, rows[:1], tmp_path / "one.zarr")
    for t in (1.0, np.inf):
        few, one = (
            ntkflow.trained_from_store(tmp_path / name, y[:n])(t=t)
            for name, n in (("few.zarr", 5), ("one.zarr", 1))
        )
        expected = ntkflow.trained(MLP, rows[:5], y, rows[5:])(t=t)
        assert np.allclose(few.mean, expected.mean, atol=1e-7)
        assert np.allclose(few.covariance(np.arange(6)), expected.sample_cov, atol=1e-7)
        assert np.allclose(one.mean, ntkflow.trained(MLP, rows[:1], y[:1])(t=t).mean)
    assert not ntkflow.trained_from_store(tmp_path / "few.zarr", np.zeros(5))(t=1.0).mean.any()


def test_what_never_trains(tmp_path):
    """A linear kernel of rank 5 on 20 samples: what is outside of its range stays as it was, and is not taken for converged at once."""
    rows, mlp = np.random.default_rng(4).normal(size=(22, 5)), ntkflow.MLP((5, 1), [], C_b=1.0, lambda_b=0.0)
    y = np.random.default_rng(5).normal(size=20)
    ntkflow.store_kernels(mlp, rows, tmp_path / "linear.zarr")
    largest = np.linalg.eigvalsh(ntkflow.flow(mlp, rows[:20], "mean")[1].G).max()
    for t in (3.0, 1e9, np.inf):
        predicted = ntkflow.trained_from_store(tmp_path / "linear.zarr", y)(t=t)
        expected = ntkflow.trained(mlp, rows[:20], y, rows[20:])(t=t)
        assert np.allclose(predicted.covariance([0, 7, 21]), expected.covariance([0, 7, 21]), atol=1e-6), t
        # Rounding of the kernel's entries leaves κ of some eps ‖K‖ outside of its range, for the iteration as for the decomposition.
        rounding = 4 * np.finfo(float).eps * largest * t if np.isfinite(t) else 0.0
        assert np.allclose(predicted.mean, expected.mean, atol=1e-7 + rounding)
    assert expected.std[0] > 0.1


def test_modes_as_slow_as_errors_are_told(tmp_path):
    """Next to one another on a line, with a step as their target: at infinite time what is not known decides."""
    x, mlp = np.linspace(-1, 1, 40)[:, None], ntkflow.MLP((1, 64, 64, 1), "tanh", 0.1, 1.3)
    ntkflow.store_kernels(mlp, x, tmp_path / "line.zarr")
    predict = ntkflow.trained_from_store(tmp_path / "line.zarr", np.sign(x))
    assert np.isfinite(predict(t=1.0).mean).all()
    with pytest.warns(UserWarning, match="known to"):
        predict(t=np.inf)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.floats(0.0, 6.0), st.integers(0, 2**32 - 1))
def test_errors_are_honest(N, C, decades, seed):
    """Spectra over up to six decades: the error is at most ten times what is told, to which rounding adds."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(N, N)))[0]
    rates = 10 ** rng.uniform(-decades, 0, N)
    H, B = Q * rates @ Q.T, rng.normal(size=(N, C))
    for f in (lambda k: -np.expm1(-30 * k) / np.maximum(k, 1e-300), lambda k: np.exp(-3 * k)):
        result, told = Krylov(lambda V: H @ V, B).apply(f, 1e-6, 1000, 0.0, lambda steps: None)
        expected = Q * f(rates) @ (Q.T @ B)
        error = np.linalg.norm(result - expected, axis=0) / np.linalg.norm(expected, axis=0)
        assert np.all(error <= 10 * told + 1e-9), (error, told)


def test_kernels_are_shown(path):
    assert json.loads((path / "zarr.json").read_text())["attributes"]["layers"] == "last"
    status, said, _ = within(path.parent, "show", path.name)
    assert status == 0 and "600" in said
