"""`tune`: where to start a network, with which learning rates, and what to expect over seeds."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from .._checks.inputs import checked_inputs
from .._checks.spelling import did_you_mean
from .._theory.flow import flow
from ..errors import DataError, SpecError
from ..finite.parameters import whole_number
from ..network import as_mlp
from ..network.mlp import MLP
from .initialisation import critical_initialisation
from .recipe import Recipe
from .shares import shared_learning_rates
from .spread import (
    RTOL,
    SAMPLES,
    checked_sd,
    largest_depth,
    least_width,
    one_by_one,
    relative_mean,
    relative_sd,
    subset,
    with_depth,
)
from .stability import edge, largest_eigenvalue

LOSSES = ("cross_entropy", "mse")
_OPTIMISERS = ("sgd", "adam", "adamw", "adagrad", "rmsprop", "lion", "muon")
OF_EDGE = 0.4
"""η as a part of the edge: what trained best, measured."""
_MOST_SAMPLES = 256  # for the mean kernel
_EIGENVALUE_SAMPLES = 64  # for the largest eigenvalue over seeds
_TENSOR_SAMPLES = 6  # for what H1 adds to it: every pair takes a hundred integrals a layer


def tune(
    network: Any,
    X,
    *,
    loss: str = "cross_entropy",
    classes: int | None = None,
    bias_share: float = 0.05,
    first_share: float = 0.8,
    output_variance: float = 1.0,
    sd: float = 0.5,
    optimizer: Any = "sgd",
    seed: int = 0,
) -> Recipe:
    """A recipe for a network that will be trained by plain gradient descent on inputs like X.

    Initialisation: critical C_b and C_W, PDLT chapter 5; the first layer sets K = K* on X, the last one the outputs' variance. Learning rates: λ_b
    and λ_W by shares of the mean output NTK on X, PDLT chapter 9. η: 0.4 of the edge of stability on the mean kernel.

    What is theory and what was measured: the critical point, the shares, the NTK's sd and its largest eigenvalue are theory, held against sampled
    networks. `first_share` = 0.8, `bias_share` = 0.05 and the 0.4 are measured, on networks that were trained on digits, MNIST and tables.

    Args:
        network: an MLP or a model, as of `flow`. Its widths and activations count, and which λ are 0: frozen parameters, and biases that
            are not there, keep λ = 0. Its C's and other λ's are replaced; `apply_` draws frozen parameters anew, too.
        X: (N, n_0) inputs, scaled as they will be in training. Above 256 a random sample of them is taken for the kernel.
        loss: "cross_entropy", a softmax, or "mse", ½ Σ_i (z_i - y_i)²; both a mean over the batch. (torch's MSELoss is 2/n_L times that: multiply
            η by n_L / 2.)
        classes: how many outputs the softmax is over: all by default, fewer where the others are masked. It is not the number of different
            labels: an output in the softmax counts whether or not it is ever a label.
        bias_share: of the biases of one layer, relative to the weights of one hidden layer; ≥ 0.
        first_share: of the first layer's weights in what all weights contribute; between 0 and 1.
        output_variance: of one output over seeds, a mean over X; above 0. Less than 1 means more feature learning.
        sd: of the NTK over seeds, relative: what `largest_depth` and `least_width` are asked for.
        optimizer: "sgd", the name of another one, or a torch optimizer. Of other ones the NTK says nothing: the recipe then has no η, and
            refuses learning rates.
        seed: of the choice of samples, and of what is integrated by sampling.

    Returns:
        A Recipe: `recipe.apply_(model)`, `recipe.optimizer_of(model)`, `recipe.optax()`, `recipe.save(path)`.

    Raises:
        ActivationError: an activation has no critical point; the message says what can be done.
        DataError, SpecError, InteropError: see their descriptions.

    Example:
        >>> recipe = ntkflow.tune(model, X_train)
        >>> recipe.apply_(model)
        >>> optimizer = recipe.optimizer_of(model)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how the weights are drawn now, or that they are trained
        mlp = as_mlp(network)
    X = checked_inputs(mlp, X)
    _check(loss, bias_share, first_share, output_variance)
    classes = _classes(mlp, loss, classes)
    sd = checked_sd(sd)
    name = _optimizer_name(optimizer)
    rng = np.random.default_rng(whole_number(seed, "seed", 0, 2**63 - 1, DataError))
    samples = X[subset(len(X), _MOST_SAMPLES, rng)]
    initialisation = critical_initialisation(mlp, X, samples, output_variance)
    shares = shared_learning_rates(initialisation.mlp, samples, bias_share, first_share)
    tuned = shares.mlp

    rows = subset(len(samples), _TENSOR_SAMPLES, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of narrow networks: told as errors and notes
        last = flow(tuned, samples[rows], "pairs", rtol=RTOL)[-1]
    rows = subset(len(samples), _EIGENVALUE_SAMPLES, rng)
    eigenvalue = largest_eigenvalue(tuned, samples[rows], last, classes, seed)
    few = samples[subset(len(samples), SAMPLES, rng)]
    layers = one_by_one(tuned, few)
    single = layers[-1]
    of_depth = _tuned_at_depth(mlp, few, bias_share, first_share, output_variance)
    stable = edge(loss, classes)
    return Recipe(
        mlp=tuned,
        eta=OF_EDGE * stable if name == "sgd" else None,
        edge=stable,
        loss=loss,
        classes=classes,
        optimizer=name,
        output_variance=float(output_variance),
        bias_share=float(bias_share),
        first_share=float(first_share),
        sd=sd,
        weight_shares=tuple(shares.weight.tolist()),
        bias_shares=tuple(shares.bias.tolist()),
        lambda_max=eigenvalue.mean,
        lambda_max_std=eigenvalue.std,
        lambda_max_truncation=eigenvalue.truncation,
        ntk_std=relative_sd(single),
        ntk_std_truncation=relative_mean(single, single.truncation("ntk_std")),
        largest_depth=largest_depth(of_depth, mlp.depth, few, sd) if mlp.depth > 1 else 1,
        least_width=least_width(layers, sd),
        inputs=len(X),
        samples=len(samples),
        notes=initialisation.notes,
    )


def _tuned_at_depth(
    mlp: MLP, X: np.ndarray, bias_share: float, first_share: float, output_variance: float
) -> Callable[[int], MLP]:
    # Of a deeper network nothing is frozen.
    mlp = mlp.replace(lambda_b=float(any(mlp.lambda_b)), lambda_W=1.0)

    def of_depth(depth: int) -> MLP:
        deeper = critical_initialisation(with_depth(mlp, depth), X, X, output_variance).mlp
        return shared_learning_rates(deeper, X, bias_share, first_share).mlp

    return of_depth


def _check(loss: str, bias_share: float, first_share: float, output_variance: float) -> None:
    if loss not in LOSSES:
        raise SpecError(
            f"loss must be one of {', '.join(LOSSES)}, not {loss!r}{did_you_mean(str(loss), LOSSES)}"
        )
    for name, value, low, high in (
        ("bias_share", bias_share, 0, np.inf),
        ("first_share", first_share, 0, 1),
        ("output_variance", output_variance, 0, np.inf),
    ):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not low <= value < high or (value == 0 and name != "bias_share"):
            least = "at least 0" if name == "bias_share" else "above 0"
            raise SpecError(
                f"{name} must be a number {least}{' and below 1' if high == 1 else ''}, not {value!r}"
            )


def _classes(mlp: MLP, loss: str, classes: int | None) -> int:
    outputs = mlp.widths[-1]
    if loss == "mse":
        if classes is not None:
            raise SpecError("classes goes with the cross-entropy")
        return outputs
    if outputs < 2:
        raise DataError(
            "the cross-entropy is a softmax over two outputs at least; this network has one: loss='mse', or two outputs"
        )
    if classes is None:
        return outputs
    if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or not 2 <= classes <= outputs:
        raise SpecError(
            f"classes, the outputs that the softmax is over, must be a whole number from 2 to {outputs}, not {classes!r}"
        )
    return int(classes)


def _optimizer_name(optimizer: Any) -> str:
    """ "sgd" for plain gradient descent, another name for anything else."""
    if isinstance(optimizer, str):
        name = optimizer.lower()
        if name not in _OPTIMISERS and (meant := did_you_mean(name, _OPTIMISERS)):
            raise SpecError(f"there is no optimizer {optimizer!r}{meant}")
        return name
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return "sgd" if optimizer is torch.optim.SGD else str(optimizer.__name__)
    if torch is None or not isinstance(optimizer, torch.optim.Optimizer):
        raise SpecError(
            f"optimizer must be a name such as 'sgd' or 'adam', or a torch optimizer, not {optimizer!r}"
        )
    from ..interop.torch_rates import kind

    return kind(cast(Any, optimizer))
