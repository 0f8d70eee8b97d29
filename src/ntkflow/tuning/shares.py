"""Learning rates by shares of the mean output NTK, PDLT section 9.4: the equivalence principle, and what was measured to do better.

With b^ℓ and w^ℓ the parts of the biases and weights of layer ℓ in the mean NTK of the output at λ = 1, m the mean of a diagonal, and
shares p,

    λ_W^ℓ = s p_W^ℓ / m(w^ℓ),   λ_b^ℓ = s p_b^ℓ / m(b^ℓ),   s such that λ_max(H) / N = 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._theory.flow import flow
from ..errors import DataError, SpecError
from ..network.mlp import MLP

_MOST_RATIO = 1e4


class Shares(NamedTuple):
    """A network with λ's by shares."""

    mlp: MLP
    weight: np.ndarray
    """The weights' parts in the mean diagonal of the output's NTK, (L,)."""
    bias: np.ndarray
    """The biases', (L,)."""


def shared_learning_rates(mlp: MLP, X: np.ndarray, bias_share: float, first_share: float) -> Shares:
    """The network with λ_b and λ_W by shares of the mean output NTK on X (N, n_0).

    Args:
        bias_share: p_b, the part of one layer's biases, relative to that of a hidden layer's weights.
        first_share: κ, the part of the first layer's weights in that of all weights. Measured, not derived: 0.8 trained best.

    Raises:
        SpecError: the network is far from criticality: the λ's of its hidden layers would differ by more than 10⁴. (Critical C_b and C_W, as of `tune`, keep them together.)
        DataError: a layer has no part in the NTK at all.
    """
    L = mlp.depth
    last = flow(mlp.replace(lambda_b=1.0, lambda_W=1.0), X, "mean")[L]
    weight, bias = last.weight_contributions, last.bias_contributions
    of_weight, of_bias = (np.einsum("laa->l", parts) / len(X) for parts in (weight, bias))
    if not (np.all(of_weight > 0) and np.all(of_bias > 0)):
        raise DataError("some layer has no part in the output's NTK: its signal or its gradient is 0")
    _refuse_far_from_criticality(of_weight[1:-1])
    share = np.ones(L)
    # What is frozen, and biases that are not there, have λ = 0.
    trained = np.array(mlp.lambda_W) > 0
    if trained[1:].any():
        share[0] = first_share / (1 - first_share) * np.count_nonzero(trained[1:])
    lambda_W = share / of_weight * trained
    lambda_b = bias_share / of_bias * (np.array(mlp.lambda_b) > 0)
    H = np.einsum("l,lab->ab", lambda_W, weight) + np.einsum("l,lab->ab", lambda_b, bias)
    largest = np.linalg.eigvalsh(H)[-1]
    if not largest > 0:
        raise DataError("no parameter is trained: all lambda_b and lambda_W are 0")
    s = len(X) / largest
    size = np.trace(H) / len(X)
    return Shares(
        mlp.replace(lambda_b=(s * lambda_b).tolist(), lambda_W=(s * lambda_W).tolist()),
        lambda_W * of_weight / size,
        lambda_b * of_bias / size,
    )


def _refuse_far_from_criticality(parts: np.ndarray) -> None:
    if len(parts) and parts.max() > _MOST_RATIO * parts.min():
        raise SpecError(
            f"the network is far from criticality: learning rates that give its hidden layers equal parts would differ by a factor of "
            f"{parts.max() / parts.min():.1g}"
        )
