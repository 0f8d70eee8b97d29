"""torch and back: the same outputs, the same NTK as torch.func's, the same parameters after ten steps."""

from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn
from torch.func import functional_call, jacrev, vmap

import ntkflow
from ntkflow import finite
from ntkflow.interop import torch as interop

X = np.random.default_rng(0).normal(size=(6, 4))
RATES: Any = {"lambda_b": 0.7, "lambda_W": 1.3}


def model(*activations):
    torch.manual_seed(0)
    modules = [nn.Linear(4, 7, dtype=torch.float64)]
    for k, activation in enumerate(activations):
        modules += [activation, nn.Linear(7 - k, 6 - k, bias=k != 1, dtype=torch.float64)]
    return nn.Sequential(*modules)


@pytest.mark.parametrize(
    "activation",
    [
        nn.Tanh(),
        nn.ReLU(),
        nn.LeakyReLU(0.2),
        nn.ELU(1.5),
        nn.GELU(),
        nn.SiLU(),
        nn.Sigmoid(),
        nn.Softplus(),
        nn.Softplus(beta=2.0),
        nn.Identity(),
        nn.GELU("tanh"),
        nn.Mish(),
        nn.SELU(),
        nn.CELU(0.7),
        nn.Softsign(),
        nn.Tanhshrink(),
        nn.LogSigmoid(),
        nn.Hardtanh(-0.3, 0.5),
        nn.ReLU6(),
        nn.Hardsigmoid(),
        nn.Hardswish(),
        nn.Softshrink(0.2),
        nn.Threshold(0.1, 0.1),
    ],
    ids=str,
)
def test_same_function_both_ways(activation):
    network = model(activation, nn.Tanh())
    mlp, params = interop.from_module(network, C_b=0.0, C_W=1.0, **RATES)
    assert mlp.widths == (4, 7, 6, 5) and np.all(params[2].b == 0)
    theirs = network(torch.tensor(X)).detach().numpy()
    assert np.allclose(finite.forward(mlp, params, X)[-1], theirs, rtol=1e-12, atol=1e-14)
    back = interop.to_sequential(mlp, params)
    assert np.allclose(back(torch.tensor(X)).detach().numpy(), theirs, rtol=1e-12, atol=1e-14)


def test_same_ntk_as_torch_func():
    network = model(nn.Tanh(), nn.GELU())
    mlp, params = interop.from_module(network, C_b=0.0, C_W=1.0, **RATES)
    weights = dict(network.named_parameters())
    jacobian = vmap(jacrev(lambda p, x: functional_call(network, p, x)), (None, 0))(weights, torch.tensor(X))
    H = torch.zeros(())
    for name, J in jacobian.items():
        rate = 1.3 / weights[name].shape[1] if name.endswith("weight") else 0.7
        H = H + rate * torch.einsum("aip,bjp->ijab", J.flatten(2), J.flatten(2))
    # The second Linear has no bias to train.
    bias = finite.ntk_contributions(mlp, params, X)[0][2]
    assert np.allclose(finite.ntk(mlp, params, X) - bias, H.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_ten_steps_of_sgd():
    network = cast(nn.Sequential, interop.gaussian_init_(model(nn.Tanh()), C_b=0.1, C_W=1.2))
    mlp, params = interop.from_module(network, C_b=0.1, C_W=1.2, **RATES)
    y = np.random.default_rng(1).normal(size=(6, 6))
    optimizer = torch.optim.SGD(interop.parameter_groups(network, 0.1, **RATES))
    for _ in range(10):
        optimizer.zero_grad()
        (0.5 * ((network(torch.tensor(X)) - torch.tensor(y)) ** 2).sum(1).mean()).backward()
        optimizer.step()
    ours, _ = finite.train(mlp, params, X, y, finite.mse, 0.1, 10)
    theirs = interop.from_module(network, C_b=0.1, C_W=1.2)[1]
    for a, b in zip(ours, theirs, strict=True):
        assert np.allclose(a.W, b.W, rtol=1e-11, atol=1e-13) and np.allclose(a.b, b.b, rtol=1e-11, atol=1e-13)


def test_gaussian_initialisation():
    """Variances to 5 standard errors (false alarm below 1e-5); torch's own initialisation is uniform."""
    linear = nn.Linear(400, 300)
    layer = nn.Sequential(linear)
    uniform = linear.weight.detach().numpy()
    assert np.abs(uniform).max() <= 400**-0.5
    interop.gaussian_init_(layer, C_b=0.5, C_W=1.7, generator=torch.Generator().manual_seed(0))
    W, b = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    assert abs(np.mean(W**2) * 400 / 1.7 - 1) < 5 * np.sqrt(2 / W.size)
    assert abs(np.mean(b**2) / 0.5 - 1) < 5 * np.sqrt(2 / b.size)


def test_what_has_no_gaussian_initialisation_is_named():
    with pytest.raises(ntkflow.errors.InteropError, match="1.weight"):
        interop.parameter_groups(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), 0.1)
    shared = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    shared[2].weight = shared[0].weight
    for model, words in (
        (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))),
            "0: its weight is computed from",
        ),
        (nn.Sequential(nn.LazyLinear(4)), "lazy"),
        (shared, "same parameter"),
    ):
        with pytest.raises(ntkflow.errors.InteropError, match=words):
            interop.gaussian_init_(model)
        with pytest.raises(ntkflow.errors.InteropError, match=words):
            interop.parameter_groups(model, 0.1)
    mlp = ntkflow.MLP((4, 5, 2), "erf")
    with pytest.raises(ntkflow.errors.InteropError, match="erf"):
        interop.to_sequential(mlp, finite.init(mlp, 0))
