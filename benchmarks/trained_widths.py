"""Does the order 1/n help? Predicted mean and sd of trained networks, at infinite width and to order 1/n, beside networks that are trained.

    python benchmarks/trained_widths.py

Sixteen training samples and eight test samples of each of three data sets, widths 32 to 512, a thousand networks each, which gradient descent
trains for as many steps. Tensors of networks whose hidden layers are alike do not depend on the width: those of a data set are computed once. Results are kept in `results`; the picture is docs/finite_width.png.
"""

import dataclasses
import functools
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import records
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes, load_digits, load_wine

import ntkflow
from ntkflow import finite
from ntkflow.training import FiniteWidthTrained

WIDTHS = (32, 64, 128, 256, 512)
TRAINING, TEST, NETWORKS, AT_ONCE = 16, 8, 1000, 50
STEPS, OF_LARGEST = 60, 0.5
PICTURE = Path(__file__).parents[1] / "docs" / "finite_width.png"


def samples(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of mean 0 and mean square 1, and targets: standardised, or ±1 for two classes."""
    loader = {"diabetes": load_diabetes, "digits 0 and 1": load_digits, "wine": load_wine}[name]
    X, y = (np.asarray(array, float) for array in loader(return_X_y=True))
    if name != "diabetes":
        X, y = X[y < 2], 2 * y[y < 2] - 1
    rows = np.random.default_rng(0).permutation(len(X))[: TRAINING + TEST]
    X, y = X[rows], y[rows, None]
    sd = X[:TRAINING].std(axis=0)
    X = (X - X[:TRAINING].mean(axis=0)) / np.where(sd > 0, sd, 1.0)
    X *= np.sqrt(X.shape[1] / np.mean(np.sum(X**2, axis=1)))
    return X, (y - y[:TRAINING].mean()) / y[:TRAINING].std() if name == "diabetes" else y


def half_sum(z, y):
    return jnp.sum((z - y) ** 2) / 2


@functools.partial(jax.jit, static_argnums=0)
def _trained(mlp: ntkflow.MLP, keys, X, y, eta):
    def one(key):
        step = lambda _, params: finite.gradient_step(mlp, params, X[:TRAINING], y[:TRAINING], half_sum, eta)
        return finite.forward(mlp, jax.lax.fori_loop(0, STEPS, step, finite.init(mlp, key)), X)[-1]

    return jax.vmap(one)(keys)


def measured(mlp: ntkflow.MLP, X, y, eta: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and sd over networks on the test samples, and the seconds of training, without compilation."""
    keys = jax.random.split(jax.random.key(0), NETWORKS).reshape(-1, AT_ONCE)
    with jax.enable_x64(True):
        jax.block_until_ready(_trained(mlp, keys[0], X, y, eta))
        start = time.perf_counter()
        z = np.concatenate([np.asarray(_trained(mlp, batch, X, y, eta)) for batch in keys])[:, TRAINING:, 0]
    return z.mean(axis=0), z.std(axis=0, ddof=1), time.perf_counter() - start


def network(X: np.ndarray, n: int) -> ntkflow.MLP:
    return ntkflow.MLP((X.shape[1], n, n, 1), "tanh", lambda_b=0.1)


def predicted(name: str) -> tuple[FiniteWidthTrained, float]:
    """Of the narrowest network, and the seconds that it took, compilation included."""
    X, y = samples(name)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predict = ntkflow.trained(network(X, WIDTHS[0]), X[:TRAINING], y[:TRAINING], X[TRAINING:], order=1)
    return predict, time.perf_counter() - start


def at_width(predict: FiniteWidthTrained, n: int) -> FiniteWidthTrained:
    """The same tensors, of a network whose hidden layers have width n."""
    mlp, flow, layers = network(predict.flow.X, n), predict.flow, []
    for layer in flow.layers:
        below = layers[-1] if layers else None
        layers.append(dataclasses.replace(layer, mlp=mlp, below=below))
    return dataclasses.replace(predict, mlp=mlp, flow=dataclasses.replace(flow, mlp=mlp, layers=layers))


def row(predict: FiniteWidthTrained, tensors_in: float, name: str, n: int) -> dict:
    X, y = samples(name)
    start = time.perf_counter()
    predict = at_width(predict, n)
    mlp = predict.mlp
    eta = OF_LARGEST * predict.largest_eta
    prediction = predict(steps=STEPS, eta=eta).test
    predicted_in = tensors_in + time.perf_counter() - start
    infinite = prediction.sources["infinite"]
    mean, sd, trained_in = measured(mlp, X, y, eta)
    wide_sd = np.sqrt(np.einsum("aiai->a", infinite.cov))

    def off(value, expected):
        return float(np.sqrt(np.mean((value - expected) ** 2)))

    target = y[TRAINING:, 0]
    return {
        "mean_noise": float(np.sqrt(np.mean(sd**2) / NETWORKS)), "sd_noise": float(np.sqrt(np.mean(sd**2) / (2 * NETWORKS))),
        "sd": float(np.mean(sd)),
        "mean_off_infinite": off(mean, infinite.mean[:, 0]), "mean_off_order_1": off(mean, prediction.mean[:, 0]),
        "sd_off_infinite": off(sd, wide_sd), "sd_off_order_1": off(sd, prediction.std[:, 0]),
        "told": float(prediction.truncation["mean"].flat[0]), "relative_size": prediction.relative_size,
        "test_error_of_ensemble": off(mean, target), "test_error_infinite": off(infinite.mean[:, 0], target),
        "test_error_order_1": off(prediction.mean[:, 0], target),
        "predicted_in": predicted_in, "trained_in": trained_in, "ratio": trained_in / predicted_in,
    }  # fmt: skip


def main() -> None:
    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes, cases = figure.subplots(2, 3, sharex=True), {}
    print(
        f"{'':24}{'mean off: n = inf':>18}{'1/n':>9}{'noise':>9}{'sd off: n = inf':>18}{'1/n':>9}{'sd':>9}{'train/predict':>15}"
    )
    for column, name in enumerate(("diabetes", "digits 0 and 1", "wine")):
        rows, (predict, tensors_in) = [], predicted(name)
        for n in WIDTHS:
            rows.append(row(predict, tensors_in, name, n))
            cases[f"{name}, width {n}"] = r = rows[-1]
            print(
                f"{name + ', ' + str(n):24}{r['mean_off_infinite']:18.4f}{r['mean_off_order_1']:9.4f}{r['mean_noise']:9.4f}"
                f"{r['sd_off_infinite']:18.4f}{r['sd_off_order_1']:9.4f}{r['sd']:9.3f}{r['ratio']:15.2f}",
                flush=True,
            )
        for line, of in enumerate(("mean", "sd")):
            panel = axes[line, column]
            for kind, label in (("infinite", "infinite width"), ("order_1", "to order 1/n")):
                panel.loglog(WIDTHS, [r[f"{of}_off_{kind}"] for r in rows], "o-", label=label)
            panel.loglog(WIDTHS, [r[f"{of}_noise"] for r in rows], "k:", lw=1, label="noise of 1000 networks")
            panel.set(
                title=f"{name}: {of} over seeds" if line == 0 else f"{of} over seeds",
                xticks=WIDTHS,
                xticklabels=WIDTHS,
            )
            panel.minorticks_off()
        axes[1, column].set_xlabel("width")
    axes[0, 0].legend()
    for line in range(2):
        axes[line, 0].set_ylabel("predicted less measured, rms")
    figure.savefig(PICTURE, dpi=110)
    records.save("trained_widths", cases)


if __name__ == "__main__":
    main()
