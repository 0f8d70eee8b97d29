"""What results say of themselves, and what is printed of files."""

import numpy as np
import pytest
from command_line import process, within
from printed import text

import ntkflow
from ntkflow._comparison.comparison import on_sets
from ntkflow._report import progress

X = np.random.default_rng(3).normal(size=(3, 4))
MLP = ntkflow.MLP((4, 8, 8, 2), "tanh", 0.1, 1.25, 0.5)
TITLE = "4-8-8-2, tanh, C_b 0.1, C_W 1.25, λ_b 0.5, λ_W 1, N = 3"


@pytest.fixture(scope="module")
def results():
    flow = ntkflow.flow(MLP, X)
    ensemble = ntkflow.ensemble(MLP, X, 50, components="pairs")
    verification = ntkflow.verify(MLP, X, widths=(4, 8), draws=50)
    return flow, ensemble, ntkflow.compare(flow, ensemble), verification


def test_results_say_what_they_are_of(results):
    flow, ensemble, *_ = results
    for result in (*results, flow[2], ensemble[2]):
        said = repr(result)
        assert (
            len(said.splitlines()) <= 20
            and "MLP(widths=(4, 8, 8, 2), activation='tanh', C_b=0.1, C_W=1.25" in said
        )
    assert all("B" in repr(result) for result in (flow, ensemble, flow[2], ensemble[2]))
    assert "50 networks, seed 0" in repr(ensemble) and "4, 8" in repr(results[3])


def test_tables_and_pictures_name_the_network(results, tmp_path):
    for number, result in enumerate(results):
        assert TITLE in text(result.table(), 100)
        assert TITLE in result._repr_html_() and "<pre>" in result._repr_html_()
        picture = result.plot(tmp_path / f"{number}.png")
        assert TITLE in picture.get_suptitle() and (tmp_path / f"{number}.png").stat().st_size > 5000
        assert picture._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "mlp",
    [
        MLP,
        ntkflow.MLP((1, 1)),
        ntkflow.MLP((4, *[8] * 1000, 2), "relu", C_W=2.0),
        ntkflow.MLP(
            (4, 8, 8, 2), ["relu", {"name": "leaky_relu", "slope": 0.5}], C_W=[1.0, 2.0, 3.0], lambda_b=0.0
        ),
    ],
)
def test_a_network_is_the_call_that_makes_it(mlp):
    assert eval(repr(mlp), {"MLP": ntkflow.MLP}).to_spec() == mlp.to_spec()


def test_long_networks_are_cut_short():
    widths = [int(n) for n in np.random.default_rng(0).integers(2, 99, size=500)]
    for mlp in (
        ntkflow.MLP(widths, "relu", np.linspace(0, 1, 499).tolist()),
        ntkflow.MLP(widths, lambda z: 2.0 * z),
    ):
        assert len(repr(mlp)) < 300


@pytest.mark.parametrize(
    ("of_flow", "of_ensemble", "held"),
    [
        ("all", "pairs", "pairs"),
        ("pairs", "all", "pairs"),
        ([(0, 1)], "all", [(0, 1)]),
        ([(0, 1, 2)], [(1, 2), (0,)], [(1, 2), (0,)]),
        ("mean", "all", "mean"),
    ],
)
def test_what_both_hold_is_compared(of_flow, of_ensemble, held):
    """Whatever the components, each one that is compared is that of the flow and of the ensemble with all components."""
    found = ntkflow.compare(
        ntkflow.flow(MLP, X, of_flow), ntkflow.ensemble(MLP, X, 50, components=of_ensemble)
    )
    assert [tuple(s) for s in found.components] == [tuple(s) for s in held]
    whole = {
        (d.layer, d.name): d for d in ntkflow.compare(ntkflow.flow(MLP, X), ntkflow.ensemble(MLP, X, 50))
    }
    sets = (
        np.array([[1, 2], [0, 0]])
        if held == [(1, 2), (0,)]
        else np.array([[0, 1]])
        if held == [(0, 1)]
        else None
    )
    if held == "pairs":
        sets = np.array([[0, 1], [0, 2], [1, 2]])
    for d in found:
        other = whole[d.layer, d.name]
        for mine, all_of_it in ((d.measured, other.measured), (d.predicted, other.predicted)):
            if d.name in "GH":
                continue
            assert sets is not None and np.allclose(
                mine, on_sets(all_of_it, None, sets, 4), rtol=1e-9, atol=1e-12
            )
    assert any(d.name == "B" for d in found) == (held != "mean")


def test_a_mean_without_its_correction_may_be_off_by_it():
    """relu's H lacks 1/n at infinite width: that is the order left out, and not a disagreement."""
    mlp = ntkflow.MLP((4, 8, 8, 8, 8, 2), "gelu", C_W=2.0)
    found = ntkflow.compare(ntkflow.flow(mlp, X, "mean"), ntkflow.ensemble(mlp, X, 20_000, components="mean"))
    assert found.agrees and any(d.verdict == "1/n" for d in found)


def test_nothing_in_common_is_refused():
    with pytest.raises(ntkflow.errors.DataError, match="C_b are"):
        ntkflow.compare(
            ntkflow.flow(MLP, X, "mean"), ntkflow.ensemble(ntkflow.MLP((4, 8, 8, 2)), X, 2, components="mean")
        )


def test_show_reads_all_that_is_written(tmp_path):
    (tmp_path / "net.toml").write_text(
        'widths = [4, 8, 8, 2]\nactivation = "tanh"\nC_b = 0.1\nC_W = 1.25\nlambda_b = 0.5\n'
    )
    np.save(tmp_path / "X.npy", X)
    for arguments, word in (
        (["flow", "-o", "flow.nc"], "mean NTK"),
        (["flow", "-o", "flow.zarr", "--memory", "1GiB"], "mean NTK"),
        (["flow", "-o", "mean.zarr", "--components", "mean"], "mean NTK"),
        (["flow", "-o", "tiles.zarr", "--components", "mean", "--tile", "2"], "in tiles on disk"),
        (["flow", "-o", "block.nc", "--components", "mean", "--data2", "X.npy"], "between 3 and 3 samples"),
        (["ntk", "-o", "ntk.nc"], "one network, seed 0"),
        (["ensemble", "-o", "run.zarr", "--draws", "10"], "10 networks"),
    ):
        status, printed, said = within(tmp_path, arguments[0], "net.toml", "--data", "X.npy", *arguments[1:])
        assert status == 0, said
        assert word in printed and (arguments[0] == "ensemble" or f"Saved to {arguments[2]}" in printed)
        status, shown, said = within(tmp_path, "show", arguments[2])
        assert status == 0 and word in shown and TITLE.removesuffix("N = 3") in shown, said
    status, printed, _ = within(tmp_path, "observe", "flow.nc", "--f", "z[0]**2", "--g", "z[1]*z[2]")
    assert status == 0 and all(
        word in printed for word in (TITLE, "f = z[0]**2", "g = z[1]*z[2]", "layer 3", "z[a] is")
    )


def test_version():
    assert process(".", "--version")[1] == f"ntkflow {ntkflow.__version__}\n"


def test_no_bar_where_no_one_looks(capfd):
    ntkflow.flow(MLP, X, "mean")
    assert capfd.readouterr() == ("", "")


def test_a_bar_comes_late_and_names_the_compilation(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes any stream for a terminal
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    seen = []

    @progress.shows_progress
    def slow(progress=None):
        import time

        time.sleep(0.5)
        assert progress is not None
        progress(1, 2, "layer 1")
        time.sleep(0.5)
        inner(seen)
        return 7

    @progress.shows_progress
    def inner(seen, progress=None):
        seen.append(progress)

    assert slow() == 7 and seen == [None]
    said = capsys.readouterr().err
    assert "compiling" in said and "layer 1" in said
    monkeypatch.setattr(progress, "_PATIENCE", 60.0)
    slow()
    assert capsys.readouterr().err.strip("\x1b[]?25hl\n") == ""
