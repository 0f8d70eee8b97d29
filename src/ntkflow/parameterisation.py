"""The same network and the same training in the "standard" and in the "NTK" parameterisation.

Ours, as the theory's: W_ij with variance C_W / n_{ℓ-1} and learning rate η λ_W / n_{ℓ-1}; b_i with C_b and η λ_b.
Standard: the same W and b, of standard deviations σ_w / √n_{ℓ-1} and σ_b, trained by plain gradient descent with one
learning rate per parameter group.
NTK: z = (σ_w / √n_{ℓ-1}) ω σ(z) + σ_b β, with ω and β of unit variance, each with its own learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import SpecError
from .network.mlp import MLP


@dataclass(frozen=True)
class Groups:
    """One layer in another parameterisation: standard deviations, and learning rates of its weights and biases."""

    sigma_w: float
    sigma_b: float
    weight_rate: float
    bias_rate: float


def standard(mlp: MLP, eta: float = 1.0) -> tuple[Groups, ...]:
    """σ_w² = C_W, σ_b² = C_b; learning rates η λ_W / n_{ℓ-1} of W and η λ_b of b. SpecError unless η > 0."""
    _check_positive(eta)
    return tuple(
        Groups(
            mlp.C_W[k] ** 0.5, mlp.C_b[k] ** 0.5, eta * mlp.lambda_W[k] / mlp.widths[k], eta * mlp.lambda_b[k]
        )
        for k in range(mlp.depth)
    )


def ntk_parameterisation(mlp: MLP, eta: float = 1.0) -> tuple[Groups, ...]:
    """σ_w² = C_W, σ_b² = C_b; learning rates η λ_W / C_W of ω and η λ_b / C_b of β, the same at any width.

    Raises:
        SpecError: C_W or C_b is 0 where its learning rate is not: such a parameter can't be written as σ × a unit Gaussian;
            or η is not positive.
    """
    _check_positive(eta)
    return tuple(
        Groups(
            mlp.C_W[k] ** 0.5, mlp.C_b[k] ** 0.5,
            _ratio("C_W", k, eta * mlp.lambda_W[k], mlp.C_W[k]), _ratio("C_b", k, eta * mlp.lambda_b[k], mlp.C_b[k]),
        )
        for k in range(mlp.depth)
    )  # fmt: skip


def from_standard(widths, activation, layers, eta: float = 1.0) -> MLP:
    """The MLP whose `standard(mlp, eta)` is `layers`. SpecError unless η > 0."""
    _check_positive(eta)
    return MLP(
        widths, activation, [g.sigma_b**2 for g in layers], [g.sigma_w**2 for g in layers],
        [g.bias_rate / eta for g in layers], [g.weight_rate * n / eta for g, n in zip(layers, widths, strict=False)],
    )  # fmt: skip


def from_ntk_parameterisation(widths, activation, layers, eta: float = 1.0) -> MLP:
    """The MLP whose `ntk_parameterisation(mlp, eta)` is `layers`: λ_W = C_W × weight_rate / η, λ_b = C_b × bias_rate / η.

    Raises:
        SpecError: η is not positive.
    """
    _check_positive(eta)
    return MLP(
        widths, activation, [g.sigma_b**2 for g in layers], [g.sigma_w**2 for g in layers],
        [g.sigma_b**2 * g.bias_rate / eta for g in layers], [g.sigma_w**2 * g.weight_rate / eta for g in layers],
    )  # fmt: skip


def _check_positive(eta: float) -> None:
    if not 0 < eta < float("inf"):
        raise SpecError(f"eta must be positive and finite, not {eta!r}")


def _ratio(name: str, k: int, rate: float, variance: float) -> float:
    if rate == 0:
        return 0.0
    if variance == 0:
        raise SpecError(f"layer {k + 1}: {name} is 0 but trained; the NTK parameterisation can't hold it")
    return rate / variance
