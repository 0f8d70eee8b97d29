"""Eight handwritten digits through a tanh and a relu network: tables, saved flows and pictures in out/."""

from pathlib import Path

import numpy as np
from rich.console import Console
from sklearn.datasets import load_digits

from ntkflow import MLP, flow
from ntkflow._report.plot import plot_flow
from ntkflow._report.progress import progress_bar
from ntkflow._report.table import flow_table

SAMPLES = 8
WIDTHS = (64, 128, 128, 128, 128, 128, 10)
CRITICAL_C_W = {"tanh": 1.0, "relu": 2.0}


def digits() -> np.ndarray:
    """The first samples, less the mean image, scaled so that sum(x**2) / n_0 is 1 on average."""
    images = load_digits(return_X_y=True)[0]
    X = images[:SAMPLES] - images.mean(axis=0)
    return X / np.sqrt(np.mean(X**2))


def main() -> None:
    out = Path("out")
    out.mkdir(exist_ok=True)
    X = digits()
    console = Console()
    for activation, C_W in CRITICAL_C_W.items():
        with progress_bar() as report:
            result = flow(MLP(WIDTHS, activation=activation, C_b=0.0, C_W=C_W), X, progress=report)
        console.print(f"\n{activation}, C_W = {C_W:g}, widths {WIDTHS}, {SAMPLES} samples")
        console.print(flow_table(result))
        saved, picture = out / f"digits_{activation}.nc", out / f"digits_{activation}.png"
        result.save(saved, overwrite=True)
        plot_flow(result, picture)
        console.print(f"wrote {saved} and {picture}")


if __name__ == "__main__":
    main()
