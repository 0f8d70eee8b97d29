"""Arrays of four legs, each a sample with a neuron, in which neurons are equal in pairs; and sums over samples and neurons of their products.

Neurons never stand in an array: sums over them follow from which legs are paired.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

PAIRINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))


@dataclass(frozen=True)
class Paired:
    """δ_{i0 i1} δ_{i2 i3} first + δ_{i0 i2} δ_{i1 i3} second + δ_{i0 i3} δ_{i1 i2} third, arrays over the samples of legs 0, 1, 2, 3."""

    first: np.ndarray
    second: np.ndarray
    third: np.ndarray

    @classmethod
    def by_pairs(cls, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> Paired:
        """Of arrays whose axes are in the order of the tensors' subscripts, pair by pair: 01 23, 02 13 and 03 12."""
        return cls(first, second.transpose(0, 2, 1, 3), third.transpose(0, 2, 3, 1))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those of PAIRINGS, in their order."""
        return self.first, self.second, self.third

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Paired:
        """`function` of each array."""
        return Paired(*map(function, self.arrays))

    def __add__(self, other: Paired) -> Paired:
        return Paired(*(a + b for a, b in zip(self.arrays, other.arrays, strict=True)))

    def __mul__(self, table: np.ndarray | float) -> Paired:
        """Times a number, or a table over the samples of all legs."""
        return self.map(lambda array: array * table)

    def __rmul__(self, number: float) -> Paired:
        return self * number

    def swapped(self, a: int, b: int) -> Paired:
        """The array in which legs a and b, sample and neuron, have changed places."""
        place = {a: b, b: a}
        arrays = list(self.arrays)
        for pairs, array in zip(PAIRINGS, self.arrays, strict=True):
            moved = {frozenset(place.get(leg, leg) for leg in pair) for pair in pairs}
            number = next(
                i for i, other in enumerate(PAIRINGS) if {frozenset(pair) for pair in other} == moved
            )
            arrays[number] = array.swapaxes(a, b)
        return Paired(*arrays)


class Targets(NamedTuple):
    """One leg: (samples, neurons)."""

    array: np.ndarray


class Equal(NamedTuple):
    """Two legs of one neuron: δ_ij array, over the samples of both."""

    array: np.ndarray


Operand = tuple[str, "Paired | Targets | Equal | np.ndarray"]
"""Letters of legs, and what has them. A plain array has samples alone: a table of numbers."""


def contracted(result: str, outputs: int, *operands: Operand) -> np.ndarray:
    """The sum over all legs that are not in `result` of the product of the operands, over samples and `outputs` neurons.

    Args:
        result: one or two letters.

    Returns:
        (samples, neurons) for one letter, (samples, neurons, samples, neurons) for two.
    """
    choices = [
        [(letters, array, PAIRINGS[i]) for i, array in enumerate(operand.arrays)]
        if isinstance(operand, Paired)
        else [(letters, operand, None)]
        for letters, operand in operands
    ]
    return sum(_of_pairing(result, outputs, choice) for choice in itertools.product(*choices))  # pyright: ignore[reportReturnType]


def _of_pairing(result: str, outputs: int, operands: Sequence[tuple]) -> np.ndarray:
    neuron = {letter: letter.upper() for letters, *_ in operands for letter in letters}

    def join(a: str, b: str) -> None:
        kept, gone = neuron[a], neuron[b]
        neuron.update({letter: kept for letter, name in neuron.items() if name == gone})

    known: set[str] = set()
    for letters, operand, pairs in operands:
        if isinstance(operand, Equal):
            join(*letters)
        for a, b in pairs or ():
            join(letters[a], letters[b])
    with_neurons = {letter for letters, operand, pairs in operands if pairs or isinstance(operand, Equal | Targets) for letter in letters}  # fmt: skip
    subscripts, arrays = [], []
    for letters, operand, _ in operands:
        is_target = isinstance(operand, Targets)
        subscripts.append(letters + (neuron[letters] if is_target else ""))
        arrays.append(operand.array if isinstance(operand, Equal | Targets) else operand)
        if is_target:
            known.add(neuron[letters])
    # Neurons that nothing depends on are summed over, or are those of the result.
    of_result = [neuron[letter] for letter in result]
    free = {neuron[letter] for letter in with_neurons} - known - set(of_result)
    out = "".join(
        letter + (name if name in known else "") for letter, name in zip(result, of_result, strict=True)
    )
    total = outputs ** len(free) * np.einsum(f"{','.join(subscripts)}->{out}", *arrays, optimize=True)
    if len(result) == 2 and not known & set(of_result):
        assert of_result[0] == of_result[1]
        return np.einsum("pq,ij->piqj", total, np.eye(outputs))
    return total
