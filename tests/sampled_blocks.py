"""Networks of blocks that are really sampled, with their NTK from autodiff of its definition: what the theory of blocks is held against.

The read-out is a dense layer, whose weights are integrated out: with s = σ(z), d = σ'(z) of the layer below,

    g_12 = C_b + C_W mean_i s_i1 s_i2,    h_12 = λ_b + λ_W mean_i s_i1 s_i2 + C_W mean_i d_i1 d_i2 Ĥ_ii;12,
    V = n Cov(g, g),  D = n Cov(g, h),  A = n Cov(h, h),  G1 = n (E g - G),  H1 = n (E h - H),
    F_1324 = n (C_W/n)² E Σ_ij s_i1 d_i3 Ĥ_ij;34 s_j2 d_j4,    B_1324 = n (C_W/n)² E Σ_ij d_i1 d_i3 Ĥ_ij;12 Ĥ_ij;34 d_j2 d_j4.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

BLOCKS_OF_NETWORKS = 32


def drawn(network, key):
    """Parameters of a random network but for its read-out, each a tuple (value, λ)."""
    embedding, fan_in, inputs = network.layers[0], network.widths[1], network.widths[0]
    keys = iter(jax.random.split(key, 200))

    def dense(layer, fan_in, width):
        W = jnp.sqrt(layer.C_W / fan_in) * jax.random.normal(next(keys), (width, fan_in))
        b = jnp.sqrt(layer.C_b) * jax.random.normal(next(keys), (width,))
        return [(W, layer.lambda_W / fan_in), (b, layer.lambda_b)]

    parameters = [dense(embedding, inputs, fan_in)]
    for block, width in zip(network.blocks[:-1], network.widths[2:-1], strict=True):
        stages = []
        for stage, after in zip(block.stages, block.inner_widths(width), strict=True):
            norm = [(jnp.ones(fan_in), stage.lambda_g), (jnp.zeros(fan_in), stage.lambda_beta)]
            stages.append(dense(stage, fan_in, after) + norm)
            fan_in = after
        parameters.append(stages)
    return parameters


def normed(u, stage):
    if stage.norm == "rms":
        return u / jnp.sqrt(jnp.mean(u**2, axis=1, keepdims=True) + stage.eps)
    if stage.norm == "layer":
        u = u - jnp.mean(u, axis=1, keepdims=True)
        return u / jnp.sqrt(jnp.mean(u**2, axis=1, keepdims=True) + stage.eps)
    return u


def forward(network, values, X):
    """The last layer but the read-out, (N, n)."""
    (W, b), *blocks = values
    z = X @ W.T + b
    for block, parameters in zip(network.blocks[:-1], blocks, strict=True):
        u = z
        for stage, (W, b, g, beta) in zip(block.stages, parameters, strict=True):
            y = g * normed(u, stage) + beta if stage.norm != "none" else u
            u = stage.activation.function(y) @ W.T + b
        z = block.gamma * z + u if block.gamma else u
    return z


def of_one_network(network, X, key):
    """g, h, and n times what F and B are expectations of."""
    parameters = drawn(network, key)
    is_pair = lambda x: isinstance(x, tuple)
    rates = [rate for _, rate in jax.tree.leaves(parameters, is_leaf=is_pair)]
    values = jax.tree.map(lambda pair: pair[0], parameters, is_leaf=is_pair)
    z = forward(network, values, X)
    jacobians = jax.tree.leaves(jax.jacrev(lambda values: forward(network, values, X))(values))
    H = sum(
        rate * jnp.einsum("aip,bjp->ijab", *[J.reshape(*z.shape, -1)] * 2)
        for rate, J in zip(rates, jacobians, strict=True)
    )
    out, n = network.blocks[-1].stages[0], z.shape[1]
    σ = out.activation.function
    s, d = σ(z), jax.jvp(σ, (z,), (jnp.ones_like(z),))[1]
    g = out.C_b + out.C_W * s @ s.T / n
    h = out.lambda_b + out.lambda_W * s @ s.T / n + out.C_W * jnp.einsum("ai,bi,iiab->ab", d, d, H) / n
    sd = jnp.einsum("ai,ci->aci", s, d)
    dH = jnp.einsum("ai,ijab,bj->ijab", d, H, d)
    scale = n * (out.C_W / n) ** 2 * network.widths[1] / n
    F = scale * jnp.einsum("aci,ijcd,bdj->acbd", sd, H, sd, optimize=True)
    B = scale * jnp.einsum("ijab,ijcd->acbd", dH, dH, optimize=True)
    return g, h, F, B


@functools.partial(jax.jit, static_argnums=(0, 3))
def _sums(make, X, key, count):
    def add(total, key):
        g, h, F, B = of_one_network(make(), X, key)
        gg, gh, hh = (jnp.einsum("ab,cd->abcd", x, y) for x, y in ((g, g), (g, h), (h, h)))
        return jax.tree.map(jnp.add, total, (g, h, F, B, gg, gh, hh)), None

    shapes = jax.eval_shape(lambda key: add((0.0,) * 7, key)[0], key)
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    return jax.lax.scan(add, zero, jax.random.split(key, count))[0]


def measured(network, X, networks: int, seed: int, G, H):
    """V, D, A, F, B, G1 and H1 of the read-out and their standard errors, coefficients of 1 / (width of the stream)."""
    n, blocks = network.widths[1], BLOCKS_OF_NETWORKS
    count = networks // blocks
    with jax.enable_x64(True):
        X = jnp.asarray(X)
        keys = jax.random.split(jax.random.key(seed), blocks)
        make = lambda: network
        sums = [jax.tree.map(np.asarray, _sums(make, X, key, count)) for key in keys]

    def statistics(rows):
        g, h, F, B, gg, gh, hh = (np.mean(x, axis=0) / count for x in zip(*rows, strict=True))
        outer = lambda a, b: np.multiply.outer(a, b)
        unbiased = n * len(rows) * count / (len(rows) * count - 1)
        return {
            "V": unbiased * (gg - outer(g, g)), "D": unbiased * (gh - outer(g, h)), "A": unbiased * (hh - outer(h, h)),
            "F": F, "B": B, "G1": n * (g - G), "H1": n * (h - H),
        }  # fmt: skip

    whole = statistics(sums)
    without = [statistics(sums[:i] + sums[i + 1 :]) for i in range(blocks)]
    errors = {name: np.sqrt((blocks - 1) * np.var([w[name] for w in without], axis=0)) for name in whole}
    return whole, errors
