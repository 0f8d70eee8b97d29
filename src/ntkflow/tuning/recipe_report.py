"""A recipe as one page of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._report.describe import architecture, evenly
from .._report.digits import number, uncertain
from .._report.page import aligned, inputs, wrapped
from .spread import DEEPEST, FAILED, TRAINED

if TYPE_CHECKING:
    from .recipe import Recipe

_MOST_ROWS = 9


def report(recipe: Recipe) -> str:
    """The numbers to use, and what to expect over seeds."""
    heading = [f"Recipe for {architecture(recipe.mlp)}", learning_rate(recipe)]
    above, below = ([line for text in texts for line in wrapped(text)] for texts in (heading, notes(recipe)))
    table = [f"  {line}" for line in aligned(table_rows(recipe, _MOST_ROWS))]
    return "\n".join([*above, "", *table, "", *below])


def notes(recipe: Recipe) -> list[str]:
    """What to expect over seeds, and what else to know, in sentences."""
    return [*_over_seeds(recipe), *(f"Note: {note}." for note in recipe.notes), _footnote(recipe)]


def _loss(recipe: Recipe) -> str:
    if recipe.loss == "mse":
        return "mean squared error, sum_i (z_i - y_i)^2 / 2"
    masked = recipe.mlp.widths[-1] - recipe.classes
    outputs = "" if not masked else f" ({masked} output{'s' if masked > 1 else ''} masked)"
    return f"cross-entropy of {recipe.classes} classes{outputs}"


def learning_rate(recipe: Recipe) -> str:
    """η, and what it is of, in a sentence."""
    if recipe.eta is None:
        return (
            f"{recipe.optimizer}: no learning rates, for the NTK says nothing of them but for plain gradient descent. C_b, C_W, depth and "
            "spread below hold."
        )
    return (
        f"Plain gradient descent on the {_loss(recipe)}: eta = {recipe.eta:.4g}, {recipe.eta / recipe.edge:.2g} of the edge of "
        f"stability {recipe.edge:.4g} on the mean kernel; each layer's rates are eta lambda_b for biases, eta lambda_W / fan-in for weights."
    )


def table_rows(recipe: Recipe, most: int) -> list[list[str]]:
    """The headings, and a row for each of at most so many layers, evenly spread."""
    mlp, rates = recipe.mlp, recipe.eta is not None
    header = ["layer", "fan-in", "C_b", "C_W"]
    header += ["lambda_b", "lambda_W", "NTK: weights %", "biases %"] if rates else []
    rows = [header]
    for ell in evenly(mlp.depth, most):
        row = [
            str(ell + 1), str(mlp.widths[ell]), number(mlp.C_b[ell], ".5g"), number(mlp.C_W[ell], ".6g"),
        ]  # fmt: skip
        if rates:
            row += [
                number(mlp.lambda_b[ell], ".4g"), number(mlp.lambda_W[ell], ".4g"),
                number(100 * recipe.weight_shares[ell], ".3g"), number(100 * recipe.bias_shares[ell], ".2g"),
            ]  # fmt: skip
        rows.append(row)
    return rows


def _over_seeds(recipe: Recipe) -> list[str]:
    if recipe.mlp.depth == 1:
        return ["Without hidden layers the NTK does not vary over seeds."]
    eigenvalue = [] if recipe.eta is None else [_largest_eigenvalue(recipe, recipe.eta)]
    return [*eigenvalue, _spread(recipe), _limits(recipe)]


def _largest_eigenvalue(recipe: Recipe, eta: float) -> str:
    value = uncertain(recipe.lambda_max, recipe.lambda_max_truncation)
    single = recipe.edge / recipe.lambda_max
    words = (
        f"Over seeds the largest eigenvalue of one network's NTK over N is {value}, with an sd of {recipe.lambda_max_std:.2g}; the mean "
        f"kernel's is 1. So a single network's edge is near {single:.3g} when training begins, and training moves it, mostly up."
    )
    if eta > single:
        words += " That eta is above it is meant: in the measurements nothing diverged at 0.4 of the mean kernel's edge."
    return words


def _spread(recipe: Recipe) -> str:
    value = uncertain(100 * recipe.ntk_std, 100 * recipe.ntk_std_truncation)
    if recipe.ntk_std <= TRAINED:
        words = "Networks with at most 50 % trained well on digits."
    elif recipe.ntk_std <= FAILED:
        words = "That is much: seeds will differ, and the best learning rate with them. Make it wider or shallower."
    else:
        words = "Networks above 120 % failed to train well on digits: make it wider or shallower."
    return f"The NTK of one input varies over seeds by {value} %. {words}"


def _limits(recipe: Recipe) -> str:
    widths = sorted(set(recipe.mlp.widths[1:-1]))
    if recipe.largest_depth >= DEEPEST:
        depth = f"up to at least {DEEPEST} layers of weights"
    elif recipe.largest_depth > 1:
        depth = f"up to {recipe.largest_depth} layers of weights"
    else:
        depth = "at no depth"
    width = f"width {widths[0]}" if len(widths) == 1 else "these widths"
    return (
        f"The NTK's sd is at most {100 * recipe.sd:.3g} % {depth} at {width}, and at this depth from hidden width "
        f"{recipe.least_width} on."
    )


def _footnote(recipe: Recipe) -> str:
    of = inputs(recipe.inputs, recipe.samples)
    if recipe.eta is None:
        return f"From {of}; 28(2) is 28 +- 2."
    return (
        f"From {of}. The shares of the first layer's weights, {recipe.first_share:g} of all weights, and of biases, {recipe.bias_share:g} of a "
        "hidden layer's weights, and eta's 0.4 were found by measuring, not derived; 28(2) is 28 +- 2."
    )
