"""A recipe in a report: what to use, what to expect over seeds, and both by layer."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ...tuning.recipe_report import learning_rate, notes, table_rows
from ..digits import uncertain
from ..page import inputs as inputs_in_words
from .document import write
from .parts import Section, Table, Verdict
from .pictures import Chart, Series
from .provenance import Provenance

if TYPE_CHECKING:
    from ...tuning.recipe import Recipe

_MOST_ROWS = 40


def report(recipe: Recipe, path: str | PathLike, file: str | None = None) -> None:
    """Write a recipe's report; raises as `write`."""
    options = f"loss={recipe.loss!r}, classes={recipe.classes}, bias_share={recipe.bias_share}, first_share={recipe.first_share}"
    more = f"output_variance={recipe.output_variance}, sd={recipe.sd}, optimizer={recipe.optimizer!r}"
    calls = [
        "recipe = ntkflow.tune(",
        f"    network, X, {options},",
        f"    {more},",
        ")",
        'recipe.report("again.html")',
    ]
    shape = f"{inputs_in_words(recipe.inputs, recipe.inputs)} of {recipe.mlp.widths[0]} numbers"
    write(path, [section(recipe)], Provenance(recipe.mlp, calls, file=file, shape=shape))


def section(recipe: Recipe) -> Section:
    """The learning rate, the notes, and the recipe by layer."""
    headings, *rows = table_rows(recipe, _MOST_ROWS)
    heading = "Critical initialisation" if recipe.eta is None else f"Learning rate η = {recipe.eta:.4g}"
    return Section(
        "Recipe", Verdict(heading, [learning_rate(recipe)]), notes(recipe), _charts(recipe),
        [Table("By layer", "Weights are normal with variance C_W / fan-in, biases with variance C_b.", headings, rows), _expected(recipe)],
    )  # fmt: skip


def _expected(recipe: Recipe) -> Table:
    rows = [
        ["sd of the NTK of one input, %", uncertain(100 * recipe.ntk_std, 100 * recipe.ntk_std_truncation)],
        ["largest eigenvalue, mean", uncertain(recipe.lambda_max, recipe.lambda_max_truncation)],
        ["largest eigenvalue, sd", f"{recipe.lambda_max_std:.2g}"],
        [f"most layers for an sd of {100 * recipe.sd:.3g} %", str(recipe.largest_depth)],
        [f"least width for an sd of {100 * recipe.sd:.3g} %", str(recipe.least_width)],
    ]
    caption = "Of one network's NTK over N, the mean kernel's largest eigenvalue being 1; in brackets what cutting at 1/n may do to the last digits."
    return Table("Over seeds", caption, ["", "value"], rows)


def _charts(recipe: Recipe) -> list[Chart]:
    layers, mlp = np.arange(1, recipe.mlp.depth + 1), recipe.mlp
    variances = [Series("C_W", layers, mlp.C_W), Series("C_b", layers, mlp.C_b)]
    charts = [Chart("Initialisation", "Of each layer.", "layer", "variance", variances)]
    if recipe.eta is not None:
        shares = [
            Series("weights", layers, 100 * np.array(recipe.weight_shares)),
            Series("biases", layers, 100 * np.array(recipe.bias_shares)),
        ]
        charts.append(
            Chart(
                "Shares of layers in the output's NTK",
                "With the recipe's learning rates.",
                "layer",
                "%",
                shares,
            )
        )
    return charts
