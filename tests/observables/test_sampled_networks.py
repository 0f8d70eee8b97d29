"""Observables on networks really sampled, at two widths: what is left after c/n is noise, to 4 standard errors.

By chance right formulas fail one of the 52 comparisons with a probability below 52 × 6e-5 = 0.3 %; seeds are fixed.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from numpy_networks import assert_to_order, layers, mean_and_error

import ntkflow
from ntkflow.observables import interlayer, joint

X = np.array([[0.9, -0.4, 1.1], [-0.3, 1.2, 0.5]])
WIDTHS = (16, 32)
BATCHES, OUT, MANY = 24, 6, 64
SMOOTH = (lambda z, np: np.tanh(z[0]) * z[1], lambda z, np: np.cos(z[0]) + z[0] * np.tanh(z[1]))
KINKED = (lambda z, np: np.maximum(z[0], 0) * z[1], lambda z, np: np.abs(z[0]) * np.where(z[1] > 0, 1.0, 0.0))


def network(activation, n, out=MANY):
    return ntkflow.MLP((3, n, n, out), activation, 0.1, 1.4, 0.8, 1.1)


@functools.cache
def flow(activation, n):
    return ntkflow.flow(network(activation, n), X)


@functools.cache
def measured(activation, n, kind, draws):
    """Of layer 3: E[f], Cov same, Cov different, E[f ΔĤ] with the same and other neurons, each (batches,); layer 2 to 3 moments."""
    f, g = SMOOTH if kind == "smooth" else KINKED
    rows = []
    i, j = np.nonzero(~np.eye(OUT, dtype=bool))
    for seed in range(BATCHES):
        # Many neurons' preactivations, and the NTK of a few of other networks.
        (_, z2, _), (W, z, _) = layers(network(activation, n), X, draws, seed, with_ntk=False)[1:]
        a, b = (h(z.transpose(2, 0, 1), np) for h in (f, g))  # (draws, MANY)
        mean, unbiased = a.mean(), draws / (draws - 1)
        a, b = a - mean, b - b.mean()
        different = np.mean(a.sum(axis=1) * b.sum(axis=1) - np.sum(a * b, axis=1)) / (MANY * (MANY - 1))
        row = [mean, np.mean(a * b) * unbiased, different * unbiased]
        *_, (_, few, H) = layers(network(activation, n, OUT), X, draws, seed + BATCHES)
        few = few.transpose(2, 0, 1)
        a, dH, product = f(few, np), H - H.mean(axis=0), few[0][:, i] * few[1][:, j]
        row += [
            np.mean(a * dH[:, range(OUT), range(OUT), 0, 1]) * unbiased,
            np.mean(a[:, i] * dH[:, j, j, 0, 1]) * unbiased,
            np.mean(np.sign(product) * product**2 * dH[:, i, j, 0, 1]) * unbiased,
        ]
        # Weights: e_k of W_ij z_j over different j, with O = z'^k; and W_ij² z_j² z'².
        terms = W * z2[:, None, :, 0]
        p = [np.sum(terms**k, axis=2) for k in range(5)]
        e = [1.0, p[1]]
        for k in (2, 3, 4):
            e.append(sum((-1) ** (q - 1) * e[k - q] * p[q] for q in range(1, k + 1)) / k)
        count = [1, n, n * (n - 1) / 2, n * (n - 1) * (n - 2) / 6, n * (n - 1) * (n - 2) * (n - 3) / 24]
        row += [np.mean(z[:, :, 0] ** k * e[k]) / count[k] * (n / 1.4) ** k for k in (1, 2, 3, 4)]
        row.append(np.mean(z[:, :, 0] ** 2 * p[2]) / n * (n / 1.4))
        row.append(
            np.cov(np.mean(np.tanh(z[:, :, 0]) ** 2, axis=1), np.mean(np.abs(z2[:, :, 0]), axis=1))[0, 1]
        )
        rows.append(row)
    return mean_and_error(rows)


def intralayer(activation, n, kind):
    p = joint(flow(activation, n))
    f, g = (lambda z, h=h: h(z, jnp) for h in (SMOOTH if kind == "smooth" else KINKED))
    at = [0, 1]
    signed = lambda z: jnp.sign(z[0] * z[1]) * (z[0] * z[1]) ** 2
    return np.array(
        [
            p.expect(f, at).value,
            p.covariance_of(f, at, g, at).value,
            p.covariance_of(f, at, g, [(1, 0), (1, 1)]).value,
            p.expect_with_ntk(f, at, (0, 0, 0, 1)).value,
            p.expect_with_ntk(f, at, (1, 1, 0, 1)).value,
            p.expect_with_ntk(signed, [(0, 0), (1, 1)], (0, 1, 0, 1)).value,
        ]
    )


@pytest.mark.parametrize(
    ("activation", "kind", "draws"),
    [
        ("tanh", "kinked", 500),
        pytest.param("relu", "smooth", 500, marks=pytest.mark.slow),
        *(
            pytest.param(a, k, 4000, marks=pytest.mark.slow)
            for a in ("tanh", "relu")
            for k in ("smooth", "kinked")
        ),
    ],
)
def test_intralayer(activation, kind, draws):
    """Means and covariances to order 1/n: what is left is of order 1/n²."""
    gaps = []
    for n in WIDTHS:
        value, error = measured(activation, n, kind, draws)
        gaps.append((value[:6] - intralayer(activation, n, kind), error[:6]))
    assert_to_order(gaps, power=2)


def between_layers(activation, n, most):
    """What `measured` holds of layers 2 and 3 with their weights, each times (n / C_W)^k."""
    one, c = flow(activation, n), n / 1.4
    found = []
    for k in range(1, most + 1):
        moment = interlayer(
            one,
            3,
            lambda z, k=k: z[0] ** k,
            [0],
            [(0, j) for j in range(k)],
            jnp.prod,
            [(j, 0) for j in range(k)],
            tolerance=1e-5,
        )
        found.append(moment.value * c**k)
    found.append(
        interlayer(one, 3, lambda z: z[0] ** 2, [0], [(0, 0)] * 2, lambda z: z[0] ** 2, [0]).value * c
    )
    found.append(
        interlayer(one, 3, lambda z: jnp.tanh(z[0]) ** 2, [0], (), lambda z: jnp.abs(z[0]), [0]).fluctuation
    )
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "most", "draws"),
    [("relu", 2, 500), *((a, 4, 4000) for a in ("tanh", "relu"))],
)
def test_interlayer_with_none_to_four_weights(activation, most, draws):
    """To leading order: what is left is of relative order 1/n, of the covariance without weights of order 1/n²."""
    gaps = []
    for n in WIDTHS:
        value, error = (x[[*range(6, 6 + most), 10, 11]] for x in measured(activation, n, "smooth", draws))
        gaps.append((value - between_layers(activation, n, most), error))
    assert_to_order([(gap[:-1], error[:-1]) for gap, error in gaps], power=1)
    assert_to_order([(gap[-1:], error[-1:]) for gap, error in gaps], power=2)
