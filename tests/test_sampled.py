"""Networks really sampled (plain NumPy, nothing of ntkflow's) against the theory."""

import numpy as np
import pytest

import ntkflow

X = np.array([[0.9, -0.4, 1.1], [-0.3, 1.2, 0.5]])
C_b, C_W, L_b, L_W = 0.1, 1.4, 0.8, 1.1
SIGMA = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
}


def last_hidden_layer(activation, n, draws, seed):
    """z (draws, n, N) and Ĥ (draws, n, n, N, N) of layer 2, by PDLT (8.12)."""
    f, df = SIGMA[activation]
    rng = np.random.default_rng(seed)
    n0 = X.shape[1]
    z = rng.normal(size=(draws, n, n0)) @ X.T * np.sqrt(C_W / n0) + rng.normal(size=(draws, n, 1)) * np.sqrt(
        C_b
    )
    H = L_b + L_W * X @ X.T / n0
    W = rng.normal(size=(draws, n, n)) * np.sqrt(C_W / n)
    s, d = f(z), df(z)
    z2 = W @ s + rng.normal(size=(draws, n, 1)) * np.sqrt(C_b)
    mean = L_b + L_W * np.einsum("dja,djb->dab", s, s) / n
    jac = np.einsum("dij,dja->daij", W, d)
    ntk = np.einsum("daij,dbkj->dikab", jac, jac) * H
    i = np.arange(n)
    ntk[:, i, i] += mean[:, None]
    return z2, ntk


@pytest.mark.parametrize("activation", [pytest.param("tanh", marks=pytest.mark.slow), "relu"])
def test_layer_three_by_low_noise_estimators(activation):
    """THEORY section 6. False alarm: 5 standard errors on under 100 numbers, below 1e-4; plus c/n, c from two widths."""
    gaps = {}
    f, df = SIGMA[activation]
    for n, draws in ((8, 60000), (16, 30000)):
        layer = ntkflow.flow(ntkflow.MLP((3, n, n, 1), activation, C_b, C_W, L_b, L_W), X)[3]
        batches = {name: [] for name in ("H", "V", "D", "A", "F", "B")}
        for seed in range(20):
            z, ntk = last_hidden_layer(activation, n, draws // 20, seed)
            s, d = f(z), df(z)
            j = np.arange(n)
            own = ntk[:, j, j]
            G = C_W / n * np.einsum("dja,djb->dab", s, s)
            Omega = np.einsum("dja,djb->djab", s, s) * L_W + C_W * np.einsum("dja,djb,djab->djab", d, d, own)
            Omega = Omega.mean(1)
            m = len(z)

            def cov(P, Q, m=m):
                P, Q = P - P.mean(0), Q - Q.mean(0)
                return np.einsum("dab,dce->abce", P, Q) / (m - 1)

            batches["H"].append(L_b + Omega.mean(0))
            batches["V"].append(n * cov(G, G))
            batches["D"].append(n * cov(G, Omega))
            batches["A"].append(n * cov(Omega, Omega))
            c = C_W**2 / n / m
            u, v = np.einsum("dja,djc->djac", s, d), np.einsum("dja,djc->djac", d, d)
            batches["F"].append(c * np.einsum("djac,dkbe,djkce->acbe", u, u, ntk, optimize=True))
            batches["B"].append(c * np.einsum("djac,dkbe,djkab,djkce->acbe", v, v, ntk, ntk, optimize=True))
        for name, values in batches.items():
            values = np.array(values)
            predicted = layer.ntk_mean() if name == "H" else getattr(layer, name)
            error = values.std(0, ddof=1) / np.sqrt(20)
            gaps[name, n] = (values.mean(0) - predicted, error, np.linalg.norm(predicted))
    for name in ("H", "V", "D", "F", "A", "B"):
        (wide, e16, norm), (narrow, e8, _) = gaps[name, 16], gaps[name, 8]
        power = 4 if name == "H" else 2  # what is left is O(1/n²) of H, O(1/n) of the others
        # 2 gap(16) - gap(8) vanishes to the next order, which at n = 8 is at most the gap's own order squared.
        left = wide - narrow / power
        noise = 5 * np.sqrt(e16**2 + (e8 / power) ** 2)
        assert np.all(np.abs(left) < noise + np.abs(narrow).max() / power + 0.02 * norm), name
        assert np.linalg.norm(wide) < 0.4 * norm, name
        if name == "H":
            assert np.linalg.norm(wide) < 0.01 * norm
