"""Learning rates over widths, depths and schemes: the user's loop or ours, against single runs and losses that are known."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import transfer as campaign
from rich.console import Console

import ntkflow
from ntkflow import finite
from ntkflow.errors import DataError, InteropError, SpecError
from ntkflow.tuning.schemes import he_or_xavier, torch_default

NARROW, DEEP = ntkflow.MLP((5, 8, 3), "tanh"), ntkflow.MLP((5, 8, 8, 8, 3), "relu")


def samples(rng, N=40):
    X = rng.normal(size=(N, 5))
    return X, np.argmax(X[:, :3], axis=1)


def bowl(mlp, eta, seed):
    """A loss whose best η is 1/width, 1 there, and which diverges above 2."""
    distance = np.log2(eta * mlp.widths[1])
    return np.nan if eta > 2 else 1 + distance**2


SAME = {"as it is": lambda mlp, X: mlp}


def of_bowl(**settings):
    nets = {"8": ntkflow.MLP((5, 8, 3)), "2": ntkflow.MLP((5, 2, 3))}
    grid = {"etas": 2.0 ** np.arange(-5, 4), "schemes": SAME} | settings
    return ntkflow.learning_rate_transfer(nets, np.ones((2, 5)), train=bowl, **grid)


def test_losses_that_are_known():
    transfer = of_bowl()
    assert transfer.data.loss.sizes == {"network": 2, "scheme": 1, "eta": 9, "seed": 3}
    assert transfer.best().values.tolist() == [[1 / 8], [1 / 2]]
    assert transfer.excess(0.25).values.tolist() == [[2.0], [2.0]]
    assert np.isnan(transfer.excess().values).all()
    assert np.isinf(transfer.data.loss.sel(eta=8)).all() and np.isinf(transfer.excess(8.0)).all()
    assert transfer.to_xarray().width.values.tolist() == [8, 2]


def test_own_learning_rates_are_tried_and_held_against_the_best():
    recipe = ntkflow.tune(NARROW, np.eye(5))
    schemes = {"recipe": lambda mlp, X: recipe, **SAME}
    transfer = ntkflow.learning_rate_transfer(
        {"8": NARROW}, np.eye(5), train=lambda mlp, eta, seed: eta, schemes=schemes, etas=[1.0, 9.0], seeds=1
    )
    assert transfer.data.eta.values.tolist() == [1.0, recipe.eta, 9.0]
    assert transfer.started["8", "recipe"] == recipe.mlp and transfer.started["8", "as it is"] == NARROW
    assert transfer.excess().values.tolist()[0][0] == recipe.eta
    assert np.isnan(transfer.excess().values[0, 1]) and transfer.excess(9.0).values.tolist() == [[9.0, 9.0]]


def test_our_loop_is_plain_gradient_descent(rng):
    """A run of it, done again by hand: the same draw, the same steps."""
    X, y = samples(rng)
    transfer = ntkflow.learning_rate_transfer(
        {"deep": DEEP, "narrow": NARROW}, X, y, schemes={"He": he_or_xavier}, etas=[0.1, 1e4], seeds=2, steps=30, batch_size=8,
        held_out={"test": (X[:7], y[:7])},
    )  # fmt: skip
    runs = transfer.data.sel(network="deep", scheme="He", eta=0.1, seed=1)
    mlp = he_or_xavier(DEEP)
    drawn = finite.init(mlp, 1, np.float32)
    settings = {"batch_size": 8, "rates": finite.plain(DEEP)}
    early, first = finite.train(mlp, drawn, X, y, finite.cross_entropy, 0.1, 10, seed=2, **settings)
    trained, history = finite.train(mlp, early, X, y, finite.cross_entropy, 0.1, 20, seed=3, **settings)
    assert float(runs.loss) == pytest.approx(history.loss[-1], rel=1e-5)
    z = finite.forward(mlp, trained, X[:7])[-1]
    assert float(runs.test_error) == np.mean(np.argmax(z, axis=1) != y[:7])
    assert float(runs.test_loss) == pytest.approx(float(finite.cross_entropy(z, y[:7])), rel=1e-5)
    moved = [
        new - old
        for new, old in zip(finite.forward(mlp, early, X), finite.forward(mlp, drawn, X), strict=True)
    ]
    assert np.allclose(runs.change, [np.sqrt(np.mean(layer**2)) for layer in moved], rtol=1e-4)
    assert float(runs.mean_loss) == pytest.approx(np.mean([first.loss[0], *history.loss]), rel=1e-5)
    lost = transfer.data.sel(network="deep", eta=1e4)
    assert np.isinf(lost.loss).any() and np.all(lost.test_error.values[np.isinf(lost.loss.values)] == 1)
    shallow = transfer.data.sel(network="narrow", eta=0.1).change
    assert np.isfinite(shallow[..., :2]).all() and np.isnan(shallow[..., 2:]).all()


def test_a_loop_in_torch(rng):
    """He's Gaussians reach the model, and its optimizer has one learning rate for all."""
    torch = pytest.importorskip("torch")
    deviations, rates = [], set()

    def train(mlp, eta, seed):
        model = torch.nn.Sequential(torch.nn.Linear(5, 400), torch.nn.ReLU(), torch.nn.Linear(400, 3))
        ntkflow.interop.torch.draw_(model, mlp, torch.Generator().manual_seed(seed))
        groups = ntkflow.interop.torch.layer_groups(model, mlp, eta)
        rates.update(round(group["lr"] / eta, 12) for group in torch.optim.SGD(groups, lr=eta).param_groups)
        deviations.append([float(layer.weight.detach().std()) for layer in (model[0], model[2])])
        return {"loss": eta, "test_error": 0.5}

    transfer = ntkflow.learning_rate_transfer(
        [ntkflow.MLP((5, 400, 3), "relu")], rng.normal(size=(4, 5)), train=train,
        schemes={"He": he_or_xavier}, etas=[0.5], seeds=4,
    )  # fmt: skip
    assert rates == {1.0}
    # Of 2,000 and 1,200 numbers: beyond 5 standard errors once in a million draws.
    assert np.allclose(np.mean(deviations, axis=0), np.sqrt([2 / 5, 2 / 400]), rtol=5 / np.sqrt(2 * 4800))
    assert transfer.data.test_error.shape == (1, 1, 1, 4)


def test_schemes():
    mlp = ntkflow.MLP((5, 8, 6, 3), ["tanh", "relu"], lambda_b=[1, 0, 1])
    he = he_or_xavier(mlp)
    assert he.C_W == (2 * 5 / 13, 2.0, 2.0) and he.C_b == (0, 0, 0)
    default = torch_default(mlp)
    assert default.C_W == (1 / 3,) * 3 and default.C_b == (1 / 15, 1 / 24, 1 / 18)
    for started in (he, default):
        assert finite.tensorial(started) == finite.LearningRates((1.0, 0.0, 1.0), (1.0, 1.0, 1.0))
    assert he_or_xavier(ntkflow.MLP((4, 2))).C_W == (8 / 6,)


def test_torch_default_has_the_variances_of_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    linear = torch.nn.Linear(50, 4000)
    mlp = torch_default(ntkflow.MLP((50, 4000)))
    # Of 200,000 and 4,000 uniform numbers: 5 standard errors of their variance.
    assert float(linear.weight.detach().var()) == pytest.approx(
        mlp.C_W[0] / 50, rel=5 * np.sqrt(0.8 / 200_000)
    )
    assert float(linear.bias.detach().var()) == pytest.approx(mlp.C_b[0], rel=5 * np.sqrt(0.8 / 4000))


def test_table_and_pictures(rng, tmp_path):
    X, y = samples(rng, 12)
    transfer = ntkflow.learning_rate_transfer(
        {"deep": DEEP, "narrow": NARROW}, X, y, etas=[0.01, 0.1, 1e6], seeds=2, steps=10, schemes={"He/Xavier": he_or_xavier, "all diverge": lambda mlp, X: mlp.replace(C_W=1e30)},
    )  # fmt: skip
    console = Console(width=120, record=True)
    console.print(transfer.table())
    text = console.export_text()
    assert text.count("He/Xavier") == 2 and "diverged" in text
    assert "2 networks, 2 schemes, 3 learning rates and 2 seeds" in repr(transfer)
    figure = transfer.plot(tmp_path / "transfer.png")
    he, diverged = figure.axes
    drawn = np.asarray(he.lines[0].get_ydata())
    means = transfer.data.loss.sel(network="deep", scheme="He/Xavier").mean("seed").values
    assert np.allclose(drawn[:2], means[:2]) and np.isnan(drawn[2]) == np.isinf(means[2])
    assert np.isnan(np.asarray(diverged.lines[0].get_ydata())).all()
    assert (tmp_path / "transfer.png").stat().st_size > 10_000
    coordinates = transfer.plot_coordinates(eta=0.1)
    assert [np.size(line.get_xdata()) for line in coordinates.axes[0].lines] == [4, 2]
    transfer.plot_coordinates()
    plt.close("all")


def test_pictures_of_one_point_and_of_own_loops():
    alone = ntkflow.learning_rate_transfer(
        [NARROW], np.eye(5), train=lambda *_: 0.0, etas=[1.0], seeds=1, schemes=SAME
    )
    alone.plot()
    with pytest.raises(DataError, match="change"):
        alone.plot_coordinates()
    assert "0" in repr(alone.table().title) or alone.best().values.tolist() == [[1.0]]


def test_progress_is_told():
    reports = []
    of_bowl(progress=lambda *report: reports.append(report))
    assert reports[-1][:2] == (54, 54) and "8" in reports[-1][2] and len(reports) == 56


def refused(error, match, *networks, **settings):
    with pytest.raises(error, match=match):
        ntkflow.learning_rate_transfer(networks[0] if networks else [NARROW], np.eye(5), **settings)


def test_refusals():
    y = np.arange(5) % 3
    refused(DataError, "y is missing")
    refused(DataError, "targets", y=y[:4])
    refused(DataError, "class numbers", y=y + 7)
    refused(DataError, "held_out: 'test'", y=y, held_out={"test": np.eye(5)})
    refused(DataError, "test: there are 5 inputs but 2", y=y, held_out={"test": (np.eye(5), y[:2])})
    refused(DataError, "of our own training loop", y=y, train=bowl)
    refused(DataError, "etas", train=bowl, etas=[0.0], schemes=SAME)
    refused(DataError, "seeds", train=bowl, seeds=0)
    refused(DataError, "steps", y=y, steps=3)
    refused(SpecError, "loss", y=y, loss="hinge")
    refused(SpecError, "list of networks", NARROW, y=y)
    refused(SpecError, "give names", [NARROW, NARROW], y=y)
    refused((SpecError, InteropError), "network", ["tanh"], y=y)
    refused(SpecError, "'odd' must return an MLP", train=bowl, schemes={"odd": lambda mlp, X: DEEP})
    refused(DataError, "must return the loss", train=lambda *_: {"error": 1.0}, schemes=SAME)
    refused(DataError, "for each layer", train=lambda *_: {"loss": 1.0, "W": np.ones((2, 2))}, schemes=SAME)
    with pytest.raises(DataError, match="no measure 'accuracy'; there are loss"):
        of_bowl().best("accuracy")
    with pytest.raises(DataError, match="was not tried"):
        of_bowl().excess(3.0)


@pytest.mark.slow
def test_a_part_of_the_campaign():
    """One network of the campaign with two seeds, four η and fewer widths: the recipe's η trains tanh of 16 layers."""
    etas = {"He/Xavier": [2.0**-6, 2.0**-4], "recipe": [4.0, 16.0]}
    case = ("digits", "tanh", 16, 64)
    found = campaign.total([campaign.measured(case, campaign.data("digits"), etas, seeds=2)])
    assert found["mean_loss_over_best_worst"] < 1.3
    assert found["rows"][0]["recipe_error_at_own"] < 0.08
