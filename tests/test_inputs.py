"""Inputs in the forms in which people have them, and what is said where they don't fit."""

import builtins
import importlib
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from command_line import process, within

import ntkflow
from ntkflow._checks.inputs import checked_inputs

MLP = ntkflow.MLP((4, 8, 2), "tanh", 0.1, 1.1)
# Of few bits, which half precision holds.
X = np.random.default_rng(2).integers(-20, 20, size=(3, 4)) / 8


def same(given, mlp=MLP, expected: np.ndarray = X):
    found = checked_inputs(mlp, given)
    assert found.dtype == np.float64 and np.array_equal(found, expected)


@pytest.mark.parametrize(
    "given",
    [
        X.tolist(), tuple(map(tuple, X)), list(X), X.astype(np.float32), X.astype(np.float16), X.astype(">f4"), np.asfortranarray(X),
        X[::-1][::-1], np.ma.masked_array(X), jnp.asarray(X, jnp.float32), jnp.asarray(X, jnp.bfloat16), list(jnp.asarray(X)),
        pd.DataFrame(X), pd.DataFrame(X.astype("f4"), columns=list("abcd"), index=[7, 8, 9]), pd.DataFrame(X).convert_dtypes(),
        scipy.sparse.csr_array(X), scipy.sparse.csr_matrix(X),
    ],
)  # fmt: skip
def test_arrays_of_all_kinds(given):
    same(given)


def test_whole_numbers_are_numbers():
    numbers = np.arange(12).reshape(3, 4)
    for given in (
        numbers,
        numbers.tolist(),
        numbers.astype(np.uint8),
        pd.DataFrame(numbers),
        pd.DataFrame(numbers).astype("Int64"),
    ):
        same(given, expected=numbers)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X)
    for given in (
        tensor, tensor.float(), tensor.half(), tensor.bfloat16(), tensor.float().requires_grad_(), tensor.to_sparse(),
        list(tensor.requires_grad_()), torch.nn.Parameter(tensor.detach()), tensor.T.contiguous().T,
    ):  # fmt: skip
        same(given)
    with pytest.raises(ntkflow.errors.DataError, match="real"):
        checked_inputs(MLP, tensor + 0j)
    with pytest.raises(ntkflow.errors.DataError, match="numbers"):
        checked_inputs(MLP, torch.zeros(3, 4, device="meta"))


def test_every_entrance_takes_them():
    """Also those that work in the parameters' precision, and as the second set of inputs."""
    frame = pd.DataFrame(X)
    assert np.array_equal(ntkflow.flow(MLP, frame, "mean", X2=X.tolist()).X, X)
    assert np.array_equal(ntkflow.ensemble(MLP, frame, 2, components="mean").X, X)
    params = ntkflow.finite.init(MLP, 0)
    assert np.array_equal(ntkflow.finite.ntk(MLP, params, frame), ntkflow.finite.ntk(MLP, params, X))
    with pytest.raises(ntkflow.errors.DataError, match=r"X2 .* was X2\.T meant"):
        ntkflow.finite.ntk(MLP, params, X, X.T[:, :3])


def test_images_are_flattened_and_it_is_said():
    mlp = ntkflow.MLP((12, 8, 2))
    flat = np.arange(24.0).reshape(2, 12)
    for shape in ((2, 3, 4), (2, 1, 3, 4), (2, 12, 1, 1)):
        with pytest.warns(UserWarning, match="2 samples of 12 numbers"):
            same(flat.reshape(shape), mlp, flat)


def test_a_warning_is_said_once():
    images = np.arange(8).reshape(2, 2, 2) * 30
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        ntkflow.verify(MLP, images, widths=(4, 8), draws=3)
    ours = [w for w in caught if "samples of 4" in str(w.message) or "raw images" in str(w.message)]
    assert len(ours) == 2, [str(w.message) for w in ours]


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (np.ones((4, 3)), r"X\.T"),
        (np.ones((3, 5)), "an index or the labels"),
        (np.ones((3, 6)), "6 columns but the network's n_0 is 4"),
        (np.ones((2, 2)), r"one sample of shape \(2, 2\) write X\[None\]"),
        (np.ones((1, 2, 3)), r"samples of shape \(2, 3\) have 6"),
        (np.ones((2, 2, 1)), r"X\[None\]"),
        (np.ones(4), r"X\[None\]"),
        (np.arange(30) % 3, "look like labels"),
        (np.arange(30.0), r"not \(30,\)$"),
        (np.float64(1), "single number"),
        (np.ones((0, 4)), "no samples"),
        ([], "no samples"),
        (np.ones((3, 4), bool), "mask"),
        ([["a"] * 4], "numbers"),
        (np.full((3, 4), "1.0"), r"numpy\.asarray\(X, float\)"),
        (np.ones((3, 4), object), r"numpy\.asarray\(X, float\)"),
        (np.ones((3, 4), complex), "real"),
        ([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0]], "row 0 has 4 entries and row 1 has 2"),
        (None, "object"),
        ({"x": 1}, "object"),
        (MLP, "first"),
        (pd.DataFrame({"a": [1.0], "b": ["x"], "c": [2.0], "when": pd.to_datetime(["2020-01-01"])}), r"'b' \(row 0 is 'x'\), 'when'"),
        (pd.DataFrame(X).assign(seen=True), r"'seen' \(bool\)"),
        (pd.DataFrame(X, columns=list("abcd")).assign(label=1), "such as 'a' or 'label'"),
        (pd.Series([1.0, 2.0, 3.0]), "shape"),
    ],
)  # fmt: skip
def test_mistakes(bad, word):
    with pytest.raises(ntkflow.errors.DataError, match=word):
        checked_inputs(MLP, bad)


def test_one_number_a_sample():
    with pytest.raises(ntkflow.errors.DataError, match=r"3 samples of one number write X\[:, None\]"):
        checked_inputs(ntkflow.MLP((1, 8, 2)), np.ones(3))
    same(X[:, :1], ntkflow.MLP((1, 8, 2)), X[:, :1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite(value):
    bad = X.copy()
    bad[1, 2] = value
    with pytest.raises(ntkflow.errors.DataError, match=rf"X\[1, 2\] is {value}: drop row 1"):
        checked_inputs(MLP, bad)
    bad[2] = value
    with pytest.raises(ntkflow.errors.DataError, match=r"2 of 3 rows"):
        checked_inputs(MLP, bad)
    frame = pd.DataFrame(X).convert_dtypes()
    frame.iloc[2, 0] = pd.NA
    with pytest.raises(ntkflow.errors.DataError, match=r"X\[2, 0\] is nan"):
        checked_inputs(MLP, frame)


def test_raw_images_are_noticed():
    """Whole numbers up to 255 are; digits up to 16 and scaled ones are not."""
    raw = np.array([[0, 255, 3, 7], [9, 1, 128, 0]])
    for given in (raw, raw.astype(np.uint8), pd.DataFrame(raw)):
        with pytest.warns(UserWarning, match="raw images"):
            same(given, expected=raw)
    for given in (raw / 255, raw // 16, raw - 128, raw * 2):
        same(given, expected=given)


def test_traced_inputs_are_told_where_to_go():
    with pytest.raises(ntkflow.errors.DataError, match="traced_flow"):
        jax.jit(lambda x: ntkflow.flow(MLP, x, "mean")[-1].H)(X)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: ntkflow.MLP((4, 8, 2), "Relu"), r"did you mean 'relu'\?"),
        (lambda: ntkflow.MLP((4, 8, 2), "leakyrelu"), r"did you mean 'leaky_relu'\?"),
        (lambda: ntkflow.MLP((4, 8, 2), {"name": "leaky_relu", "slop": 1}), r"did you mean 'slope'\?"),
        (lambda: ntkflow.MLP.from_spec({"width": [4, 8, 2]}), r"did you mean 'widths'\?"),
        (lambda: ntkflow.MLP.from_spec({"widths": [4, 8, 2], "c_w": 2}), r"did you mean 'C_W'\?"),
        (lambda: ntkflow.flow(MLP, X, "pair"), r"did you mean 'pairs'\?"),
        (lambda: ntkflow.flow(MLP, X, "mean")[-1].error("h"), r"did you mean 'H'\?"),
    ],
)
def test_misspelt_names(call, word):
    with pytest.raises(ntkflow.errors.NtkflowError, match=word):
        call()


def test_names_like_no_other_are_not_guessed():
    with pytest.raises(ntkflow.errors.ActivationError) as caught:
        ntkflow.MLP((4, 8, 2), "xyz")
    assert "did you mean" not in str(caught.value)


def test_targets_of_the_other_loss():
    z = np.zeros((3, 2))
    for loss, y, word in (
        (ntkflow.mse, np.array([0, 1, 1]), r"numpy\.eye\(2\)\[y\]"),
        (ntkflow.cross_entropy, np.eye(2)[[0, 1, 1]], r"argmax"),
        (ntkflow.cross_entropy, np.array([0.0, 1.0, 1.0]), r"astype\(int\)"),
    ):
        with pytest.raises(ntkflow.errors.DataError, match=word):
            loss(z, y)
    with pytest.raises(ntkflow.errors.DataError, match=r"y\[:, None\]"):
        ntkflow.mse(z[:, :1], np.zeros(3))
    with pytest.raises(ntkflow.errors.DataError, match=r"numpy\.eye\(2\)\[y\]"):
        ntkflow.predict_first_step(ntkflow.flow(MLP, X), ntkflow.mse, [0, 1, 1], 0.1)


def test_compare_in_the_other_order():
    flow, ensemble = ntkflow.flow(MLP, X, "mean"), ntkflow.ensemble(MLP, X, 2, components="mean")
    with pytest.raises(ntkflow.errors.DataError, match="flow comes first"):
        ntkflow.compare(ensemble, flow)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ntkflow.errors.DataError, match="ensemble must be of the type Ensemble, not Flow"):
        ntkflow.compare(flow, flow)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("library", ["torch", "equinox", "optax"])
def test_a_missing_extra(monkeypatch, library):
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, f"ntkflow.interop.{library}", raising=False)
    with pytest.raises(
        ntkflow.errors.MissingExtraError, match=rf"pip install 'ntkflow\[{library}\]'"
    ) as caught:
        importlib.import_module(f"ntkflow.interop.{library}")
    assert isinstance(caught.value, ImportError)


def test_no_library_is_imported_to_look_at_inputs():
    """pandas and torch take longer to import than small jobs to do."""
    code = (
        "import sys, numpy as np, ntkflow; from ntkflow._checks.inputs import checked_inputs; "
        "checked_inputs(ntkflow.MLP((4, 8, 2)), np.ones((3, 4))); print({'pandas', 'torch'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


NAMED = "a,b,c,d\n" + "\n".join(",".join(map(str, row)) for row in X)
FILES = {
    "plain.csv": NAMED.partition("\n")[2],
    "named.csv": NAMED,
    "named.tsv": NAMED.replace(",", "\t"),
    "quoted.csv": NAMED.replace("a,b,c,d", '"a","b","c","d"'),
    "byte-order.csv": "\ufeff" + NAMED,
    "windows.csv": NAMED.replace("\n", "\r\n"),
    "semicolons.csv": NAMED.replace(",", ";"),
    "european.csv": NAMED.replace(",", ";").replace(".", ","),
    "blanks.txt": NAMED.partition("\n")[2].replace(",", "  "),
    "spaces.csv": NAMED.replace(",", ", "),
    "comments.csv": "# of a,b\n\n" + NAMED,
    "counted.csv": NAMED.replace("a,b,c,d", "0,1,2,3"),
    "from-one.csv": NAMED.replace("a,b,c,d", "1,2,3,4"),
    "row names.csv": "a,b,c,d\n" + "\n".join(f"{i},{line}" for i, line in enumerate(NAMED.split("\n")[1:])),
    "text.csv": NAMED.replace(str(X[1, 2]), "oops"),
    "missing.csv": NAMED.replace(str(X[1, 2]), ""),
    "na first.csv": NAMED.partition("\n")[2].replace(str(X[0, 0]), "NA", 1),
    "label.csv": "\n".join(f"{line},{end}" for line, end in zip(NAMED.split("\n"), ["label", 0, 1, 0], strict=True)),
    "index.csv": "\n".join(f"{i},{line}" for i, line in zip(["", 0, 1, 2], NAMED.split("\n"), strict=True)),
    "ragged.csv": NAMED + ",1,2,3",
    "empty.csv": "",
    "names alone.csv": "a,b,c,d\n",
    "words.csv": "We thank the referees.\nAll of them.",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "net.toml").write_text('widths = [4, 8, 2]\nactivation = "tanh"\n')
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    np.save(folder / "X.npy", X)
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    np.savez(folder / "one.npz", X)
    np.savez(folder / "several.npz", x_train=X, y_train=np.arange(3))
    np.savez(folder / "none.npz")
    np.savetxt(folder / "savetxt.txt", X, header="a b c d")
    (folder / "broken.npz").write_bytes((folder / "one.npz").read_bytes()[:200])
    (folder / "latin.csv").write_bytes("é,b,c,d\n".encode("latin-1") + b"1,2,3,4")
    (folder / "broken.parquet").write_bytes(b"PAR1 and no more")
    return folder


def read(folder, name):
    return checked_inputs(
        MLP, importlib.import_module("ntkflow._disk.input_files").read_inputs(folder / name)
    )


@pytest.mark.parametrize(
    "name",
    [*list(FILES)[:13], "X.npy", "one.npz", "several.npz:x_train", "savetxt.txt"],
)
def test_files(folder, name):
    assert np.array_equal(read(folder, name), X)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("row names.csv", "second line has 5 entries, and its first line 4"),
        ("text.csv", "'c' (row 1 is 'oops')"),
        ("missing.csv", "X[1, 2] is nan"),
        ("na first.csv", "X[0, 0] is nan"),
        ("label.csv", "such as 'a' or 'label'"),
        ("index.csv", "such as 'Unnamed: 0' or 'd'"),
        ("ragged.csv", "ragged.csv"),
        ("empty.csv", "empty"),
        ("names alone.csv", "no samples"),
        ("words.csv", "'We'"),
        ("latin.csv", "UTF-8"),
        ("several.npz", "x_train (3, 4), y_train (3,); choose one, such as"),
        ("several.npz:x_tran", "did you mean 'x_train'?"),
        ("several.npz:y_train", "shape"),
        ("none.npz", "no array"),
        ("broken.npz", "broken.npz"),
        ("broken.parquet", "broken.parquet"),
        ("none.csv", "No such file"),
        ("none.parquet", "No such file"),
        ("none.npy", "No such file"),
        (".", "directory"),
        ("net.toml", "it isn't a .npy, .npz, .csv or .parquet file"),
        ("objects.npy", "it isn't a .npy"),
    ],
)
def test_files_with_mistakes(folder, name, word):
    if name.endswith(".parquet"):
        pytest.importorskip("fastparquet")
    with pytest.raises(ntkflow.errors.NtkflowError) as caught:
        read(folder, name)
    assert word in str(caught.value) and "\n" not in str(caught.value)


def test_parquet(folder, monkeypatch):
    pytest.importorskip("fastparquet")
    pd.DataFrame(X, columns=list("abcd")).to_parquet(folder / "X.parquet")
    assert np.array_equal(read(folder, "X.parquet"), X)

    def no_engine(*_, **__):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", no_engine)
    with pytest.raises(ntkflow.errors.MissingExtraError, match=r"pip install 'ntkflow\[parquet\]'"):
        read(folder, "X.parquet")


def test_commands_take_files_of_all_kinds(folder):
    """One of each way through the command line; which files are read is tested above."""
    for data in ("european.csv", "several.npz:x_train"):
        status, _, said = within(
            folder, "flow", "net.toml", "--data", data, "--components", "mean", "-o", "flow.nc", "--force"
        )
        assert status == 0, said
        assert np.array_equal(ntkflow.Flow.load(folder / "flow.nc").X, X)
    for data, word in (("several.npz", "choose one"), ("text.csv", "'oops'"), ("none.csv", "No such file")):
        status, _, said = within(folder, "flow", "net.toml", "--data", data, "-o", "other.nc")
        assert status == 2 and word in said and said.count("\n") == 1, said


def test_images_on_the_command_line(folder):
    np.save(folder / "images.npy", X.reshape(3, 2, 2))
    status, _, said = process(
        folder, "flow", "net.toml", "--data", "images.npy", "--components", "mean", "-o", "images.nc"
    )
    assert status == 0 and said.count("taken as 3 samples of 4 numbers") == 1, said


def test_flow_and_ensemble_swapped_on_the_command_line(folder):
    ntkflow.flow(MLP, X, "mean").save(folder / "saved.nc")
    ntkflow.ensemble(MLP, X, 2, components="mean", store=folder / "run.zarr")
    status, _, said = within(folder, "compare", "run.zarr", "saved.nc")
    assert status == 2 and "ntkflow compare saved.nc run.zarr" in said
