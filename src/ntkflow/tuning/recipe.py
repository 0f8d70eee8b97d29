"""A recipe: a network's initialisation and learning rates, what to expect of them, and the way to the user's own model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._disk.atomic import replaced
from .._report.page import Page
from ..errors import SpecError
from ..network.lift import drawn
from ..network.mlp import MLP, network_and_recipe
from .recipe_report import report

if TYPE_CHECKING:
    import optax
    import torch


@dataclass(frozen=True, repr=False)
class Recipe(Page):
    """The result of `tune`; printed, it is a page of text.

    Attributes:
        mlp: the network with C_b, C_W, λ_b and λ_W of every layer.
        eta: η of plain gradient descent on the loss's mean over a batch; None for an optimiser that is not plain gradient descent.
        edge: the η up to which gradient descent is stable at initialisation on the mean kernel: 2 for the mean squared error, 2C for the
            cross-entropy of a softmax over C outputs, λ_max(H)/N being 1.
        loss, classes, optimizer, output_variance, bias_share, first_share, sd: as of `tune`.
        weight_shares, bias_shares: the parts of each layer in the mean diagonal of the output's NTK, (L,).
        lambda_max, lambda_max_std, lambda_max_truncation: the largest eigenvalue of one network's NTK over N: mean and sd over seeds, and
            their error of cutting the expansion at 1/n. The mean kernel's is 1.
        ntk_std, ntk_std_truncation: sd of Ĥ_{ii;αα} of the output over seeds, relative to H_αα, resummed, and its truncation error.
        largest_depth: layers of weights up to which that sd is at most `sd` at this width, tuned anew at each depth; 256 is where the search ends.
        least_width: of all hidden layers, at which it is `sd` at this depth; 1 where any width will do.
        inputs, samples: how many inputs there were, and on how many of them the kernel was found.
        notes: what to know, in sentences.
    """

    mlp: MLP
    eta: float | None
    edge: float
    loss: str
    classes: int
    optimizer: str
    output_variance: float
    bias_share: float
    first_share: float
    sd: float
    weight_shares: tuple[float, ...]
    bias_shares: tuple[float, ...]
    lambda_max: float
    lambda_max_std: float
    lambda_max_truncation: float
    ntk_std: float
    ntk_std_truncation: float
    largest_depth: int
    least_width: int
    inputs: int
    samples: int
    notes: tuple[str, ...] = ()

    def report(self, path: str | PathLike | None = None) -> str:
        """One page: the numbers to use, and what to expect over seeds.

        Args:
            path: of an HTML file to write as well, ending in .html: the same with pictures, in one file that needs no network. What is there is
                replaced. A recipe does not hold its inputs, nor does the file.

        Raises:
            FileError: the file can't be written.
            MissingExtraError: jinja2 is not installed, which the file takes.

        Example:
            >>> recipe.report("recipe.html")
        """
        if path is not None:
            from .._report.html import recipes

            recipes.report(self, path)
        return report(self)

    def apply_(self, model: torch.nn.Module, generator: torch.Generator | None = None) -> torch.nn.Module:
        """Draw a torch model's weights and biases anew, in place, from Gaussians of the recipe's variances. Returns the model.

        Raises:
            InteropError: it is not a model of the recipe's widths and activations, a layer lacks a bias that is drawn, or as of `as_mlp`.
        """
        from ..interop import torch

        return torch.draw_(model, self.mlp, generator)

    def drawn(self, model: Any, key: Any) -> Any:
        """A JAX model with weights and biases drawn anew from Gaussians of the recipe's variances: those of `finite.init(recipe.mlp, key)`.

        The model is an `equinox.nn.MLP` or `Sequential`, an `nnx.Sequential` or a pair (`linen.Sequential`, variables). It stays as it is: a new one is
        returned, of a pair the new variables. Each parameter keeps its precision.

        Args:
            key: a JAX key or a whole number.

        Raises:
            InteropError: as of `apply_`; or it is a torch model.
            SpecError: it is no model.
            ParameterError: the key is none.

        Example:
            >>> model = recipe.drawn(model, jax.random.key(0))
        """
        return drawn(model, self.mlp, key)

    def param_groups(self, model: torch.nn.Module) -> list[dict]:
        """Groups for `torch.optim.SGD` with learning rates η λ_b and η λ_W / n_{ℓ-1} of each layer, PDLT (8.5).

        Raises:
            SpecError: the recipe is for another optimiser than plain gradient descent.
            InteropError: as of `apply_`.
        """
        from ..interop import torch

        return torch.layer_groups(model, self.mlp, self._eta())

    def optimizer_of(self, model: torch.nn.Module) -> torch.optim.SGD:
        """`torch.optim.SGD` on `param_groups(model)`; raises as that does."""
        import torch

        return torch.optim.SGD(self.param_groups(model), lr=self._eta())

    def optax(self, fan_in_axis: int = 1) -> optax.GradientTransformation:
        """Optax's plain gradient descent with η λ_b and η λ_W / n_{ℓ-1} of each layer.

        The parameters may be any tree with a weight and a bias for each layer, in the layers' order: those of `finite.init`, of an
        `equinox.nn.MLP`, or a Flax model's.

        Args:
            fan_in_axis: the weights' axis of inputs: 1 for (n_ℓ, n_{ℓ-1}), 0 for Flax.

        Raises:
            SpecError: as of `param_groups`.
            InteropError: as of `interop.optax.scale_by_learning_rate_tensor`.
        """
        import optax

        from ..interop.optax import scale_by_learning_rate_tensor

        rates = scale_by_learning_rate_tensor(
            self.mlp.lambda_b, self.mlp.lambda_W, fan_in_axis, self.mlp.widths
        )
        return optax.chain(rates, optax.sgd(self._eta()))

    def _eta(self) -> float:
        if self.eta is None:
            raise SpecError(
                f"no learning rates for {self.optimizer}: the NTK says nothing of them, but for plain gradient descent; "
                "C_b, C_W, depth and spread of the recipe hold"
            )
        return self.eta

    def save(self, path: str | PathLike) -> None:
        """Write a TOML file: the network, as `ntkflow flow` and `MLP.from_toml` read it, and a table `recipe` with the rest.

        Raises:
            FileError: it cannot be written.
            SpecError: an activation is a callable, which a file can't hold.
        """
        import tomli_w

        callables = [a.name for a in self.mlp.activation if not a.registered]
        if callables:
            raise SpecError(f"a file can't hold the activation {callables[0]}, which is a callable")
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "mlp"}
        spec = self.mlp.to_spec() | {"recipe": {k: v for k, v in numbers.items() if v is not None}}
        with replaced(Path(path)) as temporary:
            temporary.write_text(tomli_w.dumps(spec), encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike) -> Recipe:
        """Read what `save` wrote; FileError, SpecError if it is no recipe or damaged."""
        mlp, table = network_and_recipe(path)
        if not isinstance(table, dict):
            raise SpecError(f"{path} holds a network, but no recipe")
        kinds = {f.name: str(f.type) for f in dataclasses.fields(cls) if f.name != "mlp"}
        optional = {"eta"} if table.get("optimizer") != "sgd" else set()
        for name in sorted(set(table) ^ set(kinds)):
            if name not in optional:
                what = "has no" if name in kinds else "has an unknown"
                raise SpecError(
                    f"{path} is damaged, or of another version of ntkflow: its recipe {what} {name}"
                )
        values: dict[str, Any] = {"eta": None}
        for name, value in table.items():
            values[name] = _read(kinds[name], value, mlp.depth)
            if values[name] is None:
                raise SpecError(f"{path} is damaged: {name} of its recipe can't be {value!r}")
        return cls(mlp, **values)


def _read(kind: str, value: Any, depth: int) -> Any:
    """A value of a recipe's file as the field's type has it; None if it is not of that type."""
    if kind == "str":
        return value if isinstance(value, str) else None
    if kind == "int":
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if kind == "tuple[str, ...]":
        return tuple(value) if isinstance(value, list) and all(isinstance(x, str) for x in value) else None
    if kind == "tuple[float, ...]":
        fits = isinstance(value, list) and len(value) == depth and all(isinstance(x, float) for x in value)
        return tuple(value) if fits else None
    return value if isinstance(value, float) else None
