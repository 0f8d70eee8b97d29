"""An ensemble of trained networks, predicted and really trained: diabetes, mean and sd over seeds on patients that were not trained on.

Writes out/trained.png. The prediction is of infinite width; networks of width 64 and 512 are trained to compare.
"""

import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes

import ntkflow
from ntkflow import finite

TRAINING, NETWORKS, WIDTHS = 300, 60, (32, 256)
STEPS, OF_LARGEST = 100, 0.5  # η as a part of the largest stable one


def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test samples in a random order; columns and targets of mean 0 and mean square 1."""
    data, target = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(data))
    X, y = np.asarray(data)[order], np.asarray(target)[order]
    X = (X - X[:TRAINING].mean(axis=0)) / X[:TRAINING].std(axis=0)
    y = ((y - y[:TRAINING].mean()) / y[:TRAINING].std())[:, None]
    return X[:TRAINING], y[:TRAINING], X[TRAINING:], y[TRAINING:]


def main() -> None:
    X, y, X_test, y_test = samples()
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    mean_axes, sd_axes, loss_axes = figure.subplots(1, 3)
    start = time.perf_counter()
    mlp = ntkflow.MLP((10, 256, 256, 1), "tanh", lambda_b=0.1, lambda_W=1.0)
    predict = ntkflow.trained(mlp, X, y, X_test, loss="mse")
    eta = OF_LARGEST * predict.largest_eta
    prediction = predict(steps=STEPS, eta=eta).test
    steps = np.unique(np.geomspace(1, STEPS, 30).astype(int))
    losses = predict.losses(steps=steps, eta=eta, y_test=y_test)
    print(
        f"{predict}\npredicted in {time.perf_counter() - start:.1f} s: test loss {losses.test.values[-1]:.3f}"
    )
    for n in WIDTHS:
        start = time.perf_counter()
        narrow = mlp.replace(widths=(10, n, n, 1))
        outputs, curves, history = [], [], finite.History(narrow, TRAINING)
        for seed in range(NETWORKS):
            params, history = finite.train(
                narrow,
                finite.init(narrow, seed, np.float32),
                X,
                y,
                finite.mse,
                eta,
                STEPS,
                record_every=STEPS // 20,
            )
            outputs.append(finite.forward(narrow, params, X_test)[-1][:, 0])
            curves.append(history.loss)
        measured = np.array(outputs)
        mean, sd = measured.mean(axis=0), measured.std(axis=0, ddof=1)
        mean_axes.plot(prediction.mean[:, 0], mean, "o", ms=3, label=f"width {n}")
        sd_axes.plot(prediction.std[:, 0], sd, "o", ms=3)
        loss_axes.loglog(history.step[1:], np.mean(curves, axis=0)[1:], "o", ms=3)
        loss = 0.5 * float(np.mean((measured - y_test.T) ** 2))
        off = float(np.sqrt(np.mean((mean - prediction.mean[:, 0]) ** 2)))
        print(
            f"width {n}: {NETWORKS} networks trained in {time.perf_counter() - start:.1f} s: test loss {loss:.3f}; means differ by {off:.3f} "
            f"where the sd over seeds is {float(np.mean(sd)):.3f}, predicted {float(np.mean(prediction.std)):.3f}"
        )
    for axes, title in ((mean_axes, "mean over seeds"), (sd_axes, "sd over seeds")):
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], "k--", lw=1)
        axes.set(title=f"{title}, test inputs", xlabel="predicted", ylabel=f"{NETWORKS} trained networks")
    loss_axes.loglog(steps, losses.train, "k--", lw=1, label="predicted, training")
    loss_axes.loglog(steps, losses.test, "k:", lw=1, label="predicted, test")
    loss_axes.set(title="loss, mean over seeds", xlabel="step")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    mean_axes.legend(frameon=False)
    loss_axes.legend(frameon=False)
    out = Path("out")
    out.mkdir(exist_ok=True)
    figure.savefig(out / "trained.png", dpi=150)
    print(f"wrote {out / 'trained.png'}")


if __name__ == "__main__":
    main()
