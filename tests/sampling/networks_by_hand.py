"""The definitions of the estimators, in plain NumPy loops over neurons, on real networks: slow, and nothing shared."""

import numpy as np

from ntkflow import finite
from ntkflow.sampling import draw_key


def direct(mlp, X, seed, draw):
    """Per layer: mean z z, mean Ĥ_ii, and over all i ≠ j the products that V, D, A, F, B, K, L and M are made of."""
    params = finite.init(mlp, draw_key(seed, draw))
    found = []
    for z, H in zip(finite.forward(mlp, params, X), finite.ntk_layers(mlp, params, X), strict=True):
        n = z.shape[1]
        own = H[np.arange(n), np.arange(n)]
        sums: dict[str, np.ndarray | float] = {name: 0.0 for name in ("V", "D", "A", "F", "B", "K", "L", "M")}
        for i in range(n):
            for j in range(n):
                if i == j:
                    continue
                zz_i, zz_j = np.outer(z[:, i], z[:, i]), np.outer(z[:, j], z[:, j])
                sums["V"] += np.multiply.outer(zz_i, zz_j)
                sums["D"] += np.multiply.outer(zz_i, own[j])
                sums["A"] += np.multiply.outer(own[i], own[j])
                sums["F"] += np.einsum("a,b,cd->acbd", z[:, i], z[:, j], H[i, j])
                sums["B"] += np.einsum("ab,cd->acbd", H[i, j], H[i, j])
                sums["K"] += np.multiply.outer(z[:, i], zz_j)
                sums["L"] += np.multiply.outer(z[:, i], own[j])
                sums["M"] += np.multiply.outer(z[:, i], H[i, j])
        products = {name: value / (n * (n - 1)) for name, value in sums.items()}
        zH = np.einsum("ai,icd->acd", z, own) / n
        found.append(
            {
                "G": np.einsum("ai,bi->ab", z, z) / n,
                "z": z.mean(axis=1),
                "H": own.mean(axis=0),
                "zH": zH,
                "own": own.mean(axis=0),
            }
            | products
        )
    return found


def low_noise(mlp, X, seed, draw):
    """Per layer 2 … L: Ĝ', λ_b + Ω̂, and the double sums of F and B, PDLT (8.49), (8.69), (8.83)."""
    import jax

    params = finite.init(mlp, draw_key(seed, draw))
    found = []
    for ell, (z, H) in enumerate(
        zip(finite.forward(mlp, params, X), finite.ntk_layers(mlp, params, X), strict=True), start=1
    ):
        if ell == mlp.depth:
            break
        f = mlp.activation[ell - 1].function
        with jax.enable_x64(True):
            s = np.asarray(f(z))
            d = np.asarray(jax.vmap(jax.vmap(jax.grad(f)))(z))
        n, C_W, C_b = mlp.widths[ell], mlp.C_W[ell], mlp.C_b[ell]
        G, Omega, F, B = C_b, 0.0, 0.0, 0.0
        for j in range(n):
            ss, dd = np.outer(s[:, j], s[:, j]), np.outer(d[:, j], d[:, j])
            G = G + C_W / n * ss
            Omega = Omega + (mlp.lambda_W[ell] * ss + C_W * dd * H[j, j]) / n
            for k in range(n):
                F = F + C_W**2 / n * np.einsum(
                    "a,b,c,d,cd->acbd", s[:, j], s[:, k], d[:, j], d[:, k], H[j, k]
                )
                B = B + C_W**2 / n * np.einsum(
                    "a,b,c,d,ab,cd->acbd", d[:, j], d[:, k], d[:, j], d[:, k], H[j, k], H[j, k]
                )
        found.append({"G": G, "H": mlp.lambda_b[ell] + Omega, "F": F, "B": B})
    return found
