"""Random networks and inputs, and their tensors by a much finer integration, which takes minutes: kept in `finer_flows.json`.

python tests/finer_flows.py     # compute them again
"""

import dataclasses
import functools
import json
from pathlib import Path
from unittest import mock

import numpy as np

import ntkflow
from ntkflow._gaussian.rules import FINE
from ntkflow._recursions import TENSORS
from ntkflow._theory import two_runs as runs

FILE = Path(__file__).with_suffix(".json")
FINER = dataclasses.replace(
    FINE,
    reach=14.0,
    line_nodes=260,
    line_terms=288,
    conditioned=(144, 132, 40),
    inner_reach=11.5,
    wedge=(112, 168),
    kinked_plane=(80, 72),
    pair_series=((200, 160),),
    series=((250, 256),),
    shared=(250, 256),
    kinked_series=((200, 80, 200),),
    sign_nodes=160,
)
SMOOTH = ["tanh", "erf", "sin", "gelu", "silu", "softplus", "sigmoid"]
KINKED = ["relu", "abs", {"name": "leaky_relu", "slope": 0.1}, "elu", {"name": "elu", "alpha": 1.5}]
WIDE_RANGE = [(seed, 0.3 * 13 ** (seed / 5)) for seed in range(6)]
"""Seeds and C_W, from 0.3 to 4."""
USUAL = [(seed, 0.7 * (1 + seed / 2)) for seed in range(3)]
"""C_W from 0.7 to 1.4."""
SAMPLES = 3


def network_and_inputs(activation, seed: int, C_W: float) -> tuple[ntkflow.MLP, np.ndarray]:
    """The network and inputs of a seed."""
    rng = np.random.default_rng(seed)
    mlp = ntkflow.MLP((6, 20, 30, 2), activation, C_b=float(rng.choice([0.0, 0.1])), C_W=C_W)
    return mlp, rng.normal(size=(SAMPLES, 6))


def reference(activation, seed: int, C_W: float) -> list[dict[str, np.ndarray]]:
    """The tensors of the layers 2 and 3; the first is exact."""
    return [
        {
            name: TENSORS[name].unpack(np.array(numbers), SAMPLES) if name in TENSORS else np.array(numbers)
            for name, numbers in layer.items()
        }
        for layer in _kept()[_label(activation, seed, C_W)]
    ]


@functools.cache
def _kept() -> dict[str, list[dict[str, list]]]:
    return json.loads(FILE.read_text())


def _label(activation, seed: int, C_W: float) -> str:
    return f"{json.dumps(activation)} seed {seed} C_W {C_W:.6g}"


def _computed(activation, seed: int, C_W: float) -> list[dict[str, list]]:
    with mock.patch.object(runs, "FINE", FINER):
        flow = ntkflow.flow(*network_and_inputs(activation, seed, C_W))
    return [
        {name: (TENSORS[name].pack(x) if name in TENSORS else x).tolist() for name in layer.values for x in [layer.values[name]]}
        for layer in flow.layers[1:]
    ]  # fmt: skip


def main() -> None:
    kept = {
        _label(activation, seed, C_W): _computed(activation, seed, C_W)
        for activation in (*SMOOTH, *KINKED)
        for seed, C_W in WIDE_RANGE + USUAL
    }
    rows = ",\n".join(f"{json.dumps(label)}: {json.dumps(layers)}" for label, layers in kept.items())
    FILE.write_text(f"{{\n{rows}\n}}\n")


if __name__ == "__main__":
    main()
