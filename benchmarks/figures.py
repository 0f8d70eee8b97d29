"""Writes the README's figures from `results`: the text between `<!-- figures: NAME -->` and `<!-- end of figures -->`.

python benchmarks/figures.py            # write them
python benchmarks/figures.py --check    # exit status 1 if they are others
"""

import re
import sys
from pathlib import Path

import results

README = Path(__file__).parents[1] / "README.md"
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def first_result() -> str:
    """A row for each command, and the machine below."""
    cases = results.load("first_result")
    rows = ["| eight digits, depth 4, each in a fresh process | |", "|---|---|"]
    rows += [f"| `{name}` | {_seconds(case['seconds'])} |" for name, case in cases.items() if "," not in name]
    rows += [
        f"| `ntkflow flow`, {name.split(', ', 1)[1]} | {_seconds(case['seconds'])} |"
        for name, case in cases.items()
        if "," in name
    ]
    return "\n".join(rows) + f"\n\n{_machine(cases)}\n"


def _seconds(t: float) -> str:
    return f"{t:.2g} s" if t < 10 else f"{t:.0f} s"


def _machine(cases: dict) -> str:
    newest = max(cases.values(), key=lambda case: case["date"])
    machine = newest["machine"]
    return f"{machine['cores']} cores ({machine['processor']}), jax {machine['versions']['jax']}, {newest['date']}; medians."


def written(text: str) -> str:
    """The README with the figures as `results` have them."""
    makers = {"first_result": first_result}
    return _BLOCK.sub(lambda found: found[1] + makers[found[2]]() + found[3], text)


def main() -> None:
    text = README.read_text(encoding="utf-8")
    if sys.argv[1:] == ["--check"]:
        sys.exit(written(text) != text)
    README.write_text(written(text), encoding="utf-8")


if __name__ == "__main__":
    main()
