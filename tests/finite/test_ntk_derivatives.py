"""dĤ and ddĤ of one network: two programs, the exact linear network, and what gradient descent does to the NTK."""

import jax
import numpy as np
import pytest

import ntkflow
from ntkflow import finite

LAMBDAS = ([0.5, 0.7, 0.2, 0.9], [1.0, 0.8, 1.2, 0.6])


def network(widths, activation):
    depth = len(widths) - 1
    return ntkflow.MLP(widths, activation, 0.3, 1.4, *(list(values[:depth]) for values in LAMBDAS))


def relative(a, b):
    return np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)


@pytest.mark.parametrize(
    ("activation", "widths"), [("tanh", (3, 4, 3, 4, 2)), ("gelu", (2, 3, 1, 3)), ("sin", (1, 2, 2))]
)
def test_nested_derivatives_and_forward_equations_agree(rng, activation, widths):
    mlp, X = network(widths, activation), rng.normal(size=(2, widths[0]))
    params = finite.init(mlp, 3)
    by_layer = finite.ntk_derivatives_layers(mlp, params, X)
    for layer in sorted({1, 2, mlp.depth}):
        nested = finite.ntk_derivatives(mlp, params, X, layer=layer)
        for name in nested._fields:
            a, b = getattr(by_layer[layer - 1], name), getattr(nested, name)
            assert a.shape == b.shape and (relative(a, b) < 1e-12 or not b.any()), (layer, name)


def test_chosen_neurons_and_other_rates(rng):
    mlp, X = network((3, 4, 3, 3), "tanh"), rng.normal(size=(2, 3))
    params, rates = finite.init(mlp, 1), finite.plain(mlp)
    whole = finite.ntk_derivatives_layers(mlp, params, X, rates=rates)[-1]
    part = finite.ntk_derivatives(mlp, params, X, neurons=[2, 0], rates=rates)
    for a, b in zip(part, whole, strict=True):
        legs = a.ndim // 2
        assert relative(a, b[np.ix_(*[[2, 0]] * legs)]) < 1e-12


def test_a_linear_network_is_known(rng):
    """z = W2 W1 x: ∇²z_0(u, v) = u_2 v_1 x + v_2 u_1 x, and no third derivative."""
    n, lambda_1, lambda_2 = 5, 0.7, 1.3
    mlp = ntkflow.MLP((3, n, 2), lambda z: z, 0.0, 1.0, 0.0, [lambda_1, lambda_2])
    params, X = finite.init(mlp, 0), rng.normal(size=(2, 3))
    found = finite.ntk_derivatives(mlp, params, X)
    W1, W2, same = np.asarray(params[0].W), np.asarray(params[1].W), np.eye(2)
    z1, K = X @ W1.T, X @ X.T
    one = lambda_1 * lambda_2 / (3 * n) * np.einsum("im,bj,nj,ac->imnabc", same, z1, W2, K)
    dH = one + one.transpose(0, 2, 1, 3, 5, 4)
    assert relative(found.dH, dH) < 1e-13
    assert np.abs(found.ddH_I).max() < 1e-15
    # ∇²z_1 ∇z_3: by W2 λ_1/n_0 δ_{i1} W2_i3 x·x, by W1 λ_2/n δ_{i1 i3} z1_3 x_1.
    by_W2 = np.einsum("im,nj,ac->imnjac", same, W2, K)  # (i, i1, i3, j, a1, a3)
    by_W1 = np.einsum("mn,cj,ak->mnjkac", same, z1, X)  # (i1, i3, j, k, a1, a3)
    ddH_II = lambda_1**2 * lambda_2 / (9 * n) * np.einsum("imnjac,iopjbd->monpabcd", by_W2, by_W2)
    ddH_II += lambda_2**2 * lambda_1 / (n**2 * 3) * np.einsum("mnjkac,opjkbd->monpabcd", by_W1, by_W1)
    assert relative(found.ddH_II, ddH_II) < 1e-13


def test_descent_changes_the_ntk_as_they_say(rng):
    """dĤ/dt = -(dĤ_12a + dĤ_21a) ε_a, and d(dĤ)/dt = -(ddĤ_I + ddĤ_II,012a + ddĤ_II,021a) ε_a: central differences."""
    mlp, X, ε = network((3, 6, 5, 2), "tanh"), rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    params, step = finite.init(mlp, 2), 1e-4

    def loss(z, y):
        return jax.numpy.sum(z * y)

    moved = [finite.gradient_step(mlp, params, X, ε, loss, eta) for eta in (step, -step)]
    H = [finite.ntk(mlp, p, X) for p in moved]
    at_start = finite.ntk_derivatives(mlp, params, X)
    dH = at_start.dH
    expected = -np.einsum("imnabc,cn->imab", dH + dH.transpose(1, 0, 2, 4, 3, 5), ε)
    assert relative((H[0] - H[1]) / (2 * step), expected) < 1e-6
    changed = [finite.ntk_derivatives(mlp, p, X).dH for p in moved]
    legs = at_start.ddH_I + at_start.ddH_II + at_start.ddH_II.transpose(0, 2, 1, 3, 4, 6, 5, 7)
    expected = -np.einsum("imnoabcd,do->imnabc", legs, ε)
    assert relative((changed[0] - changed[1]) / (2 * step), expected) < 1e-6


def test_refusals_and_one_layer(rng):
    X = rng.normal(size=(2, 3))
    relu = ntkflow.MLP((3, 4, 2), "relu")
    for function in (finite.ntk_derivatives, finite.ntk_derivatives_layers):
        with pytest.raises(ntkflow.errors.SpecError, match="kink"):
            function(relu, finite.init(relu, 0), X)
    wide = ntkflow.MLP((3, 3000, 3000), "tanh")
    params = finite.init(wide, 0)
    with pytest.raises(ntkflow.errors.MemoryRequestError, match="neurons"):
        finite.ntk_derivatives(wide, params, X)
    one = ntkflow.MLP((3, 2), "tanh")
    assert not finite.ntk_derivatives(one, finite.init(one, 0), X).dH.any()


def test_float32_stays_float32(rng):
    mlp, X = network((3, 4, 2), "tanh"), rng.normal(size=(1, 3))
    params = finite.init(mlp, 0, np.float32)
    exact = finite.ntk_derivatives(mlp, jax.tree.map(np.float64, params), X)
    for a, b in zip(finite.ntk_derivatives(mlp, params, X), exact, strict=True):
        assert a.dtype == np.float32 and b.dtype == np.float64 and relative(a, b) < 1e-5
