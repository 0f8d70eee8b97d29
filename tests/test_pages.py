"""The code of README.md and of the pages in docs/ runs, and prints what the pages say; their links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
_ROUND_OFF = 1e-9  # a number below is an error, of which the size alone is the same everywhere


def blocks(page: str) -> list[tuple[str, str]]:
    """The code of a page in its order, each with the output that stands right below it, "" if there is none."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)


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
        pytest.param("docs/activations.md", marks=pytest.mark.slow),
        pytest.param("docs/flow.md", marks=pytest.mark.slow),
        pytest.param("docs/many_networks.md", marks=pytest.mark.slow),
        pytest.param("docs/observables.md", marks=pytest.mark.slow),
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
