"""Tables for the terminal: what fits in 80 columns, and which numbers stand in them."""

import warnings

import numpy as np
import pytest
from printed import text

import ntkflow
from ntkflow._comparison.verification import extrapolate, scaled
from ntkflow._report.table import ensemble_table
from ntkflow._theory.deferred import Tables

X = np.random.default_rng(5).normal(size=(3, 4))
MLP, *STRANGE = (
    ntkflow.MLP((4, 8, 8, 2), "relu", **rates)
    for rates in (
        {"C_b": 0.1, "C_W": 1.25},
        {"C_W": 1e5},
        {"C_W": 1e-8, "lambda_W": 1e-8, "lambda_b": 1e-8},
        {"C_W": 0.0},
    )
)


def lines(table, width: int = 80) -> list[str]:
    return text(table, width).splitlines()


def rows(table) -> list[list[str]]:
    """The cells of each row."""
    said = lines(table, 200)
    rule = next(k for k, line in enumerate(said) if "───" in line)
    return [line.split() for line in said[rule + 1 : said.index(" " * len(said[0]), rule)]]


@pytest.mark.filterwarnings("ignore:.*too few for a verdict", "ignore:the network is too narrow")
@pytest.mark.parametrize("mlp", [MLP, *STRANGE], ids=["plain", "huge", "tiny", "dead"])
@pytest.mark.parametrize("draws", [3, 64])
def test_measurements_fit_in_a_terminal(mlp, draws):
    """No cell is cut, nothing is warned of but what we warn of, and all numbers can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        verification = ntkflow.verify(mlp, X, (4, 8), draws)
        ensemble = ntkflow.ensemble(mlp, X, draws)
        comparison = ntkflow.compare(ntkflow.flow(mlp, X), ensemble)
        for result in (verification, ensemble, comparison):
            said = lines(result.table())
            assert "…" not in "".join(said) and max(map(len, said)) <= 80
            assert all("nan" not in cell for row in rows(result.table()) for cell in row)


def test_two_draws_do_not_say_how_far_a_covariance_is_off():
    with pytest.raises(ntkflow.errors.DataError, match="draws"):
        ntkflow.verify(MLP, X, (4, 8), 2)
    ensemble = ntkflow.ensemble(MLP, X, 2)
    for name in "VDA":
        assert np.all(np.isinf(ensemble[2].error(name)[ensemble[2].values[name] != 0]))
    assert all(np.all(np.isfinite(ensemble[2].error(name))) for name in "GHFB")
    shown = {row[2]: row[3:] for row in rows(ensemble.table()) if row[0] == "2"}
    assert shown["V"][0].endswith("(?)") and shown["V"][1] == "?" and "?" not in "".join(shown["B"])
    comparison = ntkflow.compare(ntkflow.flow(MLP, X), ensemble)
    compared = {row[1]: row[4:] for row in rows(comparison.table()) if row[0] == "2"}
    for name in "VDA":
        assert compared[name][0] == compared[name][-1] == "?"
    assert all("?" not in compared[name] for name in "GHFB")
    assert "can't be told of V, D, A" in comparison.words
    # A block of two draws is no reason to stop.
    assert ntkflow.ensemble(MLP, X, 8, until=0.9, tensors=["V"], block=2).draws > 2
    assert ntkflow.ensemble(STRANGE[-1], X, 2)[2].relative_error("V") == 0


def test_one_width_that_is_known_far_better_than_the_other():
    """Two widths determine a and b, however different the errors are."""
    flow = ntkflow.flow(MLP, X)
    ensembles = [ntkflow.ensemble(mlp, X, 100) for mlp in scaled(MLP, (4, 8))]
    for ensemble, n, error in zip(ensembles, (4, 8), (1e-2, 1e-12), strict=True):
        ensemble[3].values["B"] = np.full((3, 3, 3, 3), 5 + 2 / n)
        ensemble[3].errors["B"] = np.full((3, 3, 3, 3), error)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = next(e for e in extrapolate(flow, ensembles) if (e.layer, e.name) == (3, "B"))
    assert np.allclose(found.a, 5, rtol=1e-9) and np.allclose(found.b, 2, rtol=1e-9)
    assert np.allclose(found.a_error, 1e-2, rtol=1e-6) and np.allclose(found.b_error, 8e-2, rtol=1e-6)


@pytest.mark.parametrize("components", ["all", "pairs", "mean", [(0, 2)], [(1,), (0, 1)]])
def test_which_component_is_shown_does_not_depend_on_what_was_measured(components, rng):
    """However noise orders them: that of the sample with the largest |x|."""
    ensemble = ntkflow.ensemble(MLP, X, 20, components=components)
    held = [0, 1, 2] if isinstance(components, str) else sorted({a for s in components for a in s})
    sample = max(held, key=lambda a: np.sum(X[a] ** 2))
    assert f"sample {sample} alone" in " ".join("".join(lines(ensemble_table(ensemble), 500)).split())
    for name in ("G", "H", "V", "D", "F", "A", "B"):
        if name not in ensemble[2].values:
            continue
        # Numbers that tell by themselves where they stand.
        values = rng.permutation(ensemble[2].values[name].size).reshape(ensemble[2].values[name].shape) + 2.0
        ensemble[2].values[name], ensemble[2].errors[name] = values, np.zeros_like(values)
        expected = ensemble[2].component(name, *[sample] * (2 if name in "GH" else 4))
        shown = next(row for row in rows(ensemble_table(ensemble)) if row[0] == "2" and row[2] == name)
        assert float(shown[3]) == pytest.approx(expected, rel=1e-4)


def test_means_alone_have_no_columns_of_nothing():
    flow = ntkflow.flow(MLP, X, "mean")
    assert isinstance(flow[1].values, Tables)
    for table, cells in ((flow.table(), 3), (flow.table(accuracy=True), 5)):
        assert [len(row) for row in rows(table)] == [cells] * 3
        assert all("-" not in row for row in rows(table))
        assert "1/n" not in "".join(lines(table))
    assert all(len(row) == 6 for row in rows(ntkflow.flow(MLP, X).table()))
