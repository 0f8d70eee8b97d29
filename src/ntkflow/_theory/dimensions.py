"""The dimensions and shapes of a flow's arrays in datasets and files: all follow from the network, the components and the number of inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._disk.saved_networks import network_of
from .._recursions import TENSORS
from ..errors import FileError, NtkflowError
from ..network.mlp import MLP
from .components import sample_sets, tensors_of
from .scales import KERNELS, SPLIT, ZH

ERROR = "_error"


class Specification(NamedTuple):
    """What a flow is of, as its attributes say."""

    mlp: MLP
    components: str | list
    training: bool


def dimensions(name: str, has_sets: bool, means_have_sets: bool = False) -> tuple[str, ...]:
    """The dimensions of an array of every layer; tensors may have an axis of sets, those of two samples too if `means_have_sets`."""
    if name in SPLIT:
        return ("layer", "source_layer", "alpha1", "alpha2")
    axes = TENSORS[name].axes if name in TENSORS else ZH if name == "zH" else ("alpha1", "alpha2")
    if has_sets and (len(axes) > 2 or (means_have_sets and name in TENSORS)):
        return ("layer", "set", *(axis.replace("alpha", "slot") for axis in axes))
    return ("layer", *axes)


def specification(attributes: Mapping[str, Any], activation=None) -> Specification:
    """The specification in a flow's attributes; FileError if it is damaged or none."""
    try:
        spec = json.loads(attributes["mlp"])
        components = json.loads(attributes["components"])
        callables = list(json.loads(attributes["callable_activations"]))
        training = bool(attributes.get("training", False))
        return Specification(network_of(spec, callables, activation), components, training)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f"this is not a flow, or it is damaged: its attributes don't fit ({error})"
        ) from error


def flow_names(of: Specification) -> list[str]:
    """The names of arrays that such a flow has, each with an error."""
    return [*KERNELS, *SPLIT, *(tensors_of(of.mlp, of.training) if of.components != "mean" else ())]


def flow_shapes(
    attributes: Mapping[str, Any], found: Mapping[str, tuple[int, ...]], means_have_sets: bool = False
) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """The dimensions and shape that each variable of a flow must have.

    Args:
        attributes: of the dataset.
        found: the shapes of the variables that are there; the number of inputs is that of the rows of X and X2.
        means_have_sets: as of `dimensions`.

    Raises:
        FileError: it is no flow, or a variable is missing or has another shape.
    """
    of = specification(attributes)
    mlp, components = of.mlp, of.components
    dims: dict[str, tuple[str, ...]] = {
        "layer": ("layer",), "source_layer": ("source_layer",), "X": ("sample", "input")
    }  # fmt: skip
    if "X2" in found:
        dims["X2"] = ("sample2", "input")
    if components != "mean":
        dims["sets"] = ("set", "slot")
    for name in flow_names(of):
        dims |= dict.fromkeys((name, name + ERROR), dimensions(name, components != "all", means_have_sets))
    missing = [name for name in dims if name not in found]
    if missing:
        raise FileError(f"this is not a flow, or it is damaged: {missing[0]} is missing")
    N, N2 = ((*found[name], 0)[0] for name in ("X", "X2" if "X2" in found else "X"))
    sizes = _sizes(mlp, components, N, N2)
    expected = {name: (axes, tuple(sizes[axis] for axis in axes)) for name, axes in dims.items()}
    for name, (_, shape) in expected.items():
        if tuple(found[name]) != shape:
            raise FileError(
                f"this is not a flow, or it is damaged: {name} does not fit the network and inputs"
            )
    return expected


def _sizes(mlp: MLP, components: str | list, N: int, N2: int) -> dict[str, int]:
    sizes = {
        "layer": mlp.depth,
        "source_layer": mlp.depth,
        "sample": N,
        "sample2": N2,
        "input": mlp.widths[0],
    }
    sizes |= {"alpha0": N, "alpha1": N, "alpha2": N2, "alpha3": N, "alpha4": N}
    if components != "mean":
        sets, k = set_sizes(components, N)
        sizes |= {"set": sets, "slot": k} | {f"slot{axis}": k for axis in range(5)}
    return sizes


def set_sizes(components: str | list, N: int) -> tuple[int, int]:
    """How many sets of samples the components are of, and how many samples are in each: the shape of `sample_sets`, which may be large."""
    if components == "all":
        return 1, N
    if components == "pairs":
        return (N * (N - 1) // 2, 2) if N > 1 else (1, 1)
    try:
        sets = sample_sets(components, N)
    except NtkflowError as error:
        raise FileError(f"this is not a flow, or it is damaged: {error}") from error
    assert sets is not None
    return sets.shape[0], sets.shape[1]


def check_numbers(name: str, array: np.ndarray, N: int, all_finite: bool = True) -> None:
    """FileError unless the numbers of a variable can be those of a flow.

    Args:
        name: the variable's.
        array: its values.
        N: how many inputs there are.
        all_finite: whether NaN, which stands where a component is not held, is refused.
    """
    wrong = None
    if name == "sets":
        if array.dtype.kind not in "iu" or np.any(array < 0) or np.any(array >= N):
            wrong = "is not of sample indices"
    elif np.any(np.isinf(array)) if not all_finite else not np.all(np.isfinite(array)):
        wrong = "is not finite"
    elif name in KERNELS and array.shape[-1] == array.shape[-2]:
        diagonal = np.diagonal(array, axis1=-2, axis2=-1)
        if np.any(diagonal < 0):
            wrong = "has a negative diagonal"
    if wrong:
        raise FileError(f"this is not a flow, or it is damaged: {name} {wrong}")
