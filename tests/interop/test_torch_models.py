"""torch models as MLPs: what is read of them, what is refused and how, and the NTK of networks that torch itself draws."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import jax
import jax.numpy as jnp
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev, stack_module_state, vmap

import ntkflow
from ntkflow import finite
from ntkflow.activations import beside
from ntkflow.interop import torch as interop

pytestmark = pytest.mark.filterwarnings("ignore:the weights of")
torch.set_num_threads(1)  # workers share the cores
LINEAR = nn.Linear(4, 4)


def between(*modules):
    return nn.Sequential(nn.Linear(4, 5), *modules, nn.Linear(5, 2))


class Net(nn.Module):
    """A model with a forward of its own: `forward(self, x)`."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.written = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.written(self, x)


ELEMENTWISE = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.3), nn.PReLU(init=-0.4), nn.RReLU(0.1, 0.5).eval(), nn.ELU(1.7), nn.CELU(0.5), nn.SELU(),
    nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(), nn.Hardtanh(-0.5, 2.0),
    nn.Hardsigmoid(), nn.Hardswish(), nn.Softshrink(0.7), nn.Tanhshrink(), nn.Softsign(), nn.Softplus(), nn.Softplus(3.0, 30.0),
    nn.LogSigmoid(), nn.Threshold(0.4, 0.4), nn.Threshold(0.0, 0.0), nn.Identity(), nn.Dropout().eval(), nn.AlphaDropout().eval(),
]  # fmt: skip


# torch's softplus is z itself above its threshold; the slope of its hardsigmoid is 1/6 in float32.
ROUGH = {nn.Softplus: 3e-9, nn.Hardsigmoid: 5e-9}


@pytest.mark.parametrize("module", ELEMENTWISE, ids=str)
@pytest.mark.filterwarnings("ignore:the slopes of")
def test_values_and_derivatives_are_torchs(module, rng):
    """At 1,000 points and on both sides of kinks."""
    (activation,) = ntkflow.as_mlp(between(module.double())).activation
    points = np.concatenate([rng.uniform(-12, 12, 1000), np.linspace(-3, 3, 7)])
    kinks = np.array(activation.kinks)
    points = np.concatenate([points[~np.isin(points, kinks)], beside(kinks).ravel()])
    z = torch.tensor(points, requires_grad=True)
    values = module(z)
    (slopes,) = torch.autograd.grad(values.sum(), z)
    tolerance = ROUGH.get(type(module), 1e-14)
    with jax.enable_x64(True):
        ours = [np.asarray(d) for d in activation.derivatives(jnp.asarray(points), 1)]
    for theirs, found in zip((values, slopes), ours, strict=True):
        assert np.allclose(found, theirs.detach().numpy(), rtol=1e-12, atol=tolerance)


def test_every_activation_of_torch_is_in_the_list_or_refused():
    refused = {
        "Hardshrink", "GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax",
    }  # fmt: skip
    names = {type(module).__name__ for module in ELEMENTWISE}
    assert set(nn.modules.activation.__all__) == refused | (names - {"Identity", "Dropout", "AlphaDropout"})


FORWARDS = {
    "gelu_tanh relu": lambda s, x: s.last(F.relu(s.second(F.gelu(s.first(x), approximate="tanh")))),
    "linear hardtanh": lambda s, x: s.last(s.second(s.first(x.view(x.size(0), -1))).clamp(-1, 1)),
    "sin abs": lambda s, x: s.last(s.second(s.first(x.flatten(1)).sin()).abs()),
    "sin(30 * z) z * sigmoid(1.7 * z)": lambda s, x: s.last((h := s.second(torch.sin(30 * s.first(x)))) * torch.sigmoid(1.7 * h)),
    "relu(z) ** 2 -maximum(-z, least=-2)": lambda s, x: s.last(s.second(F.relu(s.first(x)) ** 2).clamp(max=2)),
    "relu(z - 1) tanh(relu(z))": lambda s, x: s.last(torch.tanh(torch.relu(s.second(F.relu(s.first(x) - 1.0))))),
    "leaky_relu softplus": lambda s, x: s.last(F.dropout(F.softplus(s.second(F.leaky_relu(s.first(x), 0.2))), training=s.training)),
    "elu linear": lambda s, x: s.last(F.linear(F.elu(s.first(x.reshape(-1, 4)), 0.5), s.second.weight, s.second.bias)),
}  # fmt: skip


@pytest.mark.parametrize("names", FORWARDS)
def test_forwards_of_ones_own(names, rng):
    model = Net(FORWARDS[names]).double().eval()
    X = rng.normal(size=(6, 4))
    mlp, params = interop.from_module(model)
    assert " ".join(a.name for a in mlp.activation) == names
    theirs = model(torch.tensor(X)).detach().numpy()
    assert np.allclose(finite.forward(mlp, params, X)[-1], theirs, rtol=1e-12, atol=1e-13)
    # One formula is one activation: what is compiled for it is compiled once.
    assert all(a is b for a, b in zip(ntkflow.as_mlp(model).activation, mlp.activation, strict=True))


def test_kinks_of_formulas():
    kinks = [a.kinks for a in ntkflow.as_mlp(Net(FORWARDS["relu(z - 1) tanh(relu(z))"])).activation]
    assert kinks == [(1.0,), (0.0,)]
    wave = ntkflow.as_mlp(Net(lambda s, x: s.last(F.relu(torch.sin(s.first(x)))), second=None)).activation[0]
    assert len(wave.kinks) == 41 and np.allclose(wave.kinks, math.pi * np.arange(-20, 21), atol=1e-12)


def test_plain_shapes():
    alone = ntkflow.as_mlp(nn.Linear(4, 2))
    assert alone.widths == (4, 2) and alone.lambda_W == (4.0,)
    nested = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 6))),
        nn.Linear(6, 2),
    )
    mlp = ntkflow.as_mlp(nested)
    assert mlp.widths == (4, 5, 6, 2) and [a.name for a in mlp.activation] == ["tanh", "linear"]
    wrapped = nn.DataParallel(nested)
    assert ntkflow.as_mlp(wrapped) == ntkflow.as_mlp(torch.compile(nested)) == mlp
    assert ntkflow.as_mlp(mlp) is mlp
    squeezed = Net(lambda s, x: s.last(torch.tanh(s.first(x))).squeeze(-1), second=None, last=nn.Linear(5, 1))
    assert ntkflow.as_mlp(squeezed).widths == (4, 5, 1)


def test_plain_gradient_descent_and_frozen_parameters():
    model = between(nn.Tanh(), nn.Linear(5, 5, bias=False), nn.ReLU())
    model[0].weight.requires_grad_(False)
    mlp = ntkflow.as_mlp(model)
    assert mlp.lambda_W == (0.0, 5.0, 5.0) and mlp.lambda_b == (1.0, 0.0, 1.0) and mlp.C_b[1] == 0
    groups = [{"params": [model[2].weight], "lr": 0.5}, {"params": model[4].parameters()}]
    of_groups = ntkflow.as_mlp(model, torch.optim.SGD(groups, lr=0.1))
    assert of_groups.lambda_W == pytest.approx((0, 5, 1)) and of_groups.lambda_b == pytest.approx((0, 0, 0.2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: torch.optim.Adam(p), "Adam does not follow.*Leave the optimizer out.*G, G1 and V"),
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), "momentum=0.9.*Leave"),
        (lambda p: torch.optim.SGD(p, 0.1, weight_decay=1e-4), "weight_decay=0.0001"),
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True), "momentum"),
        (lambda p: torch.optim.SGD(p, 0.1, maximize=True), "maximize"),
        (lambda p: torch.optim.SGD(p, 0.0), "must be positive, not 0"),
        (lambda p: torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1), "trains none"),
        (lambda p: 0.1, "must be a torch.optim.SGD, not float"),
    ],
)
def test_optimizers_that_no_ntk_describes(make, words):
    model = between(nn.Tanh())
    with pytest.raises(ntkflow.errors.InteropError, match=words):
        ntkflow.as_mlp(model, make(model.parameters()))
    with pytest.raises(ntkflow.errors.SpecError, match="MLP has lambda_b"):
        ntkflow.as_mlp(ntkflow.MLP((4, 2)), make(model.parameters()))


class TwoInputs(nn.Linear):
    def __init__(self):
        super().__init__(4, 2)

    def forward(self, x, y):  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x + y)


def branches(s, x):
    return s.second(s.first(x)) + s.extra(x)


def depends_on_values(s, x):
    h = s.first(x)
    return s.last(-h if h.sum() > 0 else h)


REFUSED = {
    r"block\.1 \(BatchNorm1d\): normalisation.*supported are": Net(
        lambda s, x: s.last(s.block(s.first(x))), block=nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.ReLU())
    ),
    "the model has norms, and this takes networks of dense layers.*ntkflow.flow computes.*ntkflow.as_network": between(nn.LayerNorm(5)),
    r"0 \(Conv2d\): convolution": nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(4, 2)),
    r"TransformerEncoderLayer\): attention": nn.TransformerEncoderLayer(4, 2),
    r"LSTM\): recurrence": nn.LSTM(4, 5),
    "the model has skips, and this": Net(lambda s, x: s.last((h := s.first(x)) + s.second(F.relu(h)))),
    r"Net, mul: it joins signals.*only a sum": Net(lambda s, x: s.last((h := s.first(x)) * s.second(h))),
    r"extra \(Linear\): it reads what first reads too.*branches": Net(branches, extra=nn.Linear(4, 5)),
    r"Net, cat: .*skip": Net(lambda s, x: s.last(torch.cat([s.first(x), x], 1))),
    r"1 \(Hardshrink\): it jumps at z = ±0.5": between(nn.Hardshrink()),
    r"Net, hardshrink: it jumps": Net(lambda s, x: s.last(F.hardshrink(s.first(x)))),
    r"1 \(Threshold\): it jumps from 0 to 0.1": between(nn.Threshold(0.1, 0.0)),
    r"1 \(Softplus\): it jumps by 0.1 at z = 2": between(nn.Softplus(threshold=2)),
    r"1 \(RReLU\): .*model.eval": between(nn.RReLU()),
    r"1 \(Dropout\): dropout \(p = 0.5\).*model.eval": between(nn.Dropout()),
    r"Net, dropout: .*model.eval": Net(lambda s, x: s.last(F.dropout(s.first(x)))),
    r"1 \(PReLU\): its 5 channels have different slopes": between(nn.PReLU(5)),
    r"1 \(GLU\): .*not elementwise": between(nn.GLU()),
    r"second \(Linear\): it is used twice": Net(lambda s, x: s.last(s.second(s.second(s.first(x))))),
    r"2 \(Linear\): it shares parameters with 0": nn.Sequential(LINEAR, nn.Tanh(), nn.Linear(4, 4)),
    r"1 \(Net\): torch.fx can't follow.*control flow.*no if": nn.Sequential(nn.Linear(4, 4), Net(depends_on_values)),
    r"Net: .*x.shape\[0\] instead of len": Net(lambda s, x: s.last(s.first(x.view(len(x), -1)))),
    r"1 \(Tanh\): the model ends with an activation.*logits": nn.Sequential(nn.Linear(4, 2), nn.Tanh()),
    r"1 \(Softmax\): .*leave it out: the output is the logits": nn.Sequential(nn.Linear(4, 2), nn.Softmax(-1)),
    r"1 \(Linear\): an activation comes before.*0 \(Tanh\).*inputs that you pass": nn.Sequential(nn.Tanh(), nn.Linear(4, 2)),
    "no Linear layer": nn.Sequential(nn.Flatten()),
    "0 .*weight is computed from": nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 2)),
    r"0 \(LazyLinear\): it has no size before the first call": nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.Linear(4, 2)),
    "more than one input": TwoInputs(),
    "more than one tensor": Net(lambda s, x: (s.last(s.first(x)), x)),
    "only .N, …. to .N, n.": Net(lambda s, x: s.last(s.first(x).reshape(5, -1))),
    "works in place on what is read elsewhere": Net(lambda s, x: s.last(F.relu(h := s.first(x), inplace=True) * h)),
    "Net, relu: it works in place on what": Net(lambda s, x: s.last(F.relu_(h := s.first(x)) * h)),
    "Identity.*in place on what|1.*in place on what": Net(lambda s, x: s.last(s.act(h := s.first(x)) * h), act=nn.Sequential(nn.Identity(), nn.ReLU(True))),
    "computes with part of a shape": Net(lambda s, x: s.last((h := s.first(x)) / h.shape[1])),
    "product with a matrix": Net(lambda s, x: s.last(s.first(x) @ s.second.weight)),
    "gain is no parameter of a Linear": Net(lambda s, x: s.last(s.first(x) * s.gain), gain=nn.Parameter(torch.ones(5))),
    "forward hooks would be lost": between(nn.Tanh()),
    "meta device.*to_empty": between(nn.Tanh()).to("meta"),
}  # fmt: skip
REFUSED[r"2 \(Linear\): it shares parameters with 0"][2].weight = LINEAR.weight
REFUSED["forward hooks would be lost"][1].register_forward_hook(lambda *_: None)
REFUSED[r"1 \(PReLU\): its 5 channels have different slopes"][1].weight.data[0] = 0.5


@pytest.mark.parametrize("words", REFUSED)
def test_refusals_name_the_module_and_what_to_do(words):
    with pytest.raises(ntkflow.errors.InteropError, match=words):
        ntkflow.as_mlp(REFUSED[words])


@pytest.mark.parametrize("wrong", [None, "net.toml", {"widths": [4, 2]}, np.zeros(3)])
def test_other_first_arguments(wrong):
    with pytest.raises(
        ntkflow.errors.SpecError, match="the network must be an ntkflow.MLP, a torch.nn.Module"
    ):
        ntkflow.flow(wrong, np.zeros((1, 4)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision(dtype):
    torch.manual_seed(0)
    mlp = ntkflow.as_mlp(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)).to(dtype))
    assert mlp.C_W == (1 / 3, 1 / 3) and mlp.C_b == (1 / 192, 1 / 96)


def test_entry_points_take_models(rng):
    torch.manual_seed(0)
    model, X = between(nn.ReLU()), rng.normal(size=(2, 4))
    mlp = ntkflow.as_mlp(model)
    assert np.array_equal(ntkflow.flow(model, X)[-1].A, ntkflow.flow(mlp, X)[-1].A)
    assert np.array_equal(ntkflow.ensemble(model, X, 4)[-1].H, ntkflow.ensemble(mlp, X, 4)[-1].H)
    assert np.array_equal(ntkflow.output_ntk(model, X, 4).mean, ntkflow.output_ntk(mlp, X, 4).mean)
    with jax.enable_x64(True):
        assert np.array_equal(ntkflow.kernels(model, X)[1], ntkflow.kernels(mlp, X)[1])


def test_slopes_that_are_trained_are_said():
    with pytest.warns(UserWarning, match="slopes of 1 are trained too"):
        ntkflow.as_mlp(between(nn.PReLU()))


def test_warnings_point_at_the_user():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ntkflow.flow(nn.Linear(64, 32), np.ones((1, 64)), "mean")
    assert [w.filename for w in caught] == [__file__] and "uniform" in str(caught[0].message)


def test_torch_is_not_imported_without_a_model():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ntkflow, sys; ntkflow.as_mlp(ntkflow.MLP((4, 2))); assert 'torch' not in sys.modules",
        ],
        check=False,
    )
    assert done.returncode == 0


def stacked_ntk(models, X):
    """Ĥ of every model for all pairs of outputs, by torch.func: Σ_θ (dz_i/dθ)(dz_j/dθ), (models, n_L, n_L, N, N)."""
    weights, buffers = stack_module_state(models)

    def jacobian(p, b, x):
        return jacrev(lambda p: functional_call(models[0], (p, b), x[None])[0])(p)

    J = vmap(vmap(jacobian, (None, None, 0)), (0, 0, None))(weights, buffers, torch.tensor(X))
    H = [torch.einsum("maip,mbjp->mijab", j.flatten(3), j.flatten(3)) for j in J.values()]
    return torch.stack(H).sum(0).detach().numpy()


def drawn(seeds, activation, n=64, gaussian=None):
    models = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(8, n), activation, nn.Linear(n, n), activation, nn.Linear(n, 2)
        ).double()  # fmt: skip
        models.append(model if gaussian is None else interop.gaussian_init_(model, *gaussian))
    return models


def test_ntk_of_one_model_is_the_sum_over_its_parameters(rng):
    """With the λ's that are read; frozen parameters and biases that are not there drop out."""
    model = nn.Sequential(
        nn.Linear(8, 9), nn.GELU(), nn.Linear(9, 7, bias=False), nn.Hardswish(), nn.Linear(7, 2)
    ).double()  # fmt: skip
    model[0].weight.requires_grad_(False)
    X = rng.normal(size=(3, 8))
    mlp, params = interop.from_module(model)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    J = vmap(jacrev(lambda p, x: functional_call(model, p, x)), (None, 0))(trained, torch.tensor(X))
    H = torch.stack([torch.einsum("aip,bjp->ijab", j.flatten(2), j.flatten(2)) for j in J.values()]).sum(0)
    assert np.allclose(finite.ntk(mlp, params, X), H.detach().numpy(), rtol=1e-11, atol=1e-13)


SEEDS, WORST = (
    200,
    5.0,
)  # standard errors: a false alarm in 2e-6 of the entries, of which there are some twenty


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()], ids=str)
@pytest.mark.parametrize("gaussian", [None, (0.1, 1.5)], ids=["default", "gaussian"])
def test_networks_as_torch_draws_them(activation, gaussian, rng):
    """Mean and sd of Ĥ over 200 models at width 64, to 5 standard errors and 3 % (mean), 10 % (sd) for the next orders in 1/n.

    Uniform weights give Ĥ_ii less variance: by 1.2 C_W² ⟨σ'σ'σ'σ'⟩ H H / n of the layer below, to leading order.
    """
    X = rng.normal(size=(2, 8))
    models = drawn(SEEDS, activation, gaussian=gaussian)
    H = stacked_ntk(models, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flow = ntkflow.flow(models[0], X)
    mlp, last = flow.mlp, flow[-1]
    if gaussian is None:
        assert mlp.C_W == (1 / 3,) * 3
    else:
        assert np.allclose(mlp.C_W, 1.5, rtol=0.1) and np.allclose(mlp.C_b, 0.1, rtol=0.5)
        C_b, C_W = gaussian
        mlp = ntkflow.MLP(mlp.widths, mlp.activation, C_b, C_W, mlp.lambda_b, mlp.lambda_W)
        flow = ntkflow.flow(mlp, X)
        last = flow[-1]
    own = H[:, [0, 1], [0, 1]]
    mean, size = own.mean((0, 1)), np.sqrt(np.outer(np.diag(last.H), np.diag(last.H)))
    error = own.mean(1).std(0, ddof=1) / SEEDS**0.5
    assert np.all(np.abs(mean - last.ntk_mean()) < WORST * error + 0.03 * size)
    below = flow[-2]
    z = np.random.default_rng(1).multivariate_normal(np.zeros(2), below.G, 200_000).T
    with jax.enable_x64(True):
        slopes = np.asarray(mlp.activation[-1].derivatives(jnp.asarray(z), 1)[1])
    fourth = np.einsum("as,bs->ab", slopes**2, slopes**2) / z.shape[1]
    shift = 1.2 * mlp.C_W[-1] ** 2 * fourth * below.H**2 / 64 if gaussian is None else 0.0
    predicted = np.sqrt(last.ntk_std() ** 2 - shift)
    found = np.sqrt(own.var(0, ddof=1).mean(0))
    # Two outputs of a model are hardly correlated; kurtosis of Ĥ is allowed for by half as much again.
    assert np.all(np.abs(found / predicted - 1) < 1.5 * WORST / (2 * 2 * SEEDS) ** 0.5 + 0.1)
    across = np.sqrt(H[:, 0, 1].var(0, ddof=1))
    assert np.all(np.abs(across / last.ntk_std("different") - 1) < 1.5 * WORST / (2 * SEEDS) ** 0.5 + 0.1)
