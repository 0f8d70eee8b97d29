"""Networks drawn with plain NumPy, nothing of ntkflow's: z, Ĥ and the last weights of a batch, by PDLT (8.9), (8.12)."""

import numpy as np

SIGMA = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "linear": (lambda z: z, np.ones_like),
}


def layers(mlp, X, draws, seed, with_ntk=True):
    """Of each layer (W (draws, n', n), z (draws, n', N), Ĥ (draws, n', n', N, N) or None)."""
    f, df = SIGMA[mlp.activation[0].name]
    rng = np.random.default_rng(seed)
    s = np.broadcast_to(X.T, (draws, *X.T.shape))
    H = slope = None
    found = []
    for ell, n in enumerate(mlp.widths[1:]):
        fan_in = mlp.widths[ell]
        W = rng.normal(size=(draws, n, fan_in)) * np.sqrt(mlp.C_W[ell] / fan_in)
        b = rng.normal(size=(draws, n, 1)) * np.sqrt(mlp.C_b[ell])
        z = W @ s + b
        if with_ntk:
            own = mlp.lambda_b[ell] + mlp.lambda_W[ell] / fan_in * np.einsum("dja,djb->dab", s, s)
            new = np.zeros((draws, n, n, *own.shape[1:]))
            i = np.arange(n)
            new[:, i, i] = own[:, None]
            if H is not None and slope is not None:
                jac = np.einsum("dij,dja->daij", W, slope)
                new += np.einsum("daij,djkab,dblk->dilab", jac, H, jac, optimize=True)
            H = new
        found.append((W, z, H))
        s, slope = f(z), df(z)
    return found


def mean_and_error(values):
    """Mean and standard error over the first axis."""
    values = np.asarray(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def assert_to_order(gaps, power=1):
    """Gaps (difference, standard error) at widths n and 2n: what is left after c/n^power, c from the two, is noise.

    The leftover of the next order is allowed a quarter of what the narrow network shows.
    """
    (narrow, e1), (wide, e2) = gaps
    scale = 2.0**power
    left = np.abs(wide - narrow / scale)
    noise = 4 * np.sqrt(e2**2 + (e1 / scale) ** 2)
    assert np.all(left < noise + np.abs(narrow) / (2 * scale)), (left / noise, narrow, wide)
