"""A recipe in a torch model: what is drawn, one step of its optimizer, and what is refused."""

import itertools
from typing import Any

import numpy as np
import pytest
import sampled_recipes

import ntkflow
from ntkflow import finite
from ntkflow.errors import InteropError, SpecError

torch = pytest.importorskip("torch")
from torch import nn

from ntkflow.interop import torch as torch_interop
from ntkflow.interop.torch_rates import kind

X = sampled_recipes.inputs()[:6]


def make(widths=(64, 32, 16, 10), activation: type[nn.Module] = nn.Tanh, bias=True) -> Any:
    layers = []
    for n, m in itertools.pairwise(widths):
        layers += [nn.Linear(n, m, bias=bias), activation()]
    return nn.Sequential(*layers[:-1]).double()


class Backwards(nn.Module):
    """Defines its layers from the last to the first."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(32, 10).double(), nn.Linear(64, 32).double()

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


def recipe(model, **arguments):
    return ntkflow.tune(model, X, **arguments)


@pytest.mark.parametrize("make_model", [make, Backwards])
def test_one_step(make_model, rng):
    """The same parameters after a step as `finite.gradient_step` to 1e-6, for the layers that the model calls first."""
    model = make_model()
    tuned = recipe(model)
    y = rng.integers(10, size=len(X))
    assert tuned.apply_(model, torch.Generator().manual_seed(0)) is model
    mlp, params = torch_interop.from_module(model, C_b=0.0)
    assert mlp.widths == tuned.mlp.widths
    expected = finite.gradient_step(tuned.mlp, params, X, y, finite.cross_entropy, tuned.eta)
    optimizer = tuned.optimizer_of(model)
    assert kind(optimizer) == "sgd"
    nn.functional.cross_entropy(model(torch.tensor(X)), torch.tensor(y)).backward()
    optimizer.step()
    _, after = torch_interop.from_module(model, C_b=0.0)
    for layer, other in zip(after, expected, strict=True):
        assert np.abs(layer.W - other.W).max() < 1e-6 * np.abs(other.W).max()
        assert np.abs(layer.b - other.b).max() < 1e-6 * np.abs(other.b).max()


def test_what_is_drawn():
    """Variances of 100,000 weights and 300 biases within 5 standard errors, and a fourth cumulant of 0: false alarms 1e-5."""
    model = make((64, 300, 300, 10), nn.GELU)
    tuned = recipe(model)
    tuned.apply_(model, torch.Generator().manual_seed(1))
    for linear, C_b, C_W, n in zip(model[::2], tuned.mlp.C_b, tuned.mlp.C_W, (64, 300, 300), strict=True):
        weight = linear.weight.detach().numpy().ravel()
        for values, variance in ((weight, C_W / n), (linear.bias.detach().numpy(), C_b)):
            assert np.var(values) == pytest.approx(variance, rel=5 * (2 / len(values)) ** 0.5)
        kurtosis = np.mean(weight**4) / np.mean(weight**2) ** 2 - 3
        assert abs(kurtosis) < 5 * (24 / len(weight)) ** 0.5
    again = make((64, 300, 300, 10), nn.GELU)
    tuned.apply_(again, torch.Generator().manual_seed(1))
    assert torch.equal(model[0].weight, again[0].weight)


def test_rates_of_the_groups():
    model = make()
    model[2].weight.requires_grad_(False)
    tuned = recipe(model)
    rates = [group["lr"] for group in tuned.param_groups(model)]
    assert tuned.eta is not None
    assert rates[2] == 0 and all(rate > 0 for i, rate in enumerate(rates) if i != 2)
    assert rates[0] == pytest.approx(tuned.eta * tuned.mlp.lambda_W[0] / 64)
    # What the optimizer does is read back as the recipe's λ's, but for η.
    mlp = ntkflow.as_mlp(tuned.apply_(model), tuned.optimizer_of(model))
    ratio = np.array(mlp.lambda_W) / np.array(mlp.lambda_b)
    assert np.allclose(ratio, np.array(tuned.mlp.lambda_W) / np.array(tuned.mlp.lambda_b), rtol=1e-12)


def test_without_biases():
    model = make(bias=False)
    tuned = recipe(model)
    assert tuned.mlp.lambda_b == (0, 0, 0) and len(tuned.param_groups(model)) == 3
    tuned.apply_(model)
    gelu = make(activation=nn.GELU, bias=False)
    with pytest.raises(InteropError, match=r"0: it has no bias, and C_b = 0.1729 is to be drawn"):
        recipe(gelu).apply_(gelu)
    with pytest.raises(InteropError, match="has no bias to train"):
        recipe(make()).param_groups(model)


def test_refused_models():
    tuned = recipe(make())
    with pytest.raises(
        InteropError, match="widths 64-32-10 and the activations tanh, the recipe is for 64-32-16-10, tanh"
    ):
        tuned.apply_(make((64, 32, 10)))
    with pytest.raises(InteropError, match="activations relu"):
        tuned.param_groups(make(activation=nn.ReLU))
    shared = make((16, 16, 16, 10))
    shared[2].weight = shared[0].weight
    with pytest.raises(InteropError, match="shares parameters with 0"):
        torch_interop.draw_(shared, ntkflow.MLP((16, 16, 16, 10), "tanh"))
    slopes = nn.Sequential(nn.Linear(64, 8), nn.PReLU(), nn.Linear(8, 10))
    of_slopes = recipe(slopes)
    with pytest.raises(InteropError, match="learning rates are known of Linear layers only"):
        of_slopes.param_groups(slopes)


@pytest.mark.parametrize(
    "make_optimizer", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)]
)
def test_other_optimizers(make_optimizer):
    model = make()
    tuned = recipe(model, optimizer=make_optimizer(model.parameters()))
    assert tuned.eta is None
    with pytest.raises(SpecError, match="no learning rates for (Adam|SGD with momentum=0.9)"):
        tuned.optimizer_of(model)
    assert recipe(model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0)).eta == pytest.approx(8)
    assert recipe(model, optimizer=torch.optim.AdamW).eta is None


def test_command(tmp_path):
    from command_line import within

    (tmp_path / "models_of_mine.py").write_text(
        "from torch import nn\ndef small(): return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))\n"
    )
    np.save(tmp_path / "X.npy", X)
    status, out, err = within(
        tmp_path, "tune", "models_of_mine:small", "--data", "X.npy", "--optimizer", "adam"
    )
    assert (status, err) == (0, ""), err
    assert "Recipe for 64-32-10, relu" in out and "adam: no learning rates" in out
