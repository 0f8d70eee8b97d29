"""One learning rate for every depth: digits through tanh networks of 4, 16 and 50 layers, as torch, Xavier and a recipe start them.

Writes out/tune.png, the loss against the learning rate, and out/coordinates.png, how far each layer moves in the first steps.
"""

from pathlib import Path

import numpy as np
from rich.console import Console
from sklearn.datasets import load_digits

import ntkflow

DEPTHS, WIDTH = (4, 16, 50), 64
TRAINING, SEEDS, STEPS = 1000, 3, 200


def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test samples in a random order, less the mean image, of mean square 1."""
    images, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(images))
    X, y = images[order] - images[order[:TRAINING]].mean(axis=0), labels[order]
    X /= np.sqrt(np.mean(X[:TRAINING] ** 2))
    return X[:TRAINING], y[:TRAINING], X[TRAINING:], y[TRAINING:]


def main() -> None:
    X, y, X_test, y_test = samples()
    networks = {f"{depth} layers": ntkflow.MLP((64, *[WIDTH] * (depth - 1), 10), "tanh") for depth in DEPTHS}
    transfer = ntkflow.learning_rate_transfer(
        networks, X, y, held_out={"test": (X_test, y_test)}, seeds=SEEDS, steps=STEPS
    )
    Console().print(transfer.table())
    out = Path("out")
    out.mkdir(exist_ok=True)
    transfer.plot(out / "tune.png")
    transfer.plot_coordinates(out / "coordinates.png")
    print(f"wrote {out / 'tune.png'} and {out / 'coordinates.png'}")


if __name__ == "__main__":
    main()
