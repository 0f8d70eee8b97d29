"""Ways to start a network and to share out its learning rate, each as a network with the C's and λ's that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..network.mlp import MLP
from .recipe import Recipe
from .tune import tune

Scheme = Callable[[MLP, np.ndarray], "MLP | Recipe"]
_PROBES = np.array([0.3, 1.0, 2.5])


def torch_default(mlp: MLP, X: np.ndarray | None = None) -> MLP:
    """C's of what `torch.nn.Linear` draws, weights and biases of variance 1/(3 n_{ℓ-1}), and one learning rate for all parameters.

    torch's are uniform, these are Gaussian: of the same means and, at infinite width, the same kernels.
    """
    return _one_rate(mlp.replace(C_b=[1 / (3 * n) for n in mlp.widths[:-1]], C_W=1 / 3))


def he_or_xavier(mlp: MLP, X: np.ndarray | None = None) -> MLP:
    """He's normal initialisation (C_W = 2), Xavier's for odd activations such as tanh; no biases at first; one learning rate for all.

    The last layer's is that of the hidden layer below.
    """
    odd = [_is_odd(activation) for activation in mlp.activation] or [True]
    odd.append(odd[-1])
    fans = zip(mlp.widths, mlp.widths[1:], strict=False)
    C_W = [2 * n / (n + m) if xavier else 2.0 for (n, m), xavier in zip(fans, odd, strict=False)]
    return _one_rate(mlp.replace(C_b=0.0, C_W=C_W))


def recipe_for(loss: str) -> Scheme:
    """`tune` for this loss, as a scheme."""

    def recipe(mlp: MLP, X: np.ndarray) -> Recipe:
        return tune(mlp, X, loss=loss)

    return recipe


def _one_rate(mlp: MLP) -> MLP:
    """λ's with which tensorial gradient descent is plain: λ_b = 1, λ_W / n_{ℓ-1} = 1; what is frozen stays frozen."""
    return mlp.replace(
        lambda_b=[float(rate > 0) for rate in mlp.lambda_b],
        lambda_W=[float(n) * (rate > 0) for n, rate in zip(mlp.widths[:-1], mlp.lambda_W, strict=True)],
    )


def _is_odd(activation: Any) -> bool:
    above, below = np.asarray(activation(_PROBES)), np.asarray(activation(-_PROBES))
    return bool(np.all(np.abs(above + below) <= 1e-6 * np.abs(above)))
