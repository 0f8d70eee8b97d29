"""Reports as files: what stands in them, what is left out, and that they can be made again."""

import contextlib
import dataclasses
import sys
import tomllib

import numpy as np
import pytest
from command_line import within
from report_pages import (
    HOSTILE,
    MLP,
    SAMPLES,
    data_of,
    element,
    hostile_flow,
    inputs_of,
    network_of_blocks,
    read,
    results,
    text_of,
)

import ntkflow
from ntkflow._report.html.flows import _ntk_std
from ntkflow._report.html.pictures import Shown
from ntkflow.errors import FileError, MissingExtraError

LIMIT = 6e6  # bytes of a report
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.fixture(scope="module")
def made():
    return results()


@pytest.fixture(scope="module")
def pages(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name, result in made.items():
        result.report(folder / f"{name.replace('/', '')}.html")
    return {name: read(folder / f"{name.replace('/', '')}.html") for name in made}


def test_files_are_small_and_fetch_nothing(pages):
    for name, page in pages.items():
        assert len(page.encode()) < LIMIT, name
        assert page.count("http") == page.count(NAMESPACE) + page.count("http-equiv"), name
        assert "default-src 'none'" in page and "@import" not in page and "src=" not in page, name


def test_every_page_says_what_computed_it_and_how_to_do_it_again(pages):
    for name, page in pages.items():
        words = text_of(page)
        assert f"by ntkflow {ntkflow.__version__}, jax " in words, name
        assert "How to do it again" in words and "ntkflow." in element(page, "again"), name
        assert data_of(page)["pictures"] and "<table>" in page, name
        assert "nan" not in words.lower().split(), name


@pytest.mark.parametrize("name", ["flow of 2", "flow of 8", "one sample", "one layer"])
def test_pairs_hold_the_numbers_of_the_flow_with_both_errors(name, made, pages):
    flow, pairs = made[name], data_of(pages[name])["pictures"][-1]
    rows, columns = np.triu_indices(len(flow.X))
    of = {quantity["label"]: quantity for quantity in pairs["quantities"]}
    for layer, number in enumerate(pairs["layers"]):
        s = flow[number]
        mean, sd = of["mean NTK"], of["sd of the NTK over seeds"]
        for quantity, key, expected in (
            (mean, "values", s.ntk_mean()), (mean, "truncations", s.truncation("ntk_mean")), (mean, "errors", s.error("H") + s.error("H1") / s.fan_in),
            (sd, "values", s.ntk_std()), (sd, "truncations", s.truncation("ntk_std")),
        ):  # fmt: skip
            digits = 1e-6 if key == "values" else 0.06
            np.testing.assert_allclose(quantity[key][layer], expected[rows, columns], rtol=digits)


def test_the_error_of_the_sd_is_what_errors_of_all_components_would_make_of_it():
    layer = ntkflow.flow(MLP, SAMPLES[:3])[4]
    small = {name: 1e-7 * np.abs(table) for name, table in layer.values.items()}
    planted = dataclasses.replace(layer, errors=type(layer.errors)(small))
    sd, error, _ = _ntk_std(planted)
    tables = {name: table + 1e-7 * np.abs(table) for name, table in layer.values.items()}
    moved = np.sqrt(dataclasses.replace(layer, values=type(layer.values)(tables)).ntk_variance(order=1))
    rise = moved / np.sqrt(layer.ntk_variance(order=1)) - 1
    np.testing.assert_allclose(error / sd, rise, rtol=1e-3)


def test_of_many_samples_some_pairs_are_shown_and_the_others_counted(made, pages):
    shown = data_of(pages["flow of 200"])["pictures"][-1]["rows"]
    count, pairs = len(shown), len(shown) * (len(shown) + 1) // 2
    assert shown[0] == 0 and shown[-1] == 199 and 50 < count < 200
    assert f"{count} of the 200 samples" in text_of(pages["flow of 200"])
    assert f"{20100 - pairs:,} are left out" in text_of(pages["flow of 200"])
    assert "left out" not in text_of(pages["flow of 8"]).split("Where it comes from")[0].replace(
        "that vanish are left out", ""
    )
    deep = Shown.of(50, 3, None, 4)
    assert len(deep.layers) == 12 and deep.layers[-1] == 50 and "38 are left out" in deep.words
    block = Shown.of(3, 1000, 5, 2)
    assert len(block.rows) < 1000 and len(block.columns) == 5 and "of 1000 samples α" in block.words


def test_verdicts_are_told(pages):
    for name, words in (
        ("flow of 8", "From seed to seed the NTK of the outputs varies by"), ("one layer", "does not vary over seeds"),
        ("vanishing", "The NTK of the outputs vanishes"), ("mean", "the kernels of infinite width alone"),
        ("flow of blocks", "All is leading order in 1/n"), ("dead", "Not trainable: vanishing"), ("dead", "What to do: "),
        ("recipe", "Learning rate η = "), ("comparison", "Theory and sampling agree"), ("trained", "Slowest and fastest mode"),
        ("trained to order 1/n", "The expansion in 1/n"), ("sets", "Blank pairs are not held"), ("block", "between 8 and 3 samples"),
    ):  # fmt: skip
        assert words in text_of(pages[name]), (name, words)


def test_inputs_are_carried_and_said_to_be(made, pages):
    for name in ("flow of 8", "flow of 200", "dead", "trained to order 1/n"):
        held = made[name].flow.X if name.startswith("trained") else made[name].X
        assert np.array_equal(np.asarray(inputs_of(pages[name])), held)
        assert f"all {len(held)} × 6 numbers" in element(pages[name], "inputs-note")
    assert len(np.asarray(inputs_of(pages["diagnosis"]))) == 200  # those that were looked at, of 220
    for name in ("recipe", "comparison", "trained"):
        assert inputs_of(pages[name]) is None
        assert "the result does not hold them" in element(pages[name], "inputs-note")


@pytest.mark.parametrize("name", ["flow of 8", "dead", "trained to order 1/n"])
def test_inputs_can_be_left_out(name, made, pages, tmp_path):
    made[name].report(tmp_path / "without.html", inputs=False)
    page = read(tmp_path / "without.html")
    base64 = data_of(pages[name])["inputs"]["base64"]
    assert base64 in pages[name].replace("\\u002b", "+") and base64 not in page and inputs_of(page) is None
    assert "left out of this file on request" in element(page, "inputs-note")
    assert "X = ...  # " in element(page, "again") and 'id="save-inputs"' not in page
    assert data_of(page)["pictures"] == data_of(pages[name])["pictures"]


def test_inputs_too_large_for_the_file_are_left_out_in_words(tmp_path):
    X = np.random.default_rng(1).normal(size=(300, 1000))
    ntkflow.flow(ntkflow.MLP((1000, 4, 2), "relu"), X, "mean").report(tmp_path / "large.html")
    page = read(tmp_path / "large.html")
    assert inputs_of(page) is None and "they would take 3.2 MB" in element(page, "inputs-note")


@pytest.mark.parametrize("name", ["flow of 2", "flow of blocks", "mean", "sets"])
def test_the_lines_of_a_flow_make_it_again(name, pages, tmp_path):
    (tmp_path / "report.html").write_text(pages[name], encoding="utf-8")
    with contextlib.chdir(tmp_path):
        exec(element(pages[name], "again"), {})  # noqa: S102
    again = read(tmp_path / "again.html")
    first, second = (data_of(page)["pictures"][-1]["quantities"] for page in (pages[name], again))
    assert [quantity["values"] for quantity in first] == [quantity["values"] for quantity in second]
    assert np.array_equal(np.asarray(inputs_of(again)), np.asarray(inputs_of(pages[name])))


def test_the_lines_of_a_diagnosis_make_it_again(pages, tmp_path):
    (tmp_path / "report.html").write_text(pages["dead"], encoding="utf-8")
    with contextlib.chdir(tmp_path):
        exec(element(pages["dead"], "again"), {})  # noqa: S102
    first, second = (data_of(page)["pictures"] for page in (pages["dead"], read(tmp_path / "again.html")))
    assert first == second


def test_the_network_is_there_as_toml(made, pages):
    for name, kind in (("flow of 8", ntkflow.MLP), ("flow of blocks", ntkflow.Network)):
        network = kind.from_spec(tomllib.loads(element(pages[name], "network-toml")))
        assert network.to_spec() == made[name].mlp.to_spec()


def test_names_can_hold_html_and_do_no_harm(tmp_path):
    hostile_flow().report(tmp_path / "hostile.html")
    page = read(tmp_path / "hostile.html")
    assert page.count("</script>") == 2 and "<img" not in page
    assert "&lt;img src=x" in page and HOSTILE in data_of(page)["network"]["activation"]
    assert "is a function of yours" in text_of(page) and 'id="network-toml"' not in page
    assert "network = ...  # " in element(page, "again")


def test_bad_paths_are_refused_in_words(made, tmp_path):
    for path, words in (
        ("report.pdf", "must end in .html"),
        ("nowhere/report.html", "cannot write"),
    ):
        for name in ("flow of 2", "dead", "recipe", "comparison", "trained"):
            with pytest.raises(FileError, match=words):
                made[name].report(tmp_path / path)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ntkflow\[report\]'"):
        made["dead"].report(tmp_path / "report.html")


def test_pages_of_text_are_as_they_were(made, tmp_path):
    for name in ("dead", "recipe"):
        text = made[name].report(tmp_path / f"{name}.html")
        assert text == made[name].report() == repr(made[name]) and "<" not in text


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.toml").write_text('widths = [6, 16, 16, 2]\nactivation = "relu"\nC_W = 2.0\n')
    np.save(tmp_path / "X.npy", SAMPLES[:3])
    return tmp_path


def test_the_command_reports_networks_and_files(folder):
    code, out, _ = within(folder, "report", "net.toml", "--data", "X.npy", "-o", "network.html")
    assert (code, out) == (0, "Written to network.html.\n")
    page = read(folder / "network.html")
    assert "Will it train?" in text_of(page) and "From seed to seed" in text_of(page)
    assert np.array_equal(np.asarray(inputs_of(page)), SAMPLES[:3])
    within(folder, "flow", "net.toml", "--data", "X.npy", "-o", "flow.nc")
    within(folder, "ensemble", "net.toml", "--data", "X.npy", "-o", "run.zarr", "--draws", 200)
    within(folder, "tune", "net.toml", "--data", "X.npy", "-o", "recipe.toml")
    for files, words in (
        (["flow.nc"], f"Read from the file flow.nc, computed by ntkflow {ntkflow.__version__}."),
        (["flow.nc", "run.zarr"], "Read from the file flow.nc and run.zarr."),
        (["recipe.toml"], "Read from the file recipe.toml."),
    ):
        code, _, _ = within(folder, "report", *files, "-o", "file.html", "--no-inputs", "--force")
        page = read(folder / "file.html")
        assert code == 0 and words in text_of(page) and inputs_of(page) is None, files
        assert str(folder) not in page


def test_the_command_reports_many_inputs_and_blocks_on_some_of_them(folder):
    import tomli_w

    np.save(folder / "many.npy", SAMPLES)
    (folder / "blocks.toml").write_text(tomli_w.dumps(network_of_blocks().to_spec()))
    for network, flow_of in (("net.toml", 200), ("blocks.toml", 12)):
        code, _, _ = within(folder, "report", network, "--data", "many.npy", "-o", f"{flow_of}.html")
        page = read(folder / f"{flow_of}.html")
        assert code == 0 and f"Flow on {flow_of} samples" in text_of(page)
        assert len(np.asarray(inputs_of(page))) == 200
    with contextlib.chdir(folder):
        (folder / "report.html").write_text(page, encoding="utf-8")
        exec(element(page, "again"), {})  # noqa: S102
    values = [
        data_of(text)["pictures"][-1]["quantities"][0]["values"]
        for text in (page, read(folder / "again.html"))
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.toml", "-o", "x.html"], "net.toml is a network: its report needs inputs, --data X.npy"),
        (["net.toml", "--data", "X.npy", "-o", "x.pdf"], "must end in one of .html"),
        (["net.toml", "--data", "X.npy", "-o", "there.html"], "there.html exists; give --force to replace it"),
        (["X.npy", "-o", "x.html"], "it is not of ntkflow"),
        (["flow.nc", "--data", "X.npy", "-o", "x.html"], "a saved result has its inputs"),
        (["nothing.nc", "-o", "x.html"], "nothing.nc does not exist"),
        (["nothing.toml", "-o", "x.html"], "nothing.toml"),
    ],
)  # fmt: skip
def test_the_command_refuses_in_one_sentence(arguments, words, folder):
    (folder / "there.html").write_text("mine")
    code, out, err = within(folder, "report", *arguments)
    assert code == 2 and not out and words in err and err.count("\n") == 1
    assert not (folder / "x.html").exists() and (folder / "there.html").read_text() == "mine"
