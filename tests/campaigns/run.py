"""Runs campaigns, part after part on all cores; goes on where it was stopped, and keeps what it finds as JSON in `results`.

    python tests/campaigns/run.py [NAME …] [--processes N]

A campaign is a module beside this one with `PARTS`, `part(number)`, `total(parts)` and `holds(total)`. What is done is kept in
`out/campaigns`, as long as neither the package nor the tests' references change.
"""

import argparse
import hashlib
import importlib
import json
import multiprocessing
import platform
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

from rich.progress import Progress

from ntkflow._machine.cores import cores

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = sorted(
    path.stem for path in HERE.glob("*.py") if path.stem != "run" and not path.stem.startswith("test_")
)
sys.path[:0] = [str(HERE), str(HERE.parent)]


def run(name: str, processes: int) -> bool:
    """Do the parts that are not done, and keep the total; whether it is as it must be."""
    campaign = importlib.import_module(name)
    done_file = ROOT / "out" / "campaigns" / f"{name}-{_sources()}.jsonl"
    done_file.parent.mkdir(parents=True, exist_ok=True)
    done = _done(done_file)
    todo = [number for number in range(campaign.PARTS) if number not in done]
    # Not forked: JAX has threads.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    with pool, Progress() as progress, done_file.open("a") as file:
        task = progress.add_task(name, total=campaign.PARTS, completed=len(done))
        for future in as_completed(pool.submit(_part, name, number) for number in todo):
            number, found = future.result()
            file.write(json.dumps([number, found]) + "\n")
            file.flush()
            done[number] = found
            progress.advance(task)
    found = campaign.total([done[number] for number in sorted(done)])
    held = campaign.holds(found)
    report = {
        "campaign": name,
        "holds": held,
        **found,
        "machine": {"processor": platform.processor() or platform.machine(), "system": platform.system()},
        "versions": {package: version(package) for package in ("ntkflow", "jax", "numpy")},
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return held


def _part(name: str, number: int) -> tuple[int, dict]:
    return number, importlib.import_module(name).part(number)


def _done(path: Path) -> dict[int, dict]:
    if not path.exists():
        return {}
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # it was stopped while it wrote
    return dict(rows)


def _sources() -> str:
    """A digest of all that results depend on."""
    paths = [*(ROOT / "src").rglob("*.py"), *HERE.glob("*.py"), *HERE.parent.glob("*.py")]
    text = b"".join(path.read_bytes() for path in sorted(paths))
    return hashlib.sha256(text).hexdigest()[:12]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run campaigns.")
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=f"out of: {', '.join(NAMES)}")
    parser.add_argument("--processes", type=int, default=cores())
    arguments = parser.parse_args()
    results = [run(name, arguments.processes) for name in arguments.names]
    sys.exit(0 if all(results) else 1)
