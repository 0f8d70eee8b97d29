"""Bad input: one clear sentence, a specific exception, exit code 2; and inputs that look bad but are not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from command_line import process, within
from sklearn.datasets import load_digits

import ntkflow

X = np.random.default_rng(2).normal(size=(3, 4))
MLP = ntkflow.MLP((4, 8, 8, 2), "tanh", 0.1, 1.1)
GOOD = 'widths = [4, 8, 2]\nactivation = "tanh"\n'


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("widths = [4, 0, 2]", "width"),
        ("widths = [4, 8, 2]\nwidht = 3", "widht"),
        ("widths = [4, 8, 2]\nC_W = -1", "C_W"),
        ("widths = [4, 8, 2]\nC_W = 1e301", "C_W"),
        (f"widths = [4, 8, 2]\nC_b = {'9' * 400}", "C_b"),
        (f"widths = [4, {'9' * 400}, 2]", "widths"),
        ('widths = [4, 8, 2]\nactivation = "tanhh"', "tanhh"),
        ("widths = [4, 8, 2]\nactivation = {slope = 1}", "name"),
        ('widths = [4, 8, 2]\nactivation = {name = ["relu"]}', "relu"),
        ('widths = [4, 8, 2]\nactivation = {name = "leaky_relu", slope = nan}', "slope"),
        ('widths = [4, 8, 2]\nactivation = {name = "elu", alpha = inf}', "alpha"),
        ('widths = [4, 8, 2]\nactivation = {name = "monomial", degree = inf}', "degree"),
        ('widths = [4, 8, 2]\nactivation = {name = "polynomial", coefficients = 3}', "coefficients"),
        ('widths = [4, 8, 2]\nactivation = "exp"\nC_W = 1e9', "layer 2"),
        ('widths = [4, 8, 2]\nactivation = "relu"\nC_W = 1e300', "layer 2"),
        ("widths = [4, 8, 2", "TOML"),
        ("widths = [5, 8, 2]", "columns"),
    ],
)
def test_specifications_on_the_command_line(tmp_path, spec, word):
    (tmp_path / "spec.toml").write_text(spec)
    np.save(tmp_path / "X.npy", X)
    assert refused(tmp_path, "flow", "spec.toml", "--data", "X.npy", "-o", "flow.nc", word=word)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.full((2, 4), np.nan), "finite"),
        (np.full((2, 4), np.inf), "finite"),
        (np.ones(4), "shape"),
        (np.ones((0, 4)), "shape"),
        (np.ones((2, 4), complex), "real"),
        (np.full((2, 4), "1"), "real"),
        (np.ones((2, 4)) * 1e200, "overflow"),
    ],
)
def test_inputs_on_the_command_line(tmp_path, array, word):
    (tmp_path / "spec.toml").write_text(GOOD)
    np.save(tmp_path / "X.npy", array)
    assert refused(tmp_path, "flow", "spec.toml", "--data", "X.npy", "-o", "flow.nc", word=word)


def test_files_on_the_command_line(tmp_path):
    (tmp_path / "spec.toml").write_text(GOOD)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "X.npz", X=X, y=X)
    (tmp_path / "short.npy").write_bytes((tmp_path / "X.npy").read_bytes()[:100])
    (tmp_path / "garbage.nc").write_bytes(b"garbage" * 100)
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "thesis.txt").write_text("mine")
    for data in ("none.npy", "objects.npy", "X.npz", "short.npy", "."):
        assert refused(tmp_path, "flow", "spec.toml", "--data", data, "-o", "flow.nc", word="inputs")
    for output in ("flow.txt", "none/flow.nc", "folder.zarr", "a" * 300 + ".nc"):
        assert refused(
            tmp_path, "flow", "spec.toml", "--data", "X.npy", "--force", "-o", output, word="cannot write"
        )
    assert (tmp_path / "folder.zarr" / "thesis.txt").exists()
    assert refused(tmp_path, "flow", "none.toml", "--data", "X.npy", "-o", "flow.nc", word="none.toml")
    for path in ("garbage.nc", "none.nc", "folder.zarr"):
        assert refused(tmp_path, "show", path, word=path)


def test_a_process_that_is_refused(tmp_path):
    (tmp_path / "spec.toml").write_text(GOOD)
    assert refused(
        tmp_path, "flow", "spec.toml", "--data", "none.npy", "-o", "flow.nc", word="inputs", how=process
    )


def refused(folder, *arguments, word, how=within):
    status, _, said = how(folder, *arguments)
    assert status == 2 and said.startswith("ntkflow: ") and said.count("\n") == 1 and word in said, said
    return True


def test_damaged_flows(tmp_path):
    dataset = ntkflow.flow(MLP, X).to_xarray()
    damaged = {
        "no mlp": dataset.assign_attrs(mlp="nonsense"),
        "a number": dataset.assign_attrs(components=3),
        "other": xr.Dataset({"x": 1.0}),
        "no H": dataset.drop_vars("H"),
        "no sets": dataset.drop_vars("sets"),
        "fewer layers": dataset.isel(layer=[0, 1]),
        "fewer samples": dataset.isel(alpha1=[0]),
        "deeper": dataset.assign_attrs(mlp=json.dumps(ntkflow.MLP((4, 8, 8, 8, 2)).to_spec())),
    }
    for name, one in damaged.items():
        one.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        with pytest.raises(ntkflow.errors.FileError):
            ntkflow.Flow.load(tmp_path / f"{name}.nc")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    flow = ntkflow.flow(MLP, X)
    flow.save(tmp_path / "flow.nc")
    before = (tmp_path / "flow.nc").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(ntkflow.errors.FileError, match="No space"):
        flow.save(tmp_path / "flow.nc", overwrite=True)
    assert (tmp_path / "flow.nc").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_callables_that_are_not_activations():
    for function, word in (
        (np.tanh, "jax.numpy"),
        (jnp.sum, "elementwise"),
        (lambda z: z > 0, "real"),
        (lambda z: z + 1j, "real"),
        (lambda z: z / 0.0, "finite"),
        (lambda z: jnp.sqrt(jnp.abs(z)), "derivative at 0"),
        (jnp.sign, "continuous"),
    ):
        with pytest.raises(ntkflow.errors.ActivationError, match=word):
            ntkflow.MLP((4, 8, 2), function)


def test_components_that_are_not_held():
    flow = ntkflow.flow(MLP, X, [(0, 1)])
    for call in (
        lambda: flow[-1].component("H1", 0, 2),
        lambda: flow[-1].component("A", 0, 2, 0, 2),
        lambda: flow[-1].component("A", 0, 1, 0, 30),
        lambda: flow[-1].component("H", 0),
        lambda: flow[-1].error("Q"),
        lambda: flow[-1].block("trace_mean", [0], [1]),
        lambda: flow[-1].trace_mean(),
        lambda: flow[-1].trace_std(),
        lambda: flow[-1].eigenvalues(),
        lambda: ntkflow.flow(MLP, X, 3),  # pyright: ignore[reportArgumentType]
        lambda: ntkflow.flow(MLP, X, (0, 1)),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(ntkflow.errors.ComponentError):
            call()


@pytest.mark.parametrize("activation", ["relu", "abs", "linear"])
@pytest.mark.parametrize("image", [0, 1, 2])
def test_parallel_digits_are_exact(activation, image):
    """Multiples as floating point gives them, up to sign for abs and linear: everything scales, with 12 digits."""
    x, y = load_digits(return_X_y=True)[0][[image, image + 10]] / 6
    factors = np.array([1.0, 3.0, 0.1, 1 / 3] + ([] if activation == "relu" else [-0.7]))
    mlp = ntkflow.MLP((64, 32, 32, 8), activation, C_b=0.0, C_W=2.0 if activation == "relu" else 1.0)
    last = ntkflow.flow(mlp, np.vstack([factors[:, None] * x, y]))[-1]
    size = np.abs(factors) if activation == "abs" else factors
    n = len(size)
    for name in ("G", "H1", "V", "D", "F", "A", "B"):
        assert last.relative_error(name) < 1e-11, name
    assert np.allclose(last.G[:n, :n], last.G[0, 0] * np.outer(size, size), rtol=1e-12)
    assert np.allclose(last.V[:n, 0, 0, 0], last.V[0, 0, 0, 0] * size, rtol=1e-11)
    assert np.allclose(last.H1[:n, :n], last.H1[0, 0] * np.outer(size, size), atol=1e-11 * last.H[0, 0])


def test_a_kink_far_away_shows_in_the_error_estimate():
    """relu6 is not relu, and its second kink is not looked for: the estimate covers the error all the same."""
    mlp = ntkflow.MLP((4, 8, 8, 2), jax.nn.relu6, C_W=10.0)
    with pytest.warns(UserWarning, match="don.t reach the accuracy"):
        layer = ntkflow.flow(mlp, X[:1])
    s = np.sqrt(layer[1].G[0, 0])
    z = np.linspace(0, 6 / s, 200001)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    exact = 10 * (
        np.trapezoid((s * z) ** 2 * density, z) + 36 * 0.5 * jax.scipy.special.erfc(6 / s / np.sqrt(2))
    )
    assert abs(layer[2].G[0, 0] - exact) < 3 * layer[2].error("G")[0, 0] + 1e-6 * exact
