"""The run: blocks of draws, each computed once, kept in a store if there is one, and added up in order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from .._checks.inputs import checked_inputs
from .._disk.locks import for_a_moment
from .._disk.saved_networks import network_of
from .._disk.store import digest, exists_to_resume
from .._jobs.tasks import Order, activations_of, at_work, checked_executor, done, share
from .._recursions import TENSORS
from .._report.progress import Report, shows_progress
from .._theory.components import sample_sets
from .._theory.scales import KERNELS
from ..errors import ComponentError, DataError, FileError, NonFiniteError, UnfinishedError
from ..finite.parameters import whole_number
from ..network import as_network
from ..network.mlp import MLP
from ..network.network import has_blocks
from ..version import __version__
from . import networks
from .block import Batch, batch_for, block_sums, sums_shapes
from .derivatives import check_differentiable
from .ensemble import Ensemble, assembled, relative_errors
from .estimators import Sums, measured_tensors
from .store import Store

MEASURES = {
    ("low-noise", False): networks.low_noise,
    ("low-noise", True): networks.low_noise_means,
    ("direct", False): networks.direct,
    ("direct", True): networks.direct_means,
}
_PILOT = 16
_DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Job:
    """All that a run's numbers depend on, up to round-off: two runs of equal jobs measure the same networks."""

    mlp: dict
    callable_activations: list[str]
    X_sha256: str
    components: str | list
    estimators: str
    seed: int
    dtype: str
    block: int
    draws: int
    until: float | None
    tensors: list[str]
    measured: list[str]

    @property
    def training(self) -> bool:
        """Whether the tensors of training are measured."""
        return any(name in TENSORS and TENSORS[name].training for name in self.measured)


@shows_progress
def ensemble(
    network: Any, X, draws: int = 1000, seed: int = 0, *, components: str | Sequence[Sequence[int]] = "all",
    estimators: str = "low-noise", until: float | None = None, tensors: Sequence[str] = (), dtype: str = "float64",
    store=None, resume: bool = False, batch: int | None = None, block: int | None = None,
    progress: Report | None = None, executor: Executor | None = None, part: tuple[int, int] | None = None,
    training: bool = False,
) -> Ensemble:  # fmt: skip
    """Measure G, H, V, D, F, A, B of every layer on sampled networks, with standard errors; with `training` P, Q, R, S, T, U too.

    Draw k of a seed is `init(mlp, draw_key(seed, k))`, up to the last digit of some weights. It is the same bit for bit whatever the
    batch, the devices and the workers; results agree up to round-off, and bit for bit where workers have as many devices. All devices
    of each process are used.

    Time is that of `draws` networks, N² n³ + N⁴ n² each for "all"; memory N² n², whatever the number of draws.
    Of `training` it is 20 N³ evaluations of each network more, and 4 N² of its gradients.

    Args:
        network: as of `flow`: networks are drawn with its C_b and C_W, Gaussian. Of a network of blocks K, L and M are measured too.
        X: (N, n_0) finite inputs.
        draws: networks, at least 2, of which the errors of V, D and A are infinite; with `until`, at most.
        components: as of `flow`.
        estimators: "low-noise" integrates the last layer's weights out by hand, PDLT (8.69), (8.83), where no skip passes them; "direct" takes the
            definitions, PDLT (8.67), (8.82), over the layer's own neurons, of which the tensors need two. Both are unbiased
            for n_{ℓ-1} times the statistic at this width, which is the tensor up to O(1/n).
        until: stop when the relative standard error of each of `tensors`, at every layer, is at most this.
        tensors: names out of those that are measured; by default all but G and H, or these if `components` is "mean".
        dtype: "float64" or "float32", of the networks; sums are float64.
        store: a path ending in `.zarr`, where each block's sums are kept as soon as they are known.
        resume: go on with the store at that path, which must be of the same job; more draws may be asked for.
        batch: networks at a time on each device; by default what suits the memory.
        block: draws in a block, which are computed anew if the run is stopped within it; by default about 1/128 of all.
        progress: as of `flow`; called before the first and after each block.
        executor, part: as of `flow`, with `store`; a part must be asked for as many draws as the others.
        training: whether to measure the tensors of training P, Q, R, S, T, U too, by derivatives of the outputs of two neurons of each
            layer, which are drawn beside its own.

    Raises:
        DataError, ComponentError, MemoryRequestError: an argument is out of range.
        SpecError: with `training`, an activation has a kink, or a layer is not dense.
        NonFiniteError: a layer's sums overflow.
        FileError: the store exists and `resume` is not set, is of another job, damaged, in use or can't be written.
        UnfinishedError, WorkerError: as of `flow`.
    """
    mlp = cast(MLP, as_network(network))
    X = checked_inputs(mlp, X)
    job = _job(mlp, X, draws, seed, components, estimators, until, tensors, dtype, block, training)
    run = _Run(mlp, X, job, batch)
    checked_executor(executor, part, store)
    if store is None:
        return run.measure(progress).ensemble()
    path = Path(store)
    exists = exists_to_resume(Store, path, resume or part is not None)
    with at_work(Store, path, exists, part, lambda: run.create(path)) as opened:
        run.open(opened, exists and part is None, part)
        order = Order(ready, path.resolve(), (activations_of(mlp), batch))
        total = run.measure(progress, order, executor, part)
        run.end(total, part)
        return total.ensemble()


def load(path, activation=None) -> Ensemble:
    """See `Ensemble.load`."""
    return ready(Path(path), activation, None).collect()


def ready(path: Path, activation, batch: int | None) -> _Run:
    """The job of a store, for what is read from it and for workers."""
    store = Store(path)
    try:
        job = Job(**{name: store.header[name] for name in Job.__dataclass_fields__})
        spec = dict(job.mlp)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is damaged: its attributes don't fit ({error})") from error
    declared = _measured(job.components, job.training, "blocks" in spec)
    if job.measured != declared:
        raise FileError(
            f"{path} measures {', '.join(job.measured)}, but the tensors declared here are {', '.join(declared)}"
        )
    mlp, X = network_of(spec, job.callable_activations, activation), store.X
    store.check_inputs(job.X_sha256)
    run = _Run(mlp, X, job, batch)
    run.take(store)
    return run


def _measured(components: str | Sequence[Sequence[int]], training: bool, streams: bool) -> list[str]:
    return list(KERNELS if components == "mean" else (*KERNELS, *measured_tensors(training, streams)))


def _job(mlp, X, draws, seed, components, estimators, until, tensors, dtype, block, training) -> Job:
    if training:
        check_differentiable(mlp)
        if isinstance(components, str) and components == "mean":
            raise ComponentError(
                'training goes with components="all", "pairs" or a list of sample sets, not with "mean"'
            )
    draws = whole_number(draws, "draws", 2, 2**53, DataError)
    if estimators not in ("low-noise", "direct"):
        raise ComponentError(f'estimators must be "low-noise" or "direct", not {estimators!r}')
    if dtype not in _DTYPES:
        raise DataError(f'dtype must be "float64" or "float32", not {dtype!r}')
    if until is not None and not 0 < until < 1:
        raise DataError(f"until must be a relative error between 0 and 1, not {until!r}")
    measured = _measured(components, training, has_blocks(mlp))
    for name in tensors:
        if name not in measured:
            raise ComponentError(f"tensors: {name!r} is not measured; measured are {', '.join(measured)}")
    until_tensors = list(tensors) or list(
        KERNELS if components == "mean" else measured_tensors(training, has_blocks(mlp))
    )
    if block is None:
        block = int(np.clip(-(-draws // 128), 64, 8192))
    return Job(
        mlp.to_spec(), [a.name for a in mlp.activation if not a.registered], digest(X),
        components if isinstance(components, str) else [list(map(int, s)) for s in components], estimators,
        whole_number(seed, "seed", 0, 2**63 - 1, DataError), dtype, whole_number(block, "block", 1, 2**53, DataError),
        draws, until, until_tensors, measured,
    )  # fmt: skip


class _Run:
    """One job in one process: its blocks of draws, which are tasks (`tasks.Work`), their sums, and the estimates from these."""

    store: Store | None = None

    def __init__(self, mlp: MLP, X: np.ndarray, job: Job, batch: int | None):
        sets = sample_sets(job.components, len(X))
        self.mlp, self.X, self.job = mlp, X, job
        self.measured = MEASURES[job.estimators, sets is None]
        self.sets = np.arange(len(X))[None] if sets is None else sets
        self.batch = batch_for(mlp, self.measured, self.sets, job.dtype, job.block, job.training)
        if batch is not None:
            self.batch = Batch(whole_number(batch, "batch", 1, job.block, DataError), self.batch.sets)
        self.shapes = sums_shapes(mlp, self.measured, self.sets, len(X), job.training)
        self.blocks = -(-job.draws // job.block)
        k = self.sets.shape[1]
        self.reference = np.zeros((len(self.sets), mlp.depth, k * (k + 1)))

    def pilot(self) -> np.ndarray:
        """The means of y over a few draws: numbers near those of all."""
        pilot = self._sums(0, _PILOT)
        reference = np.zeros_like(self.reference)
        for ell, layer_sums in enumerate(pilot, start=self.mlp.depth - len(pilot)):
            reference[:, ell] = layer_sums.y / _PILOT
        return reference

    def create(self, path: Path) -> Store:
        """A new store, with no draws in it."""
        numbers = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(self.shapes))
        header = {**asdict(self.job), "finished": None, "ntkflow_version": __version__}
        return Store.create(path, header, self.X, self.pilot(), self.blocks, numbers)

    def open(self, store: Store, goes_on: bool, part: tuple[int, int] | None) -> None:
        """Take a store for the blocks, of which a run that goes on may ask for more; FileError if it is of another job."""
        settings = asdict(self.job)
        if part is None:
            for name in ("draws", "until", "tensors"):
                settings.pop(name)
        store.check_same(settings, self.X)
        begun = store.header["draws"]
        if begun > self.job.draws:
            raise FileError(f"{store.path} was begun for {begun} draws, not for fewer")
        if goes_on:
            store.begin(self.blocks, **asdict(self.job))
        self.take(store)

    def take(self, store: Store) -> None:
        self.store, self.reference = store, store.reference

    @property
    def path(self) -> Path:
        assert self.store is not None
        return self.store.path

    def is_done(self, block: int) -> bool:
        return self._record(block) is not None

    def do(self, block: int) -> np.ndarray:
        """Compute a block's sums, and write them if there is a store."""
        start, stop = self._range(block)
        sums = _flat(self._checked(self._sums(start, stop)))
        if self.store is not None:
            self.store.write(block, stop - start, sums)
        return sums

    def measure(
        self, progress: Report | None, order: Order | None = None, executor: Executor | None = None,
        part: tuple[int, int] | None = None,
    ) -> _Total:  # fmt: skip
        """Have the blocks computed that are not done, all or those of a part, and add up those that are there, in order."""
        if progress is not None:
            progress(0, self.job.draws, "compiling")
        blocks = share(self.blocks, part)
        if order is None:
            self.reference = self.pilot()
            results = ((block, self.do(block)) for block in blocks)
        else:
            todo = (block for block in blocks if not self.is_done(block))
            results = done(self, order, todo, executor, in_order=self.job.until is not None)
        total, records = _Total(self), {}
        self._add_ready(total, records)
        began, computed = time.perf_counter(), 0
        with closing(results):
            while not total.enough and (result := next(results, None)) is not None:
                block, sums = result
                if sums is not None:
                    records[block] = sums
                start, stop = self._range(block)
                computed += stop - start
                self._add_ready(total, records)
                if progress is not None:
                    rate = computed / (time.perf_counter() - began)
                    message = f"{total.draws} of {self.job.draws} networks, {rate:.3g}/s{total.message()}"
                    progress(total.draws, self.job.draws, message)
        return total

    def end(self, total: _Total, part: tuple[int, int] | None) -> None:
        """Say in the store how many blocks came to be counted; UnfinishedError if those of other parts are not done."""
        assert self.store is not None
        if part is None:
            self.store.end(total.blocks)
            return
        if not (total.enough or total.blocks == self.blocks):
            raise UnfinishedError(f"{self.path} is unfinished: {self.store.unfinished}")
        with for_a_moment(self.path):
            Store(self.path).end(total.blocks)

    def collect(self) -> Ensemble:
        """The estimates from the store's blocks, up to the first gap or to the block at which `until` was reached."""
        assert self.store is not None
        self.store.check_finished()
        total = _Total(self)
        self._add_ready(total, {})
        if total.draws < 2:
            raise FileError(f"{self.path} holds no block of draws yet")
        return total.ensemble()

    def _add_ready(self, total: _Total, records: dict[int, np.ndarray]) -> None:
        while total.blocks < self.blocks and not total.enough:
            record = records.pop(total.blocks, None)
            if record is None:
                record = self._record(total.blocks)
            if record is None:
                return
            start, stop = self._range(total.blocks)
            total.add(stop - start, record)

    def _record(self, block: int) -> np.ndarray | None:
        """A block's sums, or None if they are not there, or of fewer draws than are asked for now."""
        start, stop = self._range(block)
        record = None if self.store is None else self.store.read(block)
        if record is None:
            return None
        draws, sums = record
        return sums if draws == stop - start else None

    def _range(self, block: int) -> tuple[int, int]:
        return block * self.job.block, min((block + 1) * self.job.block, self.job.draws)

    def _sums(self, start: int, stop: int) -> list[Sums]:
        return block_sums(
            self.mlp, self.measured, self.job.dtype, self.X, self.sets, self.reference, self.job.seed, start, stop,
            self.batch, self.job.training,
        )  # fmt: skip

    def _checked(self, sums: list[Sums]) -> list[Sums]:
        for layer, layer_sums in enumerate(sums, start=1 + self.mlp.depth - len(sums)):
            # "direct" estimators compare neurons of the layer: with one neuron its tensors are NaN by definition.
            direct = self.job.estimators == "direct" or self.mlp.layers[layer - 1].read_out is None
            alone = direct and self.mlp.widths[layer] == 1
            arrays = (layer_sums.y, layer_sums.y_squared) if alone else jax.tree.leaves(layer_sums)
            if not all(np.all(np.isfinite(array)) for array in arrays):
                norms = ", or give its norms eps > 0" if has_blocks(self.mlp) else ""
                raise NonFiniteError(
                    f"layer {layer}: sums over networks overflow or are not numbers; scale X or C_W{norms}"
                )
        return sums

    def unflatten(self, flat: np.ndarray) -> list[Sums]:
        leaves, tree = jax.tree.flatten(self.shapes)
        ends = np.cumsum([int(np.prod(x.shape)) for x in leaves], dtype=int)
        parts = np.split(flat, ends)[:-1]
        return tree.unflatten([part.reshape(x.shape) for part, x in zip(parts, leaves, strict=True)])


class _Total:
    """The sums over the blocks so far, and the estimates from these."""

    def __init__(self, run: _Run):
        self._run = run
        self.blocks = self.draws = 0
        self.sums: np.ndarray | float = 0.0
        self.enough = False

    def add(self, draws: int, sums: np.ndarray) -> None:
        self.sums = self.sums + sums
        self.blocks += 1
        self.draws += draws
        until = self._run.job.until
        self.enough = until is not None and self.draws >= 2 and self._worst()[1] <= until

    def _worst(self) -> tuple[str, float]:
        errors = relative_errors(self.layers(), tuple(self._run.job.tensors))
        return max(errors.items(), key=lambda item: -1.0 if np.isnan(item[1]) else item[1])

    def layers(self):
        run = self._run
        return assembled(
            run.mlp, run.X, run.sets, run.job.components, run.job.estimators,
            run.unflatten(np.asarray(self.sums)), run.reference, self.draws, run.job.training,
        )  # fmt: skip

    def ensemble(self) -> Ensemble:
        run = self._run
        return Ensemble(
            run.mlp, run.X, run.job.components, self.layers(), self.draws, run.job.seed, run.job.estimators
        )

    def message(self) -> str:
        if self.draws < 2:
            return ""
        name, error = self._worst()
        return f", {name} to {error:.2%}"


def _flat(sums: list[Sums]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(np.ravel(x) for x in jax.tree.leaves(sums))])
