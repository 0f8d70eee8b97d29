"""Functions of a neuron by letters: σ, its derivatives, and those by the logarithm of z; a word names a product of two of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..activations import Activation
from ..errors import ActivationError


@functools.lru_cache(maxsize=64)
def logarithmic(activation: Activation) -> Activation:
    """z σ'(z) as an activation; ActivationError where it jumps."""
    if activation.slopes:
        return activation
    if any(activation.kinks):
        raise ActivationError(
            f"activation {activation.name} has a kink away from 0: behind a norm with trained gains (lambda_g > 0) it is not computed"
        )

    def function(z):
        return z * jax.jvp(activation.function, (z,), (jnp.ones_like(z),))[1]

    return Activation(f"z {activation.name}'(z)", function, kinks=activation.kinks, registered=False)


@dataclass(frozen=True)
class Functions:
    """Several functions in the place of a σ and its derivatives: the order of a placement counts them."""

    members: tuple[tuple[Activation, str], ...]

    @property
    def kinks(self) -> tuple[float, ...]:
        return tuple(sorted({kink for activation, _ in self.members for kink in activation.kinks}))

    def derivatives(self, z, order: int) -> list:
        """The first `order` + 1 functions of z."""
        return [_member(activation, letter, z) for activation, letter in self.members[: order + 1]]


LETTERS = "sdefxuvwt"
"""σ and its first three derivatives; x = z σ' and its first two; and z σ'', z x': the derivatives by log z of σ' and of x."""
_RAISED = {"s": "sde", "d": "def", "x": "xuv"}


def letters_of(word: str) -> str:
    """The two letters of a word: "es" for "ss20"."""
    if len(word) == 2:
        return word
    return "".join(_RAISED[letter][int(order)] for letter, order in zip(word[:2], word[2:], strict=True))


def _member(activation: Activation, letter: str, z):
    if letter in "xuv":
        return logarithmic(activation).derivatives(z, "xuv".index(letter))[-1]
    if letter == "w":
        return z * activation.derivatives(z, 2)[2]
    if letter == "t":
        return z * logarithmic(activation).derivatives(z, 1)[1]
    return activation.derivatives(z, "sdef".index(letter))[-1]
