"""Theory against sampling at several widths: the limit of the measurements as the width grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks.inputs import checked_inputs
from .._recursions import TENSORS
from .._recursions.tensors import Correction
from .._report.describe import InNotebooks
from .._report.progress import Report, shows_progress, silent
from .._theory.flow import flow as predict
from .._theory.result import Flow
from .._theory.scales import KERNELS
from ..errors import DataError
from ..finite.parameters import whole_number
from ..network import as_network
from ..network.blocks import Block
from ..network.mlp import MLP
from ..network.network import Network, has_blocks
from ..sampling import Ensemble, ensemble
from ..sampling.estimators import LEAST_FOR_ERRORS
from .comparison import exact_layers, joint_threshold, warn_of_few, z_scores

if TYPE_CHECKING:
    from os import PathLike

    from rich.table import Table

    from .._report.picture import Picture


def tested(training: bool = False, streams: bool = False) -> tuple[str, ...]:
    """The names of what is compared with sampled networks: kernels and tensors, those of training and of streams with skips if they are asked for."""
    tensors = (
        name
        for name, declared in TENSORS.items()
        if declared.measured and (training or not declared.training) and (streams or not declared.streams)
    )
    return (*KERNELS, *tensors)


def _mean_of(name: str) -> str | None:
    """The kernel that a tensor corrects; None for other tensors."""
    measured = TENSORS[name].measured if name in TENSORS else None
    return measured.kernel if isinstance(measured, Correction) else None


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """One tensor of one layer, measured at several widths as m(n) = a + b / n, n = n_{ℓ-1}; arrays have its shape.

    G1 and H1 are measured as n (m - G) and n (m - H), with the predicted G and H.
    """

    layer: int
    name: str
    exact: bool
    """Whether the prediction holds at any width, so that b must vanish."""
    widths: np.ndarray
    """n_{ℓ-1} of each measurement, (W,)."""
    measured: np.ndarray
    """(W, …)."""
    measured_error: np.ndarray
    """(W, …), standard errors."""
    predicted: np.ndarray
    a: np.ndarray
    a_error: np.ndarray
    """Standard error."""
    b: np.ndarray
    b_error: np.ndarray
    """Standard error."""
    curvature: np.ndarray
    """How far a next term of the expected size, max b² / scale / n², would move a; zero where the prediction is exact."""
    threshold: float
    """The z-score that noise alone exceeds anywhere in the verification with probability 1e-3."""

    @property
    def scale(self) -> float:
        """The largest predicted component."""
        return float(np.nanmax(np.abs(self.predicted)))

    @property
    def residuals(self) -> np.ndarray:
        """z-scores of a less the prediction, what curvature allows taken off; with the tensor's shape."""
        difference = self.a - self.predicted
        beyond = np.sign(difference) * np.maximum(np.abs(difference) - self.curvature, 0.0)
        return z_scores(beyond, self.a_error, self._roundoff)

    @property
    def z(self) -> float:
        """The largest z-score of a less the prediction, beyond what curvature allows."""
        return float(np.nanmax(np.abs(self.residuals)))

    @property
    def z_b(self) -> float:
        """The largest z-score of b where it must vanish, otherwise 0."""
        if not self.exact:
            return 0.0
        return float(np.nanmax(np.abs(z_scores(self.b, self.b_error, self._roundoff * self.widths.max()))))

    @property
    def _roundoff(self) -> float:
        return max(self.scale, float(np.nanmax(np.abs(self.measured))))

    @property
    def agrees(self) -> bool:
        return max(self.z, self.z_b) <= self.threshold


@dataclass(frozen=True, eq=False)
class Verification(InNotebooks):
    """The outcome: every tensor of every layer."""

    extrapolations: list[Extrapolation]
    widths: tuple[int, ...]
    draws: int
    mlp: MLP
    """The network of the largest of these widths."""
    samples: int
    """How many samples there are."""

    def __repr__(self) -> str:
        return (
            f"Verification with {self.draws} networks at each of the widths {', '.join(map(str, self.widths))}, the last of them\n"
            f"{self.mlp!r}\n"
            f"{self.samples} samples; layers 1 … {self.mlp.depth}; {', '.join(dict.fromkeys(e.name for e in self))}\n{self.words}"
        )

    def table(self) -> Table:
        """The table that `ntkflow verify` prints."""
        from .._report.table import verification_table

        return verification_table(self)

    def plot(self, path: str | PathLike | None = None) -> Picture:
        """The picture of `ntkflow verify --plot`, which notebooks show; written to `path` if there is one, replacing what is there."""
        from .._report.plot import plot_verification

        return plot_verification(self, path)

    def __iter__(self):
        return iter(self.extrapolations)

    @property
    def agrees(self) -> bool:
        """Whether theory and sampling agree; if they do, this fails with probability 1e-3."""
        return all(e.agrees for e in self)

    @property
    def words(self) -> str:
        """The outcome in a sentence."""
        differing = [f"{e.name} of layer {e.layer}" for e in self if not e.agrees]
        if differing:
            return f"Theory and sampling disagree: {', '.join(differing)}."
        return "Theory and sampling agree, within noise and with the expected 1/n."


@shows_progress
def verify(
    network: Any, X, widths: Sequence[int] = (32, 64, 128), draws: int = 20_000, seed: int = 0,
    progress: Report | None = None, *, training: bool = False,
) -> Verification:  # fmt: skip
    """Test the theory on networks whose hidden widths are those of `network` times a common factor.

    Args:
        network: as of `flow`.
        X: (N, n_0) finite inputs.
        widths: of the first hidden layer, at least two different ones; the others keep their ratio to it, within blocks too.
        draws: networks at each width, at least 3: two don't say how far they are off.
        seed: of width number k it is seed + k.
        progress: as of `flow`.
        training: whether to test the tensors of training too; as of `ensemble`.

    Raises:
        DataError: widths are too few, or don't keep the ratios; or there are too few draws.
        Others as of `flow` and `ensemble`.
    """
    mlp = as_network(network)
    networks, X = scaled(mlp, widths), checked_inputs(mlp, X)
    draws = whole_number(draws, "draws", LEAST_FOR_ERRORS, 2**53, DataError)
    report = progress or silent
    total = draws * len(networks)
    ensembles = [
        ensemble(
            mlp, X, draws, seed + k, training=training,
            progress=lambda done, _, message, k=k, n=n: report(k * draws + done, total, f"width {n}: {message}"),
        )
        for k, (n, mlp) in enumerate(zip(widths, networks, strict=True))
    ]  # fmt: skip
    return extrapolate(predict(networks[-1], X, training=training), ensembles)


def scaled(mlp: MLP | Network, widths: Sequence[int]) -> list[MLP | Network]:
    """`mlp` with its hidden widths scaled so that the first is each of `widths`; DataError if that makes no whole ones."""
    if mlp.depth < 2:
        raise DataError("a network without hidden layers has no width to scale")
    widths = [whole_number(n, "widths", 1, 2**31, DataError) for n in widths]
    if len(set(widths)) < max(2, len(widths)):
        raise DataError(f"widths must be at least two different ones, not {list(widths)}")
    first = mlp.widths[1]
    networks: list[MLP | Network] = []
    for n in widths:

        def to_scale(m: int, n: int = n) -> int:
            if m * n % first:
                raise DataError(
                    f"width {n}: the hidden widths can't keep their ratios: {m} would be {m * n / first:g}, {first} being {n}"
                )
            return m * n // first

        spec = (mlp.widths[0], *map(to_scale, mlp.widths[1:-1]), mlp.widths[-1])
        if isinstance(mlp, MLP):
            networks.append(MLP(spec, list(mlp.activation), mlp.C_b, mlp.C_W, mlp.lambda_b, mlp.lambda_W))
        else:
            layers = [_scaled(layer, to_scale) for layer in mlp.layers]
            networks.append(Network(spec, layers))
    return networks


def _scaled(layer: Any, to_scale: Callable[[int], int]) -> Any:
    """A block with its inner widths scaled; other layers as they are."""
    if not isinstance(layer, Block):
        return layer
    *inner, last = layer.stages
    return Block(
        [*(stage.with_width(to_scale(stage.width or 0)) for stage in inner), last.with_width(None)],
        layer.gamma,
    )


def extrapolate(flow: Flow, ensembles: Sequence[Ensemble]) -> Verification:
    """Fit and test measurements at several widths, one network scaled, of which `flow` is the prediction."""
    warn_of_few(min(e.draws for e in ensembles))
    rows = [
        _fitted(flow, ensembles, layer, name)
        for layer in range(1, len(flow) + 1) for name in tested(ensembles[0].training, has_blocks(flow.mlp))
        if name in flow[layer].values and not (_mean_of(name) and layer < TENSORS[name].vanishes_below)
    ]  # fmt: skip
    tests = sum(row["predicted"].size * (2 if row["exact"] else 1) for row in rows)
    threshold = joint_threshold(tests)
    return Verification(
        [Extrapolation(**row, threshold=threshold) for row in rows],
        tuple(e.mlp.widths[1] for e in ensembles),
        min(e.draws for e in ensembles),
        flow.mlp,
        len(flow.X),
    )


def _fitted(flow: Flow, ensembles: Sequence[Ensemble], layer: int, name: str) -> dict:
    predicted = flow[layer][name]
    mean = _mean_of(name) or name
    n = np.array([e[layer].fan_in for e in ensembles], float)
    m = np.stack([e[layer][mean] for e in ensembles])
    error = np.stack([e[layer].error(mean) for e in ensembles])
    column = (-1,) + (1,) * predicted.ndim
    if mean != name:
        m = n.reshape(column) * (m - flow[layer][mean])
        error = n.reshape(column) * error
    scale = float(np.abs(predicted).max())
    x = 1 / n
    if layer == 1:  # its fan-in is that of the data, and does not change
        x = 1 / np.array([e.mlp.widths[1] for e in ensembles], float)
    floor = 1e-12 * max(scale, float(np.abs(m).max())) or 1e-30
    (a, b), (a_error, b_error), solve = _line(x.reshape(column), m, np.hypot(error, floor))
    # Of the whole tensor: a component's own b may vanish where its next term does not.
    exact = layer <= exact_layers(flow.mlp)
    size = 0.0 if exact or scale == 0 else np.max(b**2 - b_error**2, initial=0.0) / scale
    return {
        "layer": layer,
        "name": name,
        "exact": exact,
        "widths": n,
        "measured": m,
        "measured_error": error,
        "predicted": predicted,
        "a": a,
        "a_error": np.hypot(a_error, flow[layer].error(name)),
        "b": b,
        "b_error": b_error,
        "curvature": np.abs(solve(x.reshape(column) ** 2)) * size,
    }


def _line(x: np.ndarray, m: np.ndarray, error: np.ndarray):
    """Weighted least squares m = a + b x over the first axis: (a, b), their errors, and m ↦ a as a function."""
    w = error**-2
    total = np.sum(w, axis=0)

    def mean(y):
        return np.sum(w * y, axis=0) / total

    # About the means: Σ w x² Σ w - (Σ w x)² would cancel where one width is known far better than the others.
    x0 = mean(x)
    spread = np.sum(w * (x - x0) ** 2, axis=0)

    def slope(y):
        return np.sum(w * (x - x0) * (y - mean(y)), axis=0) / spread

    def intercept(y):
        return mean(y) - slope(y) * x0

    return (intercept(m), slope(m)), (np.sqrt(1 / total + x0**2 / spread), np.sqrt(1 / spread)), intercept
