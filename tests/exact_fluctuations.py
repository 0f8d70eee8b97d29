"""Exact second moments of the NTK of one input over networks of finite width whose activations are straight on both sides of 0."""

import numpy as np


def exact_moments(mlp, x, slopes):
    """Mean and variance of Ĥ_{ii;αα} of layers 1 … L; `slopes` (below 0, above 0) of every activation.

    g and h are the kernels of preactivations and NTK given the layer below; b and c the squares of the NTK between two neurons, and its
    product with their preactivations.
    """
    p, q = slopes
    m_2, m_4 = (p**2 + q**2) / 2, (p**4 + q**4) / 2
    u = float(x @ x) / mlp.widths[0]
    g, h = mlp.C_b[0] + mlp.C_W[0] * u, mlp.lambda_b[0] + mlp.lambda_W[0] * u
    gg, gh, hh, b, c = g * g, g * h, h * h, 0.0, 0.0
    moments = [(h, 0.0)]
    for n, C_b, C_W, l_b, l_W in zip(
        mlp.widths[1:-1], mlp.C_b[1:], mlp.C_W[1:], mlp.lambda_b[1:], mlp.lambda_W[1:], strict=True
    ):
        s, a = m_2 * g, m_2 * h
        apart = m_2**2 * (1 - 1 / n)
        ss = apart * gg + 3 * m_4 / n * gg
        sa = apart * gh + m_4 / n * (gh + 2 * c)
        aa = apart * hh + m_4 / n * (hh + 2 * b)
        b = C_W**2 * (m_4 / n * (hh + 2 * b) + apart * b)
        c = C_W**2 * (m_4 / n * (gh + 2 * c) + apart * c)
        gg = C_b**2 + 2 * C_b * C_W * s + C_W**2 * ss
        gh = C_b * (l_b + l_W * s + C_W * a) + C_W * (l_b * s + l_W * ss + C_W * sa)
        hh = l_b**2 + l_W**2 * ss + C_W**2 * aa + 2 * (l_b * l_W * s + l_b * C_W * a + l_W * C_W * sa)
        g, h = C_b + C_W * s, l_b + l_W * s + C_W * a
        moments.append((h, hh + 2 * b - h * h))
    return np.array(moments)
