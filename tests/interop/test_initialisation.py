"""C_W and C_b read from weights: schemes that are recognised, measurements within their errors, and trained networks found out."""

import itertools
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn

import ntkflow
from ntkflow.interop import independence, initialisation

torch.set_num_threads(1)  # workers share the cores


def model(activation=nn.ReLU, widths=(64, 128, 128, 10), bias=True, seed=0):
    torch.manual_seed(seed)
    modules = []
    for n, m in itertools.pairwise(widths):
        modules += [nn.Linear(n, m, bias), activation()]
    return nn.Sequential(*modules[:-1])


def drawn(weights, biases=nn.init.zeros_, **options):
    made = model(**options)
    for module in made:
        if isinstance(module, nn.Linear):
            weights(module.weight)
            if biases is not None:
                biases(module.bias)
    return made


SCHEMES = {
    "torch's default, uniform": (model(), (1 / 3, 1 / 3, 1 / 3)),
    "He, Gaussian": (drawn(lambda W: nn.init.kaiming_normal_(W, nonlinearity="relu")), (2, 2, 2)),
    "He, uniform": (drawn(lambda W: nn.init.kaiming_uniform_(W, nonlinearity="relu")), (2, 2, 2)),
    "Xavier, uniform": (drawn(nn.init.xavier_uniform_), (2 * 64 / 192, 1, 256 / 138)),
    "Xavier with tanh's gain, Gaussian": (
        drawn(lambda W: nn.init.xavier_normal_(W, 5 / 3), activation=nn.Tanh),
        tuple(25 / 9 * c for c in (2 * 64 / 192, 1, 256 / 138)),
    ),
    "LeCun, Gaussian": (drawn(lambda W: nn.init.kaiming_normal_(W, nonlinearity="linear")), (1, 1, 1)),
    "critical, uniform": (
        drawn(
            lambda W: nn.init.uniform_(W, -((3 * 1.98305825666 / W.shape[1]) ** 0.5), (3 * 1.98305825666 / W.shape[1]) ** 0.5),
            activation=nn.GELU,
        ),
        (1.983058257,) * 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", SCHEMES)
def test_schemes_are_recognised_and_exact(words):
    network, C_W = SCHEMES[words]
    read = ntkflow.read_initialisation(network)
    assert read.weights == (words,) * 3 and read.C_W_error == (0, 0, 0) and not read.departures
    assert np.allclose(read.C_W, C_W, rtol=1e-8)
    default = words.startswith("torch's")
    assert np.allclose(read.C_b, (1 / 192, 1 / 384, 1 / 384) if default else 0, rtol=1e-12)
    assert read.biases == ("torch's default, uniform" if default else "zero",) * 3


def test_default_biases_beside_other_weights():
    read = ntkflow.read_initialisation(drawn(lambda W: nn.init.kaiming_normal_(W, nonlinearity="relu"), None))
    assert np.allclose(read.C_b, (1 / 192, 1 / 384, 1 / 384), rtol=1e-12) and read.C_b_error == (0, 0, 0)


@pytest.mark.parametrize("power", [0, 1])
def test_unknown_variances_are_measured_over_all_layers(power):
    """One std for all layers, or one C_W; and biases of one variance. To 5 standard errors, which cover in 200 draws as they should."""
    distances = []
    for seed in range(200):
        network = drawn(
            lambda W: nn.init.normal_(W, 0.0, (1.3 / W.shape[1]) ** 0.5 if power == 0 else 0.11),
            lambda b: nn.init.normal_(b, 0.0, 0.3), widths=(20, 30, 40, 10), seed=seed,
        )  # fmt: skip
        read = ntkflow.read_initialisation(network)
        C_W = np.full(3, 1.3) if power == 0 else 0.0121 * np.array([20, 30, 40])
        distances.append([
            (read.C_W[0] - C_W[0]) / read.C_W_error[0], (read.C_b[1] - 0.09) / read.C_b_error[1]
        ])  # fmt: skip
        assert read.distributions == ("Gaussian",) * 3 and not read.departures
        assert np.allclose(np.array(read.C_W) / C_W, read.C_W[0] / C_W[0])
        # 2,200 weights and 80 biases.
        assert np.allclose(read.C_W_error[0] / read.C_W[0], (2 / 2200) ** 0.5)
    distances = np.array(distances)
    assert np.abs(distances).max() < 5 and np.all(np.abs(distances.std(axis=0) - 1) < 0.3)


def test_schemes_that_both_agree_are_not_guessed():
    """He's 2 and gelu's critical 1.983 are closer than 10⁴ weights can tell."""
    network = drawn(lambda W: nn.init.kaiming_normal_(W, nonlinearity="relu"), activation=nn.GELU)
    read = ntkflow.read_initialisation(network)
    assert read.weights == ("Gaussian",) * 3 and 0 < read.C_W_error[0] < 0.03
    assert "±" in str(read) and abs(read.C_W[0] - 2) < 5 * read.C_W_error[0]


def test_zero_weights_few_biases_and_no_biases():
    network = model()
    nn.init.zeros_(network[-1].get_parameter("weight"))
    assert ntkflow.read_initialisation(network).weights[-1] == "zero"
    assert ntkflow.read_initialisation(network).C_W[-1] == 0
    tiny = ntkflow.read_initialisation(model(widths=(1, 1, 1)))
    assert np.all(np.isfinite([tiny.C_W, tiny.C_W_error, tiny.C_b, tiny.C_b_error])) and not tiny.departures
    bare = ntkflow.as_mlp(model(bias=False))
    assert bare.C_b == bare.lambda_b == (0, 0, 0)


def test_what_is_not_gaussian_is_said():
    with pytest.warns(UserWarning, match=r"weights of 0, 2, 4 are uniform.*-1.2.*order 1/n"):
        ntkflow.as_mlp(model())
    truncated = drawn(lambda W: nn.init.trunc_normal_(W, 0.0, 0.1, -0.2, 0.2))
    with pytest.warns(UserWarning, match=r"truncated Gaussian.*-0.634"):
        ntkflow.as_mlp(truncated)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ntkflow.as_mlp(drawn(lambda W: nn.init.kaiming_normal_(W, nonlinearity="relu")))


@pytest.mark.parametrize(
    ("weights", "biases", "words"),
    [
        (nn.init.orthogonal_, nn.init.zeros_, "rows are closer to orthogonal"),
        (lambda W: nn.init.constant_(W, 0.1), nn.init.zeros_, "weights are all 0.1"),
        (lambda W: nn.init.normal_(W, 0.02, 0.1), nn.init.zeros_, "mean of its weights is 0.02"),
        (lambda W: W.data.copy_(torch.distributions.StudentT(4.0).sample(W.shape)), nn.init.zeros_, "fourth cumulant"),
        (lambda W: nn.init.sparse_(W, 0.5), nn.init.zeros_, "fourth cumulant"),
        (nn.init.xavier_normal_, lambda b: nn.init.constant_(b, 0.01), "biases are all 0.01"),
        (nn.init.xavier_normal_, lambda b: nn.init.normal_(b, 0.1, 0.05), "mean of its biases"),
    ],
)  # fmt: skip
def test_other_ways_of_drawing_are_found_out(weights, biases, words):
    network = drawn(weights, biases)
    with pytest.warns(UserWarning, match=rf"does not look like at initialisation.*{words}.*before training"):
        mlp = ntkflow.as_mlp(network)
    W = network[2].get_parameter("weight").detach().double()
    assert mlp.C_W[1] == pytest.approx(128 * float((W**2).mean()), rel=0.2)


@pytest.mark.parametrize(
    ("he", "optimizer", "rate", "steps", "words"),
    [
        (False, torch.optim.SGD, 0.1, 20, "largest is 1.* times the bound"),
        (False, torch.optim.Adam, 1e-3, 50, "top singular value"),
        (True, torch.optim.SGD, 0.1, 100, "mean of its biases"),
        (True, torch.optim.Adam, 5e-3, 50, "top singular value"),
    ],
)
def test_trained_networks_are_found_out(he, optimizer, rate, steps, words):
    """On digits. What moves the weights of a wide network little is seen late."""
    from sklearn.datasets import load_digits

    digits, labels = (torch.tensor(np.asarray(array)) for array in load_digits(return_X_y=True))
    X, labels = ((digits - digits.mean()) / digits.std()).float()[:500], labels[:500]
    network = drawn(lambda W: nn.init.kaiming_normal_(W, nonlinearity="relu")) if he else model()
    training = optimizer(network.parameters(), lr=rate)
    for _ in range(steps):
        training.zero_grad()
        nn.functional.cross_entropy(network(X), labels).backward()
        training.step()
    with pytest.warns(UserWarning, match=rf"{words}.*Pass the model before training"):
        ntkflow.as_mlp(network)


@pytest.mark.parametrize("shape", [(8, 8), (4, 9), (16, 16), (10, 64), (200, 9)])
@pytest.mark.parametrize("kind", ["Gaussian", "uniform"])
def test_no_false_alarms(shape, kind, rng):
    """400 matrices of each kind; each test is passed but for about one in a million."""
    for _ in range(400):
        W = rng.normal(size=shape) if kind == "Gaussian" else rng.uniform(-1, 1, shape)
        assert independence.of_weights(W, 0.0 if kind == "Gaussian" else -1.2) == []
        assert independence.of_biases(W[:, 0]) == []
        read = initialisation.read([initialisation.LayerWeights("0", W, None)], ())
        assert not read.departures


def test_large_matrices_take_little_time(rng):
    """Not the cube of the width: 2,000 × 3,000 weights."""
    W = rng.normal(size=(2000, 3000)) * (2 / 3000) ** 0.5
    read = initialisation.read([initialisation.LayerWeights("0", W, None)], ())
    assert read.C_W == (2,) and read.weights == ("He, Gaussian",)
