"""The code of README.md and of the pages in docs/ runs, and prints what the pages say; their links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
_ROUND_OFF = 1e-9  # a number below is an error, of which the size alone is the same everywhere


def blocks(page: str, heading: str = "") -> list[tuple[str, str]]:
    """The code of a page in its order, from a heading on if the page has it, each with the output that stands right below it, "" if there is none."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = text[max(text.find(heading), 0) :]
    return re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)


def first_with_output(page: str, heading: str = "") -> tuple[str, str]:
    return next((code, output) for code, output in blocks(page, heading) if output)


def assert_same_output(printed: str, expected: str) -> None:
    """The same words, and numbers that agree to a thousandth of themselves."""
    assert _NUMBER.sub("#", printed).split() == _NUMBER.sub("#", expected).split(), printed
    for value, other in zip(_NUMBER.findall(printed), _NUMBER.findall(expected), strict=True):
        a, b = abs(float(value)), abs(float(other))
        small = max(a, b) < _ROUND_OFF
        assert max(a, b) < 10 * min(a, b) if small and a != b else np.isclose(a, b, rtol=1e-3), printed


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/diagnose.md",
        "docs/many_inputs.md",
        "docs/one_network.md",
        "docs/report.md",
        "docs/activations.md",
        "docs/flow.md",
        "docs/many_networks.md",
        "docs/observables.md",
    ],
)
def test_code_prints_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    if "torch" in (code := blocks(page))[0][0]:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for source, expected in code:
        exec(source, names)  # noqa: S102
        printed = capsys.readouterr().out
        if expected:
            assert_same_output(printed, expected)
    assert any(expected for _, expected in code)


@pytest.mark.filterwarnings("ignore:the weights of")
@pytest.mark.parametrize("page", ["docs/from_pytorch.md", "docs/architectures.md"])
def test_first_code_about_pytorch_prints_what_the_page_says(page, capsys):
    pytest.importorskip("torch")
    code, printed = first_with_output(page, "## From torch\n")
    assert "torch" in code
    exec(code, {})  # noqa: S102
    assert capsys.readouterr().out == printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the weights of")
def test_all_code_about_blocks_runs(capsys):
    pytest.importorskip("torch")
    exec("\n".join(code for code, _ in blocks("docs/architectures.md")), {})  # noqa: S102
    assert "They agree within noise" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_code_about_training_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec("\n".join(code for code, _ in blocks("docs/training.md")), names)  # noqa: S102
    assert names["test"].mean.shape == (42, 1) and names["prediction"].cov.shape == (8, 1, 8, 1)


@pytest.mark.slow
def test_first_code_about_tuning_prints_what_the_page_says(capsys):
    """The page of the recipe to the letter; the test error of the network that it trains, which differs between machines, below 0.15."""
    pytest.importorskip("torch")
    code, expected = first_with_output("docs/tuning.md")
    exec(code, {})  # noqa: S102
    printed = capsys.readouterr().out
    start = "test error after 200 steps: "
    assert printed.split(start)[0] == expected.split(start)[0]
    assert float(printed.split(start)[1]) < 0.15


def test_another_output_is_seen():
    assert_same_output("error 2e-13 of 4.00", "error 3e-13 of 4.0001")
    for other in ("error 2e-13 of 4.01", "error 3e-11 of 4.00", "errors 2e-13 of 4.00", "error 2e-13"):
        with pytest.raises(AssertionError):
            assert_same_output("error 2e-13 of 4.00", other)


def anchor(heading: str) -> str:
    """What a heading's place is called in links."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, place = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if place:
            headings = re.findall(r"(?m)^#+ (.*)$", target.read_text(encoding="utf-8"))
            assert place in map(anchor, headings), link


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
