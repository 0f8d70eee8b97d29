"""χ's of blocks, a dense layer being one of them, and what a diagnosis advises of skips and norms."""

from __future__ import annotations

import contextlib
import math

import numpy as np

from ..errors import ActivationError, DataError
from ..network.blocks import Block
from ..network.network import Network
from ..tuning import Criticality, single_input

CRITICAL = "A block is critical where chi_par = chi_perp = 1; a residual layer without a norm where gamma^2 + C_W / C_W* = 1, C_W* that of its activation in an MLP."


def chi_of_blocks(network: Network, metrics: np.ndarray) -> np.ndarray:
    """χ_∥ and χ_⊥ of the step behind each layer at its mean G_αα, (2, L); NaN at the last one."""
    chi = np.full((2, len(metrics)), np.nan)
    for number, (block, K) in enumerate(zip(network.blocks, metrics, strict=False)):
        with contextlib.suppress(ActivationError, DataError):
            chi[:, number] = chi_of_block(block, float(K))
    return chi


def chi_of_block(block: Block, K: float) -> tuple[float, float]:
    """χ_∥ = dG'/dG and χ_⊥, by which what tells neighbouring inputs apart grows, at one input's G = K."""
    of_u, parallel, perpendicular = K, 1.0, 1.0
    for stage in block.stages:
        ν2, change = 1.0, 1.0
        if stage.norm != "none":
            ν2 = 1 / (of_u + stage.eps) if of_u + stage.eps > 0 else 0.0
            change = stage.eps * ν2**2
        averages = single_input(stage.activation, ν2 * of_u)
        parallel *= stage.C_W * float(averages.g_prime) * change
        perpendicular *= stage.C_W * float(averages.slope_squared) * ν2
        of_u = stage.C_b + stage.C_W * float(averages.g)
    return block.gamma**2 + parallel, block.gamma**2 + perpendicular


def initialised(network: Network, points: dict[str, Criticality | None]) -> str:
    """How skips and branches keep the signal, in sentences."""
    branches = [block for block in network.blocks if block.skips]
    normed = [block.stages[0].norm != "none" for block in branches or network.blocks]
    L = len(branches)
    if not branches:
        at_points = " or ".join(
            f"{name} C_W = {point.C_W:.4g}"
            for name, point in points.items()
            if point is not None and point.C_W is not None
        )
        of_layers = (
            "Take fewer layers"
            if all(normed) or not at_points
            else f"Initialise critically, {at_points}; or put a norm before each activation"
        )
        return f"{of_layers}; or let layers add to a stream, z + f(norm(z)) / sqrt(number of blocks)."
    if all(normed):
        return f"Let each of the {L} blocks add a share of 1/{L} to the variance of the stream: z + f(norm(z)) / {L**0.5:.3g}, gamma = 1."
    targets = [
        f"{name} C_W = {point.C_W / L:.3g}"
        for name, point in points.items()
        if point is not None and point.C_W is not None and point.C_b == 0
    ]
    critical = (
        f", or critical without norms, gamma = {math.sqrt(1 - 1 / L):.4g} and of the branch {' or '.join(targets)}"
        if targets and L > 1
        else ""
    )
    return f"Begin branches with a norm and let each of the {L} blocks add a share of 1/{L}: z + f(norm(z)) / {L**0.5:.3g}{critical}."
