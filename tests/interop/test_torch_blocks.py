"""torch models with skips and norms as networks of blocks: their structure, their outputs, their NTK, and what is refused and how."""

import copy
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sampled_blocks

torch = pytest.importorskip("torch")
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev, vmap

import ntkflow
from ntkflow import Block, Dense, Network, Stage

pytestmark = pytest.mark.filterwarnings("ignore:the weights of")
torch.set_num_threads(1)  # workers share the cores
n = 8
EPS: dict[str, Any] = {"eps": 1e-5}


class Residual(nn.Module):
    """skip x + branch f(x)."""

    def __init__(self, f, skip=1.0, branch=1.0):
        super().__init__()
        self.f, self.skip, self.branch = f, skip, branch

    def forward(self, x):
        return self.skip * x + self.branch * self.f(x)


class Net(nn.Module):
    """A model with a forward of its own: `forward(self, x)`."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.embed, self.one, self.two = nn.Linear(4, n), nn.Linear(n, n), nn.Linear(n, n)
        self.out, self.layer, self.rms = nn.Linear(n, 3), nn.LayerNorm(n), nn.RMSNorm(n)
        self.written = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.written(self, x)


def embedded(*modules):
    return nn.Sequential(nn.Linear(4, n), *modules)


def default(fan_in, scale=1.0, bias=True) -> dict[str, Any]:
    """C_b, C_W, λ_b and λ_W of a layer that torch draws, behind which is a factor."""
    return {
        "C_b": bias * scale**2 / (3 * fan_in), "C_W": scale**2 / 3, "lambda_b": bias * scale**2, "lambda_W": scale**2 * fan_in,
    }  # fmt: skip


def frozen(module, *names):
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    return module


ROOT = 0.5**0.5
TRAINED: dict[str, Any] = {"lambda_g": 1.0, "lambda_beta": 1.0, **EPS}
IN, OUT = Dense(**default(4)), default(n)
# What Linear layers are multiplied by, where it is not 1.
SCALES = {
    "c x + a f(x)": (1, 0.3, -ROOT, 1),
    "c (x + f(x))": (1, ROOT, -ROOT, 1),
    "three stages": (1, 1, 1, 0.25, 1),
    "scaled embedding, c x + f(x / 4)": (3, 1, 1, 1),
}
# A model, and the network as one writes it by hand: its widths, and its layers.
MODELS = {
    "residual": (
        embedded(Residual(nn.Sequential(nn.ReLU(), nn.Linear(n, n))), nn.ReLU(), nn.Linear(n, 3)),
        (4, n, n, 3),
        [IN, Block(Stage("relu", **default(n)), 1.0), Block(Stage("relu", **OUT))],
    ),
    "c x + a f(x)": (
        embedded(
            Residual(nn.Sequential(nn.Tanh(), nn.Linear(n, n, bias=False)), 0.8, 0.3),
            Residual(nn.Sequential(nn.Tanh(), nn.Linear(n, n)), 1.0, -ROOT),
            nn.Tanh(),
            nn.Linear(n, 3),
        ),
        (4, n, n, n, 3),
        [
            IN, Block(Stage("tanh", **default(n, 0.3, False)), 0.8), Block(Stage("tanh", **default(n, ROOT)), 1.0),
            Block(Stage("tanh", **OUT)),
        ],
    ),
    "c (x + f(x))": (
        Net(lambda s, x: s.out(F.gelu(ROOT * ((k := ROOT * ((h := s.embed(x)) + s.one(F.gelu(h)))) - s.two(F.gelu(k)))))),
        (4, n, n, n, 3),
        [IN, *[Block(Stage("gelu", **default(n, ROOT)), ROOT)] * 2, Block(Stage("gelu", **OUT))],
    ),
    "pre-activation": (
        embedded(
            Residual(nn.Sequential(nn.LayerNorm(n), nn.ReLU(), nn.Linear(n, n))),
            Residual(nn.Sequential(frozen(nn.RMSNorm(n, 0.1), "weight"), nn.Tanh(), nn.Linear(n, n))),
            nn.LayerNorm(n, bias=False),
            nn.Linear(n, 3),
        ),
        (4, n, n, n, 3),
        [
            IN, Block(Stage("relu", "layer", **default(n), **TRAINED), 1.0), Block(Stage("tanh", "rms", **default(n), eps=0.1), 1.0),
            Block(Stage("linear", "layer", **OUT, **EPS, lambda_g=1.0)),
        ],
    ),
    "pre-norm block": (
        embedded(
            *[Residual(nn.Sequential(nn.LayerNorm(n), nn.Linear(n, 4 * n), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * n, n))) for _ in range(2)],
            nn.RMSNorm(n, 1e-6), nn.Linear(n, 3, bias=False),
        ).eval(),
        (4, n, n, n, 3),
        [
            IN, *[Block([Stage("linear", "layer", 4 * n, **default(n), **TRAINED), Stage("gelu", **default(4 * n))], 1.0)] * 2,
            Block(Stage("linear", "rms", **default(n, bias=False), eps=1e-6, lambda_g=1.0)),
        ],
    ),
    "norms without skips": (
        embedded(
            nn.LayerNorm(n, elementwise_affine=False), nn.SiLU(), nn.Linear(n, 6), nn.RMSNorm(6), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3)
        ),
        (4, n, 6, 5, 3),
        [
            IN, Block(Stage("silu", "layer", **default(n), **EPS)),
            Block(Stage("linear", "rms", **default(6), eps=torch.finfo(torch.float64).eps, lambda_g=1.0)),
            Block(Stage("sigmoid", **default(5))),
        ],
    ),
    "three stages": (
        Net(lambda s, x: s.out((h := s.embed(x)) + s.three(torch.sin(s.two(F.layer_norm(s.one(h), (n,), s.layer.weight)))) / 4), three=nn.Linear(n, n)),
        (4, n, n, 3),
        [
            IN,
            Block([
                Stage(width=n, **default(n)), Stage("linear", "layer", n, **default(n), **EPS, lambda_g=1.0), Stage("sin", **default(n, 0.25)),
            ], 1.0),
            Block(Stage(**OUT)),
        ],
    ),
    "scaled embedding, c x + f(x / 4)": (
        Net(lambda s, x: s.out(s.rms((k := (h := 3 * s.embed(x)) + s.one(F.relu(h))) * 0.5 + s.two(F.relu(s.layer(k / 4)))))),
        (4, n, n, n, 3),
        [
            Dense(**default(4, 3.0)), Block(Stage("relu", **default(n)), 1.0),
            Block(Stage("relu", "layer", **default(n), eps=1.6e-4, lambda_g=1.0, lambda_beta=1.0), 0.5),
            Block(Stage("linear", "rms", **OUT, eps=torch.finfo(torch.float64).eps, lambda_g=1.0)),
        ],
    ),
    "ends with a skip": (
        embedded(Residual(nn.Sequential(nn.ReLU(), nn.Linear(n, n)))), (4, n, n), [IN, Block(Stage("relu", **default(n)), 1.0)]
    ),
}  # fmt: skip


def blocks_of(model, optimizer=None) -> Network:
    network = ntkflow.as_network(model, optimizer)
    assert isinstance(network, Network)
    return network


def made(name):
    """The model as torch draws it, in float64."""
    model = copy.deepcopy(MODELS[name][0]).double()
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return model


@pytest.mark.parametrize("name", MODELS)
def test_the_network_is_the_one_by_hand(name):
    _, widths, layers = MODELS[name]
    network = blocks_of(made(name))
    assert network.widths == widths
    for layer, expected in zip(network.layers, layers, strict=True):
        assert repr(layer) == repr(expected) or _close(layer, expected), layer


def _close(layer, expected):
    numbers, tree = jax.tree.flatten(layer)
    others, other_tree = jax.tree.flatten(expected)
    return tree == other_tree and np.allclose(numbers, others, rtol=1e-14, atol=0)


def reference(name, model, network):
    """The model's parameters as `sampled_blocks.forward` takes them, with those of branches multiplied by what is behind them, and λ's in this form."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    linears.sort(key=lambda linear: linear is getattr(model, "out", None))  # the read-out comes last
    weights = iter(zip(linears, SCALES.get(name, (1,) * len(linears)), strict=True))

    def parameters(layer):
        linear, scale = next(weights)
        W = scale * linear.weight.detach().numpy()
        b = np.zeros(len(W)) if linear.bias is None else scale * linear.bias.detach().numpy()
        return [(W, layer.lambda_W / W.shape[1]), (b, layer.lambda_b)]

    found, fan_in = [parameters(network.layers[0])], network.widths[1]
    for block, width in zip(network.blocks, network.widths[2:], strict=True):
        stages = []
        for stage, after in zip(block.stages, block.inner_widths(width), strict=True):
            norm = [(np.ones(fan_in), stage.lambda_g), (np.zeros(fan_in), stage.lambda_beta)]
            stages.append(parameters(stage) + norm)
            fan_in = after
        found.append(stages)
    is_pair = lambda x: isinstance(x, tuple)
    values = jax.tree.map(lambda pair: pair[0], found, is_leaf=is_pair)
    return values, [rate for _, rate in jax.tree.leaves(found, is_leaf=is_pair)]


@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_ntk_are_the_models(name, rng):
    """By autodiff of the network's own definition with its λ's, and by torch's of the model with plain gradient descent on all that is trained."""
    model, X = made(name), rng.normal(size=(3, 4))
    network = blocks_of(model)
    # `forward` stops below the last layer.
    longer = Network((*network.widths, 1), [*network.layers, Block(Stage())])
    values, rates = reference(name, model, network)
    with jax.enable_x64(True):
        outputs = lambda values: sampled_blocks.forward(longer, values, jnp.asarray(X))
        z = np.asarray(outputs(values))
        jacobians = jax.tree.leaves(jax.jacrev(outputs)(values))
        H = sum(
            rate * np.einsum("aip,bjp->ijab", *[np.asarray(J).reshape(*z.shape, -1)] * 2)
            for rate, J in zip(rates, jacobians, strict=True)
        )
    theirs = model(torch.tensor(X)).detach().numpy()
    assert np.allclose(z, theirs, rtol=1e-12, atol=1e-13)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    J = vmap(jacrev(lambda p, x: functional_call(model, p, x[None])[0]), (None, 0))(trained, torch.tensor(X))
    H_torch = torch.stack(
        [torch.einsum("aip,bjp->ijab", j.flatten(2), j.flatten(2)) for j in J.values()]
    ).sum(0)
    assert np.abs(H - H_torch.detach().numpy()).max() < 1e-10 * np.abs(H).max()


SHARED = nn.LayerNorm(n)


def after(module, norm=None):
    """A model with this module behind its embedding."""
    return embedded(module, *([norm] if norm else []), nn.ReLU(), nn.Linear(n, 3))


def skip(stream, branch):
    """An embedding and a read-out, and between them the sum of what becomes of the stream and of a branch."""
    return Net(lambda s, x: s.out(stream(s, h := s.embed(x)) + branch(s, h)))


same = lambda s, h: h
REFUSED = {
    r"1 \(BatchNorm1d\): normalisation over the batch.*take LayerNorm": after(nn.BatchNorm1d(n)),
    r"1 \(GroupNorm\): normalisation over groups": after(nn.GroupNorm(2, n)),
    r"1 \(InstanceNorm1d\): this normalisation": after(nn.InstanceNorm1d(n)),
    r"1 \(LayerNorm\): it normalises over axes of 2 × 8; .*the 8 neurons": after(nn.LayerNorm([2, n])),
    r"Net, add: the skip goes on from a norm of the stream, layer \(post-norm\).*\(pre-norm\), z \+ f\(norm\(z\)\)":
        Net(lambda s, x: s.out((k := s.layer((h := s.embed(x)) + s.one(F.relu(h)))) + s.two(k))),
    r"Net, add: the skip goes on from an activation of the stream, relu\(z\)": skip(lambda s, h: F.relu(h), lambda s, h: s.one(h)),
    "Net, add: a skip passes over another skip .nested skips.*begin each where": skip(same, lambda s, h: (k := s.one(h)) + s.two(F.relu(k))),
    "nested skips": skip(same, lambda s, h: s.two(h + s.one(F.relu(h)))),
    r"two \(Linear\): it reads what one reads too; .*a skip is the sum": skip(lambda s, h: s.one(h), lambda s, h: s.two(h)),
    "Net, add: it adds two layers of which neither": Net(lambda s, x: s.out((h := s.embed(x)) + (k := s.one(h)) + s.two(k))),
    "the skip begins at the inputs; put a Linear layer": Net(lambda s, x: s.out(x + s.square(x)), square=nn.Linear(4, 4)),
    r"the branch ends with an activation, relu\(z\) \(Net, relu\); let it end with a Linear": skip(same, lambda s, h: F.relu(s.one(h))),
    "the branch ends with a norm, rms; let it end": skip(same, lambda s, h: s.rms(s.one(h))),
    "adds a layer and what a norm or an activation makes of it": skip(same, lambda s, h: s.rms(h)),
    "the skip has 8 neurons and its branch 1": Net(lambda s, x: s.out((h := s.embed(x)) + s.narrow(h)), narrow=nn.Linear(n, 1)),
    r"1 \(MultiheadAttention\): attention": after(nn.MultiheadAttention(n, 2)),
    r"1 \(Conv1d\): convolution": after(nn.Conv1d(1, 1, 3)),
    r"3 \(Dropout\): dropout .*model.eval": embedded(Residual(nn.Linear(n, n)), nn.ReLU(), nn.Dropout(0.1), nn.Linear(n, 3)),
    "Net, cat: a concatenation is a skip .*add the layers": Net(lambda s, x: s.wide(torch.cat([h := s.embed(x), s.one(h)], 1)), wide=nn.Linear(2 * n, 3)),
    r"Net, mul: scale is no parameter.*\(LayerScale\).*: take one number": Net(
        lambda s, x: s.out((h := s.embed(x)) + s.scale * s.one(h)), scale=nn.Parameter(torch.ones(n))
    ),
    r"scale is no parameter.*numbers are: freeze it by requires_grad_\(False\)": Net(
        lambda s, x: s.out((h := s.embed(x)) + s.scale * s.one(h)), scale=nn.Parameter(torch.ones(1))
    ),
    r"one \(Linear\): it is used twice": skip(same, lambda s, h: s.one(s.one(h))),
    r"layer \(LayerNorm\): it is used twice": skip(same, lambda s, h: s.one(s.layer(s.two(s.layer(h))))),
    r"3 \(LayerNorm\): it shares parameters with 1": embedded(SHARED, nn.Linear(n, n), nn.LayerNorm(n), nn.Linear(n, 3)),
    r"2 \(LayerNorm\): it normalises what an activation, tanh\(z\), has made \(1 \(Tanh\)\).*before the activation": after(nn.Tanh(), nn.LayerNorm(n)),
    r"2 \(RMSNorm\): it reads what 1 has normalised already": after(nn.LayerNorm(n), nn.RMSNorm(n)),
    "a norm comes before the first Linear layer.*inputs that you pass": nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)),
    r"1 \(LayerNorm\): the model ends with a norm.*leave it out": embedded(nn.LayerNorm(n)),
    "Net, mean: it averages over neurons; write a norm as": Net(lambda s, x: s.out((h := s.embed(x)) - h.mean(-1, keepdim=True))),
    "Net, add: only a sum of two": Net(lambda s, x: s.out(torch.add(h := s.embed(x), s.one(h), alpha=0.5))),
    "normalized_shape must be a number": Net(lambda s, x: s.out(F.layer_norm(h := s.embed(x), h.shape[1:]))),
    "works in place on what is read elsewhere": embedded(Residual(nn.Sequential(nn.Identity(), nn.ReLU(True), nn.Linear(n, n)))),
    "1: the gain of its norm is 0, in the theory 1 at initialisation: set it to 1": after(nn.LayerNorm(n)),
    "its gain is computed from": after(nn.utils.parametrizations.weight_norm(nn.RMSNorm([n]))),
}  # fmt: skip
REFUSED[r"3 \(LayerNorm\): it shares parameters with 1"][3].weight = SHARED.weight
nn.init.zeros_(
    REFUSED["1: the gain of its norm is 0, in the theory 1 at initialisation: set it to 1"][1].weight
)


@pytest.mark.parametrize("words", REFUSED)
def test_refusals_name_the_module_and_what_to_do(words):
    with pytest.raises(ntkflow.errors.InteropError, match=words):
        ntkflow.as_network(REFUSED[words])


def test_learning_rates_of_groups_and_frozen_parameters():
    model = made("pre-activation")
    norm, linear = model[1].f[0], model[1].f[2]
    norm.bias.requires_grad_(False)
    groups = [{"params": norm.parameters(), "lr": 0.5}, {"params": linear.parameters()}]
    network = blocks_of(model, torch.optim.SGD(groups, lr=0.1))
    stage = network.blocks[0].stages[0]
    assert (stage.lambda_g, stage.lambda_beta) == (1.0, 0.0)
    assert (stage.lambda_W, stage.lambda_b) == pytest.approx((n / 5, 1 / 5))
    assert network.blocks[1].stages[0].lambda_W == network.layers[0].lambda_b == 0
    with pytest.raises(ntkflow.errors.InteropError, match="Adam does not follow"):
        ntkflow.as_network(model, torch.optim.Adam(model.parameters()))
    with pytest.raises(ntkflow.errors.SpecError, match="optimizer goes with a torch model"):
        ntkflow.as_network(network, torch.optim.SGD(groups, lr=0.1))


def test_known_schemes_and_measured_variances():
    """A scheme is read from the weights as they are; the factor of a branch comes behind it."""
    torch.manual_seed(0)
    last = nn.Linear(64, 64)
    branches = [nn.Sequential(nn.RMSNorm(64), nn.ReLU(), linear) for linear in (nn.Linear(64, 64), last)]
    model = nn.Sequential(nn.Linear(64, 64), *[Residual(f, 1.0, 0.5) for f in branches], nn.Linear(64, 3))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    assert set(ntkflow.read_initialisation(model).weights) == {"He, Gaussian"}
    network = blocks_of(model)
    assert [block.stages[0].C_W for block in network.blocks] == [0.5, 0.5, 2.0] and network.layers[0].C_W == 2
    nn.init.normal_(last.weight, std=0.2)
    measured = blocks_of(model).blocks[1].stages[0]
    assert measured.C_W == pytest.approx(0.25 * 64 * 0.04, rel=0.1) and measured.C_b == 0


def test_trained_norms_are_said():
    model = made("pre-activation")
    nn.init.normal_(model[1].f[0].bias)
    with pytest.warns(UserWarning, match=r"gains and biases of 1\.f\.0 differ.*before training"):
        ntkflow.as_network(model)


def test_models_without_skips_and_norms_are_mlps():
    model = embedded(nn.Tanh(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 3))
    assert ntkflow.as_network(model) == ntkflow.as_mlp(model)
    network = blocks_of(made("residual"))
    assert ntkflow.as_network(network) is network


@pytest.mark.filterwarnings("ignore:the network is too narrow")
def test_flow_takes_a_model(rng):
    model, X = made("residual"), rng.normal(size=(1, 4))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flow = ntkflow.flow(model, X)
    assert {w.filename for w in caught} == {__file__}
    assert np.array_equal(flow[-1].A, ntkflow.flow(ntkflow.as_network(model), X)[-1].A)
    with pytest.raises(ntkflow.errors.InteropError, match="the model has skips, and this takes"):
        ntkflow.trained(model, X, np.ones((1, 1)))
