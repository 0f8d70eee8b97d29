"""Results of benchmarks as JSON, one file each in `results`, with the machine and versions they were measured with."""

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


def machine() -> dict:
    """What a figure depends on besides the code: processor, cores, system, versions."""
    from ntkflow._machine.cores import cores  # not installed where peers run

    return {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ntkflow", "jax", "numpy")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def save(benchmark: str, cases: dict) -> Path:
    """Write what a benchmark found, by case; of cases that are there already only these are replaced."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{benchmark}.json"
    known = json.loads(path.read_text())["cases"] if path.exists() else {}
    stamped = {
        name: {**case, "date": datetime.date.today().isoformat(), "machine": machine()}
        for name, case in cases.items()
    }
    path.write_text(
        json.dumps({"benchmark": benchmark, "cases": known | stamped}, indent=1, ensure_ascii=False) + "\n"
    )
    return path


def load(benchmark: str) -> dict:
    """The cases of a benchmark, by name."""
    return json.loads((FOLDER / f"{benchmark}.json").read_text())["cases"]
