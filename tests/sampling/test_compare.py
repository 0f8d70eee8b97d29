"""A flow against an ensemble, and the command line of both."""

import numpy as np
import planted
import pytest
from command_line import process, within

import ntkflow
from ntkflow._comparison.comparison import joint_threshold

X = np.random.default_rng(1).normal(size=(3, 6))
SPEC = 'widths = [6, 32, 32, 32, 2]\nactivation = "tanh"\nC_b = 0.1\nC_W = 1.3\nlambda_b = 0.5\n'
MLP = ntkflow.MLP((6, 32, 32, 32, 2), "tanh", 0.1, 1.3, 0.5)


@pytest.fixture(scope="module")
def ensemble():
    return ntkflow.ensemble(MLP, X, 10_000)


def test_theory_and_sampling_agree(ensemble):
    """A false alarm with probability 1e-3."""
    found = ntkflow.compare(ntkflow.flow(MLP, X), ensemble)
    assert found.agrees and "agree" in found.words
    assert {(d.layer, d.name) for d in found} == {(ell, name) for ell in range(1, 5) for name in "GHVDFAB"}
    for d in found:
        assert d.z.shape == d.predicted.shape
        if d.layer == 1:
            assert d.relative == 0.0 and not np.any(d.z)
        if d.layer == 2:
            assert d.verdict == "noise" and d.allowed == 0.0
    direct = ntkflow.ensemble(MLP, X, 2000, estimators="direct")
    assert ntkflow.compare(ntkflow.flow(MLP, X), direct).agrees


@pytest.mark.slow
@pytest.mark.parametrize("components", ["pairs", "mean", [(0, 1), (2,)]])
def test_components(ensemble, components):
    flow = ntkflow.flow(MLP, X, components)
    assert ntkflow.compare(flow, ntkflow.ensemble(MLP, X, 500, components=components)).agrees
    if components == "mean":
        assert [d.name for d in ntkflow.compare(flow, ensemble)][:2] == ["G", "H"]
    else:
        assert ntkflow.compare(flow, ensemble).components == flow.components


def test_one_sample_one_layer_width_one():
    for widths, draws in (((6, 2), 10), ((6, 1, 1), 2000)):
        mlp = ntkflow.MLP(widths, "tanh", 0.1, 1.3)
        assert ntkflow.compare(ntkflow.flow(mlp, X[:1]), ntkflow.ensemble(mlp, X[:1], draws)).agrees


def test_errors_in_theory_are_seen(ensemble):
    wrong = dict(planted.errors())
    for label in ("variance.A: omega.with_omega", "means.H: h.lambda_b", "omega.Omega: CH_34 * e.ssdd"):
        with wrong[label]:
            found = ntkflow.compare(ntkflow.flow(MLP, X), ensemble)
        assert not found.agrees and "differ" in found.words


def test_other_networks_and_inputs_are_refused(ensemble):
    other = ntkflow.MLP((6, 32, 32, 32, 2), "tanh", 0.1, 1.3, 0.6)
    with pytest.raises(ntkflow.errors.DataError, match="networks"):
        ntkflow.compare(ntkflow.flow(other, X), ensemble)
    with pytest.raises(ntkflow.errors.DataError, match="inputs"):
        ntkflow.compare(ntkflow.flow(MLP, X + 1e-12), ensemble)
    with pytest.raises(ntkflow.errors.DataError, match="inputs"):
        ntkflow.compare(ntkflow.flow(MLP, X[:2]), ensemble)


def test_joint_threshold():
    """One number in a thousand sets of a hundred normal numbers exceeds it."""
    z = np.random.default_rng(0).normal(size=(200_000, 100))
    assert 130 < np.sum(np.abs(z).max(axis=1) > joint_threshold(100)) < 270  # 200 ± 14: 5 sd


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, inputs, a flow and an ensemble of theirs, as the commands write them."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "net.toml").write_text(SPEC)
    np.save(folder / "X.npy", X)
    ntkflow.flow(MLP, X).save(folder / "flow.nc")
    ntkflow.flow(MLP, X + 1).save(folder / "other.nc")
    (folder / "small.toml").write_text('widths = [6, 2, 2]\nactivation = "tanh"\n')
    np.save(folder / "one.npy", X[:1])
    ran(folder, 0, *["ensemble", "net.toml", "--data", "X.npy", "--draws", "1000", "-o", "run.zarr"])
    return folder


def ran(folder, status, *arguments, how=within):
    found, out, err = how(folder, *arguments)
    assert found == status, (out, err)
    return err if status == 2 else out


@pytest.mark.slow
def test_compare_command(folder):
    said = ran(folder, 0, *["compare", "flow.nc", "run.zarr", "--plot", "picture.png"], how=process)
    assert "1000 networks" in said and "They agree within" in said
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    said = ran(folder, 2, *["compare", "flow.nc", "run.zarr", "--plot", "picture.png"])
    assert "picture.png exists" in said
    assert "different inputs" in ran(folder, 2, *["compare", "other.nc", "run.zarr"])
    assert "run.zarr" in ran(folder, 2, *["compare", "run.zarr", "run.zarr"])


def test_show_command(folder):
    said = ran(folder, 0, "show", "run.zarr", how=process)
    assert "1000 networks" in said and "low-noise" in said


@pytest.mark.slow
def test_verify_command(folder):
    arguments = [
        "verify",
        "net.toml",
        "--data",
        "X.npy",
        "--widths",
        "8,16",
        "--draws",
        "2000",
        "--plot",
        "verified.png",
    ]
    said = ran(folder, 0, *arguments)
    assert "Theory and sampling agree" in said
    assert (folder / "verified.png").exists()
    with dict(planted.errors())["variance.A: omega.with_omega"]:
        said = ran(folder, 1, *arguments[:-2])
    assert "disagree: A of layer 2" in " ".join(said.split())
    for bad, word in (("32", "two"), ("8,x", "--widths"), ("0,9", "widths")):
        assert word in ran(folder, 2, *f"verify net.toml --data X.npy --widths {bad}".split())


@pytest.mark.slow
def test_verify_as_a_process(folder):
    arguments = ["verify", "small.toml", "--data", "one.npy", "--widths", "1,2", "--draws", "500"]
    assert "Theory and sampling agree" in ran(folder, 0, *arguments, how=process)
