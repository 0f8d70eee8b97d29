"""Moments are requested: slots may be samples of two layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkflow._gaussian import FINE, SampleSets, expectations
from ntkflow._gaussian.functions import Integration, expectation, whiten
from ntkflow._gaussian.requests import placements
from ntkflow.activations import activation


@pytest.mark.parametrize("gamma", [0.6, 0.99])
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_slots_of_two_layers(rng, name, gamma):
    """Slots are jointly Gaussian variables, such as two samples in a layer and in another that has a part γ of it: by a general cubature."""
    σ = activation(name)
    z = rng.normal(size=(2, 5))
    G = z @ z.T / 5
    joint = np.block([[G, gamma * G], [gamma * G, gamma**2 * G + 0.3 * np.eye(2) + 0.1]])
    sets = SampleSets(np.arange(4)[:, None], 4, ("ssdd",))
    e = expectations(σ, joint, np.where(np.eye(4) > 0, 1.0, np.nan), sets, FINE)
    chosen = [(0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1)]

    def products(z, u):
        s, d = σ.derivatives(z, 1)
        return jnp.stack([jnp.prod(jnp.where(np.array(p) == 0, s, d)) for p in chosen])

    with jax.enable_x64(True):
        expected = expectation(products, whiten(joint, np.zeros(4)), Integration(1e-7))
    moments = e.moments[sets.quadruples.tolist().index([0, 1, 2, 3])]
    for placement, value, error in zip(chosen, *expected, strict=True):
        moment = moments[placements(sets.moments).index(placement)]
        assert abs(moment - value) < 1e-9 + 3 * error, placement
