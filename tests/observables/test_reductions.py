"""Observables whose expectations are the recursions' own tensors, and exact cases."""

import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow
from ntkflow import observables
from ntkflow.observables import NTK, ZZ, Z, interlayer, joint

X = np.random.default_rng(0).normal(size=(3, 5))
LAYER = 3


def made(activation, widths=(5, 40, 50, 60, 4), X=X, **keys):
    mlp = ntkflow.MLP(
        widths, activation, **({"C_b": 0.1, "C_W": 1.3, "lambda_b": 0.7, "lambda_W": 1.2} | keys)
    )
    return ntkflow.flow(mlp, X)


@pytest.fixture(scope="module", params=["tanh", "relu"])
def flow(request):
    return made(request.param)


def pieces(flow):
    """σ and σ'."""
    if flow.mlp.activation[0].name == "tanh":
        return jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2
    return (lambda x: jnp.maximum(x, 0)), (lambda x: jnp.where(x > 0, 1.0, 0.0))


def functions(flow):
    """σσ, σ'σ' and Ω of two samples; Ω of the layer's own H."""
    s, d = pieces(flow)
    C_W, lambda_W, H = flow.mlp.C_W[LAYER], flow.mlp.lambda_W[LAYER], flow[LAYER].H

    def omega(a, b):
        return lambda z: lambda_W * s(z[0]) * s(z[1]) + C_W * H[a, b] * d(z[0]) * d(z[1])

    return (lambda z: s(z[0]) * s(z[1])), (lambda z: d(z[0]) * d(z[1])), omega


def close(found, expected):
    return found == pytest.approx(expected, rel=1e-10, abs=1e-13)


def test_products_of_preactivations_give_D_and_F(flow):
    p, s = joint(flow, LAYER), flow[LAYER]
    product = lambda z: z[0] * z[1]
    assert close(p.expect_with_ntk(product, [0, 1], (1, 1, 1, 2)).correction, s.D[0, 1, 1, 2])
    assert close(p.expect_with_ntk(product, [(0, 0), (1, 1)], (0, 1, 1, 2)).correction, s.F[0, 1, 1, 2])
    assert close(p.expect_with_ntk(product, [(0, 0), (1, 1)], (1, 0, 1, 2)).correction, s.F[0, 2, 1, 1])
    all_three = s.D[0, 1, 1, 2] + s.F[0, 1, 1, 2] + s.F[0, 2, 1, 1]
    assert close(p.expect_with_ntk(product, [0, 1], (0, 0, 1, 2)).correction, all_three)
    assert p.expect_with_ntk(product, [0, 1], (0, 1, 1, 2)).correction == pytest.approx(0, abs=1e-14)


def test_products_of_preactivations_give_G1_and_V(flow):
    p, s = joint(flow, LAYER), flow[LAYER]
    product = lambda z: z[0] * z[1]
    found = p.expect(product, [0, 2])
    assert close(found.leading, s.G[0, 2]) and close(found.correction, s.G1[0, 2])
    assert close(p.covariance_of(product, [0, 1], product, [(3, 1), (3, 2)]).correction, s.V[0, 1, 1, 2])
    found = p.covariance_of(product, [0, 1], product, [1, 2])
    assert close(found.value, p.covariance(ZZ(0, 0, 0, 1), ZZ(0, 0, 1, 2)))


@pytest.mark.parametrize(
    "samples",
    [
        (0, 1, 1, 2),
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in ((0, 1, 0, 1), (0, 0, 1, 1), (0, 0, 0, 1), (2, 2, 2, 2))
        ),
    ],
)
def test_the_next_layers_V_D_and_A_are_built_of_observables(flow, samples):
    check_V_D_and_A(flow, samples)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_so_they_are_on_four_samples(activation):
    check_V_D_and_A(made(activation, X=np.random.default_rng(1).normal(size=(4, 5))), (0, 1, 2, 3))


def check_V_D_and_A(flow, samples):
    """V', D' and A' as n_ℓ Cov of averages over neurons, whose terms are the sources (8.77), (8.97)."""
    p, up = joint(flow, LAYER), flow[LAYER + 1]
    a, b, c, d = samples
    ss, dd, omega = functions(flow)
    C_W, n = flow.mlp.C_W[LAYER], flow[LAYER].width
    r = n / flow[LAYER].fan_in
    Phi_12, Phi_34 = (p.expect(dd, pair, tolerance=1e-12).leading for pair in ((a, b), (c, d)))

    def of_averages(f, g):
        same = p.covariance_of(f, [a, b], g, [c, d], 1e-12).leading
        return same + r * p.covariance_of(f, [a, b], g, [(1, c), (1, d)], 1e-12).correction

    def with_H(f, at, pair):
        return r * p.expect_with_ntk(f, at, (1, 1, *pair), 1e-12).correction

    assert close(C_W**2 * of_averages(ss, ss), up.V[samples])
    D = of_averages(ss, omega(c, d)) + C_W * Phi_34 * with_H(ss, [a, b], (c, d))
    assert close(C_W * D, up.D[samples])
    A = of_averages(omega(a, b), omega(c, d)) + r * C_W**2 * Phi_12 * Phi_34 * flow[LAYER].A[samples]
    A += C_W * (Phi_34 * with_H(omega(a, b), [a, b], (c, d)) + Phi_12 * with_H(omega(c, d), [c, d], (a, b)))
    assert close(A, up.A[samples])


@pytest.mark.parametrize("pair", [(0, 1), (2, 2)])
def test_the_next_layers_G1_and_H1_are_means(flow, pair):
    p, up = joint(flow, LAYER), flow[LAYER + 1]
    ss, dd, _ = functions(flow)
    C_W, r = flow.mlp.C_W[LAYER], flow[LAYER].width / flow[LAYER].fan_in
    mean = p.expect(ss, pair, tolerance=1e-12)
    assert close(C_W * mean.leading + flow.mlp.C_b[LAYER], up.G[pair])
    assert close(r * C_W * mean.correction, up.G1[pair])
    slopes = p.expect(lambda z, h: dd(z) * h[0], pair, [(0, 0, *pair)], tolerance=1e-12)
    H1 = r * (flow.mlp.lambda_W[LAYER] * mean.correction + C_W * slopes.correction)
    assert close(H1, up.H1[pair])


@pytest.mark.parametrize(
    "samples",
    [
        (0, 1, 2, 1),
        (0, 0, 0, 0),
        (0, 1, 0, 1),
        *(pytest.param(s, marks=pytest.mark.slow) for s in ((0, 1, 1, 0), (0, 1, 1, 2))),
    ],
)
def test_the_next_layers_F_and_B_are_means_over_two_neurons(flow, samples):
    """(8.69), (8.83): n_ℓ terms with one neuron, the rest with two, at which Ĥ_01 has no mean."""
    p, up = joint(flow, LAYER), flow[LAYER + 1]
    a, b, c, d = samples
    sigma, slope = pieces(flow)
    C_W, r = flow.mlp.C_W[LAYER], flow[LAYER].width / flow[LAYER].fan_in
    one, two = [a, b, c, d], [(0, a), (1, b), (0, c), (1, d)]
    H = [(0, 0, a, b), (0, 0, c, d)], [(0, 1, a, b), (0, 1, c, d)]
    of_F = lambda z: sigma(z[0]) * sigma(z[1]) * slope(z[2]) * slope(z[3])
    F = p.expect(of_F, one, tolerance=1e-12).leading * flow[LAYER].H[c, d]
    F += r * p.expect_with_ntk(of_F, two, (0, 1, c, d), 1e-12).correction
    assert close(C_W**2 * F, up.F[a, c, b, d])
    of_B = lambda z, h: jnp.prod(slope(z)) * h[0] * h[1]
    B = p.expect(of_B, one, H[0], 1e-12).leading + r * p.expect(of_B, two, H[1], 1e-12).correction
    assert close(C_W**2 * B, up.B[a, c, b, d])


def test_kinks_are_where_the_activation_has_them():
    """σσ and σ'σ' of an activation with a kink at 0.5, and none at 0: G', G1' and H'."""
    sigma, slope = (lambda z: jnp.maximum(z - 0.5, 0.1 * z)), (lambda z: jnp.where(z > 0.5 / 0.9, 1.0, 0.1))
    flow = made(ntkflow.kinked(sigma, at=(0.5 / 0.9,)), X=X[:2])
    p, s, up = joint(flow, LAYER), flow[LAYER], flow[LAYER + 1]
    C_W, lambda_W = flow.mlp.C_W[LAYER], flow.mlp.lambda_W[LAYER]
    mean = p.expect(lambda z: sigma(z[0]) * sigma(z[1]), [0, 1], tolerance=1e-12)
    slopes = p.expect(lambda z: slope(z[0]) * slope(z[1]), [0, 1], tolerance=1e-12).leading
    assert close(flow.mlp.C_b[LAYER] + C_W * mean.leading, up.G[0, 1])
    assert close(s.width / s.fan_in * C_W * mean.correction, up.G1[0, 1])
    Omega = lambda_W * mean.leading + C_W * slopes * s.H[0, 1]
    assert close(flow.mlp.lambda_b[LAYER] + Omega, up.H[0, 1])
    found = joint(flow, LAYER + 1).expect(lambda z: jnp.abs(z[0]), [0])
    assert close(found.leading, np.sqrt(2 * up.G[0, 0] / np.pi)), "the last layer has no activation"


def test_layer_one_is_gaussian_and_its_ntk_constant(flow):
    p = joint(flow, 1)
    assert p.cumulant(Z(0, 0), Z(0, 1)) == flow[1].G[0, 1]
    assert p.cumulant(*[Z(0, 0)] * 4) == 0 == p.cumulant(NTK(0, 0, 0, 1), NTK(0, 0, 0, 1))
    assert p.expect(lambda z: z[0] ** 4, [0]).correction == 0
    _, H = p.sample(0, 2, 50)
    assert np.all(H == H[0]) and np.allclose(H[0, 0, 0], flow[1].H) and np.all(H[:, 0, 1] == 0)
    assert p.validity(2).negative_mass == 0 and "may be used" in p.validity(2).words


def test_correlations_agree_with_the_layers_own(flow):
    wide = made(flow.mlp.activation[0].name, (5, 10**7, 10**7, 10**7, 4))
    p, s = joint(wide, LAYER), wide[LAYER]
    for neurons, i in (("same", 0), ("different", 1)):
        found = p.correlation(ZZ(0, 0, 0, 1), NTK(i, i, 0, 1))
        assert found == pytest.approx(s.ntk_preactivation_correlation(neurons)[0, 1], rel=1e-6)
        entry = NTK(0, i, 0, 1)
        assert p.covariance(entry, entry) ** 0.5 == pytest.approx(
            s.ntk_std(neurons, order=1)[0, 1], rel=1e-12
        )
    assert p.correlation(ZZ(0, 1, 0, 1), ZZ(0, 1, 0, 1)) == pytest.approx(1)


def test_cumulants_carry_every_index(flow):
    p, s, n = joint(flow, LAYER), flow[LAYER], flow[LAYER].fan_in
    assert p.cumulant(Z(1, 0), Z(2, 1), Z(1, 2), Z(2, 0)) == pytest.approx(s.V[0, 2, 1, 0] / n)
    assert p.cumulant(NTK(2, 1, 0, 1), Z(1, 2), Z(2, 0)) == pytest.approx(s.F[2, 1, 0, 0] / n)
    assert p.cumulant(NTK(2, 1, 0, 1), NTK(2, 1, 2, 0)) == pytest.approx(s.B[0, 2, 1, 0] / n)
    assert p.cumulant(NTK(2, 1, 0, 1), NTK(1, 2, 2, 0)) == pytest.approx(s.B[0, 0, 1, 2] / n)
    assert p.cumulant(NTK(3, 3, 0, 1), NTK(1, 1, 2, 0)) == pytest.approx(s.A[0, 1, 2, 0] / n)
    assert p.cumulant(NTK(1, 1, 0, 1)) == pytest.approx(s.ntk_mean()[0, 1])
    assert p.cumulant(Z(0, 0), NTK(0, 0, 0, 1)) == 0 == p.cumulant(NTK(0, 1, 0, 1))


def test_action_is_the_expansion(flow):
    """log p by couplings (4.81), (4.82) against w of the Edgeworth series, and its own second moments by importance sampling."""
    p, s = joint(flow, LAYER), flow[LAYER]
    action = p.action(2, [0, 1])
    G = s.G[:2, :2]
    raised = np.linalg.inv(G)
    V = np.einsum("abcd,ae,bf,cg,dh->efgh", s.V[:2, :2, :2, :2], raised, raised, raised, raised) / s.fan_in
    assert np.allclose(action.v, V, rtol=1e-10)
    z = np.random.default_rng(0).normal(size=(200_000, 2, 2)) @ np.linalg.cholesky(G).T
    w = action.relative_density(z)
    assert w.mean() == pytest.approx(1, abs=4 * w.std() / 447)
    for f in (lambda x: x[:, 0, 0] * x[:, 0, 1], lambda x: x[:, 0, 0] ** 2 * x[:, 1, 1] ** 2):
        values = f(z) * (w - 1)
        entries = [(0, 0), (0, 1)] if f(np.array([[[2.0, 3.0], [5.0, 7.0]]])) == 6 else [(0, 0), (1, 1)]
        g = (lambda x: x[0] * x[1]) if entries[1][0] == 0 else (lambda x: x[0] ** 2 * x[1] ** 2)
        expected = p.expect(g, entries).correction / s.fan_in
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / 447)


def test_interlayer_without_weights_is_exact_for_products():
    """O = z'z' is linear in Ĝ': E[O Q] is leading + fluctuation, and Cov with Ĥ_jj is what D' is made of."""
    flow = made("tanh")
    p, s = joint(flow, LAYER), flow[LAYER]
    O, Q = (lambda z: z[0] * z[1]), (lambda z: z[0] ** 2)
    found = interlayer(flow, LAYER + 1, O, [(2, 0), (2, 1)], (), Q, [(0, 2)])
    C_W, n = flow.mlp.C_W[LAYER], s.width
    ss = functions(flow)[0]
    same = p.covariance_of(ss, [0, 1], Q, [2]).leading
    other = n * p.covariance_of(ss, [(1, 0), (1, 1)], Q, [(0, 2)]).value
    assert found.leading == pytest.approx(flow[LAYER + 1].G[0, 1] * s.G[2, 2], rel=1e-8)
    assert found.fluctuation == pytest.approx(C_W / n * (same + other), rel=1e-7)


def test_interlayer_with_weights_alone():
    """O = 1: Wick's theorem for the weights, odd numbers and unequal indices give 0."""
    flow = made("tanh")
    variance = flow.mlp.C_W[LAYER] / flow[LAYER].width
    one = lambda z: 1.0 + 0 * z[0]
    for weights, expected in [
        ([(0, 1)] * 2, variance),
        ([(0, 1), (0, 2)], 0),
        ([(0, 1), (1, 1)], 0),
        ([(0, 1)] * 3, 0),
        ([(0, 1)] * 4, 3 * variance**2),
        ([(0, 1), (2, 3)] * 2, variance**2),
        ([(0, 1)] * 6, 15 * variance**3),
    ]:
        found = interlayer(flow, LAYER + 1, one, [(5 % 4, 0)], weights)
        assert found.value == pytest.approx(expected, rel=1e-9, abs=1e-18)


def test_one_and_two_weights_by_hand():
    """O = z'_{i;1} z'_{i;2} and one or two weights: Stein's identity done by hand, PDLT (8.55)."""
    flow = made("tanh")
    p, s = joint(flow, LAYER), flow[LAYER]
    c = flow.mlp.C_W[LAYER] / s.width
    found = interlayer(flow, LAYER + 1, lambda z: z[0], [(1, 0)], [(1, 7)], lambda z: z[0], [(7, 2)])
    assert found.leading == pytest.approx(
        c * p.expect(lambda z: jnp.tanh(z[0]) * z[1], [0, 2]).leading, rel=1e-8
    )
    product = lambda z: z[0] * z[1]
    at, Q = [(1, 0), (1, 1)], (lambda z: z[0] ** 2)
    found = interlayer(flow, LAYER + 1, product, at, [(1, 7)] * 2, Q, [(7, 2)])
    three = p.expect(lambda z: jnp.tanh(z[0]) * jnp.tanh(z[1]) * z[2] ** 2, [0, 1, 2]).leading
    assert found.leading == pytest.approx(
        c * flow[LAYER + 1].G[0, 1] * s.G[2, 2] + 2 * c**2 * three, rel=1e-7
    )


def test_names_are_public():
    assert ntkflow.joint is observables.joint
    assert ntkflow.predict_first_step is observables.predict_first_step
