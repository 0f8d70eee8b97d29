"""How much will the first step of gradient descent differ between seeds? Predicted, and really done on digits.

Writes out/first_step.png: the loss's change at four widths, predicted mean and standard deviation over seeds beside trained networks,
and the mean of every output's change at the last of them.
"""

from pathlib import Path

import jax
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from ntkflow import MLP, finite, flow, predict_first_step

WIDTHS = (32, 64, 128, 256)
SAMPLES, TRAINED = 8, 400
ETA = 0.01


def trained(mlp, X, y):
    """The changes of the loss and of the outputs in one step of really drawn networks."""

    def step(key):
        params = finite.init(mlp, key)
        after = finite.gradient_step(mlp, params, X, y, finite.cross_entropy, ETA)
        z, w = (finite.forward(mlp, p, X)[-1] for p in (params, after))
        return finite.cross_entropy(w, y) - finite.cross_entropy(z, y), w - z

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), TRAINED)
        return map(np.asarray, jax.jit(lambda k: jax.lax.map(step, k, batch_size=20))(keys))


def main() -> None:
    digits, labels = load_digits(return_X_y=True)
    X, y = (digits[:SAMPLES] - digits.mean()) / digits.std(), labels[:SAMPLES]
    predicted, measured, outputs = [], [], (np.zeros(1), np.zeros(1))
    for n in WIDTHS:
        mlp = MLP((64, n, n, n, 10), "relu", C_W=2.0)
        p = predict_first_step(flow(mlp, X), finite.cross_entropy, y, ETA)
        loss, change = trained(mlp, X, y)
        predicted.append((p.loss_mean, p.loss_std))
        measured.append((loss.mean(), loss.std(ddof=1)))
        outputs = p.output_mean, change.mean(axis=0)
        print(
            f"width {n:3}: loss {p.loss_mean:.4f} ± {p.loss_std:.4f} over seeds,"
            f" trained {measured[-1][0]:.4f} ± {measured[-1][1]:.4f}"
        )
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    (mean, sd), (found, spread) = np.array(predicted).T, np.array(measured).T
    left.fill_between(WIDTHS, mean - sd, mean + sd, alpha=0.25, label="predicted: mean ± sd over seeds")
    left.plot(WIDTHS, mean)
    left.errorbar(WIDTHS, found, spread, fmt="o", color="black", label=f"{TRAINED} trained networks")
    left.set_xscale("log", base=2)
    left.set_xlabel("width")
    left.set_ylabel("change of the loss in the first step")
    left.set_ylim(min(0, 1.4 * (mean - sd).min()), 0)
    left.legend(frameon=False, loc="lower right")
    right.plot(outputs[0].ravel(), outputs[1].ravel(), ".")
    right.axline((0, 0), slope=1, color="gray", linewidth=1)
    right.set_xlabel("mean change of each output: predicted")
    right.set_ylabel("measured")
    right.set_title(f"width {WIDTHS[-1]}")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    out = Path("out")
    out.mkdir(exist_ok=True)
    figure.savefig(out / "first_step.png", dpi=150)
    print(f"wrote {out / 'first_step.png'}")


if __name__ == "__main__":
    main()
