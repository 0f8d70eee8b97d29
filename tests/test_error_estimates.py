"""Whether the error estimates cover the errors: against a much finer integration, over random networks and inputs."""

import dataclasses
import warnings

import numpy as np
import pytest
from exact_networks import exact_flow
from exact_pairs import random_pair
from finer_flows import KINKED, SMOOTH, USUAL, WIDE_RANGE, network_and_inputs, reference

import ntkflow
from ntkflow._gaussian import COARSE, FINE
from ntkflow._theory.scales import natural_scales
from ntkflow._theory.two_byte import TwoByteArray
from ntkflow.activations import activation as activation_of


def errors_and_estimates(activation, seed, C_W):
    """Of each tensor of the layers 2 and 3: its name, errors, estimates and largest component."""
    exact = reference(activation, seed, C_W)
    flow = ntkflow.flow(*network_and_inputs(activation, seed, C_W))
    for layer, expected in zip(flow.layers[1:], exact, strict=True):
        for name, value in expected.items():
            top = np.abs(layer.values[name]).max()
            yield name, np.abs(layer.values[name] - value), layer.error(name), top


@pytest.mark.parametrize("series", ["pair_series", "series", "kinked_series"])
def test_the_two_rules_never_take_as_many_terms(series):
    """Which level serves is decided by each rule alone: with the same terms, what they leave out would not show."""
    fine, coarse = ({terms for *_, terms in getattr(rule, series)} for rule in (FINE, COARSE))
    assert not fine & coarse


@pytest.mark.parametrize("C_W", [1e12, 1e-14])
def test_estimates_reach_as_far_as_tensors(C_W):
    """Two bytes alone reach from 1e-38 to 3e38: scaled by C_W in every layer, V and its estimates scale with C_W to the power of 2 layers."""
    x = np.random.default_rng(0).normal(size=(3, 4))
    plain, scaled = (
        ntkflow.flow(ntkflow.MLP((4, 8, 8, 2), "relu", 0.0, [w] * 3, 0.0, 1.0), x) for w in (1.0, C_W)
    )
    for layer, other in zip(plain, scaled, strict=True):
        assert np.allclose(other.V, layer.V * C_W ** (2 * layer.layer), rtol=1e-9)
        estimate = other.error("V") / C_W ** (2 * layer.layer)
        assert np.all((estimate > 0) & (estimate < 1e-11 * layer.G.max() ** 2))


def test_estimates_are_numbers_where_the_ntk_vanishes():
    """Next to products of H, which are 0, tensors have no relative size."""
    x = np.random.default_rng(0).normal(size=(1, 4))
    flow = ntkflow.flow(ntkflow.MLP((4, 8, 8, 2), "relu", 0.1, 1.3, 0.0, 0.0), np.vstack([x, x * (1 + 1e-4)]))
    for layer in flow:
        for name in layer.values:
            assert np.all(np.isfinite(layer.error(name))), (layer.layer, name)
        assert not np.any(layer.A)


def test_two_byte_arrays():
    """Numbers ≥ 0 are rounded up, by at most 2 %, and stay apart from 0; a unit of any size."""
    rng = np.random.default_rng(1)
    for size in (1e-240, 3.7e-80, 1.0, 2e155, 1e300, 1.5e308):
        numbers = size * 10 ** rng.uniform(-12, 0, (7, 11))
        held = TwoByteArray.empty(numbers.shape, size)
        held[:4], held[4:] = numbers[:4], numbers[4:]
        assert np.all((held.floats() >= numbers) & (held.floats() <= 1.02 * numbers))
        assert held.max() == held[...].max() and held.size == 77
        tiny = held.copy()
        tiny[0] = np.asarray(1e-60 * size)
        tiny[1] = np.asarray(0.0)
        assert np.all(tiny[0] > 0) and not np.any(tiny[1]) and np.array_equal(tiny[2:], held[2:])
        assert np.array_equal(held.rearranged(np.transpose).floats(), held.floats().T)


@pytest.mark.slow
@pytest.mark.parametrize("activation", [*SMOOTH, *KINKED], ids=str)
def test_estimates_cover_errors(activation):
    """Per component, over random inputs and C_W from 0.3 to 4 (1e-13 of the largest component is round-off)."""
    covered = []
    for seed, C_W in WIDE_RANGE:
        for _name, error, estimate, top in errors_and_estimates(activation, seed, C_W):
            covered.append(np.mean(error <= estimate))
            assert np.all(error <= 10 * estimate + 1e-13 * top)
    assert np.mean(covered) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("activation", [*SMOOTH, "relu"], ids=str)
def test_estimates_are_small(activation):
    """At most 100 times the error, or 1e-11 of the largest component, where C_W ≤ 2.

    Not for abs, which soon brings inputs close to each other: there the estimate is of the metric's conditioning,
    which the reference shares.
    """
    for seed, C_W in USUAL:
        for name, error, estimate, top in errors_and_estimates(activation, seed, C_W):
            assert np.all(estimate <= np.maximum(100 * error, 1e-11 * top + 1e-13)), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spreads", "two"),
    [
        ((0,) * 7, False),
        ((0, 0, 0), False),
        ((0, 0), False),
        ((0, 0, -4), False),
        ((0, 0, -2, -2), False),
        ((0, -3, -5), False),
        ((0, 0, 0, 0), True),
    ],
    ids=[
        "seven dimensions",
        "three dimensions",
        "a plane",
        "nearly a plane",
        "nearly a plane, two ways",
        "nearly a line",
        "two nearly coincide",
    ],
)
def test_estimates_of_a_declared_kink_are_honest(spreads, two):
    """All components on four samples of relu, given as a function with a kink at 0, against its closed forms.

    Inputs of norms 0.03 to 3, spread by powers of 10 along different directions, `two` of them 1e-8 to 1e-2 from the same or
    opposite directions; layers 2 and 3 of 24 flows, 61,440 components.
    """
    rng = np.random.default_rng(5)
    declared = dataclasses.replace(activation_of("relu"), slopes=None)
    errors, estimates = [], []
    for _ in range(24):
        X = rng.normal(size=(4, len(spreads))) * 10.0 ** np.array(spreads)
        if two:
            X[1] = X[0] * rng.choice([-1, 1]) + 10 ** rng.uniform(-8, -2) * rng.normal(size=len(spreads))
        X *= 10.0 ** rng.uniform(-1.5, 0.5, (4, 1)) / np.linalg.norm(X, axis=1, keepdims=True)
        C_b = float(rng.choice([0.0, 0.1]))
        with warnings.catch_warnings():
            # Nearly parallel samples may not reach rtol.
            warnings.simplefilter("ignore")
            exact, flow = (
                ntkflow.flow(ntkflow.MLP((len(spreads), 20, 30, 2), spec, C_b=C_b, C_W=2.0), X)
                for spec in ("relu", declared)
            )
        for closed, layer in zip(exact.layers[1:], flow.layers[1:], strict=True):
            for name in "VDFAB":
                top = np.abs(closed.values[name]).max()
                errors.append(np.abs(layer.values[name] - closed.values[name]).ravel() / top)
                estimates.append(layer.error(name).ravel() / top)
    error, estimate = np.concatenate(errors), np.concatenate(estimates)
    assert np.mean(error <= estimate) > 0.99
    assert np.all(error <= 10 * estimate + 1e-14)
    assert np.median(estimate / np.maximum(error, 1e-14)) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("spec", KINKED[:3], ids=str)
def test_estimates_of_piecewise_linear_pairs_are_honest(spec):
    """All components of the layers 2 and 3 of 60 random pairs, correlations through ±1, against 200 digits: 8,800 for each activation."""
    rng = np.random.default_rng(0)
    ratios = []
    for case in range(60):
        C_b = [0, 0.1 * (case % 2), 0.1]
        mlp = ntkflow.MLP((2, 30, 20, 2), spec, C_b=C_b, C_W=[1, 1.5, 1.5], lambda_b=0.3, lambda_W=0.8)
        X = random_pair(rng)
        flow = ntkflow.flow(mlp, X)
        for layer, exact in zip(flow.layers[1:], exact_flow(mlp, X)[1:], strict=True):
            scales = natural_scales(layer.values)
            for name, expected in exact.items():
                error, estimate = np.abs(layer.values[name] - expected), layer.error(name)
                # By interpolation towards coincidence, where samples are close.
                interpolated = name in ("G1", "H1", "D", "A")
                assert np.all(error <= 1e-10 * scales[name]) or interpolated, name
                assert np.all(estimate <= 1e-6 * scales[name]), name
                ratios.append((error / estimate).ravel())
    assert np.mean(np.concatenate(ratios) <= 1) > 0.99 and np.max(np.concatenate(ratios)) <= 10
