"""Any layers, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from .._checks.shown import shown
from .._checks.spelling import did_you_mean
from ..activations import Activation
from ..errors import NtkflowError, SpecError
from .blocks import Block, Stage, stage_from
from .dense import Dense
from .layer import Layer
from .mlp import MLP, checked_widths, number, read_toml, width

_EMBEDDING = ("C_b", "C_W", "lambda_b", "lambda_W")


@jax.tree_util.register_pytree_node_class
class Network:
    """Layers of any kind, one after the other: dense ones, and blocks with skips and norms. To JAX a tree of their hyperparameters.

    Args:
        widths: (n_0, …, n_L); n_0 is the input dimension.
        layers: L of them, `Dense` and `Block`, of which the first, the embedding, reads the inputs: a `Dense` without σ. The last is the
            read-out.

    Raises:
        SpecError: there is not one layer for each width but n_0, a width does not suit its layer, or a dense layer that is not the first has no σ.

    Example:
        >>> residual = Block(Stage("relu", C_W=0.5), gamma=0.5**0.5)
        >>> Network((10, 64, 64, 64, 1), [Dense(), residual, residual, Block(Stage("relu"))])
    """

    def __init__(self, widths: Sequence[int], layers: Sequence[Layer | Block]):
        if len(widths) != len(layers) + 1 or not layers:
            raise SpecError(f"a network of {len(layers)} layers has one width more, not {len(widths)}")
        first, *above = layers
        if not isinstance(first, Dense) or first.activation is not None:
            raise SpecError(
                f"the first layer reads the inputs: it must be a Dense without activation, not {first!r}"
            )
        for ell, layer in enumerate(above, start=2):
            if isinstance(layer, Dense) and layer.activation is None:
                raise SpecError(f"layer {ell}: a Dense above the first needs an activation")
        self.widths = checked_widths(widths)
        self.layers: tuple[Any, ...] = tuple(layers)
        for ell, layer in enumerate(self.layers, start=1):
            try:
                layer.shapes(*self.widths[ell - 1 : ell + 1])
            except SpecError as error:
                raise SpecError(f"layer {ell}: {error}") from error

    @property
    def depth(self) -> int:
        """L."""
        return len(self.layers)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What leads to layers 2 … L; a dense layer is a block of one stage without a skip. SpecError if there is a layer of another kind."""
        return tuple(_as_block(layer) for layer in self.layers[1:])

    @property
    def activation(self) -> tuple[Activation, ...]:
        """The σ's of those layers that have one, stage by stage."""
        activations: list[Activation] = []
        for layer in self.layers:
            if isinstance(layer, Block):
                activations += layer.activations
            elif layer.activation is not None:
                activations.append(layer.activation)
        return tuple(activations)

    @property
    def architecture(self) -> Network:
        """The network itself: programs that don't depend on hyperparameters are not shared."""
        return self

    @classmethod
    def from_spec(cls, spec: Mapping) -> Network:
        """A network of blocks from a table.

        Its keys are `embedding`, with `inputs` and `width` and C_b, C_W, lambda_b, lambda_W, and `blocks`, a list of tables with `gamma` (0
        without it) and `stages`: tables of `Stage`'s arguments. The last block is the read-out. Without a width the last stage of a block
        with a skip has that of the layer below.

        Raises:
            SpecError, ActivationError: the table is not of this form; the message names what is not.
        """
        _check_keys(spec, ("embedding", "blocks"), "a network")
        embedding = spec["embedding"]
        _check_keys(embedding, ("inputs", "width"), "embedding", _EMBEDDING)
        widths = [width(embedding[name], f"embedding: {name}") for name in ("inputs", "width")]
        hyperparameters: dict[str, Any] = {
            name: number(f"embedding: {name}", embedding[name]) for name in _EMBEDDING if name in embedding
        }
        layers: list[Any] = [Dense(**hyperparameters)]
        if not isinstance(spec["blocks"], list | tuple) or not spec["blocks"]:
            raise SpecError(f"blocks must be a list of tables, not {shown(spec['blocks'])}")
        for i, table in enumerate(spec["blocks"], start=1):
            where = f"block {i}"
            _check_keys(table, ("stages",), where, ("gamma",))
            if not isinstance(table["stages"], list | tuple):
                raise SpecError(f"{where}: stages must be a list of tables, not {shown(table['stages'])}")
            try:
                block = Block([stage_from(stage) for stage in table["stages"]], table.get("gamma", 0.0))
            except NtkflowError as error:
                raise type(error)(f"{where}: {error}") from error
            last = block.stages[-1].width or (widths[-1] if block.gamma != 0 else None)
            if last is None:
                raise SpecError(f"{where}: without a skip its last stage needs a width")
            widths.append(last)
            layers.append(block)
        return cls(widths, layers)

    @classmethod
    def from_toml(cls, path) -> Network:
        """A network from a TOML file of such a table; FileError if the file can't be read."""
        try:
            return cls.from_spec(read_toml(path))
        except NtkflowError as error:
            raise error if str(path) in str(error) else type(error)(f"{path}: {error}") from error

    def to_spec(self) -> dict[str, Any]:
        """The table that `from_spec` reads, fit for JSON; of layers of other kinds their descriptions."""
        if not all(isinstance(layer, Dense | Block) for layer in self.layers):
            return {"widths": list(self.widths), "layers": [repr(layer) for layer in self.layers]}
        first = {name: getattr(self.layers[0], name) for name in _EMBEDDING}
        blocks = []
        for block, after in zip(self.blocks, self.widths[2:], strict=True):
            stages = [
                stage.to_spec() | {"width": width}
                for stage, width in zip(block.stages, block.inner_widths(after), strict=True)
            ]
            blocks.append({"gamma": block.gamma, "stages": stages})
        return {"embedding": {"inputs": self.widths[0], "width": self.widths[1], **first}, "blocks": blocks}

    def __repr__(self) -> str:
        from .._report.describe import listed, runs

        layers = listed(runs([repr(layer) for layer in self.layers], "*[{}] * {}"), ", ")
        return f"Network(widths=({', '.join(runs(self.widths, '*[{}] * {}'))}), layers=[{layers}])"

    def tree_flatten(self):
        return (self.layers,), self.widths

    @classmethod
    def tree_unflatten(cls, widths, children) -> Network:
        # Nothing is checked: JAX puts all kinds of things in the leaves' places.
        network = object.__new__(cls)
        network.widths, (network.layers,) = widths, children
        return network


def network_from_toml(path) -> MLP | Network:
    """The network of a TOML file: of blocks, or an MLP; raises as their `from_toml`."""
    return Network.from_toml(path) if "blocks" in read_toml(path) else MLP.from_toml(path)


def has_blocks(network: Any) -> bool:
    """Whether a network has a Block, with its skip or norms: its theory is that of `_streams`."""
    return isinstance(network, Network) and any(isinstance(layer, Block) for layer in network.layers)


def fan_in(network: Any, layer: int) -> int:
    """The n of whose inverse the tensors of a layer are coefficients: n_{ℓ-1}, or the width of the stream in a network of blocks."""
    return network.widths[1 if has_blocks(network) else layer - 1]


def corrects_means(network: Network) -> bool:
    """Whether G1 and H1 are computed in a network of blocks.

    Behind a norm, or where a skip passes several nonlinear layers, they need moments of second derivatives: of smooth activations, or
    of two straight lines through 0, one activation in the whole stream.
    """
    skips = any(block.gamma != 0 for block in network.blocks)
    read = [block.stages[0] for block in network.blocks if skips or block.stages[0].norm != "none"]
    of_stream = {stage.activation for stage in read if stage.activation.slopes != (1.0, 1.0)}
    inner = [
        stage.activation for block in network.blocks for stage in block.stages[1:] if stage.norm != "none"
    ]
    if any(a.kinked and not a.slopes for a in (*of_stream, *inner)):
        return False
    return not skips or not any(a.kinked for a in of_stream) or len(of_stream) == 1


def refuse_blocks(network: Any) -> None:
    """SpecError if a network has blocks: for what is known, or written, for dense layers alone."""
    if has_blocks(network):
        raise SpecError(
            "this takes networks of dense layers; networks of blocks, with their skips and norms, are for flow, ensemble, compare, verify and ntkflow.finite"
        )


def _as_block(layer: Layer | Block) -> Block:
    if isinstance(layer, Block):
        return layer
    if not isinstance(layer, Dense) or layer.activation is None:
        raise SpecError(f"blocks stand with dense layers alone, not with {layer!r}")
    hyperparameters = {name: getattr(layer, name) for name in _EMBEDDING}
    return Block(Stage(layer.activation, **hyperparameters))


def _check_keys(table: Any, required: tuple[str, ...], where: str, others: tuple[str, ...] = ()) -> None:
    """SpecError unless it is a table with these keys."""
    if not isinstance(table, Mapping):
        raise SpecError(f"{where} must be a table, not {shown(table)}")
    keys = (*required, *others)
    for key in table:
        if key not in keys:
            raise SpecError(
                f"{where}: unknown key {key!r}{did_you_mean(key, keys)}; the keys are {', '.join(keys)}"
            )
    for key in required:
        if key not in table:
            raise SpecError(f"{where}: the key {key!r} is missing")
