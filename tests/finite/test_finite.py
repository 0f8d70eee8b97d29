"""One network: the forward and backward equations against the definition by autodiff, and gradient-descent steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntkflow
from ntkflow import finite
from ntkflow.activations import _REGISTRY

NAMES = sorted(_REGISTRY)


def network(activation="tanh", widths=(5, 7, 6, 8, 3), dtype: type = np.float64, seed=0):
    depth = len(widths) - 1
    rng = np.random.default_rng(seed)
    rates = {key: rng.uniform(0.3, 1.5, depth).tolist() for key in ("C_b", "C_W", "lambda_b", "lambda_W")}
    scale = 1.0
    if activation == "exp":  # thrice exponentiated, what is not small overflows
        scale, rates["C_W"], rates["C_b"] = 0.2, 0.1, 0.01
    mlp = ntkflow.MLP(widths, activation, **rates)
    X, X2 = scale * rng.normal(size=(4, widths[0])), scale * rng.normal(size=(3, widths[0]))
    return mlp, finite.init(mlp, seed, dtype), X, X2


def close(a, b, tolerance=1e-12):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "widths"),
    [
        ("tanh", (5, 7, 3)),
        ("relu", (5, 7, 6, 3)),
        *((n, (5, 7, 6, 8, 4, 3)) for n in NAMES),
    ],
)
def test_three_roads_to_the_ntk(activation, widths):
    """Backward, forward and definition agree to 1e-12 at every layer, on X × X2 and on X × X."""
    mlp, params, X, X2 = network(activation, widths)
    every = finite.ntk_layers(mlp, params, X, X2)
    for layer in range(1, mlp.depth + 1):
        definition = finite.ntk_by_definition(mlp, params, X, X2, layer=layer)
        assert definition.dtype == np.float64
        assert close(finite.ntk(mlp, params, X, X2, layer=layer), definition)
        assert close(every[layer - 1], definition)
        assert close(
            finite.ntk(mlp, params, X, layer=layer), finite.ntk_by_definition(mlp, params, X, layer=layer)
        )


@pytest.mark.parametrize(
    ("N", "widths"),
    [
        (4, (3, 2)),
        (1, (1, 1)),
        (1, (4, 1, 1)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (1, (3, 2)),
                (4, (1, 1)),
                (4, (4, 1, 1)),
                (1, (2, 9, 3)),
                (4, (2, 9, 3)),
                (1, (3, 4, 1, 5, 2)),
                (4, (3, 4, 1, 5, 2)),
                (1, (2, 3, 4, 5, 6, 11)),
                (4, (2, 3, 4, 5, 6, 11)),
            )
        ),
    ],
)
def test_depths_widths_and_one_sample(widths, N):
    mlp, params, X, _ = network("gelu", widths)
    X = X[:N]
    definition = finite.ntk_by_definition(mlp, params, X)
    assert close(finite.ntk(mlp, params, X), definition)
    assert close(finite.ntk_layers(mlp, params, X)[-1], definition)
    assert close(finite.ntk_trace(mlp, params, X), np.einsum("iiab->ab", definition) / widths[-1])
    bias, weight = finite.ntk_contributions(mlp, params, X)
    assert bias.shape == (mlp.depth, *definition.shape)
    assert close(bias.sum(0) + weight.sum(0), definition)


def test_only_what_is_asked():
    mlp, params, X, X2 = network()
    for layer in (2, 4):
        whole = finite.ntk(mlp, params, X, X2, layer=layer)
        assert close(
            finite.ntk(mlp, params, X, X2, layer=layer, neurons=[2, 0]), whole[np.ix_([2, 0], [2, 0])]
        )
        pairs = np.array([[0, 2], [3, 1], [1, 1]])
        some = finite.ntk(mlp, params, X, X2, layer=layer, neurons=[1], pairs=pairs)
        assert close(some, whole[1:2, 1:2, pairs[:, 0], pairs[:, 1]])
        assert close(
            finite.ntk_trace(mlp, params, X, X2, layer=layer), np.einsum("iiab->ab", whole) / len(whole)
        )


def test_plain_gradient_descent_starves_the_biases():
    """With λ_μν = δ_μν the NTK grows as the width and the biases' share of it falls as 1/width."""
    shares, sizes = [], []
    for n in (64, 256):
        mlp = ntkflow.MLP((10, n, n, 1), "tanh", C_W=1.5)
        params, X = finite.init(mlp, 0), np.random.default_rng(0).normal(size=(3, 10))
        bias, weight = finite.ntk_contributions(mlp, params, X, rates=finite.plain(mlp))
        trace = np.einsum("liiaa->l", bias + weight).sum()
        shares.append(np.einsum("liiaa->l", bias).sum() / trace)
        sizes.append(trace)
        tensorial = finite.ntk_contributions(mlp, params, X)[0]
        assert np.einsum("liiaa->l", tensorial).sum() > 0.2 * np.trace(finite.ntk(mlp, params, X)[0, 0])
    assert 2.5 < sizes[1] / sizes[0] < 6 and 2.5 < shares[0] / shares[1] < 6


def test_any_positive_tensor_within_a_layer():
    mlp, params, X, X2 = network(widths=(3, 4, 2))
    rates = finite.tensorial(mlp)
    matrices = [
        np.diag(np.r_[np.full(p.W.size, w), np.full(p.b.size, b)])
        for p, w, b in zip(params, rates.weight, rates.bias, strict=True)
    ]
    assert close(
        finite.ntk_by_definition(mlp, params, X, X2, tensor=matrices), finite.ntk(mlp, params, X, X2)
    )
    doubled = [lambda v: 2 * v, lambda v: 2 * v]
    unit = finite.ntk(mlp, params, X, X2, rates=finite.plain(mlp))
    assert close(finite.ntk_by_definition(mlp, params, X, X2, tensor=doubled), 2 * unit)
    with pytest.raises(ntkflow.errors.ParameterError, match="shape"):
        finite.ntk_by_definition(mlp, params, X, tensor=[np.eye(3), np.eye(3)])


def test_jacobians_and_interlayer_ntk_by_autodiff():
    mlp, params, X, X2 = network()
    with jax.enable_x64(True):

        def above(z2, ell=2):
            z = z2
            for k in range(ell, mlp.depth):
                z = mlp.activation[k - 1](z) @ params[k].W.T + params[k].b
            return z

        z = finite.forward(mlp, params, X)
        expected = jax.jit(jax.vmap(jax.jacrev(above)))(jnp.asarray(z[1]))
        assert close(finite.jacobian(mlp, params, X, -1, 2), expected)
        assert close(
            finite.jacobian(mlp, params, X, 3, 3, neurons=[1]), np.broadcast_to(np.eye(8)[1], (4, 1, 8))
        )
        derivatives = [
            jax.jit(jax.jacrev(lambda p, x=x, layer=layer: finite.forward(mlp, p, x)[layer - 1]))(params)
            for x, layer in ((jnp.asarray(X), 2), (jnp.asarray(X2), 4))
        ]
        rates = finite.tensorial(mlp)
        expected = sum(
            rates.weight[k] * jnp.einsum("aimn,bjmn->ijab", derivatives[0][k].W, derivatives[1][k].W)
            + rates.bias[k] * jnp.einsum("aim,bjm->ijab", derivatives[0][k].b, derivatives[1][k].b)
            for k in range(4)
        )
    assert close(finite.interlayer_ntk(mlp, params, X, X2, layers=(2, 4)), expected)
    assert close(finite.interlayer_ntk(mlp, params, X, X2, layers=(-1, -1)), finite.ntk(mlp, params, X, X2))


def test_float32_stays_float32():
    mlp, params, X, X2 = network(dtype=np.float32)
    wide = tuple(finite.LayerParameters(*(np.asarray(a, np.float64) for a in layer)) for layer in params)
    single = finite.ntk(mlp, params, X, X2)
    assert single.dtype == np.float32 and params[0].W.dtype == np.float32
    assert close(single, finite.ntk(mlp, wide, X.astype(np.float32), X2.astype(np.float32)), 1e-5)


def test_parameters_are_gaussian_and_reproducible():
    """Variances within 5 standard errors (false alarm below 1e-5), the same key the same network."""
    mlp = ntkflow.MLP((300, 200, 100), "tanh", C_b=0.7, C_W=[1.3, 0.4])
    params = finite.init(mlp, 3)
    for layer, fan_in, C_W in zip(params, (300, 200), (1.3, 0.4), strict=True):
        for values, variance in ((layer.W, C_W / fan_in), (layer.b, 0.7)):
            assert abs(np.mean(values**2) / variance - 1) < 5 * np.sqrt(2 / values.size)
    again = finite.init(mlp, jax.random.key(3))
    assert all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(again), strict=True)
    )


def observed(z):
    return jnp.stack([jnp.sum(jnp.sin(z[0])), jnp.mean(z[1] ** 2) * jnp.sum(z[-1]), jax.nn.logsumexp(z[-1])])


@pytest.mark.parametrize(
    ("loss", "plain"),
    [
        ("mse", False),
        ("cross_entropy", True),
        ("own", False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("mse", True), ("cross_entropy", False), ("own", True))
        ),
    ],
)
def test_steps_are_predicted_to_second_order(loss, plain):
    """Predicted and real changes of the loss and of an observable of several layers on other samples differ as η²."""
    mlp, params, X, X2 = network()
    y = np.array([0, 2, 1, 1]) if loss == "cross_entropy" else np.random.default_rng(5).normal(size=(4, 3))
    function = (lambda z, y: jnp.mean(jnp.cosh(z - y))) if loss == "own" else getattr(finite, loss)
    rates = finite.plain(mlp) if plain else None

    def measured(params):
        with jax.enable_x64(True):
            outputs = jnp.asarray(finite.forward(mlp, params, X)[-1])
            return float(function(outputs, jnp.asarray(y))), np.asarray(
                observed(finite.forward(mlp, params, X2))
            )

    etas, gaps = 1e-3 * 0.5 ** np.arange(4), []
    for eta in etas:
        arguments = (mlp, params, X, y, function, eta)
        after = measured(finite.gradient_step(*arguments, rates))
        change, other = (a - b for a, b in zip(after, measured(params), strict=True))
        other -= finite.predicted_change(*arguments, observed, X2, rates)
        gaps.append([change - finite.predicted_loss_change(*arguments, rates), np.linalg.norm(other)])
    order = np.polyfit(np.log(etas), np.log(np.abs(gaps)), 1)[0]
    assert np.all(np.abs(order - 2) < 0.15)


def test_prediction_is_the_sum_over_the_ntk(rng):
    """(8.13) and (8.3) with Ĥ and the interlayer NTKs written out."""
    mlp, params, X, X2 = network()
    y, eta = rng.normal(size=(4, 3)), 0.1
    error = (finite.forward(mlp, params, X)[-1] - y) / len(X)
    expected = -eta * np.einsum("ai,bj,ijab->", error, error, finite.ntk(mlp, params, X))
    assert close(finite.predicted_loss_change(mlp, params, X, y, finite.mse, eta), expected)
    change = finite.predicted_change(mlp, params, X, y, finite.mse, eta, lambda z: z[1], X2)
    written_out = -eta * np.einsum(
        "ai,jiba->bj", error, finite.interlayer_ntk(mlp, params, X2, X, layers=(2, 4))
    )
    assert close(change, written_out)


def test_training_lowers_the_loss_at_any_width(rng):
    X = rng.normal(size=(20, 6))
    y = np.sin(X[:, :1])
    for n in (16, 256):
        mlp = ntkflow.MLP((6, n, n, 1), "tanh", C_W=1.2)
        params = finite.init(mlp, 0)
        for batch_size in (None, 5):
            trained, history = finite.train(
                mlp,
                params,
                X,
                y,
                finite.mse,
                0.1,
                60,
                batch_size=batch_size,
                metrics={"worst": lambda z, y: jnp.max(jnp.abs(z - y))},
            )
            assert history.step == [0, 10, 20, 30, 40, 50, 60] and len(history.metrics["worst"]) == 7
            assert history.loss[-1] < 0.5 * history.loss[0]
            assert trained[0].W.shape == (n, 6)
    one = finite.train(mlp, params, X, y, finite.mse, 0.1, 1)[0]
    step = finite.gradient_step(mlp, params, X, y, finite.mse, 0.1)
    assert all(close(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(step), strict=True))


def test_training_that_diverges_ends():
    mlp, params, X, _ = network("relu")
    history = finite.train(mlp, params, X, np.zeros((4, 3)), finite.mse, 1e3, 1000)[1]
    assert not np.isfinite(history.loss[-1]) and history.step[-1] < 1000


def test_refusals(rng):
    mlp, params, X, _ = network()
    with pytest.raises(ntkflow.errors.ParameterError, match=r"layer 2: W must have shape \(6, 7\)"):
        finite.forward(mlp, (params[0], finite.LayerParameters(params[1].W.T, params[1].b), *params[2:]), X)
    with pytest.raises(ntkflow.errors.ParameterError, match="layer 1: b is not finite"):
        finite.ntk(mlp, (finite.LayerParameters(params[0].W, params[0].b * np.nan), *params[1:]), X)
    with pytest.raises(ntkflow.errors.ParameterError, match="4 layers"):
        finite.forward(mlp, params[:2], X)
    with pytest.raises(ntkflow.errors.DataError, match="2 columns"):
        finite.forward(mlp, params, X[:, :2])
    with pytest.raises(ntkflow.errors.DataError, match="finite"):
        finite.ntk(mlp, params, X * np.nan)
    with pytest.raises(ntkflow.errors.DataError, match="real"):
        finite.ntk(mlp, params, X * 1j)
    with pytest.raises(ntkflow.errors.DataError, match="N ≥ 1"):
        finite.ntk(mlp, params, X[:0])
    with pytest.raises(ntkflow.errors.ParameterError, match="floating"):
        finite.forward(ntkflow.MLP((1, 1)), [([[2]], [0])], [[0.5]])
    for call in (finite.ntk, finite.ntk_layers, finite.ntk_trace):
        with pytest.raises(ntkflow.errors.ParameterError, match="4 layers"):
            call(mlp, params, X, rates=finite.LearningRates((1.0,), (1.0,)))
    with pytest.raises(ntkflow.errors.DataError, match="class numbers"):
        finite.predicted_loss_change(mlp, params, X, np.array([0, 1, 2, 3]), finite.cross_entropy, 0.1)
    with pytest.raises(ntkflow.errors.DataError, match="taken"):
        finite.train(mlp, params, X, np.zeros((4, 3)), finite.mse, 0.1, 1, metrics={"loss": finite.mse})
    with pytest.raises(ntkflow.errors.ParameterError, match="pair"):
        finite.ntk(mlp, (1.0, *params[1:]), X)
    with pytest.raises(ntkflow.errors.ComponentError, match="layers are 1"):
        finite.ntk(mlp, params, X, layer=5)
    one = network(widths=(5, 4, 1))
    with pytest.raises(ntkflow.errors.DataError, match="broadcast|shape"):
        finite.gradient_step(one[0], one[1], one[2], np.zeros(4), finite.mse, 0.1)
    with pytest.raises(ntkflow.errors.DataError, match="whole class numbers"):
        finite.predicted_loss_change(mlp, params, X, np.zeros(4), finite.cross_entropy, 0.1)
    for wrong in ({"steps": -1}, {"steps": 5, "record_every": 0}, {"steps": 5, "batch_size": 9}):
        with pytest.raises(ntkflow.errors.DataError, match=list(wrong)[-1]):
            finite.train(mlp, params, X, np.zeros((4, 3)), finite.mse, 0.1, **wrong)
    with pytest.raises(ntkflow.errors.ComponentError, match="neurons"):
        finite.ntk(mlp, params, X, neurons=[3])
    with pytest.raises(ntkflow.errors.ComponentError, match="pairs"):
        finite.ntk(mlp, params, X, pairs=[(0, 4)])
    wide = ntkflow.MLP((5, 1024, 1024, 1024), "relu")
    drawn, many = finite.init(wide, 0), rng.normal(size=(1200, 5))
    for call in (
        lambda: finite.ntk(wide, drawn, many[:64], layer=2),
        lambda: finite.ntk(wide, drawn, many, layer=3, pairs=np.zeros((4, 2), int)),
        lambda: finite.ntk_trace(wide, drawn, many),
        lambda: finite.jacobian(wide, drawn, many, lower=1),
        lambda: finite.interlayer_ntk(wide, drawn, many, layers=(3, 3)),
    ):
        with pytest.raises(ntkflow.errors.MemoryRequestError, match="ntk_trace"):
            call()
    with pytest.raises(ntkflow.errors.MemoryRequestError, match="Jacobians"):
        finite.ntk_by_definition(wide, drawn, many[:4])


BAD_CALLS = [
    (ntkflow.errors.ComponentError, "layers are 1", lambda m, p, X, y: finite.ntk(m, p, X, layer=1.5)),
    (ntkflow.errors.ComponentError, "layers are 1", lambda m, p, X, y: finite.ntk(m, p, X, layer=True)),
    (ntkflow.errors.ComponentError, "layers are 1", lambda m, p, X, y: finite.jacobian(m, p, X, upper=None)),
    (ntkflow.errors.ComponentError, "l1, l2", lambda m, p, X, y: finite.interlayer_ntk(m, p, X, layers=3)),
    (ntkflow.errors.ComponentError, "neurons", lambda m, p, X, y: finite.ntk(m, p, X, neurons=[])),
    (ntkflow.errors.ComponentError, "neurons", lambda m, p, X, y: finite.ntk(m, p, X, neurons=[[0], [1, 2]])),
    (ntkflow.errors.ComponentError, "P ≥ 1", lambda m, p, X, y: finite.ntk(m, p, X, pairs=[])),
    (
        ntkflow.errors.DataError,
        "X must be an array",
        lambda m, p, X, y: finite.ntk(m, p, [[1.0], [1.0, 2.0]]),
    ),
    (ntkflow.errors.DataError, "X2 has 2 columns", lambda m, p, X, y: finite.ntk(m, p, X, X[:, :2])),
    (
        ntkflow.errors.DataError,
        "X must be an array of real",
        lambda m, p, X, y: finite.ntk(m, p, X.astype(object)),
    ),
    (ntkflow.errors.ParameterError, "seed", lambda m, p, X, y: finite.init(m, -1)),
    (ntkflow.errors.ParameterError, "seed", lambda m, p, X, y: finite.init(m, 2**70)),
    (ntkflow.errors.ParameterError, "seed", lambda m, p, X, y: finite.init(m, "0")),
    (ntkflow.errors.ParameterError, "dtype", lambda m, p, X, y: finite.init(m, 0, np.int32)),
    (ntkflow.errors.ParameterError, "layer 2: W is float32", lambda m, p, X, y: finite.ntk(m, mixed(p), X)),
    (
        ntkflow.errors.ParameterError,
        "not negative",
        lambda m, p, X, y: finite.ntk(m, p, X, rates=finite.LearningRates((-1.0,) * 4, (1.0,) * 4)),
    ),
    (
        ntkflow.errors.ParameterError,
        "eta",
        lambda m, p, X, y: finite.gradient_step(m, p, X, y, finite.mse, np.nan),
    ),
    (ntkflow.errors.ParameterError, "eta", lambda m, p, X, y: finite.train(m, p, X, y, finite.mse, "1", 1)),
    (ntkflow.errors.ParameterError, "loss", lambda m, p, X, y: finite.gradient_step(m, p, X, y, "mse", 0.1)),
    (
        ntkflow.errors.DataError,
        "seed",
        lambda m, p, X, y: finite.train(m, p, X, y, finite.mse, 0.1, 1, seed=-1),
    ),
    (
        ntkflow.errors.DataError,
        "batch_size",
        lambda m, p, X, y: finite.train(m, p, X, y, finite.mse, 0.1, 1, batch_size=1.5),
    ),
    (
        ntkflow.errors.ParameterError,
        "symmetric",
        lambda m, p, X, y: finite.ntk_by_definition(
            m, p, X, tensor=[np.triu(np.ones((w.W.size + w.b.size,) * 2)) for w in p]
        ),
    ),
]


def mixed(params):
    return (params[0], finite.LayerParameters(*(x.astype(np.float32) for x in params[1])), *params[2:])


@pytest.mark.parametrize("error, words, call", BAD_CALLS)
def test_bad_arguments_are_named(error, words, call):
    mlp, params, X, _ = network()
    with pytest.raises(error, match=words):
        call(mlp, params, X, np.zeros((4, 3)))


def test_constants_within_compiled_code():
    """Within jit nothing that is given need be traced; float64 constants follow JAX's setting and harm no later call."""
    mlp, params, X, _ = network()
    expected = finite.ntk(mlp, params, X)
    total = jax.jit(lambda s: s * finite.ntk(mlp, params, X, neurons=[0], pairs=[(0, 1)]).sum())(1.0)
    assert total.dtype == np.float32 and np.isclose(total, expected[0, 0, 0, 1], rtol=1e-5)
    labels = np.zeros(4, int)
    change = jax.jit(
        lambda s: s * finite.predicted_loss_change(mlp, params, X, labels, finite.cross_entropy, 0.1)
    )
    real = finite.predicted_loss_change(mlp, params, X, labels, finite.cross_entropy, 0.1)
    assert np.isclose(change(1.0), real, rtol=1e-5) and real.dtype == np.float64
    drawn = jax.jit(lambda key: finite.init(mlp, key)[0].W)(jax.random.key(0))
    assert drawn.dtype == np.float32
    assert close(finite.ntk(mlp, params, X), expected, 1e-15) and jnp.zeros(1).dtype == np.float32


def test_a_matrix_may_be_nested_lists_where_it_is_as_long_as_a_pair_of_rates():
    """One weight and one bias: (2, 2), as many rows as a layer has arrays."""
    mlp = ntkflow.MLP((1, 1), "tanh", 0.5, 1.0)
    params, X = finite.init(mlp, 0), np.array([[0.7], [-1.2]])
    matrix = [[2.0, 0.5], [0.5, 3.0]]
    H = finite.ntk_by_definition(mlp, params, X, tensor=[matrix])
    rows = np.concatenate([X, np.ones((2, 1))], axis=1)
    assert close(H[0, 0], rows @ np.array(matrix) @ rows.T)
