"""What results of sampling, observables, training and tuning say of themselves, and the progress that is shown on the way."""

import io
import warnings
from contextlib import contextmanager

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from command_line import within
from printed import text

import ntkflow
from ntkflow._report import describe, progress
from ntkflow._report.digits import measured
from ntkflow._report.picture import new_picture
from ntkflow.observables import NTK

X = np.random.default_rng(3).normal(size=(3, 4))
Y = np.zeros((3, 2))
MLP = ntkflow.MLP((4, 8, 8, 2), "tanh", 0.1, 1.25, 0.5)
TITLE = "4-8-8-2, tanh, C_b 0.1, C_W 1.25, λ_b 0.5, λ_W 1, N = 3"


def loss(z, y):
    return jnp.mean((z - y) ** 2)


def trained(mlp, X, y, **options):
    return ntkflow.finite.train(
        mlp, ntkflow.finite.init(mlp, 0), X, y, loss, 0.1, 40, record_every=2, **options
    )


@pytest.fixture(scope="module")
def flow():
    return ntkflow.flow(MLP, X)


@pytest.fixture(scope="module")
def results(flow):
    p = ntkflow.joint(flow)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "OutputNTK of 300 networks, seed 5": ntkflow.output_ntk(MLP, X, 300, seed=5),
            "layer 3 of 3, to order 1/n, n = 8": p,
            "QuarticAction of 2 neurons in layer 3": p.action(2),
            "trained on with mse, eta = 0.1; analytic": ntkflow.predict_first_step(flow, ntkflow.mse, Y, 0.1),
            "1 of them trained on with loss, eta = 0.1; 200 draws": ntkflow.predict_first_step(
                flow, loss, Y[:1], 0.1, train=[1], draws=200
            ),
            "History of 40 steps": trained(MLP, X, Y)[1],
        }


def test_results_say_what_they_are_of(results):
    for words, result in results.items():
        said = repr(result)
        assert words in said and len(said.splitlines()) <= 20, said
        assert "MLP(widths=(4, 8, 8, 2), activation='tanh', C_b=0.1, C_W=1.25" in said and "3 samples" in said
        assert TITLE in text(result.table()) and TITLE in result._repr_html_()


def test_of_many_samples_some_are_shown(rng):
    many = rng.normal(size=(60, 4))
    ntk = ntkflow.output_ntk(MLP, many, 50)
    shown = text(ntk.table())
    assert "12 of 60 samples" in shown and "  59  " in shown and len(shown.splitlines()) < 25
    _, history = trained(MLP, many, np.zeros((60, 2)))
    assert "12 of 21 records" in text(history.table()) and "  40  " in text(history.table())


def test_monte_carlo_errors_stand_in_brackets(results):
    *_, drawn, _ = results.values()
    assert measured(drawn.loss_mean, drawn.loss_mean_err) in repr(drawn)
    assert measured(drawn.loss_std, drawn.loss_std_err) in text(drawn.table())
    exact = results["trained on with mse, eta = 0.1; analytic"]
    assert f"{exact.loss_mean:.6g}, sd over seeds {exact.loss_std:.6g}" in repr(exact)


def test_the_command_prints_the_table_of_the_first_step(tmp_path, rng):
    flow = ntkflow.flow(ntkflow.MLP((4, 8, 10), "tanh"), rng.normal(size=(3, 4)))
    flow.save(tmp_path / "flow.nc")
    np.save(tmp_path / "y.npy", np.zeros((3, 10)))
    status, out, said = within(tmp_path, "first-step", "flow.nc", "--targets", "y.npy", "--eta", "0.1")
    assert status == 0 and out.count(", rms") == 10, said
    found = ntkflow.predict_first_step(flow, ntkflow.mse, np.zeros((3, 10)), 0.1)
    rows = [line.split() for line in text(found.table()).splitlines() if ", rms" in line]
    assert rows == [line.split() for line in out.splitlines() if ", rms" in line]


def test_table_of_a_joint_distribution(flow):
    p = ntkflow.joint(flow)
    rows = [line.split() for line in text(p.table()).splitlines()]
    for a in range(3):
        ntk = NTK(0, 0, a, a)
        variance = flow[3].G[a, a] + flow[3].G1[a, a] / 8
        of_z = 3 * flow[3].V[a, a, a, a] / (8 * flow[3].G[a, a] ** 2)
        numbers = variance, of_z, p.cumulant(ntk), p.covariance(ntk, ntk) ** 0.5
        assert any(row[:5] == [str(a), *(f"{value:.4g}" for value in numbers)] for row in rows)
    alone = ntkflow.joint(ntkflow.flow(MLP, X, "mean"))
    assert "means alone" in repr(alone) and "<pre>" in alone._repr_html_()
    with pytest.raises(ntkflow.errors.ComponentError):
        alone.table()


def test_expectations_are_a_line(flow):
    found = ntkflow.joint(flow).expect(lambda z: z[0] ** 2, [1])
    assert repr(found).startswith(f"Expanded {found.value:.10g}, error ") and "n = 8" in repr(found)


def test_parameters_are_not_printed_number_by_number():
    assert repr(ntkflow.finite.init(MLP, 0)[1]) == "LayerParameters(W (8, 8) float64, b (8,) float64)"


def test_criticality_has_tables():
    tanh = ntkflow.critical("tanh")
    assert "chi_perpendicular" in text(tanh.table()) and "0.1817977" in tanh._repr_html_()
    assert tanh.exponents is not None
    assert "p_0 1, p_perp 1, settled" in repr(tanh.exponents) and " 2048 " in text(tanh.exponents.table())
    assert "no critical point" in ntkflow.critical("sigmoid")._repr_html_()


@pytest.mark.parametrize(
    "mlp",
    [ntkflow.MLP((4, 2)), ntkflow.MLP((4, 6, 2), "relu", 0.0, 0.0), ntkflow.MLP((4, 6, 2), "tanh", 0.0, 1e-12)],
    ids=["depth 1", "dead", "nearly dead"],
)  # fmt: skip
def test_strange_networks(mlp):
    one = X[:1]
    flow = ntkflow.flow(mlp, one)
    drawn = ntkflow.predict_first_step(flow, loss, Y[:1], 0.1, draws=50)
    for result in (ntkflow.joint(flow), drawn, ntkflow.output_ntk(mlp, one, 50), trained(mlp, one, Y[:1])[1]):
        shown = repr(result) + text(result.table())
        assert "nan" not in shown and "inf," not in shown and "1 sample" in repr(result)


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (0.8495, 0.0047, "0.8495(47)"),
        (1.2345e-30, 1e-32, "1.234(10)e-30"),
        (1e40, 3e37, "1.0000(30)e+40"),
        (3.0, 0.0, "3.0000"),
        (0.0, 0.0, "0"),
        (2.0, 5.0, "2.0(50)"),
        (1.0, 1e-12, "1.0000"),
        (float("nan"), 1.0, "-"),
        (float("inf"), float("nan"), "inf"),
    ],
)
def test_measured_numbers(value, error, said):
    assert measured(value, error) == said


@pytest.mark.parametrize(
    ("mlp", "line"),
    [
        (ntkflow.MLP((4, 2)), "4-2, C_b 0, C_W 1, λ_b 1, λ_W 1"),
        (
            ntkflow.MLP((64, *[128] * 11, 10), "silu", [0.005208] + [0.0026] * 11, 1 / 3, 1.0, [64.0] + [128.0] * 11),
            "64-128×11-10, silu, C_b 0.005208, 0.0026×11, C_W 0.3333, λ_b 1, λ_W 64, 128×11",
        ),
        (
            ntkflow.MLP((4, *range(20, 40), 2), {"name": "leaky_relu", "slope": 0.5}, list(np.linspace(0, 2, 21))),
            "4-20…39×20-2, leaky_relu(slope=0.5), C_b 0…2, C_W 1, λ_b 1, λ_W 1",
        ),
    ],
    ids=["depth 1", "first layer differs", "all differ"],
)  # fmt: skip
def test_a_network_in_a_line(mlp, line):
    assert describe.network(mlp) == line


@pytest.mark.parametrize("depth", [4, 12])
def test_titles_of_pictures_fit(depth, rng):
    hyperparameters = rng.uniform(0.5, 1.5, size=(4, depth)).tolist()
    mlp = ntkflow.MLP((4, *rng.integers(10, 999, size=depth - 1).tolist(), 2), "relu", *hyperparameters)
    pictures = [ntkflow.flow(mlp, X, "mean").plot()]
    for inches in (3.6, 7.2, 13.0):
        pictures.append(new_picture(f"{describe.network(mlp, 3)}; 100 networks", (inches, 5)))
        pictures[-1].subplots().set_title("finite-width effects")
    for figure in pictures:
        figure.savefig(io.BytesIO())
        title = next(text for text in figure.texts if "relu" in text.get_text()).get_window_extent()
        assert title.x0 >= 0 and title.x1 <= figure.bbox.x1 and title.y1 <= figure.bbox.y1
        assert all(title.y0 >= axes.title.get_window_extent().y1 for axes in figure.axes if axes.get_title())


@pytest.mark.parametrize("components", ["all", "pairs", "mean"])
def test_ensembles_as_datasets(components, tmp_path):
    ensemble = ntkflow.ensemble(MLP, X, 50, seed=7, components=components, estimators="direct")
    ensemble.to_xarray().to_netcdf(tmp_path / "ensemble.nc")
    found = xr.load_dataset(tmp_path / "ensemble.nc")
    assert (found.draws, found.seed, found.estimators) == (50, 7, "direct") and '"tanh"' in found.mlp
    for layer in ensemble:
        of_layer = found.sel(layer=layer.layer)
        for name, values in layer.values.items():
            assert np.array_equal(of_layer[name], values, equal_nan=True)
            assert np.array_equal(of_layer[name + "_error"], layer.error(name), equal_nan=True)
    axes = {
        "all": ("alpha1", "alpha3", "alpha2", "alpha4"),
        "pairs": ("set", "slot1", "slot3", "slot2", "slot4"),
    }
    if components != "mean":
        assert found.F.dims == ("layer", *axes[components])
        assert found.zH.dims == tuple(dim for dim in found.F.dims if dim[-1] != "2")
    with pytest.raises(ntkflow.errors.FileError, match="not a flow"):
        ntkflow.Flow.from_xarray(found)


def test_relative_error_of_what_must_vanish():
    """E[z ΔĤ] is noise: its error is as large as it."""
    for estimators, low, high in (("direct", 0.1, 10.0), ("low-noise", 0.0, 0.0)):
        layer = ntkflow.ensemble(MLP, X, 50, estimators=estimators)[3]
        assert low <= layer.relative_error("zH") <= high


@pytest.fixture
def bars(monkeypatch):
    """What each bar showed."""
    shown = []

    @contextmanager
    def bar(console, doing):
        shown.append([doing])
        yield lambda done, total, message: shown[-1].append(message)

    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes any stream for a terminal
    monkeypatch.setattr(progress, "_late_bar", bar)
    return shown


def test_progress_is_shown_of_all_that_takes_long(bars, flow):
    p = ntkflow.joint(flow)
    flow_bars = len(bars)
    p.expect(lambda z: z[0], [0])
    p.covariance_of(jnp.sum, [0], jnp.sum, [1])
    p.expect_with_ntk(jnp.sum, [0], (0, 0, 1, 1))
    p.sample(0, 2, 10)
    ntkflow.observables.interlayer(flow, 3, lambda z: z[0] ** 2, [0])
    assert [bar[0] for bar in bars[flow_bars:]] == ["compiling and integrating"] * 3 + [
        "compiling and drawing", "compiling and integrating"
    ]  # fmt: skip
    bars.clear()
    ntkflow.output_ntk(MLP, X, 600)
    ntkflow.predict_first_step(flow, loss, Y, 0.1, draws=50)
    ntkflow.predict_first_step(flow, ntkflow.mse, Y, 0.1)
    trained(MLP, X, Y)
    assert [bar[0] for bar in bars] == ["compiling"] * 4
    assert bars[0][1:] == [f"{done} of 600 networks" for done in (256, 512, 600)]
    assert bars[1][-2:] == ["compiling", "50 of 50 draws"] and bars[2][1].startswith("sums")
    assert len(bars[3]) == 22 and bars[3][-1].startswith("loss ")


def test_own_reports_go_without_a_bar(bars, flow):
    reports = []
    ntkflow.output_ntk(MLP, X, 600, progress=lambda *report: reports.append(report))
    ntkflow.predict_first_step(flow, loss, Y, 0.1, draws=50, progress=lambda *report: reports.append(report))
    trained(MLP, X, Y, progress=lambda *report: reports.append(report))
    assert not bars and len(reports) == 3 + 3 + 21
    assert all(done <= total for done, total, _ in reports)
    with progress.progress_bar():
        ntkflow.joint(flow).sample(0, 2, 10)
    assert len(bars) == 1


def test_warnings_name_the_users_line(rng):
    flow = ntkflow.flow(ntkflow.MLP((4, 2, 2, 2, 2), "relu", 0.0, 2.0), X)
    p = ntkflow.joint(flow)
    for call in (lambda: ntkflow.predict_first_step(flow, ntkflow.mse, Y, 0.1), lambda: p.sample(0, 1, 2)):
        with pytest.warns(UserWarning, match="1/n is too large") as caught:
            call()
        assert caught[0].filename == __file__
