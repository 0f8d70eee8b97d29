"""Flow as an object: files, derived quantities, errors, the command line."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from command_line import process, within

import ntkflow
from ntkflow import finite

X = np.random.default_rng(2).normal(size=(3, 4))
MLP = ntkflow.MLP((4, 8, 8, 2), "tanh", 0.1, 1.1)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("components", ["all", "pairs", "mean", [(0, 1), (0, 1, 2)]])
def test_round_trip(tmp_path, suffix, components):
    flow = ntkflow.flow(MLP, X, components)
    path = tmp_path / f"flow{suffix}"
    flow.save(path)
    assert ntkflow.Flow.load(path).equals(flow)
    with pytest.raises(ntkflow.errors.FileError, match="exists"):
        flow.save(path)
    flow.save(path, overwrite=True)


@pytest.mark.parametrize("components", ["pairs", "mean"])
def test_tables_are_read_as_a_dict_is(components):
    """Also where arrays are made only when they are looked at."""
    mlp = ntkflow.MLP((3, 8, 8, 2), "tanh", 0.1, 1.2)
    values = ntkflow.flow(mlp, np.eye(3), components)[-1].values
    for name, table in values.items():
        assert isinstance(table, np.ndarray) and np.array_equal(np.asarray(values.get(name)), table), name
    assert all(isinstance(table, np.ndarray) for table in values.values())
    assert values.get("Z") is None


def test_callable_activation_is_named_and_asked_for_again(tmp_path):
    def wave(z):
        return jnp.sin(z) + z

    flow = ntkflow.flow(ntkflow.MLP((4, 8, 2), wave), X)
    flow.save(tmp_path / "flow.nc")
    read = ntkflow.Flow.load(tmp_path / "flow.nc")
    assert np.array_equal(read[2].A, flow[2].A) and "wave" in repr(read)
    with pytest.raises(ntkflow.errors.ActivationError, match="wave"):
        ntkflow.finite.forward(read.mlp, ntkflow.finite.init(read.mlp, 0), X)
    status, said, _ = within(tmp_path, "show", "flow.nc")
    assert status == 0 and "wave" in said
    assert ntkflow.Flow.load(tmp_path / "flow.nc", activation=wave)[2].A.shape == (3, 3, 3, 3)


@pytest.mark.parametrize("components", ["mean", pytest.param("all", marks=pytest.mark.slow)])
def test_two_callables_of_one_name_are_two_activations(components):
    flows = [
        ntkflow.flow(ntkflow.MLP((4, 8, 2), f), X, components)
        for f in (lambda z: jnp.sin(z), lambda z: jnp.tanh(z))
    ]
    assert not np.allclose(flows[0][2].G, flows[1][2].G)


def test_derived_quantities_agree_with_each_other():
    last = ntkflow.flow(MLP, X)[-1]
    # The trace over one sample and one neuron is Ĥ_{ii;αα} itself.
    one = ntkflow.flow(ntkflow.MLP((4, 8, 8, 1), "tanh", 0.1, 1.1), X[:1])[-1]
    assert one.trace_std() == pytest.approx(one.ntk_std()[0, 0], rel=1e-12)
    assert one.eigenvalue_std()[0] == pytest.approx(one.ntk_std()[0, 0], rel=1e-12)
    assert np.all(last.ntk_std() >= last.ntk_std("different"))
    assert np.all(np.abs(last.ntk_preactivation_correlation()) <= 1)
    assert last.block("ntk_std", [0, 1], [2]).shape == (2, 1)
    assert last.block("B", [0, 1], [2])[0, 1, 0, 0] == last.B[0, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"widths": (4, 0, 2)}, ntkflow.errors.SpecError, "width"),
        ({"widths": (4,)}, ntkflow.errors.SpecError, "widths"),
        ({"widths": (4, 8, 2), "C_W": -1.0}, ntkflow.errors.SpecError, "C_W"),
        ({"widths": (4, 8, 2), "lambda_b": [1.0]}, ntkflow.errors.SpecError, "lambda_b"),
        ({"widths": (4, 8, 2), "activation": "tanhh"}, ntkflow.errors.ActivationError, "tanhh"),
        (
            {"widths": (4, 8, 2), "activation": {"name": "relu", "slope": 1}},
            ntkflow.errors.ActivationError,
            "slope",
        ),
        ({"widths": (4, 8, 2), "activation": jnp.sum}, ntkflow.errors.ActivationError, "elementwise"),
        ({"widths": (4, 8, 2), "activation": lambda z: z / 0.0}, ntkflow.errors.ActivationError, "finite"),
    ],
)
def test_bad_networks(arguments, error, word):
    with pytest.raises(error, match=word):
        ntkflow.MLP(**arguments)
    with pytest.raises(ntkflow.errors.SpecError, match="widht"):
        ntkflow.MLP.from_spec({"widht": [1, 2]})


@pytest.mark.parametrize(
    "bad", [np.full((2, 4), np.nan), np.ones(4), np.ones((2, 5)), np.ones((0, 4)), [["a"] * 4]]
)
def test_bad_inputs(bad):
    with pytest.raises(ntkflow.errors.DataError):
        ntkflow.flow(MLP, bad)


def test_refusals():
    with pytest.raises(ntkflow.errors.MemoryRequestError, match="pairs"):
        ntkflow.flow(MLP, np.ones((200, 4)))
    with pytest.raises(ntkflow.errors.NonFiniteError, match="layer 2"):
        ntkflow.flow(ntkflow.MLP((4, 8, 2), "exp", C_W=1e4), X)
    with pytest.raises(ntkflow.errors.ComponentError):
        ntkflow.flow(MLP, X, [(0, 7)])
    with pytest.raises(ntkflow.errors.ComponentError, match="pairs"):
        _ = ntkflow.flow(MLP, X, "mean")[-1].A


def test_ntk_command(tmp_path):
    (tmp_path / "spec.toml").write_text('widths = [4, 8, 3]\nactivation = "relu"\n')
    np.save(tmp_path / "X.npy", X)
    status, _, said = process(tmp_path, "ntk", "spec.toml", "--data", "X.npy", "--seed", 7, "-o", "ntk.nc")
    assert status == 0, said
    mlp = ntkflow.MLP.from_toml(tmp_path / "spec.toml")
    saved = xr.open_dataset(tmp_path / "ntk.nc", engine="h5netcdf")
    assert saved.ntk.dims == ("i1", "i2", "alpha1", "alpha2") and saved.attrs["seed"] == 7
    assert np.array_equal(saved.ntk, finite.ntk(mlp, finite.init(mlp, 7), X))
    status, _, said = within(tmp_path, "ntk", "spec.toml", "--data", "X.npy", "--layer", 9, "-o", "other.nc")
    assert status == 2 and "layers are 1" in said


def test_command_line(tmp_path):
    (tmp_path / "spec.toml").write_text('widths = [4, 8, 8, 2]\nactivation = "relu"\nC_W = 2.0\n')
    np.save(tmp_path / "X.npy", X)
    flow = ["flow", "spec.toml", "--data", "X.npy", "-o", "flow.nc"]
    status, _, said = within(tmp_path, *flow, "--plot", "flow.png")
    assert status == 0, said
    assert (tmp_path / "flow.png").stat().st_size > 5000
    assert within(tmp_path, "show", "flow.nc")[0] == 0
    status, _, said = process(tmp_path, *flow)
    assert status == 2 and "Traceback" not in said
    status, _, said = within(tmp_path, "flow", "spec.toml", "--data", "none.npy", "-o", "new.nc")
    assert status == 2 and "none.npy" in said.replace("\n", "")
    np.save(tmp_path / "one.npy", X[:1])
    status, _, said = process(tmp_path, "flow", "spec.toml", "--data", "one.npy", "-o", "one.nc")
    assert status == 0, said
    assert ntkflow.Flow.load(tmp_path / "one.nc")[3].A.shape == (1, 1, 1, 1)
