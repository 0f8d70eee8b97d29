"""One learning rate for every width: digits trained with the learning-rate tensor and with plain gradient descent.

Writes out/one_learning_rate.png. With the tensor one η trains all widths alike; plain gradient descent diverges at it.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from ntkflow import MLP
from ntkflow._report.progress import progress_bar
from ntkflow.finite import cross_entropy, init, plain, train

WIDTHS = (64, 256, 1024, 4096)
SAMPLES, STEPS, BATCH = 512, 60, 128
ETA = 10.0
KINDS = ("tensorial", "plain")


def accuracy(z, y):
    return jnp.mean(jnp.argmax(z, axis=1) == y)


def main() -> None:
    digits, labels = load_digits(return_X_y=True)
    X, y = (digits[:SAMPLES] - digits.mean()) / digits.std(), labels[:SAMPLES]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        for n in WIDTHS:
            mlp = MLP((64, n, n, 10), "tanh", C_W=1.0, lambda_b=0.5, lambda_W=0.5)
            with progress_bar() as report:
                _, history = train(
                    mlp, init(mlp, 0, np.float32), X, y, cross_entropy, ETA, STEPS, batch_size=BATCH,
                    rates=plain(mlp) if kind == "plain" else None, record_every=5, metrics={"accuracy": accuracy},
                    progress=report,
                )  # fmt: skip
            axes.plot(history.step, history.loss, label=f"width {n}")
            print(
                f"{kind:10} width {n:5}: loss {history.loss[-1]:9.3g}, accuracy {history.metrics['accuracy'][-1]:.1%}"
            )
        axes.set_title(f"{kind}, η = {ETA:g}")
        axes.set_xlabel("step")
        axes.set_yscale("log")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("training loss")
    out = Path("out")
    out.mkdir(exist_ok=True)
    figure.savefig(out / "one_learning_rate.png", dpi=150)
    print(f"wrote {out / 'one_learning_rate.png'}")


if __name__ == "__main__":
    main()
