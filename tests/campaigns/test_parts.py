"""A small part of each campaign, and what they once found: `make campaign` runs all of them."""

import blocks
import kills
import near_one
import piecewise_linear
import pytest


@pytest.mark.slow
def test_estimates_of_piecewise_linear_networks():
    """40 random networks on pairs and one on a quadruple, against 200 digits; permuted inputs and fewer of them as well."""
    found = piecewise_linear.total([piecewise_linear.part(0, [*range(40), 50])])
    assert piecewise_linear.holds(found), found


@pytest.mark.parametrize(
    ("number", "case"),
    [
        (4, 11),  # multiples to 5e-14, taken for exact ones
        (26, 50),  # D and A of four samples, two of them 3e-8 apart
        (38, 1),  # multiples that biases keep a little apart in the next layer
        (43, 11),
        (48, 26),  # opposite inputs, of which no way leads to one another
        (4, 50),  # V of four samples, two of them 8e-9 apart
        (54, 36),  # H1 behind a layer 64 times as wide as the last
        (82, 22),  # G1
        (85, 43),
        (50, 51),  # V, D, F and A of four samples, of which three lie in a plane
        (66, 50),  # and four
    ],
)
def test_networks_that_were_wrong(number, case):
    found = piecewise_linear.total([piecewise_linear.part(number, [case])])
    assert piecewise_linear.holds(found), found


@pytest.mark.slow
def test_kills_of_workers_and_clients():
    pytest.importorskip("distributed")
    found = kills.part(0, kills=6)
    assert not found["faults"] and found["kills"] == 6 and found["met"] >= 1, found


@pytest.mark.slow
def test_tensors_of_residual_networks():
    """ReLU, n = 16 and 32, where every error is seen: it falls by 1.6 or more."""
    found = blocks.total([blocks.part(0, (16_384, 16_384))])
    assert blocks.holds(found) and len(found["falls"]) >= 4, found


@pytest.mark.slow
def test_errors_of_streams_that_hardly_change():
    found = near_one.total([near_one.part(number) for number in (1, 2)])
    assert near_one.holds(found), found
