"""Diagnoses of networks with skips and norms: χ's against the kernels' own derivatives, verdicts, advice, pages."""

from typing import Any

import numpy as np
import pytest
from command_line import within
from sklearn.datasets import load_digits

import ntkflow
from ntkflow import Block, Dense, Network, Stage
from ntkflow._diagnosis.blocks import chi_of_block

NORM: dict[str, Any] = {"eps": 0.3, "lambda_g": 1.0, "lambda_beta": 1.0}


def digits(N: int = 12) -> np.ndarray:
    X = np.asarray(load_digits(return_X_y=True)[0])[:N]
    return (X - X.mean()) / X.std()


def network(block: Block, L: int, n: int = 32) -> Network:
    return Network((64, *[n] * (L + 1), 10), [Dense(), *[block] * L, Block(Stage("relu", C_W=2.0))])


@pytest.mark.parametrize(
    "block",
    [
        Block(Stage("tanh", C_b=0.1, C_W=1.3), gamma=0.8),
        Block(Stage("relu", "rms", C_b=0.1, C_W=1.3, **NORM), gamma=0.8),
        Block([Stage("linear", "layer", width=6, C_W=0.9, **NORM), Stage("gelu", C_b=0.2, C_W=1.7)], gamma=1.1),
        Block([Stage("tanh", width=6, C_b=0.2, C_W=0.9), Stage("gelu", "rms", C_W=1.7, **NORM)]),
    ],
)  # fmt: skip
def test_chi_are_the_derivatives_of_the_kernel(block):
    """χ_∥ by differences of G' over one input's size, χ_⊥ by what is left of the distance of two inputs of one size: both to 1e-6."""
    x, h = np.array([1.0, -0.4, 0.7]), 1e-4
    parallel, perpendicular = chi_of_block(block, float(x @ x) / 3)
    net = Network((3, 8, 8), [Dense(), block])
    larger, smaller = (ntkflow.flow(net, [s * x], "mean") for s in (1 + h, 1 - h))
    rise = [layers[1].G[0, 0] - layers[0].G[0, 0] for layers in zip(smaller, larger, strict=True)]
    assert abs(rise[1] / rise[0] - parallel) < 1e-6
    turned = np.array([0.4, 1.0, 0.0])
    turned *= h * np.linalg.norm(x) / np.linalg.norm(turned)
    near = ntkflow.flow(net, [x * np.sqrt(1 - h**2) + turned, x * np.sqrt(1 - h**2) - turned], "mean")
    distances = [layer.G[0, 0] - layer.G[0, 1] for layer in near]
    assert abs(distances[1] / distances[0] - perpendicular) < 1e-4


def test_a_residual_network_is_alive_and_a_narrow_one_is_told():
    L = 4
    block = Block(Stage("relu", C_W=2 / L), gamma=(1 - 1 / L) ** 0.5)
    wide, narrow = (ntkflow.diagnose(network(block, L, n), digits()) for n in (64, 4))
    assert wide.trainable and narrow.trainable
    assert "Over seeds the NTK varies by" in wide.words and "Seeds matter from layer" in narrow.words
    flow = ntkflow.flow(network(block, L, 64), digits(1))[-1]
    assert np.isclose(wide.measurements.ntk_std[-1], flow.ntk_std()[0, 0] / flow.H[0, 0], rtol=0.3)
    page = " ".join(wide.report().split())
    assert "to leading order in 1/width" in page and "chi_par = chi_perp = 1" in page and "28(2)" not in page
    assert np.isnan(wide.to_xarray()["ntk_std_truncation"]).all()


def test_dead_and_exploding_networks_are_told_what_to_do(tmp_path):
    dead = ntkflow.diagnose(network(Block(Stage("relu", C_W=0.01)), 10), digits())
    assert not dead.trainable and dead.verdict.cause == "vanishing" and "relu C_W = 2" in dead.words
    exploding = ntkflow.diagnose(network(Block(Stage("relu", C_W=30.0), gamma=1.0), 10), digits())
    assert exploding.verdict.cause == "exploding" and "z + f(norm(z)) / 3.16" in exploding.words
    overflow = ntkflow.diagnose(network(Block(Stage("relu", C_W=1e60), gamma=1.0), 8), digits(3))
    assert overflow.verdict.cause == "exploding" and "float64" in overflow.words
    dead.plot(tmp_path / "dead.png")


def test_inputs_of_zeros_are_named():
    X = digits(3)
    X[1] = 0.0
    words = ntkflow.diagnose(network(Block(Stage("relu", C_W=0.5), gamma=0.9), 2), X).words
    assert "input 1 is zero in every entry" in words and "every layer" in words
    with_biases = network(Block(Stage("relu", C_W=0.5, C_b=0.1), gamma=0.9), 2)
    assert "G is 0 in layer 1" in ntkflow.diagnose(with_biases, X).words


def test_what_the_inputs_do_is_not_laid_on_the_network():
    """Inputs that nearly coincide, or that a norm without ε divides by 0; and nearly orthogonal ones, which no layer drives apart."""
    block = Block(Stage("relu", "layer", C_W=2.0, eps=1e-5), gamma=1.0)
    x, y = digits(2)
    alike = ntkflow.diagnose(network(block, 2), [x, x + 1e-3 * y])
    assert "nearly the same to begin with" in alike.words and "Pass inputs that differ" in alike.words
    apart = ntkflow.diagnose(network(block, 3), np.random.default_rng(0).normal(size=(40, 64)))
    assert apart.trainable and "chaotic" not in apart.words
    without = network(Block(Stage("relu", "rms", C_W=2.0), gamma=1.0), 2)
    for function in (ntkflow.diagnose, ntkflow.flow):
        with pytest.raises(ntkflow.errors.DataError, match="input 1 has G = 0 where a norm divides"):
            function(without, [x, 0 * x])
    loud = ntkflow.diagnose(network(Block(Stage("relu", C_W=2.0), gamma=1.0), 12, 64), digits())
    assert "Outputs are large" in loud.words and "gamma = " in loud.words


def test_a_torch_model_with_norms_and_skips():
    torch = pytest.importorskip("torch")

    class Residual(torch.nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    torch.manual_seed(0)
    blocks = [
        Residual(torch.nn.LayerNorm(32), torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32)) for _ in range(2)
    ]  # fmt: skip
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 32), *blocks, torch.nn.LayerNorm(32), torch.nn.Linear(32, 10)
    )
    with pytest.warns(UserWarning, match="uniform|Gaussian"):
        found = ntkflow.diagnose(model, digits())
    assert found.trainable and isinstance(found.mlp, Network)


def test_command(tmp_path):
    (tmp_path / "net.toml").write_text(
        "embedding = {inputs = 64, width = 16}\n"
        "[[blocks]]\ngamma = 0.8\nstages = [{activation = 'relu', C_W = 0.7}]\n"
        "[[blocks]]\nstages = [{activation = 'relu', width = 2, C_W = 2.0}]\n"
    )
    np.save(tmp_path / "X.npy", digits(4))
    status, said, error = within(tmp_path, "diagnose", "net.toml", "--data", "X.npy")
    assert status == 0 and said.startswith("TRAINABLE"), error
