"""A torch model as it is: how its NTK will differ between seeds, predicted without drawing one, and measured on models that torch draws.

The model is drawn by torch's default first, then anew as He initialisation has it. A model that is trained is found out.
"""

import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call, jacrev, vmap

import ntkflow

WIDTH, SAMPLES, MODELS = 64, 4, 100


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 10),
    )


def he(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


def ntk(model: nn.Module, X: np.ndarray) -> np.ndarray:
    """Σ_θ (dz/dθ)(dz/dθ) of the first output, by torch: (N, N)."""
    weights = dict(model.named_parameters())

    def output(p, x):
        return functional_call(model, p, x[None])[0, 0]

    J = vmap(jacrev(output), (None, 0))(weights, torch.tensor(X, dtype=torch.float32))
    return torch.stack([j.flatten(1) @ j.flatten(1).T for j in J.values()]).sum(0).detach().numpy()


def train(model: nn.Module, X: np.ndarray, y: np.ndarray) -> nn.Module:
    inputs, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model


def main() -> None:
    digits, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
    digits = (digits - digits.mean()) / digits.std()
    X = digits[:SAMPLES]
    for name, draw in (("torch's default", make_model), ("He", lambda: he(make_model()))):
        torch.manual_seed(0)
        print(f"{name}:")
        print(ntkflow.read_initialisation(draw()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's default is uniform: see below
            last = ntkflow.flow(draw(), X)[-1]
        measured = np.array([ntk(draw(), X) for _ in range(MODELS)])[:, 0, 0]
        print(
            f"NTK of the first digit: {last.ntk_mean()[0, 0]:.2f}, sd over seeds {last.ntk_std()[0, 0]:.2f}"
        )
        print(
            f"of {MODELS} models:          {measured.mean():.2f}, sd over seeds {measured.std(ddof=1):.2f}\n"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ntkflow.as_mlp(make_model())
        ntkflow.as_mlp(train(make_model(), digits[:500], labels[:500]))
    for warning in caught:
        print("warning:", warning.message)


if __name__ == "__main__":
    main()
